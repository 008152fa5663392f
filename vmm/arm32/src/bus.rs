//! The core's view of the physical world: one trait.

#![expect(
    unsafe_code,
    reason = "whoever implements the bus promises that its host pointers are valid"
)]

use std::ptr::NonNull;

use vmm_base::CodePages;

/// The size of one bus access, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Size {
    /// 1 byte.
    Byte = 1,
    /// 2 bytes.
    Half = 2,
    /// 4 bytes.
    Word = 4,
    /// 8 bytes.
    Double = 8,
}

impl Size {
    /// Returns the number of bytes.
    pub const fn bytes(self) -> u32 {
        self as u32
    }
}

/// No device and no memory answered (an external abort to the core).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing answers at this physical address")]
pub struct BusFault;

/// One 4 KiB page of guest RAM, as host memory.
#[derive(Clone, Copy, Debug)]
pub struct RamPage {
    /// Host address of the first byte of the page.
    pub host: NonNull<u8>,
    /// Whether the guest may write it (ROM pages may not be written).
    pub writable: bool,
    /// Its number among the pages of RAM, for [`Bus::code_pages`]. No two pages of one bus share
    /// one.
    pub number: u32,
}

/// What a core can reach by physical address.
///
/// Methods take `&self`: several cores share one bus. All values are little-endian in the low
/// bytes.
///
/// # Safety
///
/// The implementor promises that every [`RamPage::host`] it returns points to 4096 bytes of memory,
/// aligned to 4096, that stay mapped and readable (and writable when `writable`) for as long as any
/// core holds the bus, and that Rust code never holds a reference into that memory.
pub unsafe trait Bus: Send + Sync {
    /// Reads `size` bytes of a device (never called for addresses for which [`Bus::ram`] answers).
    ///
    /// # Errors
    /// [`BusFault`] when nothing answers.
    fn read(&self, pa: u64, size: Size) -> Result<u64, BusFault>;

    /// Writes the low `size` bytes of `value` to a device.
    ///
    /// # Errors
    /// [`BusFault`] when nothing answers.
    fn write(&self, pa: u64, size: Size, value: u64) -> Result<(), BusFault>;

    /// Returns the RAM page that holds physical address `pa`, if RAM answers there.
    fn ram(&self, pa: u64) -> Option<RamPage>;

    /// Returns which pages of its RAM hold code. Whoever writes RAM, and is no core, says so there.
    fn code_pages(&self) -> &CodePages;

    /// Returns the physical address of the byte of RAM at host address `host`, as [`Bus::ram`] gave
    /// it out: to save what a core has cached. A bus that does not know loses what is cached, and
    /// nothing else.
    fn physical(&self, host: usize) -> Option<u64> {
        let _ = host;
        None
    }

    /// Returns what is added to the host address of a byte of RAM for its physical address, if that
    /// is the same for all that [`Bus::ram`] ever gives out: then exclusive accesses, which are
    /// known by their physical address, can be made by code of the host.
    fn ram_offset(&self) -> Option<u64> {
        None
    }

    /// Learns that core `cpu` begins its turn: until the next call, accesses are its own. Banked
    /// registers (those of an interrupt controller) depend on who asks. The cluster calls this
    /// whenever it changes over to another core, and before the first instruction of every run.
    fn turn(&self, cpu: usize) {
        let _ = cpu;
    }
}
