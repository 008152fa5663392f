//! Registers in the protocol's terms, whatever the instruction set: a table of them, in the order
//! of their numbers.
//!
//! From it come their description, their bytes (little-endian, like the guest), and how they are
//! read and written.

use std::fmt::Write;
use std::marker::PhantomData;
use std::num::NonZeroUsize;

use gdbstub::arch;
use vmm_machine::vcpu::Core;

/// Reads a register; `None` of a core of another instruction set.
type Get = Box<dyn Fn(&Core<'_>) -> Option<u128> + Send + Sync>;
/// Writes a register; `None` when it cannot be.
type Put = Box<dyn Fn(&mut Core<'_>, u128) -> Option<()> + Send + Sync>;

/// One register.
pub(super) struct Row {
    name: String,
    bytes: usize,
    /// What else its element in the description says.
    kind: &'static str,
    read: Get,
    write: Put,
}

/// The registers of an instruction set, by their numbers.
pub(super) struct Table {
    rows: Vec<Row>,
    /// The description of them that a debugger reads.
    xml: String,
    /// How many are sent all at once; the others are asked for one by one.
    sent: usize,
    /// The number of the program counter.
    pc: usize,
    /// The number of the register that is written first, as it decides what others mean.
    first: usize,
}

/// An instruction set that has such a table.
pub(super) trait RegisterSet: Sized + 'static {
    /// A virtual address.
    type Address: Into<u64> + From<u32> + TryInto<u32> + Copy + Send;

    /// Returns its registers.
    fn table() -> &'static Table;

    /// Returns the address that the program counter holds.
    fn address(pc: u128) -> Self::Address;
}

impl Row {
    /// Returns a register of `bits` bits.
    pub fn new(
        (name, bits, kind): (impl Into<String>, usize, &'static str),
        read: impl Fn(&Core<'_>) -> Option<u128> + Send + Sync + 'static,
        write: impl Fn(&mut Core<'_>, u128) -> Option<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            bytes: bits / 8,
            kind,
            read: Box::new(read),
            write: Box::new(write),
        }
    }

    fn to_bytes(&self, value: u128) -> Vec<u8> {
        value.to_le_bytes()[..self.bytes].to_vec()
    }

    /// Returns the value in the first of `bytes`, and the rest of them.
    fn split<'b>(&self, bytes: &'b [u8]) -> Option<(u128, &'b [u8])> {
        let (own, rest) = bytes.split_at_checked(self.bytes)?;
        let mut value = [0; 16];
        value[..own.len()].copy_from_slice(own);
        Some((u128::from_le_bytes(value), rest))
    }
}

impl Table {
    /// Returns the registers of `features`, each with its name, with what its description begins
    /// with, and with its registers; those of the last one are not sent with the others. `pc` and
    /// `first` are names.
    pub fn new(
        architecture: &str,
        features: Vec<(&str, String, Vec<Row>)>,
        (pc, first): (&str, &str),
    ) -> Self {
        let mut xml = format!(
            "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n\
             <architecture>{architecture}</architecture>\n"
        );
        let (mut rows, mut sent) = (Vec::new(), 0);
        for (feature, begin, registers) in features {
            // In the end this is where the last feature begins.
            sent = rows.len();
            // Writing to a string does not fail.
            let _ = write!(xml, "<feature name=\"{feature}\">{begin}");
            for Row {
                name, bytes, kind, ..
            } in &registers
            {
                let _ = write!(
                    xml,
                    "\n<reg name=\"{name}\" bitsize=\"{}\" {kind}/>",
                    bytes * 8
                );
            }
            xml += "</feature>\n";
            // GDB numbers registers in the order of the description, so that a row's index is its
            // number.
            rows.extend(registers);
        }
        xml += "</target>\n";
        // Always found: whoever names them has written the table as well.
        let number = |name| rows.iter().position(|row: &Row| row.name == name);
        Self {
            pc: number(pc).unwrap_or(0),
            first: number(first).unwrap_or(0),
            rows,
            xml,
            sent,
        }
    }

    /// Returns the description.
    pub fn xml(&self) -> &str {
        &self.xml
    }

    fn sent(&self) -> &[Row] {
        &self.rows[..self.sent]
    }
}

/// The number of a register of `T`.
pub(super) struct Id<T>(usize, PhantomData<fn() -> T>);

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> std::fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: RegisterSet> arch::RegId for Id<T> {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        let row = T::table().rows.get(id)?;
        Some((Self(id, PhantomData), NonZeroUsize::new(row.bytes)))
    }
}

/// Reads one register, little-endian; `None` of a core of another instruction set.
pub(super) fn read<T: RegisterSet>(core: &Core<'_>, register: Id<T>) -> Option<Vec<u8>> {
    let row = T::table().rows.get(register.0)?;
    Some(row.to_bytes((row.read)(core)?))
}

/// Writes one register; `None` when it cannot be, or `bytes` is not its size.
pub(super) fn write<T: RegisterSet>(
    core: &mut Core<'_>,
    register: Id<T>,
    bytes: &[u8],
) -> Option<()> {
    let row = T::table().rows.get(register.0)?;
    match row.split(bytes)? {
        // No bytes are left over: a value of another size was meant for another register.
        (value, []) => (row.write)(core, value),
        _ => None,
    }
}

/// The values of the registers of `T` that are sent all at once.
pub(super) struct Values<T>(Vec<u128>, PhantomData<fn() -> T>);

impl<T: RegisterSet> Values<T> {
    /// Returns those of `core`; `None` of a core of another instruction set.
    pub fn of(core: &Core<'_>) -> Option<Self> {
        let rows = T::table().sent().iter();
        let values = rows.map(|row| (row.read)(core));
        Some(Self(values.collect::<Option<_>>()?, PhantomData))
    }

    /// Writes those to `core` that differ, and first the one that decides what others mean: writing
    /// has a core look up again what it had cached.
    pub fn write(&self, core: &mut Core<'_>) -> Option<()> {
        let table = T::table();
        let both = || table.sent().iter().zip(&self.0);
        let first = both().skip(table.first).take(1);
        // The loop comes to the first one again, which does not differ by then.
        for (row, value) in first.chain(both()) {
            if (row.read)(core)? != *value {
                (row.write)(core, *value)?;
            }
        }
        Some(())
    }
}

impl<T: RegisterSet> Default for Values<T> {
    fn default() -> Self {
        Self(vec![0; T::table().sent], PhantomData)
    }
}

impl<T> Clone for Values<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T> PartialEq for Values<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> std::fmt::Debug for Values<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: RegisterSet> arch::Registers for Values<T> {
    type ProgramCounter = T::Address;

    fn pc(&self) -> T::Address {
        T::address(self.0.get(T::table().pc).copied().unwrap_or(0))
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        for (row, value) in T::table().sent().iter().zip(&self.0) {
            let bytes = row.to_bytes(*value).into_iter();
            bytes.for_each(|byte| write_byte(Some(byte)));
        }
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        let mut rest = bytes;
        for (row, value) in T::table().sent().iter().zip(&mut self.0) {
            (*value, rest) = row.split(rest).ok_or(())?;
        }
        Ok(())
    }
}
