//! The modules that a guest's kernel has loaded, and their symbols, from guest memory.
//!
//! Every `struct module` hangs in the list `modules`. Its `kallsyms` leads to a copy of the
//! module's ELF symbol table, to the names, and, since Linux 5.2, to a letter for each symbol
//! (include/linux/module.h, kernel/module/kallsyms.c). All offsets come from the kernel's own
//! types.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vmm_base::Width;

use super::memory::{Memory, MemoryError};
use super::module::Table;
pub use super::module::{Module, ModuleSymbol};
use super::symbols::Symbols;
use super::types::Types;
use super::types::path::PathError;

/// The most modules that are looked at: distribution kernels on boards load some hundred.
const MAX_MODULES: usize = 1024;
/// The most symbols of one module; the largest modules have some ten thousand.
const MAX_SYMBOLS: u32 = 1 << 16;
/// The longest name of a module or symbol, with its NUL (`KSYM_NAME_LEN` since 6.1).
const MAX_NAME: usize = 512;

/// `MODULE_STATE_UNFORMED` of `enum module_state`: nothing of it is set up yet.
const UNFORMED: u32 = 3;

/// `STT_FUNC`: bit 0 of such an address says Thumb.
const FUNCTION: u8 = 2;
/// `STT_SECTION` and `STT_FILE` name no place in the module.
const NO_PLACE: [u8; 2] = [3, 4];
/// `SHN_UNDEF`: a symbol that is defined elsewhere.
const UNDEFINED: u16 = 0;
/// `SHN_LORESERVE`: absolute values and the like from here on.
const RESERVED: u16 = 0xff00;

/// The reason for which modules cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModulesError {
    /// The kernel has no list of modules.
    #[error("this kernel cannot load modules (it needs CONFIG_MODULES and CONFIG_KALLSYMS_ALL)")]
    NoList,
    /// Its structures are not those that are known.
    #[error("the modules of this kernel cannot be read: {0}")]
    Types(#[from] PathError),
    /// The list cannot be followed.
    #[error("the kernel's list of modules is damaged: {0}")]
    Memory(#[from] MemoryError),
}

/// The modules of a kernel, as they were when last looked at.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    /// The modules by the address of their `struct module`.
    known: BTreeMap<u64, Arc<Module>>,
}

/// Offsets within `struct module` and `struct mod_kallsyms`, in bytes.
struct Layout {
    width: Width,
    list: u32,
    name: u32,
    state: u32,
    kallsyms: u32,
    symtab: u32,
    num_symtab: u32,
    strtab: u32,
    typetab: u32,
}

impl Layout {
    fn of(types: &Types) -> Result<Self, PathError> {
        let offset = |structure: &str, member: &str| {
            // The path to a member of the structure itself follows no pointer, so it has an offset.
            let path = types.resolve(structure, member)?;
            Ok::<u32, PathError>(path.offset().unwrap_or(0))
        };
        Ok(Self {
            width: types.width(),
            list: offset("module", "list")?,
            name: offset("module", "name")?,
            state: offset("module", "state")?,
            kallsyms: offset("module", "kallsyms")?,
            symtab: offset("mod_kallsyms", "symtab")?,
            num_symtab: offset("mod_kallsyms", "num_symtab")?,
            strtab: offset("mod_kallsyms", "strtab")?,
            typetab: offset("mod_kallsyms", "typetab")?,
        })
    }
}

impl Modules {
    /// Looks at the kernel's list of modules again. Symbols are read of those only that are new or
    /// have others than before.
    ///
    /// # Errors
    /// The list cannot be found or followed. A single module that cannot be read is left out.
    pub fn refresh(
        &mut self,
        types: &Types,
        symbols: &Symbols,
        memory: &dyn Memory,
    ) -> Result<(), ModulesError> {
        let head = symbols.address("modules").ok_or(ModulesError::NoList)?;
        let layout = Layout::of(types)?;
        let mut found = BTreeMap::new();
        // Those that cannot be read, too: they may be a circle of their own.
        let mut seen = BTreeSet::new();
        let width = layout.width;
        // `modules` is a bare `struct list_head`: the walk ends there instead of taking it for a
        // module.
        let mut link = memory.pointer(head, width)?;
        while link != head && link != 0 && seen.len() < MAX_MODULES {
            // As `container_of` does: a link leads to the member `list`, not to the structure's
            // beginning.
            let module = width.cut(link.wrapping_sub(layout.list.into()));
            let before = self.known.get(&module);
            // A damaged list may run in a circle that its head is not part of.
            if !seen.insert(module) {
                break;
            }
            if let Some(read) = read(module, &layout, before, memory) {
                found.insert(module, read);
            }
            link = memory.pointer(link, width)?;
        }
        // In place of those before: a module that was unloaded is in the list no longer.
        self.known = found;
        Ok(())
    }

    /// Returns the modules, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Module> {
        self.known.values().map(Arc::as_ref)
    }
}

