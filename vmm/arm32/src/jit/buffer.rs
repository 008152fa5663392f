//! Memory for code: mapped twice, once to write and once to execute, so that none of it is ever
//! both at one address.

#![expect(
    unsafe_code,
    reason = "memory is mapped, written beside code that may run, and executed"
)]

use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::cache;

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
        cache::publish(written, self.address(at), bytes.len());
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
        cache::publish(written, self.address(start), len);
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
