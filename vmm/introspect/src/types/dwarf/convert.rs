//! The conversion of entries, each type once.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use gimli::constants;
use vmm_base::Width;

use super::builder::{Builder, MAX_PARTS, Shape};
use super::die::{Die, Entries, Reference, place};
use super::unit::{Contents, Strings, Unit, Units};
use super::{DwarfError, Sections};
use crate::types::{
    Alias, Kind, MAX_DEPTH, RawMember, RawParameter, RawValue, TypeId, Types, VOID,
};

/// What may be read in the smallest file, in bytes.
const SPARE: usize = 1 << 16;

/// What makes two named types the same. Their members are not compared: two types of one name, size
/// and line that differ would be in two files, at the same line by chance.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key<'a> {
    tag: u16,
    declaration: bool,
    name: &'a [u8],
    size: Option<u64>,
    line: u64,
}

/// A type that has a number, and is not read yet.
struct Pending {
    ty: TypeId,
    unit: usize,
    offset: usize,
}

struct Converter<'s, 'a> {
    units: Units<'a>,
    strings: &'s Strings<'a>,
    builder: Builder<'a>,
    /// Named types.
    known: HashMap<Key<'a>, TypeId>,
    functions: HashSet<&'a [u8]>,
    /// The types of the current unit, by their places in the section.
    seen: HashMap<usize, TypeId>,
    pending: Vec<Pending>,
    /// The unit that is being read, with its number.
    current: (usize, Rc<Unit<'a>>),
    /// How many bytes of entries may still be read beside the pass over all units: a file may have
    /// millions of entries refer to a large one.
    budget: usize,
}

/// Reads all units.
pub(super) fn read(sections: &Sections<'_>, width: Width) -> Result<Types, DwarfError> {
    let strings = Strings::new(sections);
    let mut units = Units::new(sections)?;
    if units.len() == 0 {
        return Err(DwarfError::None);
    }
    let mut converter = Converter {
        current: (0, Rc::new(units.unit(0)?)),
        units,
        strings: &strings,
        builder: Builder::new(width),
        known: HashMap::new(),
        functions: HashSet::new(),
        seen: HashMap::new(),
        pending: Vec::new(),
        budget: sections.info.len().saturating_mul(8).saturating_add(SPARE),
    };
    let mut split = false;
    for index in 0..converter.units.len() {
        let unit = Rc::new(converter.units.unit(index)?);
        match unit.contents {
            Contents::C => converter.read_unit(index, &unit)?,
            Contents::Elsewhere => split = true,
            Contents::Other => {}
        }
    }
    let types = converter.builder.finish();
    let is_structure = |kind: &Kind| matches!(kind, Kind::Composite { .. });
    match types.records.iter().any(|r| is_structure(&r.kind)) {
        true => Ok(types),
        false if split => Err(DwarfError::Split),
        false => Err(DwarfError::None),
    }
}

impl<'a> Converter<'_, 'a> {
    fn read_unit(&mut self, index: usize, unit: &Rc<Unit<'a>>) -> Result<(), DwarfError> {
        self.current = (index, Rc::clone(unit));
        self.seen.clear();
        let mut entries = Entries::new(unit, self.strings, None)?;
        if entries.read()?.is_none_or(|root| !root.has_children) {
            return Ok(());
        }
        while let Some(die) = entries.next()? {
            match die.tag {
                constants::DW_TAG_structure_type
                | constants::DW_TAG_union_type
                | constants::DW_TAG_enumeration_type
                | constants::DW_TAG_typedef
                | constants::DW_TAG_base_type
                    // Others are read where they are used.
                    if !die.name.is_empty() && !die.declaration =>
                {
                    self.end(index, &die)?;
                }
                constants::DW_TAG_subprogram if !die.declaration => self.function(unit, &die)?,
                _ => {}
            }
            self.read_pending()?;
        }
        Ok(())
    }