/// Reads the module whose structure is at `module`, if it is set up and can be read.
fn read(
    module: u64,
    layout: &Layout,
    before: Option<&Arc<Module>>,
    memory: &dyn Memory,
) -> Option<Arc<Module>> {
    let at = |object: u64, offset: u32| layout.width.cut(object.wrapping_add(offset.into()));
    // Addresses wrap where the guest's do: a damaged pointer leads to memory that cannot be read,
    // at worst.
    let word = |object, offset| memory.word(at(object, offset)).ok();
    let pointer = |object, offset| memory.pointer(at(object, offset), layout.width).ok();
    // A module is put on the list to reserve its name, before `kallsyms` and the rest are set.
    if word(module, layout.state)? == UNFORMED {
        return None;
    }
    let kallsyms = pointer(module, layout.kallsyms)?;
    // The number of symbols is the guest's, and buffers of that many entries are allocated.
    let table = Table {
        symbols: pointer(kallsyms, layout.symtab)?,
        count: word(kallsyms, layout.num_symtab)?.min(MAX_SYMBOLS),
        names: pointer(kallsyms, layout.strtab)?,
        letters: pointer(kallsyms, layout.typetab)?,
    };
    let name = text(memory, at(module, layout.name))?;
    // The symbols of a module are tens of thousands of reads, so they are read once, as long as
    // their table is the same.
    if let Some(before) = before.filter(|before| before.table == table && before.name == name) {
        return Some(Arc::clone(before));
    }
    let symbols = symbols(&table, layout.width, memory)?;
    Some(Arc::new(Module {
        name,
        symbols,
        table,
    }))
}

fn text(memory: &dyn Memory, at: u64) -> Option<String> {
    let (text, complete) = memory.text(at, MAX_NAME).ok()?;
    // Names are printed: a guest must not get control characters to the user's terminal.
    let plain = complete && !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
    plain.then(|| String::from_utf8_lossy(&text).into_owned())
}

/// A symbol of an ELF file: what of it is needed (System V ABI, "Symbol Table").
struct ElfSymbol {
    name: u32,
    value: u64,
    size: u64,
    kind: u8,
    section: u16,
}

impl ElfSymbol {
    /// Returns the size of one in a table, in bytes.
    const fn size(width: Width) -> usize {
        match width {
            Width::Bits32 => 16,
            Width::Bits64 => 24,
        }
    }

    /// Decodes the symbol that `entry` consists of.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "no more bytes were read than the fields have"
    )]
    fn of(entry: &[u8], width: Width) -> Self {
        let number = |at: usize, bytes: usize| {
            let mut number = [0; 8];
            number[..bytes].copy_from_slice(&entry[at..at + bytes]);
            u64::from_le_bytes(number)
        };
        // `Elf64_Sym` has its narrow fields before the wide ones, other than `Elf32_Sym`.
        let (value, size, info, section) = match width {
            Width::Bits32 => (number(4, 4), number(8, 4), 12, 14),
            Width::Bits64 => (number(8, 8), number(16, 8), 4, 6),
        };
        Self {
            name: number(0, 4) as u32,
            value,
            size,
            // The upper half of `st_info` is the binding, which does not matter here.
            kind: entry[info] & 0xf,
            section: number(section, 2) as u16,
        }
    }
}

/// Returns the symbols of a table that are addresses in the module, by address.
fn symbols(table: &Table, width: Width, memory: &dyn Memory) -> Option<Vec<ModuleSymbol>> {
    let size = ElfSymbol::size(width);
    // Each table in one read, as every read walks the guest's page tables again.
    let mut entries = vec![0; table.count as usize * size];
    memory.read(table.symbols, &mut entries).ok()?;
    let mut letters = vec![0; table.count as usize];
    memory.read(table.letters, &mut letters).ok()?;
    let mut list = Vec::new();
    for (entry, letter) in entries.chunks_exact(size).zip(letters) {
        let ElfSymbol {
            name,
            value,
            size,
            kind,
            section,
        } = ElfSymbol::of(entry, width);
        if section == UNDEFINED || section >= RESERVED || NO_PLACE.contains(&kind) {
            continue;
        }
        let Some(name) = text(memory, width.cut(table.names.wrapping_add(name.into()))) else {
            continue;
        };
        // Mapping symbols, which tell where code and data begin in a section (ELF for the ARM
        // Architecture, 4.5.5, and of AArch64).
        if name.starts_with('$') {
            continue;
        }
        let thumb = width == Width::Bits32 && kind == FUNCTION;
        let address = if thumb { value & !1 } else { value };
        list.push(ModuleSymbol {
            name,
            address,
            // The size is the guest's: the end must not wrap to below the address.
            end: address.saturating_add(size),
            kind: char::from(letter),
        });
    }
    // An ELF symbol table is in no order of addresses.
    list.sort_by_key(|symbol| symbol.address);
    // A symbol without a size reaches up to the next one.
    let mut next = None;
    for symbol in list.iter_mut().rev() {
        if symbol.end == symbol.address {
            symbol.end = next.unwrap_or(symbol.address.saturating_add(1));
        }
        // Several symbols may have one address: all reach up to the next address that differs.
        next = Some(symbol.address)
            .filter(|_| next != Some(symbol.address))
            .or(next);
    }
    Some(list)
}

#[cfg(test)]
mod tests;
