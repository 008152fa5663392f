//! Accesses to a space itself, each under a pin of its own.

use std::sync::atomic::Ordering;

use vm_memory::guest_memory::{Error, Result};
use vm_memory::{AtomicAccess, Bytes, GuestAddress, ReadVolatile, WriteVolatile};

use super::{DmaSpace, PinnedByEach};
use crate::host::StableHostMemory;

impl<M> DmaSpace<M> {
    /// Returns the same, pinned by each operation.
    #[inline]
    const fn by_each(&self) -> PinnedByEach<'_, M> {
        PinnedByEach { space: self }
    }
}

/// Each operation is pinned by itself, and no slice is left of it.
impl<M: StableHostMemory> Bytes<GuestAddress> for DmaSpace<M> {
    type E = Error;

    #[inline]
    fn write(&self, buf: &[u8], addr: GuestAddress) -> Result<usize> {
        self.by_each().write(buf, addr)
    }

    #[inline]
    fn read(&self, buf: &mut [u8], addr: GuestAddress) -> Result<usize> {
        self.by_each().read(buf, addr)
    }

    #[inline]
    fn write_slice(&self, buf: &[u8], addr: GuestAddress) -> Result<()> {
        self.by_each().write_slice(buf, addr)
    }

    #[inline]
    fn read_slice(&self, buf: &mut [u8], addr: GuestAddress) -> Result<()> {
        self.by_each().read_slice(buf, addr)
    }

    fn read_volatile_from<F: ReadVolatile>(
        &self,
        addr: GuestAddress,
        src: &mut F,
        count: usize,
    ) -> Result<usize> {
        self.by_each().read_volatile_from(addr, src, count)
    }

    fn read_exact_volatile_from<F: ReadVolatile>(
        &self,
        addr: GuestAddress,
        src: &mut F,
        count: usize,
    ) -> Result<()> {
        self.by_each().read_exact_volatile_from(addr, src, count)
    }

    fn write_volatile_to<F: WriteVolatile>(
        &self,
        addr: GuestAddress,
        dst: &mut F,
        count: usize,
    ) -> Result<usize> {
        self.by_each().write_volatile_to(addr, dst, count)
    }

    fn write_all_volatile_to<F: WriteVolatile>(
        &self,
        addr: GuestAddress,
        dst: &mut F,
        count: usize,
    ) -> Result<()> {
        self.by_each().write_all_volatile_to(addr, dst, count)
    }

    #[inline]
    fn store<T: AtomicAccess>(&self, val: T, addr: GuestAddress, order: Ordering) -> Result<()> {
        self.by_each().store(val, addr, order)
    }

    #[inline]
    fn load<T: AtomicAccess>(&self, addr: GuestAddress, order: Ordering) -> Result<T> {
        self.by_each().load(addr, order)
    }
}
