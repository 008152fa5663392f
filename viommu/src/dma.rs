//! The memory that one bus master sees.

use std::iter::FusedIterator;
use std::sync::Arc;

use vm_memory::bitmap::BS;
use vm_memory::guest_memory::{Error, GuestMemorySliceIterator, Result};
use vm_memory::{
    GuestAddress, GuestMemory, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, Permissions,
    VolatileSlice,
};

use crate::event::Event;
use crate::fault::{Access, EndpointId, Fault, FaultReason};
use crate::model::Miss;
use crate::unit::{Attachment, TranslationUnit};

/// The memory that one bus master sees: the only door from a device to guest memory.
///
/// Addresses are the device's own (IOVA); where no IOMMU stands in between they are guest physical addresses.
/// `DmaSpace` implements [`GuestMemory`], so `virtio-queue` and other rust-vmm device code run on it unchanged,
/// and gives no other way to memory: [`GuestMemory::physical_memory`] answers `None` although a
/// space that passes through could name its memory, so that no device can come to depend on it.
///
/// Clones are cheap and are the same space.
///
/// ```
/// use std::sync::Arc;
///
/// use viommu::DmaSpace;
/// use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
///
/// let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0x4000_0000), 0x1000)])?;
/// let dma = DmaSpace::pass_through(Arc::new(ram));
/// dma.write_obj(7u32, GuestAddress(0x4000_0010))?;
/// assert_eq!(dma.read_obj::<u32>(GuestAddress(0x4000_0010))?, 7);
/// assert!(dma.read_obj::<u32>(GuestAddress(0)).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DmaSpace<M = GuestMemoryMmap<()>> {
    memory: Arc<M>,
    port: Option<(Arc<TranslationUnit<M>>, EndpointId)>,
}

impl<M> Clone for DmaSpace<M> {
    fn clone(&self) -> Self {
        Self {
            memory: Arc::clone(&self.memory),
            port: self.port.clone(),
        }
    }
}

impl<M> std::fmt::Debug for DmaSpace<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DmaSpace")
            .field(
                "endpoint",
                &self.port.as_ref().map(|(_, endpoint)| endpoint),
            )
            .finish_non_exhaustive()
    }
}

impl<M> DmaSpace<M> {
    /// The space of a device without an IOMMU: every IOVA is the guest physical address of the same number, and
    /// all RAM may be read and written.
    pub fn pass_through(memory: Arc<M>) -> Self {
        Self { memory, port: None }
    }

    pub(crate) fn translated(unit: Arc<TranslationUnit<M>>, endpoint: EndpointId) -> Self {
        Self {
            memory: Arc::clone(&unit.memory),
            port: Some((unit, endpoint)),
        }
    }

    /// Pins the space for one bounded piece of work, such as one descriptor chain: slices that the
    /// guard gives out stay valid as translations until it is dropped, and a [grace period](crate::GracePeriod) that
    /// begins meanwhile ends only then.
    pub fn pin(&self) -> Pinned<'_, M> {
        Pinned { space: self }
    }
}

/// A [`DmaSpace`] pinned for one bounded piece of work.
#[derive(Debug)]
pub struct Pinned<'s, M = GuestMemoryMmap<()>> {
    space: &'s DmaSpace<M>,
}

impl<M> Clone for Pinned<'_, M> {
    fn clone(&self) -> Self {
        self.space.pin()
    }
}

impl<M: GuestMemoryBackend> GuestMemory for Pinned<'_, M> {
    type PhysicalMemory = M;
    type Bitmap = <M::R as GuestMemoryRegion>::B;

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        self.space.check_range(addr, count, access)
    }

    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'a, BS<'a, Self::Bitmap>>> {
        self.space.get_slices(addr, count, access)
    }
}

impl<M: GuestMemoryBackend> DmaSpace<M> {
    /// Where `iova` leads: guest physical address and how many bytes from there on are contiguous, less one.
    fn resolve(&self, iova: u64, access: Permissions, tell: bool) -> Result<(u64, u64)> {
        let Some((unit, endpoint)) = &self.port else {
            return Ok((iova, u64::MAX - iova));
        };
        let domain = match unit.attachment(*endpoint) {
            Attachment::Bypass => return Ok((iova, u64::MAX - iova)),
            Attachment::Blocked => None,
            Attachment::Domain(domain) => Some(domain),
        };
        let answer = domain.map_or(
            Err(Miss {
                reason: FaultReason::Blocked,
                level: None,
            }),
            |domain| unit.model.translate(*endpoint, domain, iova, access),
        );
        match answer {
            Ok(mapping) => Ok((
                mapping.address.wrapping_add(iova - mapping.first),
                mapping.last - iova,
            )),
            Err(Miss { reason, level }) => {
                if tell {
                    let fault = Fault {
                        endpoint: *endpoint,
                        domain,
                        iova,
                        access: Access::of(access),
                        reason,
                        level,
                    };
                    unit.model.fault(&fault);
                    unit.emit(&Event::Fault(fault));
                }
                Err(Error::InvalidGuestAddress(GuestAddress(iova)))
            }
        }
    }
}

