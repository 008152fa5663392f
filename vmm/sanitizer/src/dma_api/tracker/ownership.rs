//! What belongs to devices that are not coherent, and what the CPU does to it meanwhile.

use vmm_introspect::memory::Memory;
use vmm_introspect::probe::Moment;
use vmm_machine::vcpu::{Core, Cores, RamHit};

use super::{Tracker, described};
use crate::dma_api::call::ApiCall;
use crate::dma_api::owners::{Conflict, Owned, Range};
use crate::dma_api::shadow::{Direction, GuestDevice, Mapping};
use crate::dma_api::spec::{Effect, SKIP_CPU_SYNC, To};
use crate::dma_api::stack::Made;
use crate::report::Report;
use crate::{History, Kind};

/// An access of the CPU.
struct CpuAccess<'a> {
    range: Range,
    write: bool,
    /// Who made it, and when.
    made: &'a Made,
}

/// The modes of a processor that CPSR holds (Arm Architecture Reference Manual ARMv7-A, B1.3.1).
const MODE: u32 = 0x1f;
/// User mode.
const USER: u32 = 0x10;

impl Tracker {
    /// Takes note that memory belongs to a device from now on: parts by their first byte and the
    /// number of bytes.
    pub(super) fn own(
        &mut self,
        call: &ApiCall<'_, '_, '_>,
        device: GuestDevice,
        mapping: Mapping<Made>,
        parts: Vec<(u64, u64)>,
    ) {
        let skips = match call.function.effect {
            Effect::Map { attributes, .. } | Effect::MapList { attributes, .. } => call
                .argument(attributes)
                .is_none_or(|attributes| attributes & SKIP_CPU_SYNC != 0),
            _ => true,
        };
        let is_it = |one: &Mapping<Made>| one.owned == mapping.owned;
        let known = self.shadow.all_at(device, mapping.first).any(is_it);
        if self.owners.is_none() || !self.are_physical || !known {
            return;
        }
        let Some(layouts) = self.layouts(call.moment) else {
            return;
        };
        if layouts.names.is_coherent(call.moment, device.0) {
            return;
        }
        let is_users = |&(first, _): &(u64, u64)| {
            let memory = (&*self.ram, call.moment as &dyn Memory);
            self.numbers
                .is_none_or(|numbers| numbers.is_users(layouts.users, memory, first))
        };
        // Who writes to what a device reads from a file or a process is the user's choice: the
        // kernel lets a page be written to while it is written back.
        let parts: Vec<(u64, u64)> = match mapping.direction {
            Direction::ToDevice => parts.into_iter().filter(|part| !is_users(part)).collect(),
            _ => parts,
        };
        let ranges = parts.into_iter().filter_map(|(first, bytes)| {
            let last = first.checked_add(bytes.checked_sub(1)?)?;
            Some(Range { first, last })
        });
        if let Some(owners) = &mut self.owners {
            owners.take(device, mapping, ranges.collect(), !skips);
        }
    }

    /// Returns the memory of a scatter list that a call maps.
    pub(super) fn parts(&mut self, call: &ApiCall<'_, '_, '_>, list: u64) -> Vec<(u64, u64)> {
        if self.owners.is_none() {
            return Vec::new();
        }
        self.anchor(call);
        let layout = self.layouts(call.moment).and_then(|known| known.list);
        let (Some(layout), Some(numbers), Some(count)) = (layout, self.numbers, call.argument(2))
        else {
            return Vec::new();
        };
        let number = |(page, offset, bytes)| Some((numbers.number(page, offset)?, bytes));
        let parts = layout.memory(call, list, count).into_iter();
        parts.filter_map(number).collect()
    }

    /// Takes note that a mapping is no more, which `ended` has taken back, and reports what the CPU
    /// has written to it.
    pub(super) fn release(&mut self, mapping: &Mapping<Made>, ended: &Made) {
        let (Some(owners), Some(number)) = (&mut self.owners, mapping.owned) else {
            return;
        };
        let Some(owned) = owners.release(number) else {
            return;
        };
        for (range, made) in &owned.written {
            let rest = ", and does not synchronise them";
            let access = CpuAccess {
                range: *range,
                write: true,
                made,
            };
            self.report_cpu(Kind::Ownership, &owned, &access, rest, Some(ended));
        }
    }

    /// Takes note that a device has nothing any more.
    pub(super) fn disown(&mut self, device: GuestDevice) {
        if let Some(owners) = &mut self.owners {
            owners.release_all(device);
        }
    }

