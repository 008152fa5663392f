//! Variables that a kernel exports to modules.
//!
//! A kernel without `CONFIG_KALLSYMS_ALL`, as Debian's are, has no symbols of variables. But what
//! it exports is in a table (`struct kernel_symbol` of include/linux/export-internal.h, on ARM the
//! value and the name as two addresses), which is in the read-only data behind the code.

use vmm_introspect::memory::Memory;
use vmm_introspect::symbols::Symbols;

/// How far behind the code the table and its names are looked for, in bytes.
const SEARCHED: u32 = 16 << 20;
const PAGE: u32 = 0x1000;

/// The read-only data of a kernel, or what can be read of it.
pub struct Exports {
    base: u32,
    bytes: Vec<u8>,
}

impl Exports {
    /// Reads what is behind the code of the kernel with these symbols.
    pub fn read(memory: &dyn Memory, symbols: &Symbols) -> Option<Self> {
        let end = u32::try_from(symbols.address("_etext")?).ok()?;
        Some(Self::read_from(memory, end & !(PAGE - 1)))
    }

    fn read_from(memory: &dyn Memory, base: u32) -> Self {
        let mut bytes = Vec::new();
        let mut page = [0; PAGE as usize];
        for offset in (0..SEARCHED).step_by(PAGE as usize) {
            // There are gaps between code and data.
            let read = base
                .checked_add(offset)
                .map(|at| memory.read(at.into(), &mut page));
            match read {
                Some(Ok(())) => bytes.extend_from_slice(&page),
                _ => bytes.resize(bytes.len() + page.len(), 0),
            }
        }
        Self { base, bytes }
    }

    /// Returns the address of an exported variable.
    pub fn address(&self, name: &str) -> Option<u32> {
        let ends = |at: usize| self.bytes.get(at + name.len()) == Some(&0);
        let first = *name.as_bytes().first()?;
        let begins = |&(at, byte): &(usize, &u8)| {
            *byte == first && self.bytes[at..].starts_with(name.as_bytes()) && ends(at)
        };
        // The name may be the end of another one, and that shared.
        let names = self.bytes.iter().enumerate().filter(begins);
        let names: Vec<u32> = names
            .filter_map(|(at, _)| self.base.checked_add(u32::try_from(at).ok()?))
            .collect();
        let mut before = 0;
        self.bytes.chunks_exact(4).find_map(|word| {
            let word = u32::from_le_bytes(word.try_into().ok()?);
            let value = std::mem::replace(&mut before, word);
            (names.contains(&word) && value != 0).then_some(value)
        })
    }
}

#[cfg(test)]
mod tests {
    use vmm_introspect::memory::MemoryError;

    use super::*;

    /// Two pages at an address, and none between them.
    struct Pages(u32, [Vec<u8>; 2]);

    impl Memory for Pages {
        fn read(&self, va: u64, into: &mut [u8]) -> Result<(), MemoryError> {
            let page = match u32::try_from(va).map(|va| va.wrapping_sub(self.0)) {
                Ok(0) => &self.1[0],
                Ok(0x2000) => &self.1[1],
                _ => return Err(MemoryError::Unmapped(va)),
            };
            into.copy_from_slice(page);
            Ok(())
        }
    }

    #[test]
    fn exported_variables_are_found_by_their_names() {
        const BASE: u32 = 0xc080_0000;
        let mut table = vec![0; 0x1000];
        let mut names = vec![0; 0x1000];
        names[0x10..0x1c].copy_from_slice(b"my_mem_map\0\0");
        names[0x20..0x29].copy_from_slice(b"mem_mapx\0");
        names[0x30..0x38].copy_from_slice(b"mem_map\0");
        let mut word = |at: usize, value: u32| {
            table[at..at + 4].copy_from_slice(&value.to_le_bytes());
        };
        word(0x100, 0xc0a0_0000);
        word(0x104, BASE + 0x2010);
        word(0x10c, 0xc0b0_0000);
        word(0x110, BASE + 0x2030);
        let exports = Exports::read_from(&Pages(BASE, [table, names]), BASE);
        assert_eq!(exports.address("mem_map"), Some(0xc0b0_0000));
        assert_eq!(exports.address("my_mem_map"), Some(0xc0a0_0000));
        assert_eq!(exports.address("mem_mapx"), None);
        assert_eq!(exports.address(""), None);
        // At the end of the address space, and where nothing can be read.
        let last = Exports::read_from(&Pages(0, [Vec::new(), Vec::new()]), u32::MAX - 0xfff);
        assert_eq!(last.address("mem_map"), None);
    }
}
