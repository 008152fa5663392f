//! From bytes to [`Types`].

use vmm_base::Width;

use super::spec::{self, HEADER, HEADER_WITH_LAYOUT, MAX_BLOB, MAX_HEADER, kinds};
use super::{
    Alias, Kind, RawMember, RawParameter, RawValue, Record, TypeId, Types, TypesError, VOID,
};

/// Headers looked into before a search ends.
const MAX_TRIES: usize = 256;

impl Types {
    /// Finds the kernel's BTF blob in `image`: the largest well-formed one, for programs and
    /// modules have their own.
    ///
    /// # Errors
    /// [`TypesError`] if there is none, or the only ones are damaged.
    pub fn find(image: &[u8]) -> Result<Self, TypesError> {
        let mut best: Option<Self> = None;
        let mut error = TypesError::None;
        // No more work than the image is worth, however many blobs it pretends to hold.
        let mut budget = image.len().saturating_mul(2);
        for at in headers(image).take(MAX_TRIES) {
            let blob = &image[at..];
            let Ok(size) = Header::parse(blob).map(|h| h.size) else {
                continue;
            };
            let Some(rest) = budget.checked_sub(size) else {
                break;
            };
            budget = rest;
            match Self::parse(&blob[..size]) {
                Ok(types) if best.as_ref().is_none_or(|b| types.len() > b.len()) => {
                    best = Some(types);
                }
                Ok(_) => {}
                Err(e) => error = e,
            }
        }
        best.ok_or(error)
    }

    /// Parses one blob, which `bytes` begins with.
    ///
    /// # Errors
    /// [`TypesError::Damaged`] with what is wrong, or [`TypesError::UnknownKind`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TypesError> {
        let header = Header::parse(bytes)?;
        let strings = header.strings.to_vec();
        // So that every name ends, and name 0 is the empty one.
        if strings.first() != Some(&0) || strings.last() != Some(&0) {
            return Err(TypesError::Damaged(
                "its names do not begin and end with a NUL",
            ));
        }
        let mut parser = Parser {
            input: header.types,
            layout: header.layout,
            types: Self {
                width: Width::Bits32,
                strings,
                records: vec![Record {
                    name: 0,
                    kind: Kind::Void,
                }],
                members: Vec::new(),
                values: Vec::new(),
                parameters: Vec::new(),
                by_name: Vec::new(),
            },
        };
        // A record takes 12 bytes at least: memory stays in proportion to the blob, and this ends.
        while !parser.input.is_empty() {
            parser.record()?;
        }
        let mut types = parser.types;
        types.check()?;
        // `measure` looks types up by name, so it comes after `index`.
        types.index();
        types.measure();
        Ok(types)
    }

    /// Checks that every reference leads somewhere.
    fn check(&self) -> Result<(), TypesError> {
        let ty = |ty: TypeId| (ty.0 as usize) < self.records.len();
        let name = |name: u32| (name as usize) < self.strings.len();
        let references = self.records.iter().all(|r| {
            name(r.name)
                && match &r.kind {
                    Kind::Pointer(to) | Kind::Alias(_, to) | Kind::Function(to) => ty(*to),
                    Kind::Array { element, .. } => ty(*element),
                    Kind::Prototype { returns, .. } => ty(*returns),
                    _ => true,
                }
        });
        let members = self.members.iter().all(|m| name(m.name) && ty(m.ty));
        let parameters = self.parameters.iter().all(|p| name(p.name) && ty(p.ty));
        let values = self.values.iter().all(|v| name(v.name));
        if references && members && parameters && values {
            Ok(())
        } else {
            Err(TypesError::Damaged(
                "a type refers to another that is not there",
            ))
        }
    }
}

/// Returns where `image` holds the first bytes of a blob. A blob may begin at any byte.
fn headers(image: &[u8]) -> impl Iterator<Item = usize> {
    let start = spec::MAGIC.to_le_bytes();
    let starts = [start[0], start[1], spec::VERSION];
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = image.get(at..)?;
            let found = at + rest.iter().position(|&b| b == starts[0])?;
            at = found + 1;
            if image[found..].starts_with(&starts) {
                return Some(found);
            }
        }
    })
}

