//! The memory that a front end shares.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use vhost::vhost_user::message::VhostUserMemoryRegion;
use viommu::vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

use crate::regions::Extent;

/// The most regions, as in `vhost-user-backend`.
pub(super) const MAX_REGIONS: usize = 509;

/// A region, and what the front end says of it.
#[derive(Clone, Debug)]
struct Region {
    extent: Extent,
    memory: Arc<GuestRegionMmap<()>>,
}

impl Region {
    /// Maps a region.
    fn new(message: &VhostUserMemoryRegion, fd: OwnedFd) -> Result<Self, &'static str> {
        let extent = Extent::new(message)?;
        let length = usize::try_from(extent.size).map_err(|_| "a region of memory is too large")?;
        let file = FileOffset::new(File::from(fd), extent.offset);
        // It refuses what is beyond the end of the file.
        let mapped = MmapRegion::from_file(file, length);
        let mapped = mapped.map_err(|_| "a region of memory cannot be mapped")?;
        let memory = GuestRegionMmap::new(mapped, GuestAddress(extent.guest));
        let memory = memory.ok_or("a region of memory goes on beyond the address space")?;
        Ok(Self {
            extent,
            memory: Arc::new(memory),
        })
    }
}

/// The regions that a front end shares.
#[derive(Debug, Default)]
pub(super) struct Regions {
    all: Vec<Region>,
}

impl Regions {
    /// Replaces all regions; if one cannot be, nothing changes.
    pub fn replace(
        &mut self,
        regions: Vec<(VhostUserMemoryRegion, OwnedFd)>,
    ) -> Result<Arc<GuestMemoryMmap<()>>, &'static str> {
        if regions.is_empty() {
            return Err("there is no region of memory");
        }
        let regions = regions.into_iter();
        let new = regions.map(|(message, fd)| Region::new(&message, fd));
        self.change(new.collect::<Result<_, _>>()?)
    }

    /// Adds a region.
    pub fn add(
        &mut self,
        message: &VhostUserMemoryRegion,
        fd: OwnedFd,
    ) -> Result<Arc<GuestMemoryMmap<()>>, &'static str> {
        if self.all.len() >= MAX_REGIONS {
            return Err("there are too many regions of memory");
        }
        let mut all = self.all.clone();
        all.push(Region::new(message, fd)?);
        self.change(all)
    }

    /// Removes the region that was added by the same numbers; the offset in its file is not looked
    /// at, nor is a file descriptor ("`VHOST_USER_REM_MEM_REG`").
    pub fn remove(
        &mut self,
        message: &VhostUserMemoryRegion,
    ) -> Result<Arc<GuestMemoryMmap<()>>, &'static str> {
        let (guest, size) = (message.guest_phys_addr, message.memory_size);
        let user = message.user_addr;
        let is_it = |Region { extent: one, .. }: &Region| {
            (one.guest, one.size, one.user) == (guest, size, user)
        };
        let mut all = self.all.clone();
        let place = all.iter().position(is_it);
        all.remove(place.ok_or("there is no such region of memory")?);
        self.change(all)
    }

    fn change(&mut self, mut all: Vec<Region>) -> Result<Arc<GuestMemoryMmap<()>>, &'static str> {
        all.sort_by_key(|region| region.extent.guest);
        let regions: Vec<_> = all
            .iter()
            .map(|region| Arc::clone(&region.memory))
            .collect();
        let memory = match regions.is_empty() {
            true => GuestMemoryMmap::new(),
            false => GuestMemoryMmap::from_arc_regions(regions)
                .map_err(|_| "regions of memory overlap")?,
        };
        let mut users: Vec<_> = all
            .iter()
            .map(|Region { extent, .. }| (extent.user, extent.user + extent.size))
            .collect();
        users.sort_unstable();
        if users.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return Err("regions of memory overlap in the front end");
        }
        self.all = all;
        Ok(Arc::new(memory))
    }

    /// Returns the guest physical address of a range of the front end's addresses, which lies in
    /// one region.
    pub fn translate(&self, user: u64, size: u64) -> Option<u64> {
        let mut extents = self.all.iter().map(|region| region.extent);
        extents.find_map(|extent| extent.translate(user, size))
    }
}
