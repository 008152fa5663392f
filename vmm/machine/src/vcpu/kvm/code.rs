//! Instructions in the guest's memory, read and changed while its cores stand still.

#![expect(
    unsafe_code,
    reason = "instruction caches are kept coherent by instructions"
)]

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};
use vmm_devices::ram::GuestRam;

/// Bytes from one place of which a data or instruction cache may hold parts: no processor has
/// shorter lines.
const LINE: usize = 16;

/// Returns the bytes at physical address `pa`, if there is RAM.
pub(super) fn read(ram: &GuestRam, pa: u64, into: &mut [u8]) -> Option<()> {
    ram.read_slice(into, GuestAddress(pa)).ok()
}

/// Writes instructions to physical address `pa`, within a page, so that the guest's cores execute
/// them from now on; `None` when there is no RAM.
pub(super) fn write(ram: &GuestRam, pa: u64, bytes: &[u8]) -> Option<()> {
    ram.write_slice(bytes, GuestAddress(pa)).ok()?;
    let host = ram.get_host_address(GuestAddress(pa)).ok()?;
    let first = host as usize & !(LINE - 1);
    let lines = (first..host as usize + bytes.len()).step_by(LINE);
    for line in lines.clone() {
        // SAFETY: this cleans a line of a mapping of ours to where instructions are fetched from;
        // it changes no value.
        unsafe {
            std::arch::asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags));
        }
    }
    // The new bytes must have arrived before instruction caches fetch them.
    // SAFETY: a barrier.
    unsafe { std::arch::asm!("dsb ish", options(nostack, preserves_flags)) };
    for line in lines {
        // SAFETY: this drops copies of instructions from instruction caches, which are fetched
        // again when needed.
        unsafe {
            std::arch::asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags));
        }
    }
    // SAFETY: barriers.
    unsafe { std::arch::asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
    Some(())
}