struct Header<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// The sizes, for each kind, of what follows a type once and for each element.
    layout: &'a [u8],
    /// All of the blob, in bytes.
    size: usize,
}

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, TypesError> {
        const SHORT: TypesError = TypesError::Damaged("it ends within its header");
        let word = |at: usize| -> Result<usize, TypesError> {
            let bytes = bytes.get(at..at + 4).ok_or(SHORT)?;
            let bytes = bytes.try_into().map_err(|_| SHORT)?;
            Ok(u32::from_le_bytes(bytes) as usize)
        };
        #[expect(clippy::cast_possible_truncation, reason = "it was a word")]
        let first = word(0)? as u32;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the magic number and the version are fields of the word"
        )]
        if first as u16 != spec::MAGIC || (first >> 16) as u8 != spec::VERSION {
            return Err(TypesError::Damaged(
                "it does not begin with the magic number",
            ));
        }
        // Offsets count from the end of the header, which newer kernels may have extended.
        let length = word(4)?;
        if !(HEADER..=MAX_HEADER).contains(&length) {
            return Err(TypesError::Damaged(
                "the length of its header is impossible",
            ));
        }
        let part = |offset: usize, size: usize| -> Result<(&'a [u8], usize), TypesError> {
            // Saturating, as offset and size are the image's: what is too large is refused right
            // below.
            let start = length.saturating_add(offset);
            let end = start.saturating_add(size);
            if end > MAX_BLOB {
                return Err(TypesError::Damaged("it is larger than any kernel's"));
            }
            let part = bytes.get(start..end);
            Ok((part.ok_or(TypesError::Damaged("it is cut off"))?, end))
        };
        let (types, types_end) = part(word(8)?, word(12)?)?;
        let (strings, strings_end) = part(word(16)?, word(20)?)?;
        let (layout, layout_end) = if length >= HEADER_WITH_LAYOUT {
            part(word(24)?, word(28)?)?
        } else {
            (&[][..], 0)
        };
        Ok(Self {
            types,
            strings,
            layout,
            size: types_end.max(strings_end).max(layout_end),
        })
    }
}

struct Parser<'a> {
    input: &'a [u8],
    layout: &'a [u8],
    types: Types,
}

