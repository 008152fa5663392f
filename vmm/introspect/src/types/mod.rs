//! The types of a guest kernel: structures with their members, enumerations, functions with their
//! arguments.
//!
//! They come from the BTF blob in the kernel's image ([`Types::find`]) or, for builds without one,
//! from a table of a few known offsets ([`offsets`]); [`Types::of_kernel`] takes what there is. For
//! any kernel they come from the debug information of its `vmlinux`, if the user has that
//! ([`vmlinux`]). A [`path`] such as `driver->name` is resolved against them and then evaluated in
//! guest memory to a [`value`].
//!
//! Own code rather than a crate: of the crates that parse BTF, `btf` and `btfparse` hold a copy of
//! a name for each type and member that uses it, so that a hostile blob of a few megabytes fills
//! the memory, and `btf-rs` is not permissively licensed.

mod btf;
mod data;
mod dwarf;
pub mod offsets;
pub mod path;
mod spec;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod value;
pub mod vmlinux;

use std::fmt::Write;
use std::ops::Range;

use vmm_base::Width;

pub use data::{Alias, TypeId, VOID};
use data::{Kind, RawMember, RawParameter, RawValue, Record};

/// The depth of a chain of types (typedefs of typedefs, structures in structures): C compilers need
/// a fraction.
const MAX_DEPTH: usize = 64;
/// The most members looked at in one search through anonymous structures.
const MAX_VISITS: usize = 1 << 17;
/// Longest name of a type that is put together, in bytes.
const MAX_NAME: usize = 512;

/// The reason for which there are no types.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypesError {
    /// No blob.
    #[error(
        "no type information in this memory: the kernel was built without CONFIG_DEBUG_INFO_BTF"
    )]
    None,
    /// A blob that is not well-formed.
    #[error("the kernel's type information (BTF) is damaged: {0}")]
    Damaged(&'static str),
    /// A blob with a kind of type that is not known and not described.
    #[error("the kernel's type information (BTF) has types of kind {0}, newer than the known ones")]
    UnknownKind(u32),
    /// Neither a blob nor a table.
    #[error(
        "structure fields cannot be named: the kernel was built without CONFIG_DEBUG_INFO_BTF, and no offset table \
         is known for {0}; give its vmlinux with debug information as --vmlinux FILE"
    )]
    NoTable(String),
    /// No blob, and of 64-bit kernels there are no tables.
    #[error(
        "structure fields cannot be named: this 64-bit kernel was built without CONFIG_DEBUG_INFO_BTF, and \
            offset tables \
         are of 32-bit kernels only; give its vmlinux with debug information as --vmlinux FILE"
    )]
    NoWideTable,
    /// The `vmlinux` that was given is not this kernel's.
    #[error(transparent)]
    Mismatch(#[from] vmlinux::MismatchError),
}

/// A member of a structure or union, found by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its type.
    pub ty: TypeId,
    /// The offset from the beginning of the structure that was searched, in bits.
    pub bit_offset: u32,
    /// Its width if it is a bit-field.
    pub bit_size: Option<u8>,
}

/// An argument of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument<'a> {
    /// Its name; empty where the prototype has none.
    pub name: &'a str,
    /// Its type.
    pub ty: TypeId,
}

/// The arguments and the result of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prototype<'a> {
    /// The type that it returns.
    pub returns: TypeId,
    /// Its named arguments, in order.
    pub arguments: Vec<Argument<'a>>,
    /// Whether more arguments may follow (`...`).
    pub variadic: bool,
}

/// All types of a kernel.
#[derive(Clone, Debug)]
pub struct Types {
    /// The width of pointers.
    width: Width,
    /// NUL-terminated, the empty one first.
    strings: Vec<u8>,
    /// The types by [`TypeId`]; the first is `void`.
    records: Vec<Record>,
    members: Vec<RawMember>,
    values: Vec<RawValue>,
    parameters: Vec<RawParameter>,
    /// Named records by name, then by number.
    by_name: Vec<u32>,
}

/// The origin of types, of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The blob in the kernel's image.
    Btf,
    /// A table of offsets for this build.
    Table,
}

