//! Guest memory by physical and by virtual address, to read only.

use vm_memory::{Bytes, GuestAddress};
use vmm_base::Width;
use vmm_machine::GuestRam;
use vmm_machine::vcpu::{Core, NoMemory};

/// The most guest RAM that one [`copy`] takes, in bytes. To find a kernel's symbols and types, the
/// first 64 MiB of RAM do: Linux on ARM runs at their beginning, and distribution kernels have 30
/// to 40 MiB.
pub const MAX_COPY: u64 = 256 << 20;
/// Longest text that [`Memory::text`] reads, in bytes.
pub const MAX_TEXT: usize = 4096;

const PAGE: u64 = 0x1000;

/// The reason for which guest memory could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The guest's tables have no valid entry for the address.
    #[error("virtual address {0:#010x} is not mapped")]
    Unmapped(u64),
    /// There is no RAM.
    #[error("there is no RAM at physical address {0:#x}")]
    NoRam(u64),
    /// No memory is at hand for the address.
    #[error("address {0:#010x} is outside of the image")]
    Outside(u64),
}

/// Guest RAM by physical address. Reading has no side effects.
pub trait Physical {
    /// Fills `into` with the bytes from `pa` on.
    ///
    /// # Errors
    /// [`MemoryError::NoRam`] unless all of it is RAM.
    fn read(&self, pa: u64, into: &mut [u8]) -> Result<(), MemoryError>;
}

impl Physical for GuestRam {
    fn read(&self, pa: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        self.read_slice(into, GuestAddress(pa))
            .map_err(|_| MemoryError::NoRam(pa))
    }
}

/// Copies `size` bytes of RAM from `base` on, to search in; at most [`MAX_COPY`], and only as far
/// as there is RAM.
pub fn copy(physical: &dyn Physical, base: u64, size: u64) -> Vec<u8> {
    const CHUNK: usize = 1 << 16;
    let size = size.min(MAX_COPY) as usize;
    let mut copied = Vec::new();
    // In chunks: `size` may be far more than there is RAM, and is then never allocated.
    let mut chunk = vec![0; CHUNK];
    while copied.len() < size {
        let part = &mut chunk[..CHUNK.min(size - copied.len())];
        // RAM may be said to reach past the end of the address space: what is there is copied.
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

/// Memory by virtual address, little-endian.
pub trait Memory {
    /// Fills `into` with the bytes from `va` on; addresses wrap where the guest's do.
    ///
    /// # Errors
    /// [`MemoryError`] unless all of it can be read.
    fn read(&self, va: u64, into: &mut [u8]) -> Result<(), MemoryError>;

    /// Returns the four bytes at `va`, which need not be aligned.
    ///
    /// # Errors
    /// [`MemoryError`] if they cannot be read.
    fn word(&self, va: u64) -> Result<u32, MemoryError> {
        let mut bytes = [0; 4];
        self.read(va, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Returns the pointer at `va`, which need not be aligned, or any other value that is as wide.
    ///
    /// # Errors
    /// [`MemoryError`] if it cannot be read.
    fn pointer(&self, va: u64, width: Width) -> Result<u64, MemoryError> {
        // The bytes that a narrow pointer does not have stay 0, so that it is extended with zeros.
        let mut bytes = [0; 8];
        self.read(va, &mut bytes[..width.bytes() as usize])?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Returns the NUL-terminated text at `va` without its NUL, and whether it was complete. It is
    /// cut at `max` (no more than [`MAX_TEXT`]) bytes and where memory ends.
    ///
    /// # Errors
    /// [`MemoryError`] if not even the first byte can be read.
    fn text(&self, va: u64, max: usize) -> Result<(Vec<u8>, bool), MemoryError> {
        let mut text = Vec::new();
        let max = max.min(MAX_TEXT);
        while text.len() < max {
            let at = va.wrapping_add(text.len() as u64);
            // To the end of the page at most: the next one may be missing.
            #[expect(clippy::cast_possible_truncation, reason = "a page is small")]
            let room = (PAGE - at % PAGE) as usize;
            let mut bytes = vec![0; room.min(max - text.len())];
            if self.read(at, &mut bytes).is_err() {
                // Memory ends before the page does: byte by byte up to there.
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

/// The guest's memory as a core sees it.
#[derive(Clone, Copy)]
pub struct CoreMemory<'a, 'c>(pub &'a Core<'c>);

impl Memory for CoreMemory<'_, '_> {
    fn read(&self, va: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        let read = self.0.read(va, into);
        read.map_err(|NoMemory { va }| MemoryError::Unmapped(va))
    }
}

/// An unpacked kernel image as it will be in memory, to be looked at before the guest runs.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Virtual address of the first byte.
    pub base: u64,
    /// The image.
    pub bytes: &'a [u8],
}

impl Memory for Image<'_> {
    fn read(&self, va: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        // An address below the base wraps to one that is far outside of the image.
        let start = usize::try_from(va.wrapping_sub(self.base)).ok();
        let found = start
            .and_then(|start| self.bytes.get(start..start.checked_add(into.len())?))
            .ok_or(MemoryError::Outside(va))?;
        into.copy_from_slice(found);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