impl<'a> Parser<'a> {
    fn take(&mut self, size: usize) -> Result<&'a [u8], TypesError> {
        let (taken, rest) = self
            .input
            .split_at_checked(size)
            .ok_or(TypesError::Damaged("its last type is cut off"))?;
        self.input = rest;
        Ok(taken)
    }

    fn words<const N: usize>(&mut self) -> Result<[u32; N], TypesError> {
        let bytes = self.take(4 * N)?;
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Ok(words)
    }

    /// Reads one type with all that belongs to it.
    fn record(&mut self) -> Result<(), TypesError> {
        let [name, info, size_or_type] = self.words()?;
        let length = spec::length(info);
        let (size, ty) = (size_or_type, TypeId(size_or_type));
        let kind = match spec::kind(info) {
            kinds::INT => self.int(size)?,
            kinds::PTR => Kind::Pointer(ty),
            kinds::ARRAY => {
                let [element, _index, count] = self.words()?;
                let element = TypeId(element);
                Kind::Array { element, count }
            }
            kind @ (kinds::STRUCT | kinds::UNION) => {
                self.composite(kind == kinds::UNION, size, length, spec::flag(info))?
            }
            kind @ (kinds::ENUM | kinds::ENUM64) => {
                self.enumeration(kind == kinds::ENUM64, size, length, spec::flag(info))?
            }
            kinds::FWD => Kind::Forward {
                union: spec::flag(info),
            },
            kinds::TYPEDEF => Kind::Alias(Alias::Typedef, ty),
            kinds::VOLATILE => Kind::Alias(Alias::Volatile, ty),
            kinds::CONST => Kind::Alias(Alias::Const, ty),
            kinds::RESTRICT => Kind::Alias(Alias::Restrict, ty),
            kinds::TYPE_TAG => Kind::Alias(Alias::Tag, ty),
            kinds::FUNC => Kind::Function(ty),
            kinds::FUNC_PROTO => self.prototype(ty, length)?,
            // One word follows, which says nothing about layout: linkage, or the index of a member.
            kinds::VAR | kinds::DECL_TAG => {
                self.take(4)?;
                Kind::Other
            }
            // For each variable its type, its offset and its size.
            kinds::DATASEC => {
                self.take(12 * length)?;
                Kind::Other
            }
            kinds::FLOAT => Kind::Float { size },
            kind => self.unknown(kind, length)?,
        };
        // Types refer to each other by their position in the blob, from 1 on; `void` is 0.
        self.types.records.push(Record { name, kind });
        Ok(())
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "they are the low bytes of two halves"
    )]
    fn int(&mut self, size: u32) -> Result<Kind, TypesError> {
        let [encoding] = self.words()?;
        // BTF_INT_SIGNED is bit 0 and BTF_INT_BOOL bit 2 of the encoding in bits 24 to 27.
        Ok(Kind::Int {
            size,
            signed: encoding & 1 << 24 != 0,
            boolean: encoding & 1 << 26 != 0,
            bits: (encoding as u8, (encoding >> 16) as u8),
        })
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "each takes 12 bytes of a section whose length has 32 bits"
    )]
    fn composite(
        &mut self,
        union: bool,
        size: u32,
        length: usize,
        bit_fields: bool,
    ) -> Result<Kind, TypesError> {
        // No room is reserved: the length is the blob's, and input that is cut off ends the loop.
        let start = self.types.members.len() as u32;
        for _ in 0..length {
            // With kind_flag a bit-field's width is in the upper eight bits of its offset; without,
            // in its type.
            let [name, ty, offset] = self.words()?;
            let (bit_offset, bit_size) = if bit_fields {
                (offset & 0xff_ffff, (offset >> 24) as u8)
            } else {
                (offset, 0)
            };
            self.types.members.push(RawMember {
                name,
                ty: TypeId(ty),
                bit_offset,
                bit_size,
            });
        }
        let members = start..self.types.members.len() as u32;
        Ok(Kind::Composite {
            union,
            size,
            members,
        })
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "each takes 8 bytes of a section whose length has 32 bits, and values may be signed"
    )]
    fn enumeration(
        &mut self,
        wide: bool,
        size: u32,
        length: usize,
        signed: bool,
    ) -> Result<Kind, TypesError> {
        let start = self.types.values.len() as u32;
        for _ in 0..length {
            let (name, value) = if wide {
                let [name, low, high] = self.words()?;
                (name, (u64::from(high) << 32 | u64::from(low)) as i64)
            } else {
                let [name, value] = self.words()?;
                // Before kind_flag told the sign, negative values alone showed it: keep them as
                // they are read back.
                (name, i64::from(value as i32))
            };
            self.types.values.push(RawValue { name, value });
        }
        let values = start..self.types.values.len() as u32;
        let negative = self.types.values[start as usize..]
            .iter()
            .any(|v| v.value < 0);
        Ok(Kind::Enum {
            size,
            signed: signed || (!wide && negative),
            values,
        })
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "each takes 8 bytes of a section whose length has 32 bits"
    )]
    fn prototype(&mut self, returns: TypeId, length: usize) -> Result<Kind, TypesError> {
        let start = self.types.parameters.len() as u32;
        for _ in 0..length {
            let [name, ty] = self.words()?;
            let ty = TypeId(ty);
            self.types.parameters.push(RawParameter { name, ty });
        }
        // The `...` of a variadic function is one of them: `Types::function` takes it off.
        let parameters = start..self.types.parameters.len() as u32;
        Ok(Kind::Prototype {
            returns,
            parameters,
        })
    }

    /// Skips a kind from the future, if the blob says how long it is (struct btf_layout: a byte for
    /// what follows the type once, a byte for each element).
    fn unknown(&mut self, kind: u32, length: usize) -> Result<Kind, TypesError> {
        let at = kind as usize * 4;
        let Some(&[once, each, ..]) = self.layout.get(at..at + 4) else {
            return Err(TypesError::UnknownKind(kind));
        };
        // Kind 0 is `void`, which no blob describes.
        if kind == VOID.0 {
            return Err(TypesError::UnknownKind(kind));
        }
        self.take(usize::from(once) + usize::from(each) * length)?;
        Ok(Kind::Other)
    }
}
