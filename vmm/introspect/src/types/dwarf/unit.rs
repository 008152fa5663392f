//! Units of debug information, each with the abbreviations that its entries are written in.

use std::collections::BTreeMap;
use std::rc::Rc;

use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugAbbrevOffset, DebugInfo, DebugStrOffsets,
    LittleEndian, UnitHeader, UnitType, constants,
};

use super::die::Slice;
use super::{DwarfError, Sections};

/// The longest table of abbreviations of one unit, in bytes: a tenth is long.
const MAX_TABLE: usize = 4 << 20;
/// The most bytes of tables that are kept at a time; kept, they take many times as much.
const MAX_KEPT: usize = 8 << 20;

/// The languages whose units have types of C: DW_LANG_C89, C, C99, C11, C17 and assemblers.
const LANGUAGES: [u64; 6] = [0x01, 0x02, 0x0c, 0x1d, 0x2c, 0x8001];

/// Where names are.
pub(super) struct Strings<'a> {
    /// `.debug_str`.
    pub names: &'a [u8],
    /// `.debug_line_str`.
    pub lines: &'a [u8],
    /// `.debug_str_offsets`.
    pub offsets: DebugStrOffsets<Slice<'a>>,
}

impl<'a> Strings<'a> {
    pub(super) fn new(sections: &'a Sections<'_>) -> Self {
        Self {
            names: &sections.names,
            lines: &sections.line_names,
            offsets: DebugStrOffsets::from(Slice::new(&sections.name_offsets, LittleEndian)),
        }
    }
}

/// A unit.
#[derive(Clone)]
pub(super) struct Unit<'a> {
    pub header: UnitHeader<Slice<'a>>,
    pub abbreviations: Rc<Abbreviations>,
    /// Where it begins in the section.
    pub start: usize,
    /// Where its part of the offsets of names begins.
    pub strings_base: usize,
    pub contents: Contents,
}

/// What a unit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Types of C.
    C,
    /// Something else, such as types of Rust, of the same names.
    Other,
    /// Only the name of the file that has the rest.
    Elsewhere,
}

/// All units of a file.
pub(super) struct Units<'a> {
    headers: Vec<UnitHeader<Slice<'a>>>,
    abbreviations: &'a [u8],
    /// Where tables of abbreviations begin, each with where the next one does.
    tables: BTreeMap<usize, usize>,
    kept: BTreeMap<usize, Rc<Abbreviations>>,
    kept_bytes: usize,
    /// How many bytes of tables may still be read: a file may have each of millions of units name
    /// the same ones.
    budget: usize,
}

impl<'a> Units<'a> {
    /// Finds the units.
    pub(super) fn new(sections: &'a Sections<'_>) -> Result<Self, DwarfError> {
        let info = DebugInfo::new(&sections.info, LittleEndian);
        let mut units = info.units();
        let mut headers = Vec::new();
        let mut tables = BTreeMap::new();
        while let Some(header) = units.next()? {
            tables.insert(header.debug_abbrev_offset().0, sections.abbreviations.len());
            headers.push(header);
        }
        // Tables do not overlap. A bound for each keeps the work in proportion to the section, not
        // to its square.
        let mut next = sections.abbreviations.len();
        for (start, end) in tables.iter_mut().rev() {
            *end = next;
            next = (*start).min(next);
        }
        Ok(Self {
            headers,
            abbreviations: &sections.abbreviations,
            tables,
            kept: BTreeMap::new(),
            kept_bytes: 0,
            budget: sections.abbreviations.len().saturating_mul(8),
        })
    }

    /// Returns how many there are.
    pub(super) const fn len(&self) -> usize {
        self.headers.len()
    }

    /// Returns the unit of this number.
    pub(super) fn unit(&mut self, index: usize) -> Result<Unit<'a>, DwarfError> {
        let header = *self.headers.get(index).ok_or(DwarfError::Reference)?;
        let abbreviations = self.table(header.debug_abbrev_offset().0)?;
        let mut unit = Unit {
            header,
            abbreviations,
            start: header.offset().0,
            // Behind the header of a section of 32-bit DWARF, which is where it begins if there is
            // one part only.
            strings_base: 8,
            contents: Contents::C,
        };
        unit.read_root()?;
        Ok(unit)
    }

    /// Returns the number of the unit that has the entry at `place`, and where in it.
    pub(super) fn find(&self, place: usize) -> Option<(usize, usize)> {
        let after = self
            .headers
            .partition_point(|header| header.offset().0 <= place);
        let index = after.checked_sub(1)?;
        Some((index, place - self.headers[index].offset().0))
    }

    fn table(&mut self, start: usize) -> Result<Rc<Abbreviations>, DwarfError> {
        if let Some(table) = self.kept.get(&start) {
            return Ok(Rc::clone(table));
        }
        let end = self.tables.get(&start).copied().unwrap_or(start);
        let length = end.saturating_sub(start).min(MAX_TABLE);
        let left = self.budget.checked_sub(length);
        self.budget = left.ok_or(DwarfError::Abbreviations)?;
        let bytes = self.abbreviations.get(..start + length);
        let bytes = bytes.ok_or(DwarfError::Abbreviations)?;
        let table = DebugAbbrev::new(bytes, LittleEndian)
            .abbreviations(DebugAbbrevOffset(start))
            .map(Rc::new)?;
        if self.kept_bytes + length > MAX_KEPT {
            self.kept.clear();
            self.kept_bytes = 0;
        }
        self.kept_bytes += length;
        self.kept.insert(start, Rc::clone(&table));
        Ok(table)
    }
}

impl Unit<'_> {
    /// Reads what the first entry says of the whole unit.
    fn read_root(&mut self) -> Result<(), DwarfError> {
        let mut raw = self.header.entries_raw(&self.abbreviations, None)?;
        let Some(abbreviation) = raw.read_abbreviation()? else {
            self.contents = Contents::Other;
            return Ok(());
        };
        let mut contents = match self.header.type_() {
            UnitType::Compilation | UnitType::Partial => Contents::C,
            UnitType::Skeleton(_) => Contents::Elsewhere,
            _ => Contents::Other,
        };
        for &spec in abbreviation.attributes() {
            let attribute = raw.read_attribute(spec)?;
            let value = attribute.raw_value();
            match attribute.name() {
                constants::DW_AT_str_offsets_base => {
                    if let AttributeValue::SecOffset(base) = value {
                        self.strings_base = base;
                    }
                }
                constants::DW_AT_dwo_name | constants::DW_AT_GNU_dwo_name => {
                    contents = Contents::Elsewhere;
                }
                constants::DW_AT_language => {
                    let of_c = value.udata_value().is_none_or(|l| LANGUAGES.contains(&l));
                    if !of_c && contents == Contents::C {
                        contents = Contents::Other;
                    }
                }
                _ => {}
            }
        }
        self.contents = contents;
        Ok(())
    }
}
