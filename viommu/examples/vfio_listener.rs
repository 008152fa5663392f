//! A VFIO container that follows what an endpoint of a virtio-iommu meets.
//!
//! `cargo run -p viommu --example vfio_listener`

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::Arc;

use viommu::virtio::{EndpointConfig, Observers, VirtioIommu, VirtioIommuConfig, spec};
use viommu::{Attachment, DmaListener, Mapping, Refusal};
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, Permissions,
};

/// What there is to call: `vfio_dma_map` and `vfio_dma_unmap` of vfio-ioctls, on a VFIO container
/// or on an I/O address space of iommufd.
pub trait Container: Send + Sync {
    /// Maps `size` bytes at the host's `user_addr`.
    fn dma_map(&self, iova: u64, size: u64, user_addr: u64, allow: Permissions) -> io::Result<()>;
    /// Unmaps all that is mapped in a range, which cuts no mapping in two.
    fn dma_unmap(&self, iova: u64, size: u64) -> io::Result<()>;
}

/// Has a container follow an endpoint. Unmappings are flushed together.
pub struct VfioListener<C> {
    container: C,
    memory: Arc<GuestMemoryMmap<()>>,
    /// Size by IOVA, a piece for each region of memory that a mapping reaches into.
    pieces: BTreeMap<u64, u64>,
    /// Ranges that are to be unmapped: IOVA and size.
    gone: Vec<(u64, u64)>,
    /// The container did not unmap something: nothing is known of it any more.
    broken: bool,
}

impl<C: Container> VfioListener<C> {
    /// Creates one over an empty container.
    pub fn new(container: C, memory: Arc<GuestMemoryMmap<()>>) -> Self {
        Self {
            container,
            memory,
            pieces: BTreeMap::new(),
            gone: Vec::new(),
            broken: false,
        }
    }

    /// Unmaps what is gone, neighbours by one call.
    fn flush(&mut self) {
        self.gone.sort_unstable();
        let joined = self.gone.chunk_by(|one, next| one.0 + one.1 == next.0);
        for run in joined {
            let size = run.iter().map(|(_, size)| size).sum();
            self.broken |= self.container.dma_unmap(run[0].0, size).is_err();
        }
        self.gone.clear();
    }
}

impl<C: Container> DmaListener for VfioListener<C> {
    fn attach(&mut self, to: Attachment) -> Result<(), Refusal> {
        self.unmap(0, u64::MAX);
        self.flush();
        if to == Attachment::Bypass {
            let memory = Arc::clone(&self.memory);
            for region in memory.iter() {
                self.map(&Mapping {
                    first: region.start_addr().0,
                    last: region.last_addr().0,
                    address: region.start_addr().0,
                    permissions: Permissions::ReadWrite,
                })?;
            }
        }
        Ok(())
    }

    fn map(&mut self, mapping: &Mapping) -> Result<(), Refusal> {
        // The same IOVAs may have been unmapped in this batch.
        self.flush();
        // The sum cannot be said if it is all of 64 bits; so much memory there is not.
        let size = (mapping.last - mapping.first).checked_add(1);
        let size = size.and_then(|size| usize::try_from(size).ok());
        let size = size.filter(|_| !self.broken).ok_or(Refusal::Device)?;
        let memory = Arc::clone(&self.memory);
        let mut iova = mapping.first;
        for slice in memory.get_slices(GuestAddress(mapping.address), size) {
            let mapped = slice.map_err(|_| Refusal::Device).and_then(|slice| {
                let (host, size) = (slice.ptr_guard().as_ptr().addr() as u64, slice.len() as u64);
                let mapped = self
                    .container
                    .dma_map(iova, size, host, mapping.permissions);
                mapped.map_err(|_| Refusal::NoMemory)?;
                self.pieces.insert(iova, size);
                iova += size;
                Ok(())
            });
            if let Err(why) = mapped {
                // All or nothing.
                self.unmap(mapping.first, mapping.last);
                self.flush();
                return Err(why);
            }
        }
        Ok(())
    }

    fn unmap(&mut self, first: u64, last: u64) {
        while let Some((&iova, &size)) = self.pieces.range(first..=last).next() {
            self.pieces.remove(&iova);
            self.gone.push((iova, size));
        }
    }

    fn commit(&mut self) {
        self.flush();
    }
}

/// Prints what a container would be told.
struct Printer;

impl Container for Printer {
    fn dma_map(&self, iova: u64, size: u64, _: u64, allow: Permissions) -> io::Result<()> {
        println!("map {size:#x} bytes at {iova:#x}, {allow:?}");
        Ok(())
    }

    fn dma_unmap(&self, iova: u64, size: u64) -> io::Result<()> {
        println!("unmap {size:#x} bytes at {iova:#x}");
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let ranges = [(GuestAddress(0x4000_0000), 0x10_0000)];
    let ram = Arc::new(GuestMemoryMmap::from_ranges(&ranges)?);
    let config = VirtioIommuConfig::new([EndpointConfig::new(8)]);
    let (memory, waiting) = (Arc::clone(&ram), Box::new(|| {}));
    let mut iommu = VirtioIommu::new(memory, config, waiting, Observers::default())?;
    iommu.activate(iommu.offered_features())?;
    println!("endpoint 8 is not translated:");
    iommu.add_listener(8, Box::new(VfioListener::new(Printer, ram)))?;
    println!("the driver has it blocked:");
    iommu.write_config(spec::config::BYPASS as u64, &[0]);
    Ok(())
}
