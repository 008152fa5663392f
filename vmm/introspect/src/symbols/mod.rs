//! The names of a guest kernel's functions and variables, from the kallsyms tables in its image.
//!
//! [`Symbols::find`] takes the kernel's bytes as they are in a file or in guest RAM, before or
//! after the kernel has run: the tables are constant. They hold virtual addresses, so it does not
//! matter where in physical memory the image is.
//!
//! A 64-bit kernel finds out itself at which virtual address it runs, and its tables say so only
//! from then on. Before, its symbols are good for their distance from `_text`, the kernel's first
//! byte ([`Symbols::offset`]), and can be brought to where it turned out to be
//! ([`Symbols::place`]).

mod addresses;
mod budget;
mod find;
mod spec;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeMap;
use std::fmt;

use addresses::Addresses;
use budget::{Budget, GaveUp};
use find::Names;
use spec::{MAX_ARENA, MAX_NAME, header};
use tokens::{Tokens, is_name_byte};
use vmm_base::Width;

use super::module::Module;

/// The symbol of a kernel's first byte.
const TEXT: &str = "_text";

/// The reason for which no symbols were found. Each message says what the user can do.
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
    pub address: u64,
    /// The letter that `nm` gives it: `T`, `t` for code, `D`, `d`, `R`, `r`, `B`, `b` for data and
    /// others.
    pub kind: char,
    /// The module that it belongs to; `None` for the kernel itself.
    pub module: Option<&'a str>,
}

/// An address by the symbol at or before it. Displays as `name+0x10`, with the module behind it in
/// brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// The symbol.
    pub symbol: Symbol<'a>,
    /// Bytes from its beginning.
    pub offset: u64,
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
    address: u64,
    /// The offset of the name in the arena.
    name: u32,
    length: u16,
    kind: u8,
    /// Index into the modules plus 1; 0 for the kernel.
    module: u16,
}

/// All symbols of a kernel and, once added, of its modules.
#[derive(Clone, Debug)]
pub struct Symbols {
    width: Width,
    /// The address of the kernel's first byte, if known.
    text: Option<u64>,
    /// Whether addresses are virtual ones.
    placed: bool,
    arena: String,
    /// The symbols by address; those of one address in the kernel's own order.
    entries: Vec<Entry>,
    /// Indices of `entries`, by name and then by address.
    by_name: Vec<u32>,
    modules: Vec<String>,
    /// The ends of the symbols of modules, by their beginnings: between modules nothing is known.
    ends: BTreeMap<u64, u64>,
}

impl Default for Symbols {
    /// Creates an empty table of symbols, of a 32-bit kernel.
    fn default() -> Self {
        Self {
            width: Width::Bits32,
            text: None,
            placed: true,
            arena: String::new(),
            entries: Vec::new(),
            by_name: Vec::new(),
            modules: Vec::new(),
            ends: BTreeMap::new(),
        }
    }
}

impl Symbols {
    /// Finds the symbols of the kernel whose bytes are `image`: an unpacked `Image`, or RAM that
    /// holds one. `image` must begin at an address that is a multiple of 8.
    ///
    /// Those of a 64-bit kernel that has not relocated itself yet are counted from `_text`, or are
    /// where it was linked for: [`Symbols::place`] is then needed before they are addresses.
    ///
    /// # Errors
    /// [`SymbolsError`] if there are none to be found.
    pub fn find(image: &[u8]) -> Result<Self, SymbolsError> {
        let mut budget = Budget::for_image(image.len());
        let mut error = SymbolsError::None;
        // Tables begin at multiples of 4 bytes.
        for at in (0..image.len()).step_by(4) {
            let Some(tokens) = Tokens::at(image, at, &mut budget)? else {
                continue;
            };
            let found = find::names(image, &tokens, &mut budget, |names, budget| {
                let Some(addresses) = addresses::addresses(image, &tokens, names, budget)? else {
                    return Ok(None);
                };
                // Expanding the names is work as well, and a hostile image may offer many
                // candidates.
                budget.spend(addresses.list.len())?;
                Ok(Self::expand(image, &tokens, names, &addresses))
            })?;
            // Tokens without names that fit may be something else that looks like them: the search
            // goes on.
            match found {
                Some(symbols) => return Ok(symbols),
                None => error = SymbolsError::Inconsistent,
            }
        }
        Err(error)
    }

