//! What was seen in a run, before anybody judges it.

use std::collections::BTreeMap;

use vmm_machine::board::Board;
use vmm_machine::{IommuModel, Reason, StepSummary};

use super::guest::Disk;
use super::hits::{Leftover, device};
use super::load::Case;
use super::mistakes::Sanitized;
use super::ops::TEARDOWN;
use super::undecided::Undecided;
use vmm_introspect::probe::{Hit, Probe};
use vmm_timeline::{Event, Kind, Lane, Route, Timeline};

/// All that is known of a run.
pub(super) struct Evidence<'r> {
    pub case: &'r Case,
    pub disks: &'r [Disk],
    /// The kernel's names of the devices, each with its name in the timeline.
    pub names: &'r BTreeMap<String, String>,
    pub probes: &'r [Probe],
    pub hits: &'r [Hit],
    /// Pages that were given back and are still mapped.
    pub leftovers: &'r [Leftover],
    /// What a sanitizer says, if one looked on.
    pub sanitized: Option<&'r Sanitized>,
    pub timeline: Timeline,
    pub console: String,
    pub reason: Reason,
    /// What the DMA tester's script met, step by step.
    pub dma_script: Vec<StepSummary>,
    pub board: &'r Board,
}

impl Evidence<'_> {
    /// Checks that the run says something about the kernel.
    pub fn decidable(&self) -> Result<(), Undecided> {
        let acted = self.hits.iter().any(|hit| !hit.changes.is_empty());
        // A behaviour that has changed the guest may be why it does not come up: that is a result.
        let ready = self.console.contains("guest: ready");
        if !ready && !acted && !self.may_not_come_up() {
            return Err(Undecided::NoUserSpace(self.reason));
        }
        // Without a device behind an IOMMU there is nothing to be lost. One that has a driver for
        // its IOMMU and was not attached is behind it all the same.
        let found = self.line(&["Adding to iommu group "]).is_some();
        if self.case.topology.iommu != IommuModel::None
            && !found
            && !self.any(|lane, kind| {
                matches!(lane, Lane::Utlb { .. })
                    && matches!(
                        kind,
                        Kind::Attachment {
                            to: Route::Context { .. }
                        }
                    )
            })
        {
            return Err(Undecided::NoAttach);
        }
        if self.said().any(|line| line == "no clocks") {
            return Err(Undecided::ClocksRefused);
        }
        for disk in self.disks.iter().filter(|disk| self.is_subject(disk.role)) {
            let seen = self.hits_of(TEARDOWN, false, &disk.device);
            // As few as a run keeps.
            #[expect(clippy::cast_possible_truncation, reason = "a run keeps few")]
            let seen = seen.count() as u32;
            // A kernel that does not survive the first teardown has no second one.
            let ended = self.reason == Reason::PowerOff && !self.crashed();
            if seen < self.case.trigger.teardowns && !(acted && seen > 0 && !ended) {
                return Err(Undecided::NoTrigger {
                    role: disk.role,
                    seen,
                    wanted: self.case.trigger.teardowns,
                });
            }
        }
        Ok(())
    }

    /// Returns whether the scenario is one in which a stock kernel does not come to user space
    /// either.
    fn may_not_come_up(&self) -> bool {
        self.case.expect.see.iter().any(|sign| sign == "hang")
    }

    /// Returns whether the device with this role is one that the trigger happens to.
    pub fn is_subject(&self, role: char) -> bool {
        let mut devices = self.case.topology.device.iter();
        devices.any(|device| device.role == role && device.subject)
    }

    /// Returns when the guest began to power off, in nanoseconds, if it did. Some drivers disable
    /// their IOMMU then.
    pub fn powers_off_at(&self) -> Option<u64> {
        let mut events = self.timeline.events.iter();
        let off = events.find(|event| {
            matches!(&event.kind, Kind::Console { text } if text.contains("guest: powering off"))
        });
        off.map(|event| event.at)
    }

    /// Returns whether a port of the IOMMU called `unit` is to be disabled with the driver of its
    /// devices: they have a mapping of their own, and the trigger may take their driver away.
    pub fn may_be_disabled(&self, unit: &str, utlb: u32) -> bool {
        if self.case.topology.iommu.facts().shared_mapping {
            return false;
        }
        self.has_devices(unit, utlb)
            && self.devices_at(unit, utlb).all(|name| {
                let mut disks = self.disks.iter();
                disks.any(|disk| disk.device == name && self.is_subject(disk.role))
            })
    }

    /// Returns whether a port of the IOMMU called `unit` has a device.
    pub fn has_devices(&self, unit: &str, utlb: u32) -> bool {
        self.devices_at(unit, utlb).next().is_some()
    }

    /// Returns the kernel's names of the devices at a port.
    fn devices_at(&self, unit: &str, utlb: u32) -> impl Iterator<Item = String> {
        let entries = self.board.devices.iter().filter(move |entry| {
            let here = entry.iommu.filter(|port| port.utlb == utlb);
            here.is_some_and(|port| self.board.iommu_name(port.iommu) == Some(unit))
        });
        entries.map(|entry| entry.linux_name())
    }

    /// Returns the hits at a function that concern a device.
    pub fn hits_of<'e>(
        &'e self,
        function: &'e str,
        at_return: bool,
        name: &'e str,
    ) -> impl Iterator<Item = &'e Hit> {
        let all = self.hits_about(name);
        all.filter(move |(probe, _)| {
            probe.site.symbol == function && probe.site.at_return == at_return
        })
        .map(|(_, hit)| hit)
    }

    /// Returns the hits that concern a device, each with its probe.
    pub fn hits_about<'e>(&'e self, name: &'e str) -> impl Iterator<Item = (&'e Probe, &'e Hit)> {
        self.hits.iter().filter_map(move |hit| {
            let probe = self.probes.get(hit.probe)?;
            (device(hit) == Some(name)).then_some((probe, hit))
        })
    }

    /// Returns the device that a hit of an acting probe is about. Acting probes print nothing, but
    /// are hit at the same time and at the same function as one that looks.
    pub fn subject_of(&self, hit: &Hit) -> Option<&str> {
        let mut there = self.hits.iter().filter(|other| other.at == hit.at);
        there.find_map(device)
    }

    /// Returns the events of the timeline with their lanes.
    pub fn events(&self) -> impl Iterator<Item = (usize, &Lane, &Event)> {
        let events = self.timeline.events.iter().enumerate();
        events.filter_map(|(index, event)| Some((index, self.timeline.lane(event.lane)?, event)))
    }

    pub fn any(&self, wanted: impl Fn(&Lane, &Kind) -> bool) -> bool {
        self.events()
            .any(|(_, lane, event)| wanted(lane, &event.kind))
    }

    /// Returns the accesses of the device with this role.
    pub fn of_device(&self, role: char) -> impl Iterator<Item = (usize, &Event)> {
        let disk = self.disks.iter().find(|disk| disk.role == role);
        let name = disk.and_then(|disk| self.names.get(&disk.device));
        self.events()
            .filter_map(move |(index, lane, event)| match lane {
                Lane::Device { name: lane } if Some(lane) == name => Some((index, event)),
                _ => None,
            })
    }

    /// Returns what the guest's script said, without `lab: `.
    pub fn said(&self) -> impl Iterator<Item = &str> {
        self.console
            .lines()
            .filter_map(|line| line.trim_end().strip_prefix("lab: "))
    }

    /// Returns the first console line with one of these words.
    pub fn line(&self, words: &[&str]) -> Option<&str> {
        let mut lines = self.console.lines();
        lines
            .find(|line| words.iter().any(|word| line.contains(word)))
            .map(str::trim_end)
    }

    pub fn crashed(&self) -> bool {
        self.line(&CRASHES).is_some()
    }
}

/// The words with which 32-bit ARM kernels begin to tell of a crash (arch/arm/kernel/traps.c,
/// arch/arm/mm/fault.c).
pub(super) const CRASHES: [&str; 3] = [
    "Internal error: ",
    "Unable to handle kernel",
    "Kernel panic - not syncing",
];