    /// Returns the unit of this number.
    fn unit(&mut self, index: usize) -> Result<Rc<Unit<'a>>, DwarfError> {
        if self.current.0 == index {
            return Ok(Rc::clone(&self.current.1));
        }
        self.units.unit(index).map(Rc::new)
    }

    /// Reads the entry at `offset` of a unit, alone.
    fn die(&mut self, unit: &Unit<'a>, offset: usize) -> Result<Die<'a>, DwarfError> {
        let mut entries = Entries::new(unit, self.strings, Some(offset))?;
        let die = entries.read()?.ok_or(DwarfError::Reference)?;
        self.spend(entries.offset().saturating_sub(offset))?;
        Ok(die)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), DwarfError> {
        let left = self.budget.checked_sub(bytes);
        self.budget = left.ok_or(DwarfError::TooMany)?;
        Ok(())
    }

    /// Finds the entry that `reference` leads to from `unit`.
    fn follow(
        &mut self,
        unit: &Rc<Unit<'a>>,
        index: usize,
        reference: Reference,
    ) -> Result<(Rc<Unit<'a>>, usize, Die<'a>), DwarfError> {
        let (index, offset) = match reference {
            Reference::Here(offset) => (index, offset),
            Reference::Section(place) => self.units.find(place).ok_or(DwarfError::Reference)?,
        };
        let unit = match reference {
            Reference::Here(_) => Rc::clone(unit),
            Reference::Section(_) => self.unit(index)?,
        };
        let die = self.die(&unit, offset)?;
        Ok((unit, index, die))
    }

    /// Returns the type that `reference` leads to.
    fn resolve(
        &mut self,
        (unit, index): (&Rc<Unit<'a>>, usize),
        reference: Option<Reference>,
    ) -> Result<TypeId, DwarfError> {
        let (mut unit, mut index, mut next) = (Rc::clone(unit), index, reference);
        // Pointers, qualifiers and arrays have no names: they are the same if what they are of is.
        let mut around = Vec::new();
        let mut ty = loop {
            let Some(reference) = next else { break VOID };
            let at = place(&unit, reference).ok_or(DwarfError::Reference)?;
            if let Some(&ty) = self.seen.get(&at) {
                break ty;
            }
            let die;
            (unit, index, die) = self.follow(&unit, index, reference)?;
            let Some(shapes) = self.shapes(&unit, &die)? else {
                let ty = self.end(index, &die)?;
                self.seen.insert(at, ty);
                break ty;
            };
            around.push((at, shapes));
            // A file may have a circle of pointers to each other.
            if around.len() > MAX_DEPTH {
                return Err(DwarfError::Depth);
            }
            next = die.ty;
        };
        for (at, shapes) in around.into_iter().rev() {
            for shape in shapes {
                ty = self.builder.shape(shape, ty)?;
            }
            self.seen.insert(at, ty);
        }
        Ok(ty)
    }

    /// Returns what `die` makes of the type that it is of, the innermost first; `None` if it is a
    /// type of its own.
    fn shapes(&mut self, unit: &Unit<'a>, die: &Die<'a>) -> Result<Option<Vec<Shape>>, DwarfError> {
        let one = |shape| Ok(Some(vec![shape]));
        match die.tag {
            constants::DW_TAG_pointer_type => one(Shape::Pointer),
            constants::DW_TAG_const_type => one(Shape::Alias(Alias::Const)),
            constants::DW_TAG_volatile_type => one(Shape::Alias(Alias::Volatile)),
            constants::DW_TAG_restrict_type => one(Shape::Alias(Alias::Restrict)),
            constants::DW_TAG_atomic_type => one(Shape::Alias(Alias::Tag)),
            constants::DW_TAG_array_type => {
                let mut counts = Vec::new();
                self.children(unit, die, |child| {
                    if child.tag == constants::DW_TAG_subrange_type {
                        let count = child.count.map_or(Ok(0), u32::try_from);
                        counts.push(count.map_err(|_| DwarfError::TooMany)?);
                    }
                    if counts.len() > MAX_DEPTH {
                        return Err(DwarfError::Depth);
                    }
                    Ok(())
                })?;
                // The last dimension is the innermost array.
                let shapes: Vec<Shape> = counts.into_iter().rev().map(Shape::Array).collect();
                Ok(Some(if shapes.is_empty() {
                    vec![Shape::Array(0)]
                } else {
                    shapes
                }))
            }
            _ => Ok(None),
        }
    }

    /// Calls `each` with the entries right below `die`.
    fn children(
        &mut self,
        unit: &Unit<'a>,
        die: &Die<'a>,
        mut each: impl FnMut(&Die<'a>) -> Result<(), DwarfError>,
    ) -> Result<(), DwarfError> {
        if !die.has_children {
            return Ok(());
        }
        let mut entries = Entries::new(unit, self.strings, Some(die.offset))?;
        entries.read()?;
        let mut count = 0;
        while let Some(child) = entries.next()? {
            count += 1;
            if count > MAX_PARTS {
                return Err(DwarfError::TooMany);
            }
            each(&child)?;
        }
        self.spend(entries.offset().saturating_sub(die.offset))
    }

    /// Returns the type that `die` of unit `index` is itself, to be read later if it is a new one.
    fn end(&mut self, index: usize, die: &Die<'a>) -> Result<TypeId, DwarfError> {
        if die.tag == constants::DW_TAG_unspecified_type {
            return Ok(VOID);
        }
        let key = Key {
            tag: die.tag.0,
            declaration: die.declaration,
            name: die.name,
            size: die.size,
            line: die.line,
        };
        if !die.name.is_empty()
            && let Some(&ty) = self.known.get(&key)
        {
            return Ok(ty);
        }
        let at_once = match die.tag {
            constants::DW_TAG_base_type => Some(base(die)?),
            constants::DW_TAG_structure_type if die.declaration => {
                Some(Kind::Forward { union: false })
            }
            constants::DW_TAG_union_type if die.declaration => Some(Kind::Forward { union: true }),
            _ => None,
        };
        let is_read = at_once.is_some();
        let ty = self.builder.add(die.name, at_once.unwrap_or(Kind::Other))?;
        if !die.name.is_empty() {
            self.known.insert(key, ty);
        }
        if !is_read {
            self.pending.push(Pending {
                ty,
                unit: index,
                offset: die.offset,
            });
        }
        Ok(ty)
    }

    /// Reads what was put off. That is no recursion: types of a file may contain each other to any
    /// depth.
    fn read_pending(&mut self) -> Result<(), DwarfError> {
        while let Some(Pending {
            ty,
            unit: index,
            offset,
        }) = self.pending.pop()
        {
            let unit = self.unit(index)?;
            let die = self.die(&unit, offset)?;
            let kind = match die.tag {
                constants::DW_TAG_typedef => {
                    let to = self.resolve((&unit, index), die.ty)?;
                    Kind::Alias(Alias::Typedef, to)
                }
                tag @ (constants::DW_TAG_structure_type | constants::DW_TAG_union_type) => {
                    self.composite(&unit, index, &die, tag == constants::DW_TAG_union_type)?
                }
                constants::DW_TAG_enumeration_type => self.enumeration(&unit, &die)?,
                constants::DW_TAG_subroutine_type => self.prototype(&unit, index, &die)?,
                _ => Kind::Other,
            };
            self.builder.set(ty, kind);
        }
        Ok(())
    }

    fn composite(
        &mut self,
        unit: &Rc<Unit<'a>>,
        index: usize,
        die: &Die<'a>,
        union: bool,
    ) -> Result<Kind, DwarfError> {
        let mut dies = Vec::new();
        self.children(unit, die, |child| {
            if child.tag == constants::DW_TAG_member {
                dies.push((child.name, child.ty, bits(child)?));
            }
            Ok(())
        })?;
        let mut members = Vec::with_capacity(dies.len());
        for (name, reference, (bit_offset, bit_size)) in dies {
            members.push(RawMember {
                name: self.builder.name(name)?,
                ty: self.resolve((unit, index), reference)?,
                bit_offset,
                bit_size,
            });
        }
        let size = die.size.unwrap_or(0);
        Ok(Kind::Composite {
            union,
            size: u32::try_from(size).map_err(|_| DwarfError::TooMany)?,
            members: self.builder.members(members)?,
        })
    }

    fn enumeration(&mut self, unit: &Unit<'a>, die: &Die<'a>) -> Result<Kind, DwarfError> {
        let mut dies = Vec::new();
        self.children(unit, die, |child| {
            if child.tag == constants::DW_TAG_enumerator {
                dies.push((child.name, child.value));
            }
            Ok(())
        })?;
        let mut values = Vec::with_capacity(dies.len());
        for (name, value) in dies {
            let name = self.builder.name(name)?;
            values.push(RawValue { name, value });
        }
        // Those that are only declared have no size: on ARM an `int` is what they will be (AAPCS32
        // 8.1.3).
        let size = die.size.unwrap_or(4);
        Ok(Kind::Enum {
            size: u32::try_from(size).map_err(|_| DwarfError::TooMany)?,
            signed: values.iter().any(|value| value.value < 0),
            values: self.builder.values(values)?,
        })
    }

    fn prototype(
        &mut self,
        unit: &Rc<Unit<'a>>,
        index: usize,
        die: &Die<'a>,
    ) -> Result<Kind, DwarfError> {
        let mut dies = Vec::new();
        self.children(unit, die, |child| {
            match child.tag {
                constants::DW_TAG_formal_parameter => dies.push((child.name, child.ty)),
                // Without name and type it stands for `...`, as in BTF.
                constants::DW_TAG_unspecified_parameters => dies.push((&[], None)),
                _ => {}
            }
            Ok(())
        })?;
        let mut parameters = Vec::with_capacity(dies.len());
        for (name, reference) in dies {
            parameters.push(RawParameter {
                name: self.builder.name(name)?,
                ty: self.resolve((unit, index), reference)?,
            });
        }
        Ok(Kind::Prototype {
            returns: self.resolve((unit, index), die.ty)?,
            parameters: self.builder.parameters(parameters)?,
        })
    }

    /// Reads a function, the first of its name.
    fn function(&mut self, unit: &Rc<Unit<'a>>, die: &Die<'a>) -> Result<(), DwarfError> {
        let index = self.current.0;
        let mut name = die.name;
        // One that was declared inside another function has its name there.
        if let (true, Some(reference)) = (name.is_empty(), die.specification) {
            name = self.follow(unit, index, reference)?.2.name;
        }
        // Copies that were not inlined have no name: the original has it, with the arguments.
        if name.is_empty() || !self.functions.insert(name) {
            return Ok(());
        }
        let kind = self.prototype(unit, index, die)?;
        let prototype = self.builder.add(&[], kind)?;
        self.builder.add(name, Kind::Function(prototype))?;
        Ok(())
    }
}

/// Returns a number.
fn base(die: &Die<'_>) -> Result<Kind, DwarfError> {
    let encoding = u8::try_from(die.encoding).map_or(constants::DwAte(0), constants::DwAte);
    let size = die.size.unwrap_or(0);
    let size = u32::try_from(size).map_err(|_| DwarfError::TooMany)?;
    if encoding == constants::DW_ATE_float {
        return Ok(Kind::Float { size });
    }
    let signed = [constants::DW_ATE_signed, constants::DW_ATE_signed_char];
    Ok(Kind::Int {
        size,
        signed: signed.contains(&encoding),
        boolean: encoding == constants::DW_ATE_boolean,
        // All of it: bit-fields have their widths in their members.
        bits: (u8::try_from(size.saturating_mul(8)).unwrap_or(0), 0),
    })
}

/// Returns the offset and the width of a member, in bits; the width is 0 unless it is a bit-field.
fn bits(member: &Die<'_>) -> Result<(u32, u8), DwarfError> {
    let bytes = member.location.checked_mul(8).ok_or(DwarfError::Location)?;
    let offset = |offset: u64| u32::try_from(offset).map_err(|_| DwarfError::Location);
    let Some(size) = member.bit_size else {
        return Ok((offset(bytes)?, 0));
    };
    let at = match (member.data_bit_offset, member.bit_offset, member.size) {
        (Some(at), ..) => bytes.checked_add(at),
        // Counted from the most significant bit, which is the last one in little-endian storage
        // (DWARF 3, 5.5.6).
        (None, Some(above), Some(storage)) => storage
            .checked_mul(8)
            .and_then(|bits| bytes.checked_add(bits)?.checked_sub(size))
            .and_then(|end| end.checked_add_signed(above.checked_neg()?)),
        (None, None, _) => Some(bytes),
        (None, Some(_), None) => None,
    };
    match (at, u8::try_from(size)) {
        (Some(at), Ok(size)) if (1..=64).contains(&size) => Ok((offset(at)?, size)),
        _ => Err(DwarfError::Location),
    }
}