    /// Puts the names of all symbols together; `None` if one cannot be a name.
    fn expand(
        image: &[u8],
        tokens: &Tokens<'_>,
        names: &Names,
        addresses: &Addresses,
    ) -> Option<Self> {
        let mut symbols = Self {
            width: addresses.width,
            placed: addresses.placed,
            ..Self::default()
        };
        symbols.entries.reserve(names.count);
        let mut at = names.start;
        let mut name = Vec::with_capacity(MAX_NAME);
        for &address in &addresses.list {
            let run = find::compressed(image, at, names.lengths)?;
            at = run.end;
            name.clear();
            for &token in image.get(run)? {
                name.extend_from_slice(tokens.text(token));
                // Tokens may be longer than one byte: a hostile image could make a name of 512
                // tokens fill megabytes.
                if name.len() > MAX_NAME {
                    return None;
                }
            }
            // The type letter is compressed together with the name, as its first byte.
            let (&kind, rest) = name.split_first()?;
            if rest.is_empty() || !kind.is_ascii_graphic() || !name.iter().all(|&b| is_name_byte(b))
            {
                return None;
            }
            symbols.push(&String::from_utf8_lossy(rest), address, kind, 0)?;
        }
        symbols.index();
        if symbols.width == Width::Bits64 {
            symbols.find_text(image, tokens.start);
            // Where it will be mapped is not known, so that its symbols are counted from its first
            // byte.
            if !addresses.placed {
                symbols.move_to(0);
            }
        }
        Some(symbols)
    }

    /// Finds out where the kernel's first byte is among the symbols: by its name, which is missing
    /// without CONFIG_KALLSYMS_ALL, or by the entry that the header of the image leads to.
    fn find_text(&mut self, image: &[u8], tables: usize) {
        let by_entry = || {
            let offset = addresses::entry_offset(image, tables)?;
            let entry = header::ENTRIES.iter().find_map(|name| self.address(name))?;
            // What looks like a header may be none, and its offset larger than the entry's address.
            entry.checked_sub(offset)
        };
        self.text = self.address(TEXT).or_else(by_entry);
    }

    /// Moves all symbols of the kernel so that its first byte, `_text`, is at `text`. Only a 64-bit
    /// kernel can be elsewhere than its tables say; `false` if this is none, if it is not known
    /// where among the symbols it begins, or if not all of it would fit there.
    pub fn place(&mut self, text: u64) -> bool {
        let moved = self.move_to(text);
        self.placed |= moved;
        moved
    }

    /// Does as [`Symbols::place`], where `text` is a number to count from.
    fn move_to(&mut self, text: u64) -> bool {
        let Some(before) = self.text.filter(|_| self.width == Width::Bits64) else {
            return false;
        };
        let own = || self.entries.iter().filter(|entry| entry.module == 0);
        // Some may be before it.
        let lowest = own().map(|e| e.address).min().unwrap_or(before).min(before);
        let highest = own().map(|e| e.address).max().unwrap_or(before);
        let span = highest.saturating_sub(before);
        // Nothing may move below address 0 or past the end of the address space.
        if text < before - lowest || text.checked_add(span).is_none() {
            return false;
        }
        for entry in self.entries.iter_mut().filter(|entry| entry.module == 0) {
            // Only the difference of a symbol before `_text` wraps, and the sum wraps it back.
            entry.address = entry.address.wrapping_sub(before).wrapping_add(text);
        }
        self.text = Some(text);
        // Without modules the order stays: all symbols have moved by the same distance.
        if !self.modules.is_empty() {
            self.index();
        }
        true
    }

