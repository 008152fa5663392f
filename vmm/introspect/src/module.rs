//! A module of a kernel, as plain data.

/// A symbol of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleSymbol {
    /// Its name.
    pub name: String,
    /// Virtual address, without the Thumb bit.
    pub address: u64,
    /// Address of the first byte that does not belong to it.
    pub end: u64,
    /// The letter of `nm`.
    pub kind: char,
}

/// A module with its symbols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name, as in `/proc/modules`.
    pub name: String,
    /// Its symbols, by address.
    pub symbols: Vec<ModuleSymbol>,
    pub(crate) table: Table,
}

impl Module {
    /// Creates a module of which nothing but its symbols is known.
    #[cfg(test)]
    pub(crate) fn new(name: &str, symbols: Vec<ModuleSymbol>) -> Self {
        Self {
            name: name.into(),
            symbols,
            table: Table::default(),
        }
    }
}

/// The addresses of a module's symbol tables. They change when its initialisation is over and its
/// first part is freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) symbols: u64,
    pub(crate) count: u32,
    pub(crate) names: u64,
    pub(crate) letters: u64,
}
