//! Why a `vmlinux` is of no use: types only.

use super::DwarfError;
use crate::types::TypesError;

/// The reason for which types cannot be read from a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VmlinuxError {
    /// Not an ELF file.
    #[error(
        "it is no ELF file: give the vmlinux from the directory in which the kernel was built, not the zImage or Image \
         that is booted"
    )]
    NotElf,
    /// A damaged ELF file.
    #[error("it is damaged or cut off: {0}")]
    Elf(#[from] object::read::Error),
    /// Another kind of ELF file.
    #[error(
        "it is an object file that is not linked yet, such as vmlinux.o or a module: give the vmlinux that was linked"
    )]
    Object,
    /// Another architecture.
    #[error(
        "it is not a program for ARM: give the vmlinux of a little-endian kernel for 32-bit ARM (or, with KVM, for \
         64-bit ARM)"
    )]
    Machine,
    /// Too large.
    #[error("its debug information is larger than 2 GiB")]
    Large,
    /// Without types, or with damaged ones.
    #[error(transparent)]
    Dwarf(#[from] DwarfError),
    /// Damaged BTF.
    #[error(transparent)]
    Btf(TypesError),
}

/// The reason for which a `vmlinux` does not belong to a kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MismatchError {
    /// Another version.
    #[error(
        "the vmlinux belongs to another kernel: it is of \"{file}\", and the kernel is \"{kernel}\"; give the \
         vmlinux of the same build"
    )]
    Version {
        /// The banner in the file.
        file: String,
        /// The kernel's banner.
        kernel: String,
    },
    /// The same version, built differently.
    #[error(
        "the vmlinux belongs to another build of \"{0}\": the build IDs differ; give the vmlinux that was linked \
         together with this kernel"
    )]
    Build(String),
    /// Nothing to tell by.
    #[error(
        "it cannot be told whether the vmlinux belongs to this kernel: it has no build ID, and there is no \"Linux \
         version\" in one of the two; give the vmlinux from the directory in which the kernel was built"
    )]
    Unknown,
}
