//! The binary form of BTF (Documentation/bpf/btf.rst, include/uapi/linux/btf.h), all of it
//! little-endian here.

/// First two bytes of a blob.
pub const MAGIC: u16 = 0xeb9f;
/// The only version.
pub const VERSION: u8 = 1;
/// Header up to 7.0: magic, version, flags, its own length, then offset and length of types and of
/// strings, from the end of the header.
pub const HEADER: usize = 24;
/// Header with offset and length of the description of kinds.
pub const HEADER_WITH_LAYOUT: usize = 32;
/// A longer header is none.
pub const MAX_HEADER: usize = 256;
/// The largest blob taken for real, in bytes: distribution kernels have 3 to 8 MiB.
pub const MAX_BLOB: usize = 64 << 20;

/// Returns the kind in a type's second word. Kinds had five bits and lengths sixteen before they
/// were widened; the rest was zero.
pub const fn kind(info: u32) -> u32 {
    info >> 24 & 0x7f
}

/// Returns how many elements follow the type.
pub const fn length(info: u32) -> usize {
    (info & 0xff_ffff) as usize
}

/// Returns `kind_flag`: bit-fields in a structure, a union in a forward declaration, signed values
/// in an enumeration.
pub const fn flag(info: u32) -> bool {
    info >> 31 != 0
}

/// Kinds of types.
pub mod kinds {
    /// An integer.
    pub const INT: u32 = 1;
    /// A pointer.
    pub const PTR: u32 = 2;
    /// An array.
    pub const ARRAY: u32 = 3;
    /// A structure.
    pub const STRUCT: u32 = 4;
    /// A union.
    pub const UNION: u32 = 5;
    /// An enumeration of 32-bit values.
    pub const ENUM: u32 = 6;
    /// A declared structure or union.
    pub const FWD: u32 = 7;
    /// `typedef`.
    pub const TYPEDEF: u32 = 8;
    /// `volatile`.
    pub const VOLATILE: u32 = 9;
    /// `const`.
    pub const CONST: u32 = 10;
    /// `restrict`.
    pub const RESTRICT: u32 = 11;
    /// A function.
    pub const FUNC: u32 = 12;
    /// A function's type.
    pub const FUNC_PROTO: u32 = 13;
    /// A variable.
    pub const VAR: u32 = 14;
    /// Variables of a section.
    pub const DATASEC: u32 = 15;
    /// A floating-point number.
    pub const FLOAT: u32 = 16;
    /// A tag of a declaration.
    pub const DECL_TAG: u32 = 17;
    /// A tag of a type.
    pub const TYPE_TAG: u32 = 18;
    /// An enumeration of 64-bit values.
    pub const ENUM64: u32 = 19;
}
