//! A shadow of what a kernel's DMA API has given to devices: pure data, which knows nothing of
//! guests or machines.
//!
//! Each live mapping is kept with the bytes that the device may access and the direction. Memory is
//! bounded: where there would be more than [`MAX_MAPPINGS`] or [`MAX_DEVICES`], the device that is
//! affected is not judged any more, as what is not known of it would look like a mistake.

mod freed;
mod judge;

use std::collections::{BTreeMap, VecDeque};

pub use judge::Verdict;

use super::owners::{OwnedId, Range};

/// The most mappings that are kept, of all devices. Disks and network cards have hundreds to
/// thousands at a time.
pub const MAX_MAPPINGS: usize = 1 << 16;
/// The most devices that are kept.
pub const MAX_DEVICES: usize = 1024;
/// The most mappings of a device that are remembered after they were unmapped.
pub const MAX_PAST: usize = 64;

/// A device, by the address of its `struct device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestDevice(pub u64);

/// The direction of a mapping, numbered as `enum dma_data_direction` of
/// include/linux/dma-direction.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `DMA_BIDIRECTIONAL`: the device reads and writes.
    Both,
    /// `DMA_TO_DEVICE`: the device only reads.
    ToDevice,
    /// `DMA_FROM_DEVICE`: the device only writes.
    FromDevice,
    /// `DMA_NONE`, or a number that has no meaning: the device does neither.
    Neither,
}

impl Direction {
    /// Returns the direction of this number.
    pub const fn of(number: u64) -> Self {
        match number {
            0 => Self::Both,
            1 => Self::ToDevice,
            2 => Self::FromDevice,
            _ => Self::Neither,
        }
    }

    /// Returns whether the device may make an access that writes, or one that does not.
    pub const fn allows(self, write: bool) -> bool {
        match self {
            Self::Both => true,
            Self::ToDevice => !write,
            Self::FromDevice => write,
            Self::Neither => false,
        }
    }

    /// Returns its name in the kernel.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Both => "DMA_BIDIRECTIONAL",
            Self::ToDevice => "DMA_TO_DEVICE",
            Self::FromDevice => "DMA_FROM_DEVICE",
            Self::Neither => "DMA_NONE",
        }
    }
}

/// The part of the DMA API by which a mapping was made, and is to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappingKind {
    /// `dma_map_single`, `dma_map_page`, `dma_map_resource` and the like.
    Streaming,
    /// One segment of a list that `dma_map_sg` mapped, by the address of the list.
    List(u64),
    /// `dma_alloc_coherent` and the like.
    Coherent,
    /// A block of the pool at this address.
    Block(u64),
}

/// What a device was given. `C` says who gave it and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping<C> {
    /// The first address, as the device uses it.
    pub first: u64,
    /// The number of bytes.
    pub bytes: u64,
    /// What the device may do.
    pub direction: Direction,
    /// How it was made.
    pub kind: MappingKind,
    /// A number for the first byte of the memory behind it, if known: equal for equal bytes, and
    /// counted in bytes.
    pub buffer: Option<u64>,
    /// Whether all pages of that memory were in use when it was mapped, by the kernel's records.
    pub in_use: bool,
    /// Its number among those whose memory belongs to a device.
    pub owned: Option<OwnedId>,
    /// What of that memory was freed, and by whom, if that was seen.
    pub freed: Option<(Range, C)>,
    /// Who made it.
    pub made: C,
}

impl<C> Mapping<C> {
    /// Returns the last address. Addresses end where 64 bits do.
    pub const fn last(&self) -> u64 {
        self.first.saturating_add(self.bytes.saturating_sub(1))
    }

    fn has(&self, address: u64) -> bool {
        self.bytes > 0 && (self.first..=self.last()).contains(&address)
    }
}

/// A mapping that is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past<C> {
    /// What it was.
    pub mapping: Mapping<C>,
    /// Who took it back.
    pub ended: C,
    /// Whether the call that took it back has returned, if that is watched.
    pub is_over: bool,
}

/// What became of a new mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapped<C> {
    /// It is kept, and nothing else has its addresses or its memory.
    New,
    /// It is kept beside this one, which has some of its addresses or of its memory, and the device
    /// writes to at least one of both.
    Twice(Mapping<C>),
    /// There is no room for it, or the device is not judged.
    Unknown,
}

/// What became of a mapping that is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmapped<C> {
    /// It was as said.
    Matched(Mapping<C>),
    /// It had another number of bytes or another direction than said; it is gone all the same.
    Differed(Mapping<C>),
    /// There is none that begins there. This one did, the last time.
    Nothing(Option<Past<C>>),
    /// The device is not judged.
    Unknown,
}

/// A mapping with what the shadow knows of it besides.
#[derive(Clone, Debug)]
struct Entry<C> {
    mapping: Mapping<C>,
    /// It was there when a driver unbound, which was said.
    left: bool,
    /// It is a pool's, which gives the device nothing but its blocks.
    pooled: bool,
}