impl Types {
    /// Returns types of a kernel of this width that has none but `void`.
    pub(super) fn void(width: Width) -> Self {
        let void = Record {
            name: 0,
            kind: Kind::Void,
        };
        Self {
            width,
            strings: vec![0],
            records: vec![void],
            members: Vec::new(),
            values: Vec::new(),
            parameters: Vec::new(),
            by_name: Vec::new(),
        }
    }

    /// Finds the types of the kernel whose bytes are `image` (a file or RAM) and whose addresses
    /// are of this width: from its BTF blob, otherwise from the table for its build. Tables are of
    /// 32-bit kernels.
    ///
    /// # Errors
    /// [`TypesError::NoTable`] or [`TypesError::NoWideTable`] if there is neither, others if the
    /// blob is damaged.
    pub fn of_kernel(image: &[u8], width: Width) -> Result<(Self, Source), TypesError> {
        match Self::find(image) {
            Ok(types) => Ok((types, Source::Btf)),
            Err(TypesError::None) if width == Width::Bits64 => Err(TypesError::NoWideTable),
            Err(TypesError::None) => {
                let banner = offsets::banner(image);
                let tables = offsets::Tables::embedded();
                match banner.and_then(|b| tables.types(b)) {
                    Some(types) => Ok((types, Source::Table)),
                    None => Err(TypesError::NoTable(match banner {
                        Some(banner) => format!("\"{banner}\""),
                        None => "it (no \"Linux version\" in its memory)".to_owned(),
                    })),
                }
            }
            // A kernel with a blob has no table, so a damaged one is not replaced but reported.
            Err(error) => Err(error),
        }
    }

    /// Returns how many types there are, `void` included.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether there is nothing but `void`.
    pub fn is_empty(&self) -> bool {
        self.records.len() <= 1
    }

    /// Returns how wide pointers are.
    pub const fn width(&self) -> Width {
        self.width
    }

    /// Returns how many functions are described.
    pub fn functions(&self) -> usize {
        let is = |r: &&Record| matches!(r.kind, Kind::Function(_));
        self.records.iter().filter(is).count()
    }

    fn kind(&self, ty: TypeId) -> &Kind {
        match self.records.get(ty.0 as usize) {
            Some(record) => &record.kind,
            None => &Kind::Void,
        }
    }

    fn string(&self, offset: u32) -> &str {
        // The strings end with a NUL, so only an offset past them has no end: it names nothing.
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        let end = rest.iter().position(|&b| b == 0).unwrap_or(0);
        std::str::from_utf8(&rest[..end]).unwrap_or_default()
    }

    /// Returns the name of a type as declared: without `struct`, empty for nameless types and for
    /// pointers, arrays and such.
    pub fn plain_name(&self, ty: TypeId) -> &str {
        self.records
            .get(ty.0 as usize)
            .map_or("", |r| self.string(r.name))
    }

    /// Returns every type declared as `name`, whatever it is.
    fn named(&self, name: &str) -> impl Iterator<Item = TypeId> {
        let key = |&i: &u32| self.plain_name(TypeId(i));
        let start = self.by_name.partition_point(|i| key(i) < name);
        let end = self.by_name.partition_point(|i| key(i) <= name);
        self.by_name[start..end].iter().map(|&i| TypeId(i))
    }

    /// Returns the structure or union `name` that is defined here.
    pub fn structure(&self, name: &str) -> Option<TypeId> {
        self.named(name)
            // A mere declaration of the same name is a type of its own.
            .find(|&ty| matches!(self.kind(ty), Kind::Composite { .. }))
    }

