//! Instruction caches: what is written is not what is executed until they are told.
//!
//! On 64-bit ARM they need not be coherent with data (ARM ARM DDI 0487, "Synchronization and
//! coherency issues between data and instruction accesses"). On x86-64 they are, and so there is
//! nothing to do.

#![cfg_attr(
    target_arch = "aarch64",
    expect(
        unsafe_code,
        reason = "what maintains caches has no other name than that of its instruction"
    )
)]

#[cfg(target_arch = "aarch64")]
use std::arch::asm;

/// Has what was written be what is executed: nothing, on this host.
#[cfg(not(target_arch = "aarch64"))]
pub const fn publish(_written: *const u8, _executed: *const u8, _len: usize) {}

/// Has this thread execute what another one wrote: nothing, on this host.
#[cfg(not(target_arch = "aarch64"))]
pub const fn synchronise() {}

/// Has what was written at `written` be what is executed at `executed`, which is the same memory,
/// `len` bytes.
#[cfg(target_arch = "aarch64")]
pub fn publish(written: *const u8, executed: *const u8, len: usize) {
    let (data, instructions) = line_sizes();
    if len == 0 {
        return;
    }
    for line in lines(written, len, data) {
        // SAFETY: it cleans the line of an address that was just written, and changes no value.
        unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier: what is cleaned can be seen by instruction fetches before these are
    // invalidated.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    for line in lines(executed, len, instructions) {
        // SAFETY: it drops copies of a line of memory that the caller has mapped, and changes no
        // value.
        unsafe { asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier: it is done before anything behind this is executed.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// Has this thread fetch anew whatever it executes from here on: another one may have written it.
#[cfg(target_arch = "aarch64")]
pub fn synchronise() {
    // SAFETY: a barrier.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

/// Returns the sizes of the smallest lines of data and instruction caches, in bytes.
#[cfg(target_arch = "aarch64")]
fn line_sizes() -> (usize, usize) {
    let ctr: u64;
    // SAFETY: it reads CTR_EL0, which Linux lets programs do, or does for them.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    // DminLine and IminLine, the logarithms of their words.
    (4 << (ctr >> 16 & 15), 4 << (ctr & 15))
}

/// Returns an address in each line of `len` bytes at `start`.
#[cfg(target_arch = "aarch64")]
fn lines(start: *const u8, len: usize, line: usize) -> impl Iterator<Item = usize> {
    let start = start.addr();
    (start & !(line - 1)..start + len).step_by(line)
}
