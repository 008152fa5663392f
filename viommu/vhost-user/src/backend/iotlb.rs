//! The IOTLB of a device: the [`Model`] behind its space.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use viommu::vm_memory::Permissions;
use viommu::{DomainId, Fault, FaultReason, Mapping, Miss, Model, Requester};

use super::misses::{Answer, Misses};
use crate::sync::{lock, recover};

/// The most entries: with more, all are forgotten, and asked for again.
pub(super) const MAX_ENTRIES: usize = 1 << 16;

/// The only domain.
pub(super) const DOMAIN: DomainId = DomainId(0);

/// What is mapped; ranges do not overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    /// By first IOVA.
    all: BTreeMap<u64, Mapping>,
    /// Counts what was removed.
    removals: u64,
}

impl Entries {
    /// Returns the entry that contains an IOVA.
    pub fn find(&self, iova: u64) -> Option<Mapping> {
        let (_, entry) = self.all.range(..=iova).next_back()?;
        (iova <= entry.last).then_some(*entry)
    }

    /// Removes a range, in the middle of entries too; returns whether anything was there.
    pub fn remove(&mut self, first: u64, last: u64) -> bool {
        self.removals += 1;
        let mut any = false;
        while let Some((_, &entry)) = self.all.range(..=last).next_back() {
            if entry.last < first {
                break;
            }
            any = true;
            self.all.remove(&entry.first);
            // The part behind the range: not looked at again, as it begins behind it.
            if entry.last > last {
                let cut = last - entry.first + 1;
                let rest = Mapping {
                    first: last + 1,
                    address: entry.address + cut,
                    ..entry
                };
                self.all.insert(rest.first, rest);
            }
            if entry.first < first {
                let rest = Mapping {
                    last: first - 1,
                    ..entry
                };
                self.all.insert(rest.first, rest);
                break;
            }
        }
        any
    }

    /// Adds an entry in place of what was there; returns whether anything was.
    pub fn insert(&mut self, entry: Mapping) -> bool {
        let replaced = self.remove(entry.first, entry.last);
        if self.all.len() >= MAX_ENTRIES {
            // They still hold: whoever needs one asks for it.
            self.all.clear();
        }
        self.all.insert(entry.first, entry);
        replaced
    }

    /// Returns all entries by their IOVAs.
    pub fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.all.values()
    }

    fn clear(&mut self) {
        self.removals += 1;
        self.all.clear();
    }
}

/// The IOTLB, and how what it lacks is asked for.
#[derive(Debug)]
pub(super) struct Iotlb {
    entries: Mutex<Entries>,
    /// Notified when entries change.
    changed: Condvar,
    pub misses: Misses,
    timeout: Duration,
}

impl Iotlb {
    pub fn new(timeout: Duration) -> Self {
        Self {
            entries: Mutex::default(),
            changed: Condvar::new(),
            misses: Misses::default(),
            timeout,
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        lock(&self.entries)
    }

    /// Adds an entry in place of what was there; returns whether anything was.
    pub fn update(&self, entry: Mapping) -> bool {
        let replaced = self.entries().insert(entry);
        self.changed.notify_all();
        replaced
    }

    /// Removes a range. The translation unit has to be told, whatever was there.
    pub fn invalidate(&self, first: u64, last: u64) {
        self.entries().remove(first, last);
        self.changed.notify_all();
    }

    /// Removes everything.
    pub fn clear(&self) {
        self.entries().clear();
        self.changed.notify_all();
    }

    /// Asks the front end, and waits for the entry until `deadline`.
    fn ask(&self, iova: u64, wanted: Permissions, deadline: Instant) -> Option<Mapping> {
        loop {
            let removals = self.entries().removals;
            match self.misses.ask(iova, wanted, deadline) {
                Answer::Refused => return None,
                Answer::Expected => {}
            }
            let mut entries = self.entries();
            loop {
                if let Some(found) = entries.find(iova).filter(|found| allows(found, wanted)) {
                    return Some(found);
                }
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    drop(entries);
                    self.misses.failed(iova, wanted);
                    return None;
                }
                if entries.removals != removals {
                    // The answer may have come and gone.
                    break;
                }
                entries = recover(self.changed.wait_timeout(entries, left)).0;
            }
        }
    }
}

fn allows(mapping: &Mapping, wanted: Permissions) -> bool {
    mapping.permissions & wanted == wanted
}

impl Model for Iotlb {
    fn translate(
        &self,
        _: Requester,
        _: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        let found = self.entries().find(iova);
        if let Some(found) = found.filter(|found| allows(found, wanted)) {
            return Ok(found);
        }
        let answer = self.ask(iova, wanted, Instant::now() + self.timeout);
        answer.ok_or(Miss::new(match found {
            Some(_) => FaultReason::Permission,
            None => FaultReason::Translation,
        }))
    }

    fn fault(&self, fault: &Fault) {
        // The front end refused it, and so knows.
        tracing::debug!("{fault}");
    }
}

#[cfg(test)]
mod tests;
