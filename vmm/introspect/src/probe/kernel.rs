//! The kernel that runs in a guest, as far as probes need to know it.

use std::sync::Arc;

use crate::memory::{self, Memory, Physical};
use crate::modules::{Modules, ModulesError};
use crate::symbols::{Symbols, SymbolsError};
use crate::types::vmlinux::TypesFrom;
use crate::types::{Types, TypesError};

/// A kernel's image is in the first part of RAM; this much is searched, in bytes.
const SEARCHED: u64 = 96 << 20;

/// A kernel's names and types.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its functions and variables.
    pub symbols: Symbols,
    /// Its structures, or why they are not known; probes then get by with registers.
    pub types: Result<Arc<Types>, TypesError>,
    modules: Modules,
}

impl Kernel {
    /// Looks for a kernel in RAM, of `size` bytes from the guest physical address `base` on.
    ///
    /// # Errors
    /// There is no symbol table, or a damaged one.
    pub fn find(ram: &dyn Physical, base: u64, size: u64) -> Result<Self, SymbolsError> {
        Self::find_with(ram, base, size, &TypesFrom::Kernel)
    }

    /// Does as [`Kernel::find`], with types from elsewhere.
    ///
    /// # Errors
    /// As [`Kernel::find`].
    pub fn find_with(
        ram: &dyn Physical,
        base: u64,
        size: u64,
        types: &TypesFrom,
    ) -> Result<Self, SymbolsError> {
        let image = memory::copy(ram, base, size.min(SEARCHED));
        let symbols = Symbols::find(&image)?;
        let types = types.find(&image, symbols.width());
        Ok(Self {
            symbols,
            types,
            modules: Modules::default(),
        })
    }

    /// Returns where the image is whose first instruction is at physical address `entry`: by the
    /// virtual address that it will be mapped to, and by that physical one.
    pub(crate) fn image(&self, entry: u64) -> Option<(u64, u64)> {
        Some((self.symbols.text()?, entry))
    }

    /// Looks at which modules are loaded, by the guest's memory as a core sees it now.
    ///
    /// # Errors
    /// They cannot be found out; the symbols then stay as they are.
    pub fn read_modules(&mut self, memory: &dyn Memory) -> Result<(), ModulesError> {
        // Without types the list cannot be followed: symbols tell where it is, and types what its
        // entries look like.
        let Ok(types) = &self.types else {
            return Err(ModulesError::NoList);
        };
        self.modules.refresh(types, &self.symbols, memory)?;
        self.symbols.set_modules(self.modules.iter());
        Ok(())
    }
}
