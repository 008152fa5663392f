//! Tables of a few offsets for kernels that were built without BTF, such as Debian's.
//!
//! A table belongs to exactly one build, which its banner names
//! (`Linux version 6.1.0-50-armmp (...) ... Debian 6.1.176-1 ...`): the same source with another
//! configuration has other offsets. It is turned into [`Types`] that know only what it lists, so
//! that paths and values work as they do with BTF. [`describe`] writes such a table from types that
//! are known; the head of `offsets.toml` tells how the embedded ones were made.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use serde::Deserialize;
use vmm_base::Width;

use super::{Alias, Kind, MAX_DEPTH, RawMember, RawParameter, Record, TypeId, Types, VOID};

/// The tables for known builds.
const EMBEDDED: &str = include_str!("offsets.toml");
/// Longest banner that is looked at, in bytes.
const MAX_BANNER: usize = 512;

/// The reason for which a table cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// No TOML, or not of the expected form.
    #[error("the offset table cannot be read: {0}")]
    Format(String),
    /// A type that cannot be understood.
    #[error("the offset table names the type `{0}`, which is neither a C number nor a structure")]
    Type(String),
    /// A bit-field that cannot be.
    #[error("the offset table puts `{0}` at impossible bits")]
    Bits(String),
}

/// Offset tables of any number of builds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    #[serde(default)]
    build: Vec<Build>,
}

/// One build, or several whose offsets agree.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    /// The releases, which follow "Linux version " in the banner up to the blank.
    releases: Vec<String>,
    /// A text that is also in the banner, and tells this build from others of the same release.
    contains: Vec<String>,
    /// The structures by name.
    #[serde(default)]
    structures: BTreeMap<String, Structure>,
    /// Arguments by the name of the function, each as C writes it: `struct device *dev`.
    #[serde(default)]
    functions: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Structure {
    /// The size in bytes.
    size: u32,
    members: BTreeMap<String, Field>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Field {
    /// Offset in bytes.
    at: u32,
    /// The type as C writes it.
    #[serde(rename = "type")]
    ty: String,
    /// Lowest bit and width, for bit-fields.
    bits: Option<(u8, u8)>,
}

/// Returns the kernel's banner in its image or in RAM: "Linux version ..." up to the end of the
/// line.
pub fn banner(image: &[u8]) -> Option<&str> {
    const START: &[u8] = b"Linux version ";
    let mut at = 0;
    loop {
        let rest = image.get(at..)?;
        let found = at + rest.iter().position(|&b| b == START[0])?;
        at = found + 1;
        let Some(line) = image[found..].strip_prefix(START) else {
            continue;
        };
        // Format strings and documentation have the words without a number.
        if !line.first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let line = &image[found..image.len().min(found + MAX_BANNER)];
        let end = line.iter().position(|b| !(b' '..=b'~').contains(b));
        if let Ok(text) = std::str::from_utf8(&line[..end.unwrap_or(line.len())]) {
            return Some(text);
        }
    }
}

impl Tables {
    /// Returns the tables that come with the program.
    pub fn embedded() -> Self {
        // A test reads them, so that they are in order in every build.
        Self::parse(EMBEDDED).unwrap_or(Self { build: Vec::new() })
    }

    /// Reads tables from TOML.
    ///
    /// # Errors
    /// [`TableError`] with the place or the type that cannot be understood.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let tables: Self = toml::from_str(text).map_err(|e| TableError::Format(e.to_string()))?;
        // Types are made only when a kernel fits: what is wrong with them shows here, where the
        // user can be told.
        for build in &tables.build {
            build.types()?;
        }
        Ok(tables)
    }

    /// Returns the types of the build with this banner.
    pub fn types(&self, banner: &str) -> Option<Types> {
        let release = banner.strip_prefix("Linux version ")?;
        let release = release.split_once(' ').map_or(release, |(r, _)| r);
        let build = self.build.iter().find(|build| {
            build.releases.iter().any(|r| r == release)
                && build.contains.iter().any(|part| banner.contains(part))
        })?;
        build.types().ok()
    }
}