/// The slices of one access.
struct Slices<'a, M> {
    space: &'a DmaSpace<M>,
    iova: u64,
    left: usize,
    access: Permissions,
    tell: bool,
}

impl<'a, M: GuestMemoryBackend> Slices<'a, M> {
    fn piece(&mut self) -> Result<VolatileSlice<'a, BS<'a, <M::R as GuestMemoryRegion>::B>>> {
        let (address, beyond) = self.space.resolve(self.iova, self.access, self.tell)?;
        let len = usize::try_from(beyond)
            .unwrap_or(usize::MAX)
            .saturating_add(1)
            .min(self.left);
        let slice = GuestMemoryBackend::get_slices(&*self.space.memory, GuestAddress(address), len)
            .next()
            .unwrap_or(Err(Error::InvalidGuestAddress(GuestAddress(address))))
            .inspect_err(|_| {
                if let (true, Some((unit, endpoint))) = (self.tell, &self.space.port) {
                    unit.emit(&Event::BusError {
                        endpoint: *endpoint,
                        iova: self.iova,
                        address,
                        access: Access::of(self.access),
                    });
                }
            })?;
        self.left -= slice.len();
        match self.iova.checked_add(slice.len() as u64) {
            Some(next) => self.iova = next,
            None if self.left == 0 => {}
            None => return Err(Error::GuestAddressOverflow),
        }
        Ok(slice)
    }
}

impl<'a, M: GuestMemoryBackend> Iterator for Slices<'a, M> {
    type Item = Result<VolatileSlice<'a, BS<'a, <M::R as GuestMemoryRegion>::B>>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        Some(self.piece().inspect_err(|_| self.left = 0))
    }
}

impl<M: GuestMemoryBackend> FusedIterator for Slices<'_, M> {}

impl<'a, M: GuestMemoryBackend> GuestMemorySliceIterator<'a, BS<'a, <M::R as GuestMemoryRegion>::B>>
    for Slices<'a, M>
{
}

