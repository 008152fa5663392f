//! Entries of debug information, and what their attributes say.

use gimli::{
    AttributeValue, DwAt, DwTag, EndianSlice, LittleEndian, Reader as _, UnitOffset, constants,
};

use super::DwarfError;
use super::unit::{Strings, Unit};

/// Bytes of a section.
pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Value<'a> = AttributeValue<Slice<'a>>;

/// The longest name that is read, in bytes; those of C are far shorter.
const MAX_NAME: usize = 1024;
/// The most attributes that an entry has: some take no bytes, so that nothing else bounds them.
const MAX_ATTRIBUTES: usize = 64;

/// The place of another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    /// In the same unit, from its beginning.
    Here(usize),
    /// Anywhere, from the beginning of the section.
    Section(usize),
}

/// An entry, with those of its attributes that say something of types.
#[derive(Clone, Debug)]
pub(super) struct Die<'a> {
    /// Its place in its unit.
    pub offset: usize,
    pub tag: DwTag,
    pub has_children: bool,
    /// Empty for nameless ones.
    pub name: &'a [u8],
    pub size: Option<u64>,
    pub ty: Option<Reference>,
    /// The line of its declaration, which tells types of one name apart; 0 if unknown.
    pub line: u64,
    /// Whether it is a mere declaration.
    pub declaration: bool,
    pub sibling: Option<usize>,
    /// The declaration that this defines.
    pub specification: Option<Reference>,
    pub encoding: u64,
    /// The offset of a member, in bytes.
    pub location: u64,
    pub bit_size: Option<u64>,
    /// The position of a bit-field from the most significant bit of its storage, which may be
    /// negative.
    pub bit_offset: Option<i64>,
    /// The position of a bit-field from the beginning of the structure.
    pub data_bit_offset: Option<u64>,
    /// The number of elements of an array, if it is said.
    pub count: Option<u64>,
    /// The value of a constant.
    pub value: i64,
}

impl<'a> Die<'a> {
    const fn new(offset: usize, tag: DwTag, has_children: bool) -> Self {
        Self {
            offset,
            tag,
            has_children,
            name: &[],
            size: None,
            ty: None,
            line: 0,
            declaration: false,
            sibling: None,
            specification: None,
            encoding: 0,
            location: 0,
            bit_size: None,
            bit_offset: None,
            data_bit_offset: None,
            count: None,
            value: 0,
        }
    }

    /// Takes what an attribute says.
    fn take(
        &mut self,
        name: DwAt,
        value: Value<'a>,
        unit: &Unit<'a>,
        strings: &Strings<'a>,
    ) -> Result<(), DwarfError> {
        match name {
            constants::DW_AT_name => self.name = text(value, unit, strings)?,
            constants::DW_AT_byte_size => self.size = value.udata_value(),
            constants::DW_AT_type => self.ty = reference(value),
            constants::DW_AT_decl_line => self.line = value.udata_value().unwrap_or(0),
            constants::DW_AT_declaration => self.declaration = is_set(&value),
            constants::DW_AT_sibling => {
                self.sibling = match value {
                    AttributeValue::UnitRef(UnitOffset(offset)) => Some(offset),
                    _ => None,
                }
            }
            constants::DW_AT_specification => self.specification = reference(value),
            constants::DW_AT_encoding => self.encoding = value.udata_value().unwrap_or(0),
            constants::DW_AT_data_member_location => self.location = location(value)?,
            constants::DW_AT_bit_size => self.bit_size = value.udata_value(),
            constants::DW_AT_bit_offset => {
                // Only the signed form can be negative; the others are numbers of at most 64 bits.
                self.bit_offset = signed(&value);
            }
            constants::DW_AT_data_bit_offset => self.data_bit_offset = value.udata_value(),
            constants::DW_AT_count => self.count = value.udata_value(),
            constants::DW_AT_upper_bound => {
                // Old compilers say -1 for an array without elements, in whatever form.
                let last = signed(&value).filter(|&last| last != i64::from(u32::MAX));
                let count = last.and_then(|last| last.checked_add(1));
                self.count = count.and_then(|count| u64::try_from(count).ok());
            }
            constants::DW_AT_const_value => self.value = signed(&value).unwrap_or(0),
            _ => {}
        }
        Ok(())
    }
}

/// Entries that follow each other.
pub(super) struct Entries<'r, 'a> {
    unit: &'r Unit<'a>,
    strings: &'r Strings<'a>,
    raw: gimli::EntriesRaw<'r, Slice<'a>>,
    /// Whether the end of the level was read.
    done: bool,
}

impl<'r, 'a> Entries<'r, 'a> {
    /// Reads those from `offset` of `unit` on, or from its first one.
    pub(super) fn new(
        unit: &'r Unit<'a>,
        strings: &'r Strings<'a>,
        offset: Option<usize>,
    ) -> Result<Self, DwarfError> {
        let raw = unit
            .header
            .entries_raw(&unit.abbreviations, offset.map(UnitOffset))?;
        Ok(Self {
            unit,
            strings,
            raw,
            done: false,
        })
    }

    /// Returns where in the unit the next entry is.
    pub(super) fn offset(&self) -> usize {
        self.raw.next_offset().0
    }

