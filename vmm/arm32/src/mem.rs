//! Guest physical memory as the core touches it: RAM by host pointer, devices through the [`Bus`].
//!
//! Guest RAM is shared with device threads and with the guest itself, so every access is volatile.

#![expect(
    unsafe_code,
    reason = "pages of guest memory are reached by the host pointers that the bus gave"
)]

use crate::bus::{Bus, BusFault, RamPage, Size};

/// Reads `size` bytes at physical address `pa`, little-endian. The access must not cross a 4 KiB
/// page.
///
/// # Errors
/// [`BusFault`] when neither RAM nor a device answers.
pub fn read_phys(bus: &dyn Bus, pa: u64, size: Size) -> Result<u64, BusFault> {
    match bus.ram(pa) {
        Some(page) => Ok(read_page_bytes(page, (pa & 0xfff) as u32, size.bytes())),
        None => bus.read(pa, size),
    }
}

/// Writes the low `size` bytes of `value` at physical address `pa`. The access must not cross a 4
/// KiB page. Predecoded code that was there is dropped.
///
/// # Errors
/// [`BusFault`] when neither writable RAM nor a device answers.
pub fn write_phys(bus: &dyn Bus, pa: u64, size: Size, value: u64) -> Result<(), BusFault> {
    match bus.ram(pa) {
        Some(page) => {
            write_ram(bus, page, (pa & 0xfff) as u32, size.bytes(), value)?;
            Ok(())
        }
        None => bus.write(pa, size, value),
    }
}

/// Reads up to 8 bytes from a RAM page at `offset`, little-endian; bytes past the end of the page
/// read as 0.
///
/// An aligned power-of-two access is single-copy atomic, as the architecture asks.
pub fn read_page_bytes(page: RamPage, offset: u32, size: u32) -> u64 {
    let at = offset as usize;
    if offset + size > 4096 {
        return (0..4096 - offset.min(4096))
            .rev()
            .fold(0, |v, i| v << 8 | read_page_bytes(page, offset + i, 1));
    }
    // SAFETY: the Bus contract gives 4096 readable bytes at `host`, aligned to 4096; `at + size` is
    // within them, and the wider accesses are made only where they are aligned.
    unsafe {
        let p = page.host.as_ptr().add(at);
        match size {
            1 => u64::from(p.read_volatile()),
            2 if offset.is_multiple_of(2) => {
                u64::from(u16::from_le(p.cast::<u16>().read_volatile()))
            }
            4 if offset.is_multiple_of(4) => {
                u64::from(u32::from_le(p.cast::<u32>().read_volatile()))
            }
            8 if offset.is_multiple_of(8) => u64::from_le(p.cast::<u64>().read_volatile()),
            _ => (0..size.min(8) as usize)
                .rev()
                .fold(0, |v, i| v << 8 | u64::from(p.add(i).read_volatile())),
        }
    }
}

/// The byte of a RAM page at `offset`, read as by [`read_page_bytes`].
#[inline]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "no more bytes were read")]
pub(crate) fn read_page_byte(page: RamPage, offset: u32) -> u8 {
    read_page_bytes(page, offset, 1) as u8
}

/// The halfword of a RAM page at `offset`, little-endian, read as by [`read_page_bytes`].
#[inline]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "no more bytes were read")]
pub(crate) fn read_page_half(page: RamPage, offset: u32) -> u16 {
    read_page_bytes(page, offset, 2) as u16
}

/// The word of a RAM page at `offset`, little-endian, read as by [`read_page_bytes`].
#[inline]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "no more bytes were read")]
pub(crate) fn read_page_word(page: RamPage, offset: u32) -> u32 {
    read_page_bytes(page, offset, 4) as u32
}

/// Writes up to 8 bytes to a page of the RAM of `bus` at `offset`, little-endian; bytes past the
/// end of the page are dropped. Predecoded code that was there is dropped, too; returns whether
/// there was any.
///
/// # Errors
/// [`BusFault`] when the page is not writable.
pub(crate) fn write_ram(
    bus: &dyn Bus,
    page: RamPage,
    offset: u32,
    size: u32,
    value: u64,
) -> Result<bool, BusFault> {
    write_page_bytes(page, offset, size, value)?;
    Ok(bus.code_pages().written(page.number, offset, size))
}

/// Writes up to 8 bytes to a RAM page at `offset`, little-endian; bytes past the end of the page
/// are dropped.
///
/// # Errors
/// [`BusFault`] when the page is not writable.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bytes are what is written"
)]
fn write_page_bytes(page: RamPage, offset: u32, size: u32, value: u64) -> Result<(), BusFault> {
    if !page.writable {
        return Err(BusFault);
    }
    let size = size.min(8).min(4096u32.saturating_sub(offset));
    // SAFETY: the Bus contract gives 4096 writable bytes at `host`, aligned to 4096;
    // `offset + size` is within them, and the wider accesses are made only where they are aligned.
    unsafe {
        let p = page.host.as_ptr().add(offset.min(4095) as usize);
        match size {
            2 if offset.is_multiple_of(2) => p.cast::<u16>().write_volatile((value as u16).to_le()),
            4 if offset.is_multiple_of(4) => p.cast::<u32>().write_volatile((value as u32).to_le()),
            8 if offset.is_multiple_of(8) => p.cast::<u64>().write_volatile(value.to_le()),
            _ => {
                for i in 0..size as usize {
                    p.add(i).write_volatile((value >> (8 * i)) as u8);
                }
            }
        }
    }
    Ok(())
}
