//! Accesses to a space itself, each under a pin of its own.

use std::sync::atomic::Ordering;

use vm_memory::bitmap::BS;
use vm_memory::guest_memory::{Error, GuestMemorySliceIterator, Result};
use vm_memory::{
    AtomicAccess, Bytes, GuestAddress, GuestMemory, GuestMemoryRegion, Permissions, ReadVolatile,
    WriteVolatile,
};

use super::{DmaSpace, slices};
use crate::host::StableHostMemory;

/// A space whose iterators pin it for as long as they live.
///
/// It never leaves this module: slices that are kept from it have no pin once the iterator is gone.
struct PinnedByEach<'s, M>(&'s DmaSpace<M>);

impl<M: StableHostMemory> GuestMemory for PinnedByEach<'_, M> {
    type PhysicalMemory = M;
    type Bitmap = <M::R as GuestMemoryRegion>::B;

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        slices::check(&*self.0.memory, &self.0.connection, addr.0, count, access)
    }

    #[inline]
    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'a, BS<'a, Self::Bitmap>>> {
        Ok(self.0.slices(addr, count, access, true))
    }
}

/// Each operation is pinned by itself, and no slice is left of it.
impl<M: StableHostMemory> Bytes<GuestAddress> for DmaSpace<M> {
    type E = Error;

    #[inline]
    fn write(&self, buf: &[u8], addr: GuestAddress) -> Result<usize> {
        PinnedByEach(self).write(buf, addr)
    }

    #[inline]
    fn read(&self, buf: &mut [u8], addr: GuestAddress) -> Result<usize> {
        PinnedByEach(self).read(buf, addr)
    }

    #[inline]
    fn write_slice(&self, buf: &[u8], addr: GuestAddress) -> Result<()> {
        PinnedByEach(self).write_slice(buf, addr)
    }

    #[inline]
    fn read_slice(&self, buf: &mut [u8], addr: GuestAddress) -> Result<()> {
        PinnedByEach(self).read_slice(buf, addr)
    }

    fn read_volatile_from<F: ReadVolatile>(
        &self,
        addr: GuestAddress,
        src: &mut F,
        count: usize,
    ) -> Result<usize> {
        PinnedByEach(self).read_volatile_from(addr, src, count)
    }

    fn read_exact_volatile_from<F: ReadVolatile>(
        &self,
        addr: GuestAddress,
        src: &mut F,
        count: usize,
    ) -> Result<()> {
        PinnedByEach(self).read_exact_volatile_from(addr, src, count)
    }

    fn write_volatile_to<F: WriteVolatile>(
        &self,
        addr: GuestAddress,
        dst: &mut F,
        count: usize,
    ) -> Result<usize> {
        PinnedByEach(self).write_volatile_to(addr, dst, count)
    }

    fn write_all_volatile_to<F: WriteVolatile>(
        &self,
        addr: GuestAddress,
        dst: &mut F,
        count: usize,
    ) -> Result<()> {
        PinnedByEach(self).write_all_volatile_to(addr, dst, count)
    }

    #[inline]
    fn store<T: AtomicAccess>(&self, val: T, addr: GuestAddress, order: Ordering) -> Result<()> {
        PinnedByEach(self).store(val, addr, order)
    }

    #[inline]
    fn load<T: AtomicAccess>(&self, addr: GuestAddress, order: Ordering) -> Result<T> {
        PinnedByEach(self).load(addr, order)
    }
}
