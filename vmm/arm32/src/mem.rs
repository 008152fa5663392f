//! Guest physical memory as the core touches it: RAM by host pointer, devices through the [`Bus`].
//!
//! This and the software TLB are the only places with `unsafe` in the crate. Guest RAM is shared with device
//! threads and with the guest itself, so every access is a volatile one of a power-of-two size.

use crate::bus::{Bus, BusFault, RamPage, Size};

/// Reads `size` bytes at physical address `pa`, little-endian. The access must not cross a 4 KiB page.
///
/// # Errors
/// [`BusFault`] when neither RAM nor a device answers.
pub fn read_phys(bus: &dyn Bus, pa: u64, size: Size) -> Result<u64, BusFault> {
    match bus.ram(pa) {
        Some(page) => Ok(read_page(page, (pa & 0xfff) as u32, size)),
        None => bus.read(pa, size),
    }
}

/// Writes the low `size` bytes of `value` at physical address `pa`. The access must not cross a 4 KiB page.
///
/// # Errors
/// [`BusFault`] when neither writable RAM nor a device answers.
pub fn write_phys(bus: &dyn Bus, pa: u64, size: Size, value: u64) -> Result<(), BusFault> {
    match bus.ram(pa) {
        Some(page) => write_page(page, (pa & 0xfff) as u32, size, value),
        None => bus.write(pa, size, value),
    }
}

/// Reads from a RAM page at `offset`; bytes past the end of the page read as 0.
pub fn read_page(page: RamPage, offset: u32, size: Size) -> u64 {
    let mut bytes = [0u8; 8];
    let n = size.bytes() as usize;
    for (i, byte) in bytes.iter_mut().enumerate().take(n) {
        let at = offset as usize + i;
        if at < 4096 {
            // SAFETY: the Bus contract gives 4096 readable bytes at `host`, and `at` is below 4096.
            *byte = unsafe { page.host.as_ptr().add(at).read_volatile() };
        }
    }
    u64::from_le_bytes(bytes)
}

fn write_page(page: RamPage, offset: u32, size: Size, value: u64) -> Result<(), BusFault> {
    if !page.writable {
        return Err(BusFault);
    }
    for (i, byte) in value.to_le_bytes().into_iter().enumerate().take(size.bytes() as usize) {
        let at = offset as usize + i;
        if at < 4096 {
            // SAFETY: the Bus contract gives 4096 writable bytes at `host`, and `at` is below 4096.
            unsafe { page.host.as_ptr().add(at).write_volatile(byte) };
        }
    }
    Ok(())
}