/// The mappings of one device.
#[derive(Clone, Debug)]
struct Device<C> {
    /// The mappings by first address, and by a number that tells apart those with the same one.
    live: BTreeMap<(u64, u64), Entry<C>>,
    /// The same by the number of the memory behind them.
    buffers: BTreeMap<(u64, u64), u64>,
    /// The most bytes that a mapping ever had.
    longest: u64,
    past: VecDeque<Past<C>>,
    bound: bool,
    /// Mappings are missing: nothing can be said.
    incomplete: bool,
}

impl<C> Default for Device<C> {
    fn default() -> Self {
        Self {
            live: BTreeMap::new(),
            buffers: BTreeMap::new(),
            longest: 0,
            past: VecDeque::new(),
            bound: true,
            incomplete: false,
        }
    }
}

impl<C> Device<C> {
    /// Returns the mappings that have an address of `first..=last`, by first address.
    fn within(&self, first: u64, last: u64) -> impl Iterator<Item = &Entry<C>> {
        // No mapping that begins earlier reaches as far as `first`.
        let from = first.saturating_sub(self.longest);
        self.live
            .range((from, 0)..=(last, u64::MAX))
            .map(|(_, entry)| entry)
            .filter(move |entry| entry.mapping.bytes > 0 && entry.mapping.last() >= first)
    }

    /// Returns the same without what is a pool's.
    fn given(&self, first: u64, last: u64) -> impl Iterator<Item = &Mapping<C>> {
        let all = self.within(first, last).filter(|entry| !entry.pooled);
        all.map(|entry| &entry.mapping)
    }

    /// Returns a mapping that has addresses or memory of `new`, where a device writes to one.
    fn shared_with(&self, new: &Mapping<C>) -> Option<&Mapping<C>> {
        // The same memory may be read by a device any number of times (the kernel's own check,
        // kernel/dma/debug.c, exempts DMA_TO_DEVICE too).
        let conflicts = |entry: &&Entry<C>| {
            !entry.left
                && !entry.pooled
                && (new.direction.allows(true) || entry.mapping.direction.allows(true))
        };
        if new.bytes == 0 {
            return None;
        }
        let by_address = self.within(new.first, new.last()).find(conflicts);
        let by_memory = || {
            let buffer = new.buffer?;
            let last = buffer.saturating_add(new.bytes - 1);
            let from = buffer.saturating_sub(self.longest);
            let mut near = self.buffers.range((from, 0)..=(last, u64::MAX));
            near.find_map(|(&(start, serial), &first)| {
                let entry = self.live.get(&(first, serial))?;
                let end = start.saturating_add(entry.mapping.bytes);
                Some(entry).filter(|entry| end > buffer && conflicts(entry))
            })
        };
        Some(&by_address.or_else(by_memory)?.mapping)
    }

    fn remember(&mut self, mapping: Mapping<C>, ended: C) {
        if self.past.len() == MAX_PAST {
            self.past.pop_front();
        }
        self.past.push_back(Past {
            mapping,
            ended,
            is_over: false,
        });
    }
}

/// The mappings of all devices.
#[derive(Clone, Debug)]
pub struct Shadow<C> {
    devices: BTreeMap<GuestDevice, Device<C>>,
    /// The number of mappings, of all devices.
    count: usize,
    /// The number of the next mapping.
    serial: u64,
}

impl<C> Default for Shadow<C> {
    fn default() -> Self {
        Self {
            devices: BTreeMap::new(),
            count: 0,
            serial: 0,
        }
    }
}

impl<C: Clone> Shadow<C> {
    fn device(&mut self, device: GuestDevice) -> Option<&mut Device<C>> {
        if self.devices.len() >= MAX_DEVICES && !self.devices.contains_key(&device) {
            return None;
        }
        Some(self.devices.entry(device).or_default())
    }

    /// Takes note of a mapping, and of the device having a driver.
    pub fn map(&mut self, device: GuestDevice, mapping: Mapping<C>) -> Mapped<C> {
        let (full, serial) = (self.count >= MAX_MAPPINGS, self.serial);
        let Some(known) = self.device(device) else {
            return Mapped::Unknown;
        };
        known.bound = true;
        if full {
            known.incomplete = true;
        }
        if known.incomplete {
            return Mapped::Unknown;
        }
        let twice = known.shared_with(&mapping).cloned();
        known.longest = known.longest.max(mapping.bytes);
        if let Some(buffer) = mapping.buffer {
            known.buffers.insert((buffer, serial), mapping.first);
        }
        let key = (mapping.first, serial);
        let entry = Entry {
            mapping,
            left: false,
            pooled: false,
        };
        known.live.insert(key, entry);
        self.serial += 1;
        self.count += 1;
        twice.map_or(Mapped::New, Mapped::Twice)
    }

