//! Regions of a front end's memory, as its messages name them.

use std::os::fd::OwnedFd;

use vhost::vhost_user::message::{VhostUserMemory, VhostUserMemoryRegion};
use viommu::vm_memory::ByteValued;

use crate::wire::{MAX_FDS, Message, WireError};

/// Where a region is: all its ends are numbers, and it is not empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Its guest physical address.
    pub guest: u64,
    /// Bytes.
    pub size: u64,
    /// Its address in the front end.
    pub user: u64,
    /// Where it begins in its file.
    pub offset: u64,
}

impl Extent {
    /// Checks what a message says of a region.
    pub fn new(message: &VhostUserMemoryRegion) -> Result<Self, &'static str> {
        let this = Self {
            guest: message.guest_phys_addr,
            size: message.memory_size,
            user: message.user_addr,
            offset: message.mmap_offset,
        };
        let starts = [this.guest, this.user, this.offset];
        let ends = starts.map(|start| start.checked_add(this.size));
        if this.size == 0 || ends.contains(&None) {
            return Err("a region of memory goes on beyond the address space, or is empty");
        }
        Ok(this)
    }

    /// Returns the guest physical address of a range of the front end's addresses.
    pub fn translate(&self, user: u64, size: u64) -> Option<u64> {
        let offset = user.checked_sub(self.user)?;
        let room = self.size.checked_sub(offset)?;
        (size <= room && room > 0).then(|| self.guest + offset)
    }
}

/// Takes the regions of a SET_MEM_TABLE, each with its file.
///
/// # Errors
/// Their number is not that of the file descriptors, or the message is longer or shorter.
pub(crate) fn take_table(
    message: &mut Message,
) -> Result<Vec<(VhostUserMemoryRegion, OwnedFd)>, WireError> {
    let fds = std::mem::take(&mut message.fds);
    let (header, bodies) = message.split_body::<VhostUserMemory>()?;
    let count = usize::try_from(header.num_regions).unwrap_or(usize::MAX);
    let size = size_of::<VhostUserMemoryRegion>();
    if count > MAX_FDS || bodies.len() != count * size || fds.len() != count {
        return Err(message.malformed());
    }
    let regions = bodies.chunks_exact(size).zip(fds).map(|(body, fd)| {
        let mut region = VhostUserMemoryRegion::default();
        region.as_mut_slice().copy_from_slice(body);
        (region, fd)
    });
    Ok(regions.collect())
}
