//! The memory of a front end, and where in IOVAs it is mapped.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vhost::vhost_user::message::VhostUserMemoryRegion;
use viommu::Mapping;

use crate::backend::Entries;
use crate::regions::Extent;
use crate::wire::{IotlbMessage, MAX_FDS};

/// The most ranges that a daemon is told of: the most file descriptors in one message.
pub const MAX_REGIONS: usize = MAX_FDS;

/// Files are mapped by pages of this size.
const PAGE: u64 = 0x1000;

/// Where the page is that a daemon is told of when there is nothing to tell: a table is not empty.
const PLACEHOLDER: u64 = 1 << 62;

/// A region of the front end.
#[derive(Clone, Debug)]
struct Region {
    extent: Extent,
    file: Arc<File>,
}

/// The memory of a front end, and where it is mapped.
#[derive(Debug, Default)]
pub(super) struct Table {
    regions: Vec<Region>,
    /// What IOVAs lead to: by guest physical address.
    entries: Entries,
}

/// A region as a daemon is told of it.
pub(super) type Told = (VhostUserMemoryRegion, Arc<File>);

impl Table {
    /// Sets the front end's memory; nothing is mapped then.
    pub fn set_memory(
        &mut self,
        regions: Vec<(VhostUserMemoryRegion, OwnedFd)>,
    ) -> Result<(), &'static str> {
        let mut all = Vec::with_capacity(regions.len());
        for (body, fd) in regions {
            all.push(Region {
                extent: Extent::new(&body)?,
                file: Arc::new(File::from(fd)),
            });
        }
        all.sort_by_key(|one| one.extent.guest);
        let overlap = |(one, next): (Extent, Extent)| next.guest - one.guest < one.size;
        let mut pairs = all.windows(2).map(|two| (two[0].extent, two[1].extent));
        if pairs.any(overlap) {
            return Err("regions of memory overlap");
        }
        self.regions = all;
        self.entries = Entries::default();
        Ok(())
    }

    /// Returns whether there is memory.
    pub const fn has_memory(&self) -> bool {
        !self.regions.is_empty()
    }

    /// Maps a range; returns whether anything changes.
    pub fn update(&mut self, about: &IotlbMessage) -> Result<bool, &'static str> {
        let last = about.last().ok_or("an empty range")?;
        let mut extents = self.regions.iter().map(|region| region.extent);
        let address = extents.find_map(|extent| extent.translate(about.user_address, about.size));
        let address = address.ok_or("a mapping to no memory")?;
        let entry = Mapping {
            first: about.iova,
            last,
            address,
            permissions: about.permissions,
        };
        if self.entries.find(about.iova) == Some(entry) {
            return Ok(false);
        }
        let before = self.entries.clone();
        self.entries.insert(entry);
        if self.regions(true).is_err() {
            self.entries = before;
            return Err("more ranges, or smaller ones, than a daemon can be told of");
        }
        Ok(true)
    }

    /// Unmaps a range; returns whether anything changes.
    pub fn invalidate(&mut self, about: &IotlbMessage) -> bool {
        about
            .last()
            .is_some_and(|last| self.entries.remove(about.iova, last))
    }

    /// Returns what a daemon is to be told.
    pub fn regions(&self, translated: bool) -> Result<Vec<Told>, &'static str> {
        let told = |first, size, user, offset, file: &Arc<File>| {
            let body = VhostUserMemoryRegion::new(first, size, user, offset);
            (body, Arc::clone(file))
        };
        if !translated {
            let all = self.regions.iter();
            let all = all.map(|Region { extent: one, file }| {
                told(one.guest, one.size, one.user, one.offset, file)
            });
            return Ok(all.collect());
        }
        let mut all: Vec<Told> = Vec::new();
        for entry in self.entries.iter() {
            let holds = |one: &&Region| {
                let offset = entry.address.checked_sub(one.extent.guest);
                offset.is_some_and(|offset| offset < one.extent.size)
            };
            let region = self
                .regions
                .iter()
                .find(holds)
                .ok_or("a mapping to no memory")?;
            let offset = region.extent.offset + (entry.address - region.extent.guest);
            let size = entry.last - entry.first + 1;
            if (offset | entry.first | size) % PAGE != 0 {
                return Err("a mapping of less than a page");
            }
            match all.last_mut() {
                Some((before, file))
                    if Arc::ptr_eq(file, &region.file)
                        && before.guest_phys_addr + before.memory_size == entry.first
                        && before.mmap_offset + before.memory_size == offset =>
                {
                    before.memory_size += size;
                }
                // The "user address" is the IOVA too: addresses of queues are translated with it.
                _ => all.push(told(entry.first, size, entry.first, offset, &region.file)),
            }
        }
        match all.len() {
            0 => Ok(vec![told(
                PLACEHOLDER,
                PAGE,
                PLACEHOLDER,
                0,
                &placeholder()?,
            )]),
            1..=MAX_REGIONS => Ok(all),
            _ => Err("more ranges than a daemon can be told of"),
        }
    }
}

fn placeholder() -> Result<Arc<File>, &'static str> {
    let memfd = memfd_create("placeholder", MemfdFlags::CLOEXEC);
    let memfd = memfd.and_then(|memfd| ftruncate(&memfd, PAGE).map(|()| memfd));
    let memfd = memfd.map_err(|_| "there are no more file descriptors")?;
    Ok(Arc::new(File::from(memfd)))
}

#[cfg(test)]
mod tests;
