//! Puts [`Types`] together, within bounds.

use std::collections::HashMap;
use std::ops::Range;

use vmm_base::Width;

use super::DwarfError;
use crate::types::{Alias, Kind, RawMember, RawParameter, RawValue, Record, TypeId, Types};

/// The most types: a distribution kernel has 150 thousand.
const MAX_TYPES: usize = 1 << 22;
/// The most members, enumerators and arguments, each.
pub(super) const MAX_PARTS: usize = 1 << 23;
/// The most bytes that all names together have.
const MAX_NAMES: usize = 64 << 20;

/// What is made of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    /// A pointer to it.
    Pointer,
    /// It, qualified.
    Alias(Alias),
    /// So many of it.
    Array(u32),
}

/// Types in the making.
pub(super) struct Builder<'a> {
    types: Types,
    names: HashMap<&'a [u8], u32>,
    /// Types without names, by what they are and of which other one.
    shapes: HashMap<(Shape, TypeId), TypeId>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(width: Width) -> Self {
        Self {
            types: Types::void(width),
            names: HashMap::new(),
            shapes: HashMap::new(),
        }
    }

    /// Returns where `name` is among the names.
    pub(super) fn name(&mut self, name: &'a [u8]) -> Result<u32, DwarfError> {
        if name.is_empty() {
            return Ok(0);
        }
        if let Some(&at) = self.names.get(name) {
            return Ok(at);
        }
        let strings = &mut self.types.strings;
        let at = u32::try_from(strings.len()).map_err(|_| DwarfError::TooMany)?;
        if strings.len() + name.len() >= MAX_NAMES {
            return Err(DwarfError::TooMany);
        }
        strings.extend_from_slice(name);
        strings.push(0);
        self.names.insert(name, at);
        Ok(at)
    }

    /// Adds a type.
    pub(super) fn add(&mut self, name: &'a [u8], kind: Kind) -> Result<TypeId, DwarfError> {
        let name = self.name(name)?;
        let records = &mut self.types.records;
        if records.len() >= MAX_TYPES {
            return Err(DwarfError::TooMany);
        }
        let id = u32::try_from(records.len()).map_err(|_| DwarfError::TooMany)?;
        records.push(Record { name, kind });
        Ok(TypeId(id))
    }

    /// Says what a type is that was added before.
    pub(super) fn set(&mut self, ty: TypeId, kind: Kind) {
        if let Some(record) = self.types.records.get_mut(ty.0 as usize) {
            record.kind = kind;
        }
    }

    /// Returns what `shape` makes of `ty`.
    pub(super) fn shape(&mut self, shape: Shape, ty: TypeId) -> Result<TypeId, DwarfError> {
        if let Some(&known) = self.shapes.get(&(shape, ty)) {
            return Ok(known);
        }
        let kind = match shape {
            Shape::Pointer => Kind::Pointer(ty),
            Shape::Alias(alias) => Kind::Alias(alias, ty),
            Shape::Array(count) => Kind::Array { element: ty, count },
        };
        let made = self.add(&[], kind)?;
        self.shapes.insert((shape, ty), made);
        Ok(made)
    }

    pub(super) fn members(&mut self, of: Vec<RawMember>) -> Result<Range<u32>, DwarfError> {
        append(&mut self.types.members, of)
    }

    pub(super) fn values(&mut self, of: Vec<RawValue>) -> Result<Range<u32>, DwarfError> {
        append(&mut self.types.values, of)
    }

    pub(super) fn parameters(&mut self, of: Vec<RawParameter>) -> Result<Range<u32>, DwarfError> {
        append(&mut self.types.parameters, of)
    }

    /// Returns the types.
    pub(super) fn finish(self) -> Types {
        let mut types = self.types;
        define(&mut types.records);
        types.index();
        types
    }
}

/// Has every declaration lead to the first definition of its name: units that only use pointers to
/// a structure do not define it.
fn define(records: &mut [Record]) {
    let mut defined = HashMap::new();
    for (id, record) in (0_u32..).zip(records.iter()) {
        if let Kind::Composite { union, .. } = record.kind {
            defined.entry((record.name, union)).or_insert(TypeId(id));
        }
    }
    for record in records.iter_mut() {
        if let Kind::Forward { union } = record.kind
            && let Some(&ty) = defined.get(&(record.name, union))
        {
            record.kind = Kind::Alias(Alias::Tag, ty);
        }
    }
}

/// Puts `parts` behind `all`, and returns where they are.
fn append<T>(all: &mut Vec<T>, parts: Vec<T>) -> Result<Range<u32>, DwarfError> {
    if all.len() + parts.len() > MAX_PARTS {
        return Err(DwarfError::TooMany);
    }
    let place = |at: usize| u32::try_from(at).map_err(|_| DwarfError::TooMany);
    let start = place(all.len())?;
    all.extend(parts);
    Ok(start..place(all.len())?)
}
