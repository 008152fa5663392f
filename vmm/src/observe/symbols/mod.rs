//! The names of a guest kernel's functions and variables, from the kallsyms tables in its image.
//!
//! [`Symbols::find`] takes the kernel's bytes as they stand in a file or in guest RAM, before or after the kernel has run:
//! the tables are constant. They hold virtual addresses, so it does not matter where in physical memory the image is.

mod find;
mod spec;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeMap;
use std::fmt;

use find::{Budget, GaveUp, Names};
use spec::{MAX_ARENA, MAX_NAME};
use tokens::{Tokens, is_name_byte};

use super::modules::Module;

/// Why no symbols were found. Each message says what the user can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SymbolsError {
    /// Nothing looks like the table of name tokens.
    #[error(
        "no kernel symbols in this memory: the kernel is not unpacked yet, or was built without CONFIG_KALLSYMS"
    )]
    None,
    /// A token table, but names or addresses do not fit to it.
    #[error(
        "the kernel's symbol tables are damaged, or of a layout newer than the known ones (4.12 to 7.x)"
    )]
    Inconsistent,
    /// The search was broken off.
    #[error(
        "gave up the search for kernel symbols: too much of this memory looks like symbol tables"
    )]
    GaveUp,
}

impl From<GaveUp> for SymbolsError {
    fn from(_: GaveUp) -> Self {
        Self::GaveUp
    }
}

/// A named address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// The name as in `/proc/kallsyms`.
    pub name: &'a str,
    /// Virtual address, without the Thumb bit.
    pub address: u32,
    /// The letter that `nm` gives it: `T`, `t` for code, `D`, `d`, `R`, `r`, `B`, `b` for data and others.
    pub kind: char,
    /// The module that it belongs to; `None` for the kernel itself.
    pub module: Option<&'a str>,
}

/// An address by the symbol at or before it. Displays as `name+0x10`, with the module behind it in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// The symbol.
    pub symbol: Symbol<'a>,
    /// Bytes from its beginning.
    pub offset: u32,
}

impl fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol.name)?;
        if self.offset != 0 {
            write!(f, "+{:#x}", self.offset)?;
        }
        match self.symbol.module {
            Some(module) => write!(f, " [{module}]"),
            None => Ok(()),
        }
    }
}

/// One symbol as stored.
#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u32,
    /// Where the name is in the arena.
    name: u32,
    length: u16,
    kind: u8,
    /// Index into the modules plus 1; 0 for the kernel.
    module: u16,
}

/// All symbols of a kernel and, once added, of its modules.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    arena: String,
    /// By address; those of one address in the kernel's own order.
    entries: Vec<Entry>,
    /// Indices of `entries`, by name and then by address.
    by_name: Vec<u32>,
    modules: Vec<String>,
    /// Where the symbols of modules end, by where they begin: between modules nothing is known.
    ends: BTreeMap<u32, u32>,
}

impl Symbols {
    /// Finds the symbols of the kernel whose bytes are `image`: an unpacked `Image`, or RAM that holds one. `image` must
    /// begin at an address that is a multiple of 4.
    ///
    /// # Errors
    /// [`SymbolsError`] when there are none to be found.
    pub fn find(image: &[u8]) -> Result<Self, SymbolsError> {
        let mut budget = Budget::for_image(image.len());
        let mut error = SymbolsError::None;
        for at in (0..image.len()).step_by(4) {
            let Some(tokens) = Tokens::at(image, at, &mut budget)? else {
                continue;
            };
            let found = find::names(image, &tokens, &mut budget, |names, budget| {
                let Some(addresses) = find::addresses(image, &tokens, names, budget)? else {
                    return Ok(None);
                };
                budget.spend(addresses.len())?;
                Ok(Self::expand(image, &tokens, names, &addresses))
            })?;
            match found {
                Some(symbols) => return Ok(symbols),
                None => error = SymbolsError::Inconsistent,
            }
        }
        Err(error)
    }

    /// Puts the names together; `None` if one cannot be a name.
    fn expand(image: &[u8], tokens: &Tokens<'_>, names: &Names, addresses: &[u32]) -> Option<Self> {
        let mut symbols = Self::default();
        symbols.entries.reserve(names.count);
        let mut at = names.start;
        let mut name = Vec::with_capacity(MAX_NAME);
        for &address in addresses {
            let run = find::compressed(image, at, names.lengths)?;
            at = run.end;
            name.clear();
            for &token in image.get(run)? {
                name.extend_from_slice(tokens.text(token));
                if name.len() > MAX_NAME {
                    return None;
                }
            }
            let (&kind, rest) = name.split_first()?;
            if rest.is_empty() || !kind.is_ascii_graphic() || !name.iter().all(|&b| is_name_byte(b))
            {
                return None;
            }
            symbols.push(&String::from_utf8_lossy(rest), address, kind, 0)?;
        }
        symbols.index();
        Some(symbols)
    }

