//! Guest memory by physical and by virtual address, to read only.
//!
//! Virtual addresses are translated by a walk of the guest's own tables (ARM ARM DDI 0406C B3.5, B3.6). Unlike the
//! processor's walk in `arm32` it knows no permissions, domains or access flags, touches RAM only, and needs no core:
//! it answers what *would* be there, whatever mode the guest is in, and a table in a device register is no table.

use arm32::cp15::{Cp15, sctlr, ttbcr};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// The most guest RAM that one [`copy`] takes, in bytes. To find a kernel's symbols and types, the first 64 MiB of RAM do:
/// Linux on ARM runs at their beginning, and distribution kernels have 30 MiB.
pub const MAX_COPY: u64 = 256 << 20;
/// Longest text that [`Memory::text`] reads, in bytes.
pub const MAX_TEXT: usize = 4096;

const PAGE: u32 = 0x1000;
/// Physical addresses have 40 bits.
const PA_MASK: u64 = (1 << 40) - 1;

/// Why guest memory could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The guest's tables have no valid entry for the address.
    #[error("virtual address {0:#010x} is not mapped")]
    Unmapped(u32),
    /// There is no RAM.
    #[error("there is no RAM at physical address {0:#x}")]
    NoRam(u64),
    /// No memory is at hand for the address.
    #[error("address {0:#010x} is outside of the image")]
    Outside(u32),
}

/// Guest RAM by physical address. Reading has no side effects.
pub trait Physical {
    /// Fills `into` with what stands from `pa` on.
    ///
    /// # Errors
    /// [`MemoryError::NoRam`] unless all of it is RAM.
    fn read(&self, pa: u64, into: &mut [u8]) -> Result<(), MemoryError>;
}

impl Physical for GuestMemoryMmap<()> {
    fn read(&self, pa: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        self.read_slice(into, GuestAddress(pa))
            .map_err(|_| MemoryError::NoRam(pa))
    }
}

/// Copies `size` bytes of RAM from `base` on, to search in; at most [`MAX_COPY`], and only as far as there is RAM.
pub fn copy(physical: &dyn Physical, base: u64, size: u64) -> Vec<u8> {
    const CHUNK: usize = 1 << 16;
    let size = size.min(MAX_COPY) as usize;
    let mut copied = Vec::new();
    let mut chunk = vec![0; CHUNK];
    while copied.len() < size {
        let part = &mut chunk[..CHUNK.min(size - copied.len())];
        let Some(pa) = base.checked_add(copied.len() as u64) else {
            break;
        };
        if physical.read(pa, part).is_err() {
            break;
        }
        copied.extend_from_slice(part);
    }
    copied
}

/// Memory by 32-bit virtual address, little-endian.
pub trait Memory {
    /// Fills `into` with what stands from `va` on; addresses wrap at 4 GiB.
    ///
    /// # Errors
    /// [`MemoryError`] unless all of it can be read.
    fn read(&self, va: u32, into: &mut [u8]) -> Result<(), MemoryError>;

    /// The word at `va`, which need not be aligned.
    ///
    /// # Errors
    /// [`MemoryError`] when it cannot be read.
    fn word(&self, va: u32) -> Result<u32, MemoryError> {
        let mut bytes = [0; 4];
        self.read(va, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// The NUL-terminated text at `va` without its NUL, and whether it was complete. It is cut at `max` (no more than
    /// [`MAX_TEXT`]) bytes and where memory ends.
    ///
    /// # Errors
    /// [`MemoryError`] when not even the first byte can be read.
    fn text(&self, va: u32, max: usize) -> Result<(Vec<u8>, bool), MemoryError> {
        let mut text = Vec::new();
        let max = max.min(MAX_TEXT);
        while text.len() < max {
            let at = va.wrapping_add(text.len() as u32);
            // To the end of the page at most: the next one may be missing.
            let room = (PAGE - at % PAGE) as usize;
            let mut bytes = vec![0; room.min(max - text.len())];
            if self.read(at, &mut bytes).is_err() {
                // Memory ends before the page does.
                bytes.truncate(1);
                match self.read(at, &mut bytes) {
                    Ok(()) => {}
                    Err(error) if text.is_empty() => return Err(error),
                    Err(_) => return Ok((text, false)),
                }
            }
            if let Some(end) = bytes.iter().position(|&b| b == 0) {
                text.extend_from_slice(&bytes[..end]);
                return Ok((text, true));
            }
            text.extend_from_slice(&bytes);
        }
        Ok((text, false))
    }
}

/// An unpacked kernel image as it will stand in memory: for a look before the guest runs.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Virtual address of the first byte.
    pub base: u32,
    /// The image.
    pub bytes: &'a [u8],
}

impl Memory for Image<'_> {
    fn read(&self, va: u32, into: &mut [u8]) -> Result<(), MemoryError> {
        let start = va.wrapping_sub(self.base) as usize;
        let found = start
            .checked_add(into.len())
            .and_then(|end| self.bytes.get(start..end))
            .ok_or(MemoryError::Outside(va))?;
        into.copy_from_slice(found);
        Ok(())
    }
}

/// The system registers that decide where a virtual address leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// SCTLR: M (MMU on) and EE (big-endian tables) count.
    pub sctlr: u32,
    /// TTBCR.
    pub ttbcr: u32,
    /// TTBR0; short descriptors use the low half.
    pub ttbr0: u64,
    /// TTBR1.
    pub ttbr1: u64,
}

impl From<&Cp15> for Registers {
    fn from(cp15: &Cp15) -> Self {
        Self {
            sctlr: cp15.sctlr,
            ttbcr: cp15.ttbcr,
            ttbr0: cp15.ttbr0,
            ttbr1: cp15.ttbr1,
        }
    }
}