    /// Takes note that a call hands over what is mapped; `None` if it cannot be read.
    pub(super) fn hand_over(
        &mut self,
        call: &ApiCall<'_, '_, '_>,
        device: GuestDevice,
    ) -> Option<()> {
        match call.function.effect {
            Effect::Sync { address, size, to } => {
                let range = (call.argument(address)?, call.argument(size)?);
                self.sync(device, range, to);
            }
            Effect::SyncList { list, to } => self.sync_list(device, call.argument(list)?, to),
            _ => {}
        }
        Some(())
    }

    /// Takes note that a part of what is mapped belongs to the CPU, or to the device again.
    fn sync(&mut self, device: GuestDevice, (first, bytes): (u64, u64), to: To) {
        let Some(owners) = &mut self.owners else {
            return;
        };
        for mapping in self.shadow.all_at(device, first) {
            let (Some(number), Some(buffer), Some(less)) =
                (mapping.owned, mapping.buffer, bytes.checked_sub(1))
            else {
                continue;
            };
            let first = buffer.saturating_add(first - mapping.first);
            let last = first.saturating_add(less);
            owners.give(number, Some(Range { first, last }), to);
        }
    }

    /// Takes note that a whole scatter list belongs to the CPU, or to the device again.
    fn sync_list(&mut self, device: GuestDevice, list: u64, to: To) {
        let Some(owners) = &mut self.owners else {
            return;
        };
        for mapping in self.shadow.of_list(device, list) {
            if let Some(number) = mapping.owned {
                owners.give(number, None, to);
            }
        }
    }

    /// Has watched what belongs to devices.
    pub fn watch_ram(&mut self, cores: &mut Cores<'_>) {
        for (page, watches) in self.owners.iter_mut().flat_map(|owners| owners.changes()) {
            cores.watch_ram(page, &watches);
        }
    }

    /// Returns how many mappings were not watched, as there were too many.
    pub fn unwatched(&self) -> u64 {
        self.owners.as_ref().map_or(0, |owners| owners.beyond())
    }

    /// Sees an access of the CPU to watched memory.
    pub fn accessed(&mut self, moment: &Moment<'_, '_>, hit: &RamHit) {
        // What programs do to their memory is no driver's mistake.
        if matches!(&moment.core, Core::Aarch32(core) if core.cpsr() & MODE == USER) {
            return;
        }
        let Some(last) = hit.pa.checked_add(u64::from(hit.size).saturating_sub(1)) else {
            return;
        };
        let range = Range {
            first: hit.pa,
            last,
        };
        let made = self.stacks.note_here(moment);
        let Some(owners) = &mut self.owners else {
            return;
        };
        let Some((conflict, owned)) = owners.conflict(range, hit.write) else {
            return;
        };
        let access = CpuAccess {
            range,
            write: hit.write,
            made: &made,
        };
        let (kind, rest) = match (conflict, owned.mapping.owned) {
            (Conflict::Unsynchronised, Some(number)) => return owners.wrote(number, range, made),
            (Conflict::Unsynchronised | Conflict::Bytes, _) => (Kind::Ownership, ""),
            (Conflict::Line, _) => (Kind::SharedLine, ", in the same cache line"),
        };
        let owned = owned.clone();
        // One report says enough of a mapping: code that goes on to use it makes thousands.
        if let Some(number) = owned.mapping.owned {
            owners.release(number);
        }
        self.report_cpu(kind, &owned, &access, rest, None);
    }

    /// Reports an access of the CPU; `rest` is what of the device's it was to.
    fn report_cpu(
        &self,
        kind: Kind,
        owned: &Owned<Made>,
        access: &CpuAccess<'_>,
        rest: &str,
        ended: Option<&Made>,
    ) {
        let (mapping, name) = (&owned.mapping, self.name(owned.device));
        let CpuAccess { range, write, made } = access;
        let text = format!(
            "{name} owns {}, {} the CPU {} {} bytes at {:#x}{rest}",
            described(mapping),
            if kind == Kind::SharedLine {
                "beside which"
            } else {
                "of which"
            },
            if *write { "writes" } else { "reads" },
            range.last - range.first + 1,
            range.first
        );
        let offset = mapping
            .buffer
            .map_or(0, |first| range.first.saturating_sub(first));
        let iova = mapping.first.saturating_add(offset);
        let history = History {
            accessed: Some(self.stacks.call(made)),
            ..self.history(Some(mapping), ended)
        };
        let report = Report::new(kind, made.at, name, iova, text)
            .with_physical(Some(range.first))
            .with_history(history);
        self.report(report);
    }
}