    fn abbreviation(&mut self) -> Result<Option<&'r gimli::Abbreviation>, DwarfError> {
        let abbreviation = self.raw.read_abbreviation()?;
        match abbreviation {
            Some(found) if found.attributes().len() > MAX_ATTRIBUTES => {
                Err(DwarfError::Abbreviations)
            }
            found => Ok(found),
        }
    }

    /// Reads the next entry, whatever its level; `None` at the end of a level.
    pub(super) fn read(&mut self) -> Result<Option<Die<'a>>, DwarfError> {
        let offset = self.raw.next_offset().0;
        let Some(abbreviation) = self.abbreviation()? else {
            return Ok(None);
        };
        let mut die = Die::new(offset, abbreviation.tag(), abbreviation.has_children());
        for &spec in abbreviation.attributes() {
            let attribute = self.raw.read_attribute(spec)?;
            die.take(
                attribute.name(),
                attribute.raw_value(),
                self.unit,
                self.strings,
            )?;
        }
        Ok(Some(die))
    }

    /// Reads the next entry of this level, and passes those below it over; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Die<'a>>, DwarfError> {
        if self.done || self.raw.is_empty() {
            return Ok(None);
        }
        let Some(die) = self.read()? else {
            self.done = true;
            return Ok(None);
        };
        if die.has_children {
            self.pass(&die)?;
        }
        Ok(Some(die))
    }

    /// Goes on behind the entries below `die`.
    fn pass(&mut self, die: &Die<'a>) -> Result<(), DwarfError> {
        // Only forward: a file could name an entry before this one, and never come to an end.
        if let Some(sibling) = die.sibling.filter(|&s| s > self.raw.next_offset().0) {
            *self = Self::new(self.unit, self.strings, Some(sibling))?;
            return Ok(());
        }
        let level = self.raw.next_depth() - 1;
        while self.raw.next_depth() > level && !self.raw.is_empty() {
            if let Some(abbreviation) = self.abbreviation()? {
                self.raw.skip_attributes(abbreviation.attributes())?;
            }
        }
        Ok(())
    }
}

/// Returns the text of a name.
fn text<'a>(
    value: Value<'a>,
    unit: &Unit<'a>,
    strings: &Strings<'a>,
) -> Result<&'a [u8], DwarfError> {
    let at = |section: &'a [u8], offset: usize| {
        let rest = section.get(offset..).unwrap_or_default();
        let rest = &rest[..rest.len().min(MAX_NAME)];
        let end = rest.iter().position(|&byte| byte == 0);
        end.map(|end| &rest[..end]).ok_or(DwarfError::Name)
    };
    match value {
        AttributeValue::String(text) if text.len() < MAX_NAME => Ok(text.slice()),
        AttributeValue::String(_) => Err(DwarfError::Name),
        AttributeValue::DebugStrRef(offset) => at(strings.names, offset.0),
        AttributeValue::DebugLineStrRef(offset) => at(strings.lines, offset.0),
        AttributeValue::DebugStrOffsetsIndex(index) => {
            let base = gimli::DebugStrOffsetsBase(unit.strings_base);
            let offset =
                strings
                    .offsets
                    .get_str_offset(unit.header.encoding().format, base, index)?;
            at(strings.names, offset.0)
        }
        // In a file of its own (dwz), which kernels do not have.
        _ => Ok(&[]),
    }
}

const fn reference(value: Value<'_>) -> Option<Reference> {
    match value {
        AttributeValue::UnitRef(offset) => Some(Reference::Here(offset.0)),
        AttributeValue::DebugInfoRef(offset) => Some(Reference::Section(offset.0)),
        _ => None,
    }
}

const fn is_set(value: &Value<'_>) -> bool {
    matches!(value, AttributeValue::Flag(true))
}

/// Returns a number that is signed only where its form says so.
fn signed(value: &Value<'_>) -> Option<i64> {
    match value {
        AttributeValue::Sdata(value) => Some(*value),
        // Eight bytes have no form of their own for values from 2^63 on.
        AttributeValue::Data8(value) => Some(value.cast_signed()),
        other => other.udata_value().map(u64::cast_signed),
    }
}

/// Returns the offset of a member: a number, or an expression that adds one (DWARF 3, 5.5.6).
fn location(value: Value<'_>) -> Result<u64, DwarfError> {
    if let Some(offset) = value.udata_value() {
        return Ok(offset);
    }
    let mut expression = match value {
        AttributeValue::Block(block) => block,
        AttributeValue::Exprloc(expression) => expression.0,
        // What DWARF 3 says of such a number would be a list of places, of which no member has one.
        AttributeValue::SecOffset(offset) => return Ok(offset as u64),
        _ => return Err(DwarfError::Location),
    };
    match expression.read_u8() {
        Ok(code) if gimli::DwOp(code) == constants::DW_OP_plus_uconst => {
            Ok(expression.read_uleb128()?)
        }
        _ => Err(DwarfError::Location),
    }
}

/// Returns where in the section a reference of `unit` leads.
pub(super) fn place(unit: &Unit<'_>, reference: Reference) -> Option<usize> {
    match reference {
        Reference::Here(offset) => unit.start.checked_add(offset),
        Reference::Section(offset) => Some(offset),
    }
}