impl Build {
    fn types(&self) -> Result<Types, TableError> {
        let mut builder = Builder::new();
        for (name, structure) in &self.structures {
            builder.declare(name, structure.size);
        }
        // After all structures are declared: members point to structures that come later.
        for (name, structure) in &self.structures {
            builder.define(name, structure)?;
        }
        for (name, arguments) in &self.functions {
            builder.function(name, arguments)?;
        }
        // The width is not measured: tables are of 32-bit kernels, as the builder assumes.
        let mut types = builder.types;
        types.index();
        Ok(types)
    }
}

/// Puts types together by hand.
struct Builder {
    types: Types,
    /// The types by how C writes them.
    known: HashMap<String, TypeId>,
}

impl Builder {
    fn new() -> Self {
        Self {
            types: Types::void(Width::Bits32),
            known: HashMap::from([("void".to_owned(), VOID)]),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "tables of offsets are far below 4 GiB"
    )]
    fn name(&mut self, name: &str) -> u32 {
        let at = self.types.strings.len() as u32;
        self.types.strings.extend_from_slice(name.as_bytes());
        self.types.strings.push(0);
        at
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "tables of offsets are far below 4 GiB"
    )]
    fn add(&mut self, name: &str, kind: Kind) -> TypeId {
        let name = if name.is_empty() { 0 } else { self.name(name) };
        self.types.records.push(Record { name, kind });
        TypeId(self.types.records.len() as u32 - 1)
    }

    /// Adds a structure, still without members, so that pointers to it can be named.
    fn declare(&mut self, name: &str, size: u32) {
        let kind = Kind::Composite {
            union: false,
            size,
            members: 0..0,
        };
        let ty = self.add(name, kind);
        self.known.insert(format!("struct {name}"), ty);
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "tables of offsets are far below 4 GiB"
    )]
    fn define(&mut self, name: &str, structure: &Structure) -> Result<(), TableError> {
        let start = self.types.members.len() as u32;
        let mut members = Vec::new();
        for (member, field) in &structure.members {
            let ty = self.ty(&field.ty)?;
            let (bit, bit_size) = field.bits.unwrap_or_default();
            let bit_offset = field
                .at
                .checked_mul(8)
                .and_then(|b| b.checked_add(bit.into()));
            let name = self.name(member);
            members.push(RawMember {
                name,
                ty,
                bit_offset: bit_offset.ok_or_else(|| TableError::Bits(member.clone()))?,
                bit_size,
            });
            if bit_size > 64 || (field.bits.is_some() && bit_size == 0) {
                return Err(TableError::Bits(member.clone()));
            }
        }
        self.types.members.append(&mut members);
        let end = self.types.members.len() as u32;
        let ty = self.known[&format!("struct {name}")];
        if let Kind::Composite { members, .. } = &mut self.types.records[ty.0 as usize].kind {
            *members = start..end;
        }
        Ok(())
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "tables of offsets are far below 4 GiB"
    )]
    fn function(&mut self, name: &str, arguments: &[String]) -> Result<(), TableError> {
        let mut parameters = Vec::new();
        for argument in arguments {
            // The name is the last word; stars may stick to it.
            let start = argument
                .rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .map_or(0, |at| at + 1);
            let ty = self.ty(&argument[..start])?;
            let name = self.name(&argument[start..]);
            parameters.push(RawParameter { name, ty });
        }
        let start = self.types.parameters.len() as u32;
        self.types.parameters.append(&mut parameters);
        let end = self.types.parameters.len() as u32;
        // Tables do not list results, so that `retval` is shown as an unsigned word.
        let prototype = Kind::Prototype {
            returns: VOID,
            parameters: start..end,
        };
        let prototype = self.add("", prototype);
        self.add(name, Kind::Function(prototype));
        Ok(())
    }

    /// Returns the type that C writes as `text`, `const` only before what it qualifies.
    fn ty(&mut self, text: &str) -> Result<TypeId, TableError> {
        let text = text.trim();
        if let Some(&ty) = self.known.get(text) {
            return Ok(ty);
        }
        // From the right, as C declares: the last star is the outermost pointer.
        let kind = if let Some(to) = text.strip_suffix('*') {
            Kind::Pointer(self.ty(to)?)
        } else if let Some(to) = text.strip_prefix("const ") {
            Kind::Alias(Alias::Const, self.ty(to)?)
        } else {
            let (name, kind) = basic(text).ok_or_else(|| TableError::Type(text.to_owned()))?;
            let ty = self.add(name, kind);
            self.known.insert(text.to_owned(), ty);
            return Ok(ty);
        };
        let ty = self.add("", kind);
        self.known.insert(text.to_owned(), ty);
        Ok(ty)
    }
}

