//! Paths of members such as `archdata.dma_ops_setup`, `driver->name` or `links[2].next`.
//!
//! A path is resolved once against the types, which gives the steps to go; the steps are then
//! followed in guest memory as often as wanted. `.` and `->` mean the same: a pointer on the way is
//! followed, as its type tells.

use super::{Kind, Types};
use super::{Member, TypeId};

/// The most components that a path may have.
const MAX_COMPONENTS: usize = 64;

/// The reason for which a path cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is not written as a path.
    #[error("`{path}` is not a path of members: expected {expected} at column {column}")]
    Syntax {
        /// The path.
        path: String,
        /// The element that is expected there.
        expected: &'static str,
        /// The column, counted from 1.
        column: usize,
    },
    /// No such structure.
    #[error("this kernel has no structure `{0}`, or its definition is not known")]
    NoStructure(String),
    /// No such member.
    #[error("`{ty}` has no member `{member}`{hint}")]
    NoMember {
        /// The type.
        ty: String,
        /// The member that was asked for.
        member: String,
        /// Something like it, in brackets, or nothing.
        hint: String,
    },
    /// A member of what has none.
    #[error("`{ty}` has no members, so there is no `{member}` in it")]
    NotAStructure {
        /// The type.
        ty: String,
        /// The member that was asked for.
        member: String,
    },
    /// An index into what is no array.
    #[error("`{0}` is neither an array nor a pointer, so it cannot be indexed")]
    NotAnArray(String),
    /// An index past the end, or beyond 4 GiB.
    #[error("index {index} is beyond the end of `{ty}`")]
    Index {
        /// The type.
        ty: String,
        /// The index.
        index: u32,
    },
    /// A member further away than 4 GiB.
    #[error("`{0}` lies more than 4 GiB behind the object that the path is in")]
    Far(String),
}

/// One step from an address to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Add so many bytes.
    Add(u32),
    /// Go where the pointer at the address points.
    Deref,
}

/// The position of a bit-field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Its lowest bit, from bit 0 of the byte at the address.
    pub offset: u8,
    /// Its width.
    pub size: u8,
}

/// A resolved path: from the address of an object to one of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Set if the part is a bit-field.
    pub bits: Option<Bits>,
    /// The type of the part.
    pub ty: TypeId,
}

impl Path {
    /// Returns the bytes from the object to the part; `None` if pointers must be followed.
    pub fn offset(&self) -> Option<u32> {
        self.steps.iter().try_fold(0u32, |sum, step| match step {
            Step::Add(bytes) => Some(sum.wrapping_add(*bytes)),
            Step::Deref => None,
        })
    }
}

/// A piece of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Component<'a> {
    Member(&'a str),
    Index(u32),
}

/// Splits a path into components; an empty one has no components.
fn components(path: &str) -> Result<Vec<Component<'_>>, PathError> {
    let mut rest = path;
    let mut components = Vec::new();
    // What is passed is always a tail of `path`, so that its length tells the column.
    let error = |rest: &str, expected| PathError::Syntax {
        // A path may be of any length: the message shows its beginning.
        path: path.chars().take(200).collect(),
        expected,
        column: path.len() - rest.len() + 1,
    };
    while !rest.is_empty() {
        if components.len() == MAX_COMPONENTS {
            return Err(error(rest, "the end of such a long path"));
        }
        if let Some(tail) = rest.strip_prefix('[') {
            let (number, after) = tail
                .split_once(']')
                .ok_or_else(|| error(tail, "a number and `]`"))?;
            let index = number
                .parse()
                .map_err(|_| error(tail, "a number below 2^32"))?;
            components.push(Component::Index(index));
            rest = after;
            continue;
        }
        if !components.is_empty() {
            rest = rest
                .strip_prefix("->")
                .or_else(|| rest.strip_prefix('.'))
                .ok_or_else(|| error(rest, "`.`, `->` or `[`"))?;
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        if end == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(error(rest, "the name of a member"));
        }
        components.push(Component::Member(&rest[..end]));
        rest = &rest[end..];
    }
    Ok(components)
}

/// The way so far.
struct Walk<'a> {
    types: &'a Types,
    steps: Vec<Step>,
    /// Bits from the last step on, fewer than of 4 GiB.
    bits: u64,
    size: Option<u8>,
    ty: TypeId,
}

