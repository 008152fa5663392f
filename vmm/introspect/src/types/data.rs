//! Types as they are kept: numbers of types, and names by their place in the strings.

use std::ops::Range;

/// A type of one [`Types`](super::Types). 0 is `void`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub u32);

/// `void`.
pub const VOID: TypeId = TypeId(0);

/// Another name or a qualifier of a type, which changes nothing about its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alias {
    /// `typedef`.
    Typedef,
    /// `const`.
    Const,
    /// `volatile`.
    Volatile,
    /// `restrict`.
    Restrict,
    /// A tag of the compiler, such as `__user`.
    Tag,
}

/// A kind of type. Spans are of the arenas of [`Types`](super::Types).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Void,
    Int {
        size: u32,
        signed: bool,
        boolean: bool,
        /// Width and position inside, for bit-fields in the manner before kind_flag.
        bits: (u8, u8),
    },
    Float {
        size: u32,
    },
    Pointer(TypeId),
    Array {
        element: TypeId,
        count: u32,
    },
    Composite {
        union: bool,
        size: u32,
        members: Range<u32>,
    },
    Enum {
        size: u32,
        signed: bool,
        values: Range<u32>,
    },
    /// A structure or union that is declared and not defined.
    Forward {
        union: bool,
    },
    Alias(Alias, TypeId),
    /// A function, of a prototype.
    Function(TypeId),
    Prototype {
        returns: TypeId,
        parameters: Range<u32>,
    },
    /// Variables, sections, tags: not part of any value's layout.
    Other,
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Offset in the strings; 0 for nameless ones.
    pub(super) name: u32,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RawMember {
    pub(super) name: u32,
    pub(super) ty: TypeId,
    /// The offset from the beginning of the structure, in bits.
    pub(super) bit_offset: u32,
    /// 0 unless a bit-field.
    pub(super) bit_size: u8,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RawValue {
    pub(super) name: u32,
    pub(super) value: i64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RawParameter {
    pub(super) name: u32,
    pub(super) ty: TypeId,
}
