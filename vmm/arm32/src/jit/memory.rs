//! Memory for code: mapped twice, once to write and once to execute, so that none of it is ever
//! both at one address.
//!
//! Instruction caches have to be told that what was written is what is executed. On 64-bit ARM they
//! need not be coherent with data (ARM ARM DDI 0487, "Synchronization and coherency issues between
//! data and instruction accesses"). On x86-64 they are, and so there is nothing to do.

#![expect(
    unsafe_code,
    reason = "memory is mapped and written beside code that may run, and caches are told"
)]

#[cfg(target_arch = "aarch64")]
use std::arch::asm;
use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Bytes of the memory; those that are never written take no room.
pub const SIZE: usize = 32 << 20;

/// The memory.
#[derive(Debug)]
pub struct CodeMemory {
    write: NonNull<u8>,
    execute: NonNull<u8>,
}

// SAFETY: it owns both mappings, and is used through exclusive references but for the address to
// execute.
unsafe impl Send for CodeMemory {}

impl CodeMemory {
    /// Maps the memory.
    ///
    /// # Errors
    /// The host allows no memory that can be executed.
    pub fn new() -> io::Result<Self> {
        let file = memfd_create("viommu code", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, SIZE as u64)?;
        let map = |protection| {
            // SAFETY: a new mapping at an address of the kernel's choice touches no other.
            unsafe {
                mmap(
                    std::ptr::null_mut(),
                    SIZE,
                    protection,
                    MapFlags::SHARED,
                    &file,
                    0,
                )
            }
        };
        let none = || io::Error::other("the host mapped address 0");
        let write = map(ProtFlags::READ | ProtFlags::WRITE)?;
        let write = NonNull::new(write.cast()).ok_or_else(none)?;
        match map(ProtFlags::READ | ProtFlags::EXEC) {
            Ok(execute) => Ok(Self {
                write,
                execute: NonNull::new(execute.cast()).ok_or_else(none)?,
            }),
            Err(error) => {
                unmap(write);
                Err(error.into())
            }
        }
    }

    /// Writes `bytes` at `at`, to be executed from now on.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(at <= SIZE && bytes.len() <= SIZE - at, "the code fits");
        // SAFETY: the range was just found to be within the mapping, which lives as long as `self`;
        // no reference into it exists. Code that is overwritten does not run: its core's thread is
        // the one that is here.
        unsafe {
            bytes
                .as_ptr()
                .copy_to_nonoverlapping(self.write.as_ptr().add(at), bytes.len());
        }
        let written = self.write.as_ptr().wrapping_add(at);
        publish(written, self.address(at), bytes.len());
    }

    /// Writes what is in `range` of `other` to the same place, as [`write`](Self::write) does.
    ///
    /// # Panics
    /// If it is none of the memory.
    pub fn copy(&mut self, other: &Self, range: Range<usize>) {
        let Range { start, end } = range;
        assert!(start <= end && end <= SIZE, "the code fits");
        let len = end - start;
        // SAFETY: the range was just found to be within either mapping, which live as long as their
        // owners. These are two, so the mappings are; no reference into one exists, and nobody
        // writes to `other` while it is borrowed.
        unsafe {
            other
                .write
                .as_ptr()
                .add(start)
                .copy_to_nonoverlapping(self.write.as_ptr().add(start), len);
        }
        let written = self.write.as_ptr().wrapping_add(start);
        publish(written, self.address(start), len);
    }

    /// Returns the address to execute what is at `at`.
    pub fn address(&self, at: usize) -> *const u8 {
        self.execute.as_ptr().wrapping_add(at)
    }
}

fn unmap(start: NonNull<u8>) {
    // SAFETY: it is one of the two mappings, which nobody uses any more.
    let _ = unsafe { munmap(start.as_ptr().cast::<c_void>(), SIZE) };
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        unmap(self.write);
        unmap(self.execute);
    }
}

/// Has what was written be what is executed: nothing, on this host.
#[cfg(not(target_arch = "aarch64"))]
const fn publish(_written: *const u8, _executed: *const u8, _len: usize) {}

/// Has this thread execute what another one wrote: nothing, on this host.
#[cfg(not(target_arch = "aarch64"))]
pub const fn synchronise() {}

/// Has what was written at `written` be what is executed at `executed`, which is the same memory,
/// `len` bytes.
#[cfg(target_arch = "aarch64")]
fn publish(written: *const u8, executed: *const u8, len: usize) {
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