impl Walk<'_> {
    /// Goes on by `bits`; `None` if that is too far.
    fn advance(&mut self, bits: u64) -> Option<()> {
        let bits = self.bits.checked_add(bits)?;
        u32::try_from(bits / 8).ok()?;
        self.bits = bits;
        Some(())
    }

    /// Adds up what was walked since the last step.
    #[expect(clippy::cast_possible_truncation, reason = "`advance` has compared it")]
    fn flush(&mut self) {
        let bytes = (self.bits / 8) as u32;
        if bytes != 0 {
            self.steps.push(Step::Add(bytes));
        }
        self.bits = 0;
    }

    /// Follows the pointer that the way so far leads to.
    fn follow(&mut self, to: TypeId) {
        self.flush();
        self.steps.push(Step::Deref);
        self.ty = to;
    }

    fn member(&mut self, name: &str) -> Result<(), PathError> {
        // One pointer, as with `->` in C: a pointer to a pointer has no members.
        if let Some(to) = self.types.pointee(self.ty) {
            self.follow(to);
        }
        let composite = self.types.strip(self.ty);
        match self.types.kind(composite) {
            Kind::Composite { .. } => {}
            Kind::Forward { .. } => {
                return Err(PathError::NoStructure(self.types.type_name(composite)));
            }
            _ => {
                return Err(PathError::NotAStructure {
                    ty: self.types.type_name(self.ty),
                    member: name.to_owned(),
                });
            }
        }
        let Member {
            ty,
            bit_offset,
            bit_size,
        } = self
            .types
            .member(composite, name)
            .ok_or_else(|| no_member(self.types, composite, name))?;
        self.advance(bit_offset.into())
            .ok_or_else(|| PathError::Far(name.to_owned()))?;
        // Also unset again: only the last member decides whether the path ends in a bit-field.
        self.size = bit_size;
        self.ty = ty;
        Ok(())
    }

    fn index(&mut self, index: u32) -> Result<(), PathError> {
        let stripped = self.types.strip(self.ty);
        let name = self.types.type_name(self.ty);
        let element = match *self.types.kind(stripped) {
            // A count of 0 is a flexible array at the end of a structure.
            Kind::Array { count, .. } if count != 0 && index >= count => {
                return Err(PathError::Index { ty: name, index });
            }
            Kind::Array { element, .. } => element,
            Kind::Pointer(to) => {
                self.follow(to);
                to
            }
            _ => return Err(PathError::NotAnArray(name)),
        };
        // A pointer to a structure that is only declared cannot be indexed: its size is not known.
        let size = self
            .types
            .size(element)
            .ok_or_else(|| PathError::NoStructure(self.types.type_name(element)))?;
        // Both have 32 bits: only the step from bytes to bits can overflow.
        let bytes = u64::from(size) * u64::from(index);
        bytes
            .checked_mul(8)
            .and_then(|bits| self.advance(bits))
            .ok_or(PathError::Index { ty: name, index })?;
        self.ty = element;
        Ok(())
    }
}

/// Returns the error, with a member of a similar name if there is one.
fn no_member(types: &Types, composite: TypeId, name: &str) -> PathError {
    let similar = |candidate: &&str| candidate.contains(name) || name.contains(*candidate);
    let hint = types
        .member_names(composite)
        // A name of one or two letters is a part of nearly every other.
        .filter(|c| c.len() > 2)
        .find(similar);
    PathError::NoMember {
        ty: types.type_name(composite),
        member: name.to_owned(),
        hint: hint.map_or_else(String::new, |h| format!(" (there is `{h}`)")),
    }
}

impl Types {
    /// Resolves `path` from the structure or union `name` on. An empty path stands for the
    /// structure itself.
    ///
    /// # Errors
    /// [`PathError`] says what is not there.
    pub fn resolve(&self, name: &str, path: &str) -> Result<Path, PathError> {
        let ty = self
            .structure(name)
            .ok_or_else(|| PathError::NoStructure(name.to_owned()))?;
        self.resolve_from(ty, path)
    }

    /// Resolves `path` from a type on: the steps begin at the address of an object of type `ty`.
    /// For an argument that is a pointer, take the type it points to ([`Types::pointee`]) and begin
    /// at the argument's value.
    ///
    /// # Errors
    /// [`PathError`] says what is not there.
    pub fn resolve_from(&self, ty: TypeId, path: &str) -> Result<Path, PathError> {
        let mut walk = Walk {
            types: self,
            steps: Vec::new(),
            bits: 0,
            size: None,
            ty,
        };
        for component in components(path)? {
            match component {
                Component::Member(name) => walk.member(name)?,
                Component::Index(index) => walk.index(index)?,
            }
        }
        // Before `flush`, which leaves whole bytes only.
        let bits = walk.size.map(|size| Bits {
            offset: (walk.bits % 8) as u8,
            size,
        });
        walk.flush();
        Ok(Path {
            steps: walk.steps,
            bits,
            ty: walk.ty,
        })
    }
}