    /// Appends a symbol; `None` when there is no more room.
    fn push(&mut self, name: &str, address: u32, kind: u8, module: u16) -> Option<()> {
        if self.arena.len() + name.len() > MAX_ARENA {
            return None;
        }
        self.entries.push(Entry {
            address,
            name: u32::try_from(self.arena.len()).ok()?,
            length: u16::try_from(name.len()).ok()?,
            kind,
            module,
        });
        self.arena.push_str(name);
        Some(())
    }

    /// Restores the orders after symbols were appended.
    fn index(&mut self) {
        self.entries.sort_by_key(|e| e.address);
        let mut order: Vec<u32> = (0..self.entries.len() as u32).collect();
        order.sort_by_key(|&i| (self.name_of(&self.entries[i as usize]), i));
        self.by_name = order;
    }

    /// Takes these as the modules that are loaded, in place of those before. Symbols past the bounds on names (64 MiB in
    /// all) and modules (65534) are left out.
    pub fn set_modules<'a>(&mut self, modules: impl IntoIterator<Item = &'a Module>) {
        self.entries.retain(|entry| entry.module == 0);
        let names = self.entries.iter();
        let end = names.map(|entry| entry.name as usize + usize::from(entry.length));
        self.arena.truncate(end.max().unwrap_or(0));
        self.modules.clear();
        self.ends.clear();
        for module in modules {
            let Ok(index) = u16::try_from(self.modules.len() + 1) else {
                break;
            };
            self.modules.push(module.name.clone());
            for symbol in &module.symbols {
                let kind = u8::try_from(symbol.kind).unwrap_or(b'?');
                if self
                    .push(&symbol.name, symbol.address, kind, index)
                    .is_none()
                {
                    break;
                }
                let end = self.ends.entry(symbol.address).or_default();
                *end = symbol.end.max(*end);
            }
        }
        self.index();
    }

    fn name_of(&self, entry: &Entry) -> &str {
        let start = entry.name as usize;
        &self.arena[start..start + usize::from(entry.length)]
    }

    fn symbol(&self, entry: &Entry) -> Symbol<'_> {
        Symbol {
            name: self.name_of(entry),
            address: entry.address,
            kind: char::from(entry.kind),
            module: usize::from(entry.module)
                .checked_sub(1)
                .map(|m| self.modules[m].as_str()),
        }
    }

    /// How many symbols there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All symbols by address.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'_>> {
        self.entries.iter().map(|e| self.symbol(e))
    }

    /// Every symbol of this name, by address: static functions of different files may share one.
    pub fn named<'a>(&'a self, name: &str) -> impl Iterator<Item = Symbol<'a>> + use<'a> {
        let key = |&i: &u32| self.name_of(&self.entries[i as usize]);
        let start = self.by_name.partition_point(|i| key(i) < name);
        let end = self.by_name.partition_point(|i| key(i) <= name);
        self.by_name[start..end]
            .iter()
            .map(|&i| self.symbol(&self.entries[i as usize]))
    }

    /// The address of the first symbol of this name.
    pub fn address(&self, name: &str) -> Option<u32> {
        self.named(name).next().map(|s| s.address)
    }

    /// The symbol at `address` or the nearest before it. Of several at one address it is the first, as the kernel itself
    /// chooses in its back traces. `None` below the first symbol, after the last, past the end of a module's symbol, and past a symbol that marks an end
    /// (such as `_etext`), for what follows does not belong to it.
    pub fn at(&self, address: u32) -> Option<Location<'_>> {
        let after = self.entries.partition_point(|e| e.address <= address);
        let nearest = self.entries[..after].last()?.address;
        let first = self.entries[..after].partition_point(|e| e.address < nearest);
        let same = &self.entries[first..after];
        let offset = address - nearest;
        let is_last = after == self.entries.len();
        let entry = match same.iter().find(|e| !is_end(self.name_of(e))) {
            Some(entry) if offset == 0 || !is_last => entry,
            _ if offset == 0 => same.first()?,
            _ => return None,
        };
        let end = self.ends.get(&nearest).filter(|_| entry.module != 0);
        if end.is_some_and(|end| address >= *end) {
            return None;
        }
        Some(Location {
            symbol: self.symbol(entry),
            offset,
        })
    }
}

/// Whether a symbol is a mark of the linker script where something ends (include/asm-generic/vmlinux.lds.h).
fn is_end(name: &str) -> bool {
    matches!(
        name,
        "_etext" | "_einittext" | "_edata" | "_end" | "__bss_stop"
    )
}