    /// Returns whether symbols have virtual addresses: always, but for a 64-bit kernel whose tables
    /// do not say where it is.
    pub const fn is_placed(&self) -> bool {
        self.placed
    }

    /// Returns the address of the kernel's first byte: `_text`.
    pub fn text(&self) -> Option<u64> {
        self.text.or_else(|| self.address(TEXT))
    }

    /// Returns the bytes from the kernel's first one to the symbol of this name.
    pub fn offset(&self, name: &str) -> Option<u64> {
        self.address(name)?.checked_sub(self.text()?)
    }

    /// Returns how wide the kernel's addresses are.
    pub const fn width(&self) -> Width {
        self.width
    }

    /// Appends a symbol; `None` when there is no more room.
    fn push(&mut self, name: &str, address: u64, kind: u8, module: u16) -> Option<()> {
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
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the arena of names is bounded"
    )]
    fn index(&mut self) {
        // A stable sort: aliases stay in the kernel's order, which decides which one `at` returns.
        self.entries.sort_by_key(|e| e.address);
        let mut order: Vec<u32> = (0..self.entries.len() as u32).collect();
        order.sort_by_key(|&i| (self.name_of(&self.entries[i as usize]), i));
        self.by_name = order;
    }

    /// Takes these as the modules that are loaded, in place of those before. Symbols past the
    /// bounds on names (64 MiB in all) and modules (65534) are left out.
    pub fn set_modules<'a>(&mut self, modules: impl IntoIterator<Item = &'a Module>) {
        // The kernel's own names come first in the arena, so cutting it drops those of modules
        // only.
        self.entries.retain(|entry| entry.module == 0);
        let names = self.entries.iter();
        let end = names.map(|entry| entry.name as usize + usize::from(entry.length));
        self.arena.truncate(end.max().unwrap_or(0));
        self.modules.clear();
        self.ends.clear();
        for module in modules {
            // 0 is the kernel's own number.
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
                // Ends are looked up by address alone, so that of aliases the farthest end counts.
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

    /// Returns how many symbols there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns all symbols by address.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'_>> {
        self.entries.iter().map(|e| self.symbol(e))
    }

    /// Returns every symbol of this name, by address: static functions of different files may share
    /// one.
    pub fn named<'a>(&'a self, name: &str) -> impl Iterator<Item = Symbol<'a>> + use<'a> {
        let key = |&i: &u32| self.name_of(&self.entries[i as usize]);
        // Indices of equal names ascend, and so do their addresses, as `entries` is sorted by
        // address.
        let start = self.by_name.partition_point(|i| key(i) < name);
        let end = self.by_name.partition_point(|i| key(i) <= name);
        self.by_name[start..end]
            .iter()
            .map(|&i| self.symbol(&self.entries[i as usize]))
    }

    /// Returns the address of the first symbol of this name.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.named(name).next().map(|s| s.address)
    }

    /// Returns the address of the first symbol after `address`.
    pub fn next_after(&self, address: u64) -> Option<u64> {
        let after = self.entries.partition_point(|e| e.address <= address);
        self.entries.get(after).map(|entry| entry.address)
    }

    /// Returns the symbol at `address` or the nearest before it. Of several at one address it is
    /// the first, as the kernel itself chooses in its back traces. `None` below the first symbol,
    /// after the last, past the end of a module's symbol, and past a symbol that marks an end (such
    /// as `_etext`), for what follows does not belong to it.
    pub fn at(&self, address: u64) -> Option<Location<'_>> {
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
        // kallsyms has no sizes: each of the kernel's own symbols reaches up to the next one.
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

/// Returns whether a symbol is a mark of the linker script where something ends
/// (include/asm-generic/vmlinux.lds.h).
fn is_end(name: &str) -> bool {
    matches!(
        name,
        "_etext" | "_einittext" | "_edata" | "_end" | "__bss_stop"
    )
}
