//! From debug information (DWARF 2 to 5) to [`Types`].
//!
//! Every unit of a kernel repeats the types of the headers that it includes. Only the first
//! definition of each is taken: types are the same if name, kind, size and line are. So the result
//! is about as large as BTF, and the work is one pass over the top level of all units.

mod builder;
mod convert;
mod die;
mod unit;

use std::borrow::Cow;

use vmm_base::Width;

use super::Types;

/// The reason for which debug information cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DwarfError {
    /// It is not well-formed.
    #[error("its debug information (DWARF) is damaged: {0}")]
    Damaged(#[from] gimli::Error),
    /// A name that does not end.
    #[error(
        "its debug information (DWARF) is damaged: a name is not there, or longer than any of C"
    )]
    Name,
    /// A member whose place is not a number.
    #[error("its debug information (DWARF) is damaged: a member of a structure has no fixed place")]
    Location,
    /// A reference to what is not there.
    #[error(
        "its debug information (DWARF) is damaged: an entry refers to another that is not there"
    )]
    Reference,
    /// Abbreviations that cannot be.
    #[error(
        "its debug information (DWARF) is damaged: the abbreviations overlap, are too many, or end past their section"
    )]
    Abbreviations,
    /// Types that contain each other.
    #[error("its debug information (DWARF) is damaged: types are nested deeper than any of C")]
    Depth,
    /// More types than any kernel has.
    #[error("its debug information (DWARF) has more types than any kernel's")]
    TooMany,
    /// The types are in other files.
    #[error(
        "it has only skeletons of debug information, and the rest is in .dwo files: build the kernel without \
         CONFIG_DEBUG_INFO_SPLIT"
    )]
    Split,
    /// There are no types.
    #[error(
        "it has no debug information with types: build the kernel with CONFIG_DEBUG_INFO and without \
         CONFIG_DEBUG_INFO_REDUCED, and give the vmlinux that is not stripped"
    )]
    None,
}

/// The sections that types are read from. Those that are missing are empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Sections<'a> {
    /// `.debug_info`.
    pub info: Cow<'a, [u8]>,
    /// `.debug_abbrev`.
    pub abbreviations: Cow<'a, [u8]>,
    /// `.debug_str`.
    pub names: Cow<'a, [u8]>,
    /// `.debug_line_str`.
    pub line_names: Cow<'a, [u8]>,
    /// `.debug_str_offsets`.
    pub name_offsets: Cow<'a, [u8]>,
}

/// Reads the types of a program whose pointers are as wide as this.
///
/// # Errors
/// The sections are damaged, or hold no types.
pub(super) fn read(sections: &Sections<'_>, width: Width) -> Result<Types, DwarfError> {
    convert::read(sections, width)
}