/// Returns a number or a structure that is only declared, and its name. Sizes are those of the ARM
/// EABI.
fn basic(text: &str) -> Option<(&str, Kind)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if let [tag @ ("struct" | "union"), name] = words[..] {
        let union = tag == "union";
        return Some((name, Kind::Forward { union }));
    }
    let boolean = matches!(text, "bool" | "_Bool");
    let numbers = ["unsigned", "signed", "char", "short", "int", "long"];
    if words.is_empty() || !(boolean || words.iter().all(|w| numbers.contains(w))) {
        return None;
    }
    let count = |word| words.iter().filter(|w| **w == word).count();
    let size: u8 = match (count("long"), count("short"), count("char")) {
        _ if boolean => 1,
        (_, _, 1) => 1,
        (_, 1, _) => 2,
        (2, ..) => 8,
        _ => 4,
    };
    // `char` is unsigned in the ARM EABI.
    let plain_char = text == "char";
    let kind = Kind::Int {
        size: size.into(),
        signed: !boolean && !plain_char && count("unsigned") == 0,
        boolean,
        bits: (size * 8, 0),
    };
    Some((text, kind))
}

/// Writes members of some structures as the `structures` of a build: for making tables. Members
/// that are not there are left out, as are types that a table cannot express.
pub fn describe(types: &Types, wanted: &[(&str, &[&str])]) -> String {
    let mut out = String::new();
    for &(name, members) in wanted {
        let Some(ty) = types.structure(name) else {
            continue;
        };
        let size = types.size(ty).unwrap_or(0);
        let _ = writeln!(out, "[build.structures.{name}]\nsize = {size}");
        for member in members {
            let Some(found) = types.member(ty, member) else {
                continue;
            };
            let Some(text) = expressible(types, found.ty) else {
                continue;
            };
            let at = found.bit_offset / 8;
            let bits = found.bit_size.map_or_else(String::new, |size| {
                format!(", bits = [{}, {size}]", found.bit_offset % 8)
            });
            let _ = writeln!(
                out,
                "members.{member} = {{ at = {at}, type = \"{text}\"{bits} }}"
            );
        }
    }
    out
}

/// Returns a type in the words of a table: typedefs are taken for what they stand for.
fn expressible(types: &Types, ty: TypeId) -> Option<String> {
    let mut ty = ty;
    let mut stars = String::new();
    let mut constant = "";
    for _ in 0..MAX_DEPTH {
        match types.kind(ty) {
            Kind::Pointer(to) => {
                stars.push('*');
                // `const` counts only right before what the last pointer leads to, as a table has
                // it.
                constant = "";
                ty = *to;
            }
            Kind::Alias(alias, to) => {
                if *alias == Alias::Const && !stars.is_empty() {
                    constant = "const ";
                }
                ty = *to;
            }
            _ => break,
        }
    }
    let base = types.type_name(ty);
    let known = base == "void" || basic(&base).is_some();
    let space = if stars.is_empty() { "" } else { " " };
    known.then(|| format!("{constant}{base}{space}{stars}"))
}
