//! The kernel that runs in a guest, as far as probes need to know it.

use crate::observe::memory::{self, Physical};
use crate::observe::symbols::{Symbols, SymbolsError};
use crate::observe::types::{Types, TypesError};

/// A kernel's image lies in the first part of RAM; this much is searched, in bytes.
const SEARCHED: u64 = 96 << 20;

/// A kernel's names and types.
#[derive(Debug)]
pub struct Kernel {
    /// Its functions and variables.
    pub symbols: Symbols,
    /// Its structures, or why they are not known; probes then get by with registers.
    pub types: Result<Types, TypesError>,
}

impl Kernel {
    /// Looks for a kernel in RAM, of `size` bytes from the guest physical address `base` on.
    ///
    /// # Errors
    /// When there is no symbol table, or a damaged one.
    pub fn find(ram: &dyn Physical, base: u64, size: u64) -> Result<Self, SymbolsError> {
        let image = memory::copy(ram, base, size.min(SEARCHED));
        let symbols = Symbols::find(&image)?;
        let types = Types::of_kernel(&image).map(|(types, _)| types);
        Ok(Self { symbols, types })
    }
}