    /// Returns the function `name`. Names are of C: a static function may exist several times, then
    /// it is the first.
    pub fn function(&self, name: &str) -> Option<Prototype<'_>> {
        let prototype = self.named(name).find_map(|ty| match self.kind(ty) {
            Kind::Function(prototype) => Some(*prototype),
            _ => None,
        })?;
        // A function of a hostile blob may refer to any other type.
        let Kind::Prototype {
            returns,
            parameters,
        } = self.kind(prototype)
        else {
            return None;
        };
        let mut arguments: Vec<Argument<'_>> = self
            .parameters
            .get(span(parameters))?
            .iter()
            .map(|p| Argument {
                name: self.string(p.name),
                ty: p.ty,
            })
            .collect();
        // A last parameter without name and type stands for `...` (Documentation/bpf/btf.rst).
        let variadic = arguments
            .last()
            .is_some_and(|a| a.name.is_empty() && a.ty == VOID);
        if variadic {
            arguments.pop();
        }
        Some(Prototype {
            returns: *returns,
            arguments,
            variadic,
        })
    }

    /// Returns the type behind typedefs and qualifiers.
    pub fn strip(&self, mut ty: TypeId) -> TypeId {
        // A hostile blob may have typedefs of each other, in a circle.
        for _ in 0..MAX_DEPTH {
            match self.kind(ty) {
                Kind::Alias(_, to) => ty = *to,
                _ => return ty,
            }
        }
        VOID
    }

    /// Returns what a pointer points to; `None` if it is none.
    pub fn pointee(&self, ty: TypeId) -> Option<TypeId> {
        match self.kind(self.strip(ty)) {
            Kind::Pointer(to) => Some(*to),
            _ => None,
        }
    }

    /// Returns whether this is a structure or union, or an array: not a number or a pointer.
    pub fn is_composite(&self, ty: TypeId) -> bool {
        let kind = self.kind(self.strip(ty));
        matches!(kind, Kind::Composite { .. } | Kind::Array { .. })
    }

    /// Returns the size in bytes; `None` for what has none (`void`, functions, structures that are
    /// only declared).
    pub fn size(&self, ty: TypeId) -> Option<u32> {
        let mut ty = ty;
        // A chain in a hostile blob may be a circle, and a product of arrays overflow.
        let mut factor = 1u32;
        for _ in 0..MAX_DEPTH {
            let size = match self.kind(ty) {
                Kind::Alias(_, to) => {
                    ty = *to;
                    continue;
                }
                Kind::Array { element, count } => {
                    factor = factor.checked_mul(*count)?;
                    ty = *element;
                    continue;
                }
                Kind::Int { size, .. }
                | Kind::Float { size }
                | Kind::Enum { size, .. }
                | Kind::Composite { size, .. } => *size,
                Kind::Pointer(_) => self.width.bytes(),
                _ => return None,
            };
            return factor.checked_mul(size);
        }
        None
    }

    /// Returns the member `name` of a structure or union, also inside nameless ones that it
    /// contains.
    pub fn member(&self, composite: TypeId, name: &str) -> Option<Member> {
        // Nameless structures may share inner ones: without a bound on visits a small blob would
        // take exponential time.
        let mut visits = MAX_VISITS;
        self.member_within(composite, name, 0, &mut visits)
    }

    fn member_within(
        &self,
        composite: TypeId,
        name: &str,
        depth: usize,
        visits: &mut usize,
    ) -> Option<Member> {
        let Kind::Composite { members, .. } = self.kind(self.strip(composite)) else {
            return None;
        };
        if depth >= MAX_DEPTH {
            return None;
        }
        let members = self.members.get(span(members))?;
        // Its own members come first, as C has it: a name cannot be both.
        for raw in members {
            *visits = visits.checked_sub(1)?;
            if self.string(raw.name) == name && !name.is_empty() {
                return Some(self.as_member(raw));
            }
        }
        for raw in members.iter().filter(|m| m.name == 0) {
            *visits = visits.checked_sub(1)?;
            if let Some(inner) = self.member_within(raw.ty, name, depth + 1, visits) {
                return Some(Member {
                    bit_offset: raw.bit_offset.wrapping_add(inner.bit_offset),
                    ..inner
                });
            }
        }
        None
    }

    /// Returns a member with the two ways to write bit-fields made one.
    fn as_member(&self, raw: &RawMember) -> Member {
        let (mut bit_offset, mut bit_size) = (raw.bit_offset, raw.bit_size);
        // Without kind_flag a bit-field has an integer of its own for its type, narrower than its
        // bytes.
        if bit_size == 0
            && let Kind::Int { size, bits, .. } = self.kind(self.strip(raw.ty))
            && (u32::from(bits.0) != size.wrapping_mul(8) || bits.1 != 0)
        {
            bit_size = bits.0;
            bit_offset = bit_offset.wrapping_add(bits.1.into());
        }
        Member {
            ty: raw.ty,
            bit_offset,
            bit_size: (bit_size != 0).then_some(bit_size),
        }
    }

    /// Returns the names of a structure's own members, those of nameless inner structures left out.
    pub fn member_names(&self, composite: TypeId) -> impl Iterator<Item = &str> {
        let members = match self.kind(self.strip(composite)) {
            Kind::Composite { members, .. } => self.members.get(span(members)),
            _ => None,
        };
        members
            .unwrap_or_default()
            .iter()
            .map(|m| self.string(m.name))
            .filter(|n| !n.is_empty())
    }

    /// Returns the name that an enumeration gives to a value.
    fn enum_name(&self, values: &Range<u32>, value: i64) -> Option<&str> {
        let values = self.values.get(span(values))?;
        let found = values.iter().find(|v| v.value == value)?;
        Some(self.string(found.name))
    }

    /// Returns a type as C writes it, for example `struct device *`.
    pub fn type_name(&self, ty: TypeId) -> String {
        let mut out = String::new();
        self.write_name(ty, 0, &mut out);
        out
    }

    fn write_name(&self, ty: TypeId, depth: usize, out: &mut String) {
        // Types of a hostile blob may contain themselves, and arrays of arrays make a name long.
        if depth > MAX_DEPTH || out.len() > MAX_NAME {
            out.push_str("...");
            return;
        }
        let name = self.plain_name(ty);
        let or_nameless = if name.is_empty() { "<nameless>" } else { name };
        let mut tagged = |tag: &str| {
            out.push_str(tag);
            out.push_str(or_nameless);
        };
        match self.kind(ty) {
            Kind::Void => out.push_str("void"),
            Kind::Composite { union: true, .. } | Kind::Forward { union: true } => {
                tagged("union ");
            }
            Kind::Composite { .. } | Kind::Forward { .. } => tagged("struct "),
            Kind::Enum { .. } => tagged("enum "),
            Kind::Int { .. } | Kind::Float { .. } | Kind::Other => tagged(""),
            Kind::Alias(Alias::Typedef, _) => tagged(""),
            Kind::Alias(alias, to) => {
                out.push_str(match alias {
                    Alias::Const => "const ",
                    Alias::Volatile => "volatile ",
                    _ => "",
                });
                self.write_name(*to, depth + 1, out);
            }
            Kind::Pointer(to) => {
                self.write_name(*to, depth + 1, out);
                out.push_str(if out.ends_with('*') { "*" } else { " *" });
            }
            Kind::Array { element, count } => {
                self.write_name(*element, depth + 1, out);
                // Writing to a `String` cannot fail.
                let _ = write!(out, "[{count}]");
            }
            Kind::Function(prototype) => self.write_name(*prototype, depth + 1, out),
            Kind::Prototype { returns, .. } => {
                self.write_name(*returns, depth + 1, out);
                out.push_str(" ()");
            }
        }
    }

    /// Finds out how wide pointers are: as wide as `long`, in all kernels. Nothing else says so.
    fn measure(&mut self) {
        // The first two are GCC's names, the others Clang's.
        let long = ["long int", "long unsigned int", "long", "unsigned long"];
        let wide = long
            .iter()
            .flat_map(|name| self.named(name))
            .any(|ty| matches!(self.kind(ty), Kind::Int { size: 8, .. }));
        self.width = if wide { Width::Bits64 } else { Width::Bits32 };
    }

    /// Sorts the names, once all records are there.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each takes 12 bytes of a section whose length has 32 bits"
    )]
    fn index(&mut self) {
        let mut order: Vec<u32> = (0..self.records.len() as u32)
            .filter(|&i| self.records[i as usize].name != 0)
            .collect();
        order.sort_by_key(|&i| (self.plain_name(TypeId(i)), i));
        self.by_name = order;
    }
}

fn span(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}
