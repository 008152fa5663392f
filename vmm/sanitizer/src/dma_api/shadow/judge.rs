//! Look-ups in the shadow, and what is wrong with an access.

use super::{Device, GuestDevice, Mapping, MappingKind, Past, Shadow};

/// What is wrong with an access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'s, C> {
    /// Nothing.
    Fine,
    /// Nothing is known of the device.
    Unknown,
    /// This address is in no mapping.
    Outside {
        /// The first such address.
        at: u64,
        /// A mapping with bytes in the same page, of 4 KiB.
        neighbour: Option<&'s Mapping<C>>,
        /// The mapping that had the address last.
        past: Option<&'s Past<C>>,
    },
    /// This mapping is for the other direction.
    Direction(&'s Mapping<C>),
    /// The device has no driver. This mapping was left over, if one has the address.
    Unbound(Option<&'s Mapping<C>>),
}

impl<C: Clone> Shadow<C> {
    /// Judges an access of a device to `first..=last`.
    pub fn judge(
        &self,
        device: GuestDevice,
        (first, last): (u64, u64),
        write: bool,
    ) -> Verdict<'_, C> {
        let known = match self.devices.get(&device) {
            Some(known) if !known.incomplete => known,
            _ => return Verdict::Unknown,
        };
        let mut at = first;
        loop {
            let here = || known.given(at, at);
            if !known.bound {
                return Verdict::Unbound(here().next());
            }
            // Several mappings may have an address: one that allows the access is enough.
            let Some(mapping) = here().find(|m| m.direction.allows(write)) else {
                return match here().next() {
                    Some(mapping) => Verdict::Direction(mapping),
                    None => known.outside(at),
                };
            };
            match mapping.last().checked_add(1) {
                Some(next) if next <= last => at = next,
                _ => return Verdict::Fine,
            }
        }
    }

    /// Returns a mapping of a device that has this address.
    pub fn at(&self, device: GuestDevice, address: u64) -> Option<&Mapping<C>> {
        let known = self.devices.get(&device)?;
        Some(&known.within(address, address).next()?.mapping)
    }

    /// Returns a mapping of a device with bytes in the page of this address, of 4 KiB.
    pub fn near(&self, device: GuestDevice, address: u64) -> Option<&Mapping<C>> {
        self.devices.get(&device)?.near(address)
    }

    /// Returns all mappings of a device that have this address.
    pub fn all_at(&self, device: GuestDevice, address: u64) -> impl Iterator<Item = &Mapping<C>> {
        let known = self.devices.get(&device).into_iter();
        let here = known.flat_map(move |known| known.within(address, address));
        here.map(|entry| &entry.mapping)
    }

    /// Returns the segments of the scatter list at address `list`.
    pub fn of_list(&self, device: GuestDevice, list: u64) -> impl Iterator<Item = &Mapping<C>> {
        let known = self.devices.get(&device).into_iter();
        let all = known.flat_map(|known| known.live.values().map(|entry| &entry.mapping));
        all.filter(move |mapping| mapping.kind == MappingKind::List(list))
    }

    /// Returns the mapping of a device that had this address last, of those that are no more.
    pub fn past(&self, device: GuestDevice, address: u64) -> Option<&Past<C>> {
        self.devices.get(&device)?.past(address)
    }

    /// Returns all mappings.
    pub fn iter(&self) -> impl Iterator<Item = (GuestDevice, &Mapping<C>)> {
        self.devices.iter().flat_map(|(&device, known)| {
            let live = known.live.values();
            live.map(move |entry| (device, &entry.mapping))
        })
    }
}

impl<C> Device<C> {
    fn outside(&self, at: u64) -> Verdict<'_, C> {
        Verdict::Outside {
            at,
            neighbour: self.near(at),
            past: self.past(at),
        }
    }

    fn near(&self, at: u64) -> Option<&Mapping<C>> {
        self.given(at & !0xfff, at | 0xfff).next()
    }

    fn past(&self, address: u64) -> Option<&Past<C>> {
        let mut latest = self.past.iter().rev();
        latest.find(|past| past.mapping.has(address))
    }
}