impl<M: GuestMemoryBackend> GuestMemory for DmaSpace<M> {
    type PhysicalMemory = M;
    type Bitmap = <M::R as GuestMemoryRegion>::B;

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        let mut slices = Slices {
            space: self,
            iova: addr.0,
            left: count,
            access,
            tell: false,
        };
        slices.all(|slice| slice.is_ok())
    }

    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'a, BS<'a, Self::Bitmap>>> {
        if let Some((unit, endpoint)) = &self.port {
            unit.emit(&Event::Dma {
                endpoint: *endpoint,
                iova: addr.0,
                length: count,
                access,
            });
        }
        Ok(Slices {
            space: self,
            iova: addr.0,
            left: count,
            access,
            tell: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use virtio_bindings::bindings::virtio_ring::VRING_DESC_F_WRITE;
    use virtio_queue::desc::{RawDescriptor, split::Descriptor};
    use virtio_queue::mock::MockSplitQueue;
    use virtio_queue::{Queue, QueueT};
    use vm_memory::Bytes;

    use super::*;

    const PAGE: u64 = 0x1000;
    const BASE: u64 = 0x4000_0000;

    /// Two adjacent regions of two pages each, a hole of one page, and one more page.
    fn space() -> DmaSpace {
        let ranges = [
            (GuestAddress(BASE), 0x2000),
            (GuestAddress(BASE + 2 * PAGE), 0x2000),
            (GuestAddress(BASE + 5 * PAGE), 0x1000),
        ];
        DmaSpace::pass_through(Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap()))
    }

    fn slice_lengths(dma: &DmaSpace, addr: u64, count: usize) -> Option<Vec<usize>> {
        dma.get_slices(GuestAddress(addr), count, Permissions::ReadWrite)
            .unwrap()
            .map(|slice| slice.map(|s| s.len()))
            .collect::<std::result::Result<_, _>>()
            .ok()
    }

    #[test]
    fn a_range_within_a_region_is_one_slice() {
        let dma = space();
        let across_pages = slice_lengths(&dma, BASE + PAGE - 8, 16);
        assert_eq!(across_pages, Some(vec![16]));
    }

    #[test]
    fn a_range_across_regions_is_split_and_its_bytes_keep_their_order() {
        let dma = space();
        assert_eq!(
            slice_lengths(&dma, BASE + 2 * PAGE - 3, 8),
            Some(vec![3, 5])
        );
        let addr = GuestAddress(BASE + 2 * PAGE - 3);
        dma.write_slice(b"abcdefgh", addr).unwrap();
        let mut back = [0; 8];
        dma.read_slice(&mut back, addr).unwrap();
        assert_eq!(&back, b"abcdefgh");
        assert_eq!(
            dma.read_obj::<u8>(GuestAddress(BASE + 2 * PAGE)).unwrap(),
            b'd'
        );
    }

    #[test]
    fn length_zero_is_fine_anywhere() {
        let dma = space();
        for addr in [BASE, BASE + 4 * PAGE, 0, u64::MAX] {
            assert_eq!(slice_lengths(&dma, addr, 0), Some(vec![]), "{addr:#x}");
            assert!(dma.check_range(GuestAddress(addr), 0, Permissions::Write));
        }
    }

    #[test]
    fn holes_and_the_end_of_memory_are_errors() {
        let dma = space();
        let end = BASE + 6 * PAGE;
        let ok = |addr, count| dma.check_range(GuestAddress(addr), count, Permissions::Read);
        assert!(ok(end - 4, 4));
        assert!(!ok(end - 4, 5));
        assert!(!ok(end, 1));
        assert!(!ok(BASE - 1, 1));
        assert!(!ok(BASE - 1, 2));
        assert!(!ok(BASE + 4 * PAGE - 1, 2));
        assert!(!ok(BASE, usize::MAX));
        let mut back = [0xaa; 2];
        let partial = dma.read_slice(&mut back, GuestAddress(end - 1));
        assert!(partial.is_err());
    }

    #[test]
    fn ranges_that_wrap_are_errors() {
        let dma = space();
        for (addr, count) in [
            (u64::MAX, 2),
            (u64::MAX, 1),
            (u64::MAX - 1, usize::MAX),
            (BASE, usize::MAX),
        ] {
            assert!(
                !dma.check_range(GuestAddress(addr), count, Permissions::Write),
                "{addr:#x}+{count:#x}"
            );
            assert_eq!(slice_lengths(&dma, addr, count), None);
        }
    }

    #[test]
    fn memory_that_ends_with_the_address_space_is_reached() {
        let top = u64::MAX - 0xfff;
        let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(top), 0xfff)]).unwrap();
        let dma = DmaSpace::pass_through(Arc::new(ram));
        assert!(dma.check_range(GuestAddress(u64::MAX - 1), 1, Permissions::Read));
        assert!(!dma.check_range(GuestAddress(u64::MAX - 1), 3, Permissions::Read));
    }

    #[test]
    fn clones_are_the_same_space_and_name_no_memory() {
        let dma = space();
        let clone = dma.clone();
        clone.write_obj(0x55u8, GuestAddress(BASE)).unwrap();
        assert_eq!(dma.read_obj::<u8>(GuestAddress(BASE)).unwrap(), 0x55);
        assert!(dma.physical_memory().is_none());
    }

    #[test]
    fn a_virtio_queue_runs_on_it() {
        let dma = space();
        let driver = MockSplitQueue::create(&dma, GuestAddress(BASE), 16);
        let buffer = GuestAddress(BASE + 2 * PAGE - 4);
        let descriptor = Descriptor::new(buffer.0, 8, VRING_DESC_F_WRITE as u16, 0);
        driver
            .build_desc_chain(&[RawDescriptor::from(descriptor)])
            .unwrap();
        let mut queue: Queue = driver.create_queue().unwrap();
        assert!(queue.is_valid(&dma));
        let chain = queue.pop_descriptor_chain(&dma).unwrap();
        let head = chain.head_index();
        let mut writer = chain.writer(&dma).unwrap();
        std::io::Write::write_all(&mut writer, b"virtio!!").unwrap();
        queue.add_used(&dma, head, 8).unwrap();
        let mut back = [0; 8];
        dma.read_slice(&mut back, buffer).unwrap();
        assert_eq!(&back, b"virtio!!");
        assert_eq!(u16::from_le(driver.used().idx().load()), 1);
    }
}
