//! Accesses to a space itself, each under a pin of its own.

use std::sync::atomic::Ordering;

use vm_memory::guest_memory::{Error, Result};
use vm_memory::{AtomicAccess, Bytes, GuestAddress, Permissions, ReadVolatile, WriteVolatile};

use super::{DmaSpace, PinnedOnce};
use crate::host::StableHostMemory;

impl<M> DmaSpace<M> {
    /// Returns the same, pinned for one operation of `count` bytes at `addr`, which is announced
    /// before: an observer may take its time, for which no invalidation has to wait.
    #[inline(always)]
    fn once(&self, addr: GuestAddress, count: usize, access: Permissions) -> PinnedOnce<'_, M> {
        let port = self.port();
        if let Some(port) = port {
            port.announce(addr.0, count, access);
        }
        PinnedOnce {
            space: self,
            pin: port.map(|port| port.pin()),
        }
    }
}

/// Each operation is pinned by itself, and no slice is left of it.
impl<M: StableHostMemory> Bytes<GuestAddress> for DmaSpace<M> {
    type E = Error;

    #[inline]
    fn write(&self, buf: &[u8], addr: GuestAddress) -> Result<usize> {
        self.once(addr, buf.len(), Permissions::Write)
            .write(buf, addr)
    }

    #[inline]
    fn read(&self, buf: &mut [u8], addr: GuestAddress) -> Result<usize> {
        self.once(addr, buf.len(), Permissions::Read)
            .read(buf, addr)
    }

    #[inline]
    fn write_slice(&self, buf: &[u8], addr: GuestAddress) -> Result<()> {
        self.once(addr, buf.len(), Permissions::Write)
            .write_slice(buf, addr)
    }

    #[inline]
    fn read_slice(&self, buf: &mut [u8], addr: GuestAddress) -> Result<()> {
        self.once(addr, buf.len(), Permissions::Read)
            .read_slice(buf, addr)
    }

    fn read_volatile_from<F: ReadVolatile>(
        &self,
        addr: GuestAddress,
        src: &mut F,
        count: usize,
    ) -> Result<usize> {
        self.once(addr, count, Permissions::Write)
            .read_volatile_from(addr, src, count)
    }

    fn read_exact_volatile_from<F: ReadVolatile>(
        &self,
        addr: GuestAddress,
        src: &mut F,
        count: usize,
    ) -> Result<()> {
        self.once(addr, count, Permissions::Write)
            .read_exact_volatile_from(addr, src, count)
    }

    fn write_volatile_to<F: WriteVolatile>(
        &self,
        addr: GuestAddress,
        dst: &mut F,
        count: usize,
    ) -> Result<usize> {
        self.once(addr, count, Permissions::Read)
            .write_volatile_to(addr, dst, count)
    }

    fn write_all_volatile_to<F: WriteVolatile>(
        &self,
        addr: GuestAddress,
        dst: &mut F,
        count: usize,
    ) -> Result<()> {
        self.once(addr, count, Permissions::Read)
            .write_all_volatile_to(addr, dst, count)
    }

    #[inline]
    fn store<T: AtomicAccess>(&self, val: T, addr: GuestAddress, order: Ordering) -> Result<()> {
        self.once(addr, size_of::<T>(), Permissions::Write)
            .store(val, addr, order)
    }

    #[inline]
    fn load<T: AtomicAccess>(&self, addr: GuestAddress, order: Ordering) -> Result<T> {
        self.once(addr, size_of::<T>(), Permissions::Read)
            .load(addr, order)
    }
}