/// A guest's memory as one of its cores sees it at this moment.
#[derive(Clone, Copy)]
pub struct Virtual<'a> {
    physical: &'a dyn Physical,
    registers: Registers,
}

impl<'a> Virtual<'a> {
    /// The view through `registers` on `physical`.
    pub fn new(physical: &'a dyn Physical, registers: Registers) -> Self {
        Self {
            physical,
            registers,
        }
    }

    /// The physical address that `va` leads to.
    ///
    /// # Errors
    /// [`MemoryError`] when it leads nowhere, or a table is not in RAM.
    pub fn translate(&self, va: u32) -> Result<u64, MemoryError> {
        if self.registers.sctlr & sctlr::M == 0 {
            Ok(va.into())
        } else if self.registers.ttbcr & ttbcr::EAE != 0 {
            self.long(va)
        } else {
            self.short(va)
        }
    }

    /// Short descriptors (B3.5.1, B3.5.4).
    fn short(&self, va: u32) -> Result<u64, MemoryError> {
        let Registers {
            ttbcr: control,
            ttbr0,
            ttbr1,
            ..
        } = self.registers;
        let n = control & ttbcr::N;
        let low = u64::from(va) >> (32 - n) == 0;
        let (table, disable, n) = if low {
            (ttbr0, ttbcr::PD0, n)
        } else {
            (ttbr1, ttbcr::PD1, 0)
        };
        if control & disable != 0 {
            return Err(MemoryError::Unmapped(va));
        }
        let table = table & 0xffff_ffff & !((1u64 << (14 - n)) - 1);
        let first = self.descriptor32(table | u64::from(va >> 20) << 2)?;
        match first & 3 {
            0 => Err(MemoryError::Unmapped(va)),
            1 => {
                let table = u64::from(first & !0x3ff);
                let second = self.descriptor32(table | u64::from(va >> 12 & 0xff) << 2)?;
                match second & 3 {
                    0 => Err(MemoryError::Unmapped(va)),
                    1 => Ok(join(second.into(), va, 16)),
                    _ => Ok(join(second.into(), va, 12)),
                }
            }
            _ if first & (1 << 18) != 0 => {
                let high = u64::from(first >> 20 & 15) << 32 | u64::from(first >> 5 & 15) << 36;
                Ok(high | join(first.into(), va, 24))
            }
            _ => Ok(join(first.into(), va, 20)),
        }
    }

    /// Long descriptors (B3.6.1, B3.6.4).
    fn long(&self, va: u32) -> Result<u64, MemoryError> {
        let (mut table, size) = self.region(va).ok_or(MemoryError::Unmapped(va))?;
        // A region of 1 GiB and less begins with the second level.
        let start: u32 = if size >= 2 { 2 } else { 1 };
        let mut bits = 32 - size - shift(start);
        for level in start..=3 {
            let index = u64::from(va >> shift(level)) & ((1 << bits) - 1);
            let base = table & PA_MASK & !((8u64 << bits) - 1);
            let descriptor = self.descriptor64(base | index << 3)?;
            match (descriptor & 3, level) {
                (3, 3) | (1, 1 | 2) => return Ok(join(descriptor & PA_MASK, va, shift(level))),
                (3, _) => table = descriptor & !0xfff,
                _ => break,
            }
            bits = 9;
        }
        Err(MemoryError::Unmapped(va))
    }

    /// The table that covers `va`, and TnSZ.
    fn region(&self, va: u32) -> Option<(u64, u32)> {
        let control = self.registers.ttbcr;
        let (size0, size1) = (control & 7, control >> 16 & 7);
        let top = |bits: u32| u64::from(va) >> (32 - bits);
        let in_0 = top(size0) == 0;
        let in_1 = if size1 == 0 {
            !in_0
        } else {
            top(size1) == (1 << size1) - 1
        };
        if in_1 {
            (control & ttbcr::EPD1 == 0).then_some((self.registers.ttbr1, size1))
        } else if in_0 {
            (control & ttbcr::EPD0 == 0).then_some((self.registers.ttbr0, size0))
        } else {
            None
        }
    }

    fn descriptor32(&self, pa: u64) -> Result<u32, MemoryError> {
        let mut bytes = [0; 4];
        self.physical.read(pa, &mut bytes)?;
        Ok(if self.registers.sctlr & sctlr::EE != 0 {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    fn descriptor64(&self, pa: u64) -> Result<u64, MemoryError> {
        let mut bytes = [0; 8];
        self.physical.read(pa, &mut bytes)?;
        Ok(if self.registers.sctlr & sctlr::EE != 0 {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        })
    }
}

impl Memory for Virtual<'_> {
    fn read(&self, va: u32, into: &mut [u8]) -> Result<(), MemoryError> {
        let mut done = 0;
        while done < into.len() {
            let at = va.wrapping_add(done as u32);
            let room = ((PAGE - at % PAGE) as usize).min(into.len() - done);
            self.physical
                .read(self.translate(at)?, &mut into[done..done + room])?;
            done += room;
        }
        Ok(())
    }
}

/// The lowest address bit that indexes a table of `level` (1 to 3).
const fn shift(level: u32) -> u32 {
    match level {
        1 => 30,
        2 => 21,
        _ => 12,
    }
}

/// The high bits of `base` over the low `bits` bits of `va`.
fn join(base: u64, va: u32, bits: u32) -> u64 {
    base >> bits << bits | u64::from(va) & ((1 << bits) - 1)
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