    /// Takes note that the allocation with this address is a pool's, of which the device may access
    /// no more than the blocks that are mapped; `false` if there is none.
    pub fn pool(&mut self, device: GuestDevice, address: u64) -> bool {
        let Some(known) = self.devices.get_mut(&device) else {
            return false;
        };
        let from = address.saturating_sub(known.longest);
        let mut near = known.live.range_mut((from, 0)..=(address, u64::MAX));
        let page = near.find(|(_, entry)| {
            entry.mapping.kind == MappingKind::Coherent && entry.mapping.has(address)
        });
        if let Some((_, entry)) = page {
            entry.pooled = true;
            return true;
        }
        false
    }

    /// Takes back the mapping of this kind at `first`, of which `ended` says so. `bytes` and
    /// `direction` are what the driver says of it, if it says that.
    pub fn unmap(
        &mut self,
        device: GuestDevice,
        kind: MappingKind,
        first: u64,
        (bytes, direction): (u64, Option<Direction>),
        ended: C,
    ) -> Unmapped<C> {
        let Some(known) = self.devices.get_mut(&device) else {
            return Unmapped::Nothing(None);
        };
        if known.incomplete {
            return Unmapped::Unknown;
        }
        let fits = |mapping: &Mapping<C>| {
            mapping.bytes == bytes && direction.is_none_or(|said| said == mapping.direction)
        };
        let here = || {
            let all = known.live.range((first, 0)..=(first, u64::MAX));
            all.filter(|(_, entry)| entry.mapping.kind == kind)
        };
        // Without translation one address may be mapped several times: the one that is meant is the
        // one that fits.
        let found = here()
            .find(|(_, entry)| fits(&entry.mapping))
            .or_else(|| here().next());
        let Some((&key, _)) = found else {
            let mut past = known.past.iter().rev();
            return Unmapped::Nothing(past.find(|past| past.mapping.first == first).cloned());
        };
        let Some(mapping) = self.remove(device, key, ended) else {
            return Unmapped::Unknown;
        };
        if fits(&mapping) {
            Unmapped::Matched(mapping)
        } else {
            Unmapped::Differed(mapping)
        }
    }

    /// Takes back all segments of the scatter list at address `list`; none if there are none.
    pub fn unmap_list(&mut self, device: GuestDevice, list: u64, ended: &C) -> Vec<Mapping<C>> {
        let Some(known) = self.devices.get(&device) else {
            return Vec::new();
        };
        let of_list = |entry: &Entry<C>| entry.mapping.kind == MappingKind::List(list);
        let keys: Vec<(u64, u64)> = known
            .live
            .iter()
            .filter(|(_, entry)| of_list(entry))
            .map(|(&key, _)| key)
            .collect();
        keys.into_iter()
            .filter_map(|key| self.remove(device, key, ended.clone()))
            .collect()
    }

    fn remove(&mut self, device: GuestDevice, key: (u64, u64), ended: C) -> Option<Mapping<C>> {
        let known = self.devices.get_mut(&device)?;
        let Entry { mapping, .. } = known.live.remove(&key)?;
        if let Some(buffer) = mapping.buffer {
            known.buffers.remove(&(buffer, key.1));
        }
        self.count -= 1;
        known.remember(mapping.clone(), ended);
        Some(mapping)
    }

    /// Takes note that the calls have returned that took back mappings of which `is_it` holds.
    pub fn returned(&mut self, device: GuestDevice, is_it: &dyn Fn(&Mapping<C>) -> bool) {
        let past = self.devices.get_mut(&device).map(|known| &mut known.past);
        for past in past.into_iter().flatten() {
            past.is_over |= is_it(&past.mapping);
        }
    }

    /// Stops judging a device, which is given memory in a way that is not followed.
    pub fn give_up(&mut self, device: GuestDevice) {
        let gone = match self.device(device) {
            Some(known) => {
                known.incomplete = true;
                known.buffers.clear();
                std::mem::take(&mut known.live).len()
            }
            None => 0,
        };
        self.count -= gone;
    }

    /// Returns whether nothing can be said of a device, as not all of its mappings are known.
    pub fn is_given_up(&self, device: GuestDevice) -> bool {
        self.devices
            .get(&device)
            .is_some_and(|known| known.incomplete)
    }

    /// Forgets a device: another one is at its address.
    pub fn forget(&mut self, device: GuestDevice) {
        if let Some(known) = self.devices.remove(&device) {
            self.count -= known.live.len();
        }
    }

    /// Takes note that a device has no driver any more, and returns the mappings that it still has
    /// and that were not returned before.
    pub fn unbind(&mut self, device: GuestDevice) -> Vec<Mapping<C>> {
        let Some(known) = self.devices.get_mut(&device) else {
            return Vec::new();
        };
        known.bound = false;
        let mut left = Vec::new();
        for entry in known.live.values_mut().filter(|entry| !entry.left) {
            entry.left = true;
            left.push(entry.mapping.clone());
        }
        left
    }
}

#[cfg(test)]
mod tests;
