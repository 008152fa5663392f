//! What is known of the guest's mappings, brought up to date by its calls, and what is wrong with
//! these.

use std::collections::BTreeMap;
use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemoryBackend};
use vmm_introspect::probe::Moment;
use vmm_machine::GuestRam;

use super::call::ApiCall;
use super::list;
use super::names::{self, Masters};
use super::pages::{self, Numbers, PageState};
use super::shadow::{
    Direction, GuestDevice, MAX_DEVICES, Mapped, Mapping, MappingKind, Past, Shadow, Unmapped,
};
use super::spec::{Effect, Function, Memory, Point};
use super::stack::{Made, Stacks};
use crate::report::{History, Report};
use crate::{Kind, PAGE_BITS, Reports};

mod bounce;
mod described;
mod fork;

pub use described::described;

/// Tells some mappings from others.
type Choice = Box<dyn Fn(&Mapping<Made>) -> bool>;

/// What the types of the guest's kernel tell; found out at its first call.
#[derive(Clone, Copy, Debug)]
struct Layouts {
    names: names::Layout,
    list: Option<list::Layout>,
    /// Whether a `dma_addr_t` has 64 bits.
    wide: Option<bool>,
    page: Option<pages::Layout>,
}

/// What is known of the guest's mappings.
pub struct Tracker {
    reports: Arc<Reports>,
    masters: Masters,
    ram: Arc<GuestRam>,
    /// `None`: not looked for yet. `Some(None)`: the kernel's types do not tell.
    layouts: Option<Option<Layouts>>,
    /// How bytes of memory are numbered, and whether by their physical addresses.
    numbers: Option<Numbers>,
    are_physical: bool,
    /// The mappings of all devices.
    pub(super) shadow: Shadow<Made>,
    stacks: Stacks,
    /// The names of the guest's devices: the board's, where it is one of these.
    names: BTreeMap<GuestDevice, String>,
    /// The board's devices that the guest has.
    devices: BTreeMap<String, GuestDevice>,
}

impl Tracker {
    /// Creates one of a guest that has mapped nothing yet.
    pub fn new(reports: Arc<Reports>, masters: Masters, ram: Arc<GuestRam>) -> Self {
        Self {
            reports,
            masters,
            ram,
            layouts: None,
            numbers: None,
            are_physical: false,
            shadow: Shadow::default(),
            stacks: Stacks::default(),
            names: BTreeMap::new(),
            devices: BTreeMap::new(),
        }
    }

    /// Returns the guest's device that the board calls `name`, if it was ever mapped for.
    pub fn device(&self, name: &str) -> Option<GuestDevice> {
        self.devices.get(name).copied()
    }

    /// Adds a report.
    pub fn report(&self, report: Report) {
        self.reports.add(report);
    }

    /// Returns who mapped, and who unmapped, in words.
    pub fn history(&self, mapped: Option<&Made>, unmapped: Option<&Made>) -> History {
        let call = |made: &Made| self.stacks.call(made);
        History {
            mapped: mapped.map(call),
            unmapped: unmapped.map(call),
        }
    }

    fn layouts(&mut self, moment: &Moment<'_, '_>) -> Option<Layouts> {
        *self.layouts.get_or_insert_with(|| {
            let types = moment.kernel.types.as_deref().ok()?;
            Some(Layouts {
                names: names::Layout::of(types).ok()?,
                list: list::Layout::of(types),
                wide: list::has_wide_addresses(types),
                page: pages::Layout::of(types),
            })
        })
    }

    /// Takes note of the name of a device, which may be another one than was at its address before.
    fn meet(&mut self, moment: &Moment<'_, '_>, device: GuestDevice) {
        let GuestDevice(address) = device;
        let Some(layouts) = self.layouts(moment) else {
            return;
        };
        let Some(name) = layouts.names.name(moment, address) else {
            return;
        };
        let name = match self.masters.board_name(&name) {
            Some(board) => board.to_owned(),
            None => name,
        };
        if self.names.get(&device) == Some(&name) {
            return;
        }
        // Guests may have any number: the shadow knows no more of them, either.
        if self.names.len() >= MAX_DEVICES && !self.names.contains_key(&device) {
            return;
        }
        self.shadow.forget(device);
        self.devices.retain(|_, of| *of != device);
        self.devices.insert(name.clone(), device);
        self.names.insert(device, name);
    }

    fn name(&self, device: GuestDevice) -> &str {
        self.names.get(&device).map_or("", String::as_str)
    }

    /// Sees a call of `function`, at one of the points at which it is looked at.
    pub fn call(&mut self, function: &Function, point: Point, moment: &Moment<'_, '_>) {
        // Without types it is not known how wide addresses are, and so where arguments are.
        let layouts = self.layouts(moment);
        let Some(call) = layouts.and_then(|known| ApiCall::new(function, moment, known.wide))
        else {
            return;
        };
        let is_inner = |name| moment.kernel.symbols.address(name).is_some();
        if function.within.is_some_and(is_inner) {
            self.learn_pages(&call);
            return;
        }
        if point != function.point() {
            self.returned(&call);
            return;
        }
        if self.is_of_dmabounce(&call) {
            return;
        }
        // A call that cannot be read is one that is not known: nothing may be said of its device.
        if self.carry_out(&call).is_none()
            && let Some(device) = call.argument(0)
        {
            self.shadow.give_up(GuestDevice(device));
        }
    }

    /// Takes note that a call that took something back has returned.
    fn returned(&mut self, call: &ApiCall<'_, '_, '_>) -> Option<()> {
        let device = GuestDevice(call.argument(0)?);
        let is_it: Choice = match call.function.effect {
            Effect::Unmap { address: n, .. } | Effect::Free { handle: n, .. } => {
                let first = call.argument(n)?;
                Box::new(move |mapping| mapping.first == first)
            }
            Effect::UnmapList { list } => {
                let kind = MappingKind::List(call.argument(list)?);
                Box::new(move |mapping| mapping.kind == kind)
            }
            _ => return None,
        };
        self.shadow.returned(device, &*is_it);
        Some(())
    }

    /// Does what a call means; `None` if it cannot be read.
    fn carry_out(&mut self, call: &ApiCall<'_, '_, '_>) -> Option<()> {
        let device = GuestDevice(call.argument(0)?);
        if device.0 == 0 {
            return Some(());
        }
        self.meet(call.moment, device);
        match call.function.effect {
            Effect::Map {
                memory,
                size,
                direction,
            } => {
                if let Some(first) = call.returned_address() {
                    let bytes = call.argument(size)?;
                    let direction = Direction::of(call.argument(direction)?);
                    let buffer = self.buffer(call, memory);
                    self.map(
                        call,
                        device,
                        (first, bytes),
                        direction,
                        MappingKind::Streaming,
                        buffer,
                    );
                }
            }
            Effect::Unmap {
                address,
                size,
                direction,
            } => {
                let said = (
                    call.argument(size)?,
                    Some(Direction::of(call.argument(direction)?)),
                );
                self.unmap(
                    call,
                    device,
                    MappingKind::Streaming,
                    call.argument(address)?,
                    said,
                );
            }
            Effect::MapList { list, direction } => {
                let direction = Direction::of(call.argument(direction)?);
                self.map_list(call, device, call.argument(list)?, direction)?;
            }
            Effect::UnmapList { list } => self.unmap_list(call, device, call.argument(list)?),
            Effect::Allocate {
                size,
                handle,
                direction,
            } => {
                if call.returned() != 0 {
                    let first = call.read_address(call.argument(handle)?)?;
                    let direction = match direction {
                        Some(n) => Direction::of(call.argument(n)?),
                        None => Direction::Both,
                    };
                    let bytes = call.argument(size)?;
                    self.map(
                        call,
                        device,
                        (first, bytes),
                        direction,
                        MappingKind::Coherent,
                        None,
                    );
                }
            }
            Effect::Free { size, handle } => {
                let first = call.argument(handle)?;
                let said = (call.argument(size)?, None);
                self.unmap(call, device, MappingKind::Coherent, first, said);
            }
            Effect::Untold => self.shadow.give_up(device),
            Effect::Unbind => self.unbind(call, device),
        }
        Some(())
    }

    /// Returns a number for the first byte of what a call maps.
    fn buffer(&mut self, call: &ApiCall<'_, '_, '_>, memory: Memory) -> Option<u64> {
        match memory {
            Memory::Registers => None,
            Memory::Physical(n) => {
                let address = call.argument(n)?;
                self.are_physical = true;
                // Device registers may be mapped as well, and have no page.
                let in_ram = self.ram.address_in_range(GuestAddress(address));
                in_ram.then_some(address)
            }
            Memory::Page(page, offset) => {
                let (page, offset) = (call.argument(page)?, call.argument(offset)?);
                if self.numbers.is_none() {
                    let layout = self.layouts(call.moment)?.page?;
                    let physical = call.moment.core.translate(page)?;
                    let number = Numbers::any_number(layout, page);
                    self.numbers = Some(Numbers::new(layout, (page, number), physical));
                }
                self.numbers?.number(page, offset)
            }
        }
    }

    /// Learns where the table of pages is from a function that was given a page and has had its
    /// physical address mapped.
    fn learn_pages(&mut self, call: &ApiCall<'_, '_, '_>) -> Option<()> {
        let Effect::Map {
            memory: Memory::Page(page, offset),
            ..
        } = call.function.effect
        else {
            return None;
        };
        if self.numbers.is_some() {
            return None;
        }
        let layout = self.layouts(call.moment)?.page?;
        let (page, offset) = (call.argument(page)?, call.argument(offset)?);
        let device = GuestDevice(call.argument(0)?);
        let mapping = self.shadow.at(device, call.returned_address()?)?;
        let number = mapping.buffer?.checked_sub(offset)? >> PAGE_BITS;
        let physical = call.moment.core.translate(page)?;
        self.numbers = Some(Numbers::new(layout, (page, number), physical));
        Some(())
    }

    /// Returns whether the pages of memory are in use, by the kernel's records.
    pub fn memory_use(&self, buffer: Option<u64>, bytes: u64) -> PageState {
        match (&self.numbers, buffer) {
            (Some(numbers), Some(first)) => numbers.unused(&self.ram, first, bytes),
            _ => PageState::Unknown,
        }
    }

    /// Returns the physical address of `address`, which `mapping` has, if that is known.
    pub fn physical(&self, mapping: &Mapping<Made>, address: u64) -> Option<u64> {
        let buffer = mapping.buffer.filter(|_| self.are_physical)?;
        buffer.checked_add(address.checked_sub(mapping.first)?)
    }

    /// Reports a mapping of which a page is free.
    fn check_pages(
        &self,
        device: GuestDevice,
        mapping: &Mapping<Made>,
        at: u64,
        ended: Option<&Made>,
    ) {
        if !mapping.in_use {
            return;
        }
        let PageState::Free(number) = self.memory_use(mapping.buffer, mapping.bytes) else {
            return;
        };
        let before = mapping
            .buffer
            .map_or(0, |first| number.saturating_sub(first));
        let iova = mapping.first.saturating_add(before);
        let name = self.name(device);
        let text = format!(
            "{name} has {} mapped, of which the page at {iova:#x} was freed meanwhile",
            described(mapping)
        );
        let report = Report::new(Kind::FreedPage, at, name, iova, text)
            .with_physical(self.physical(mapping, iova))
            .with_history(self.history(Some(&mapping.made), ended));
        self.report(report);
    }

    /// Reports what is still mapped at the end of the run and free.
    pub fn end(&self, at: u64) {
        for (device, mapping) in self.shadow.iter() {
            self.check_pages(device, mapping, at, None);
        }
    }

    fn map(
        &mut self,
        call: &ApiCall<'_, '_, '_>,
        device: GuestDevice,
        (first, bytes): (u64, u64),
        direction: Direction,
        kind: MappingKind,
        buffer: Option<u64>,
    ) {
        let made = self.stacks.note(call.moment);
        let mapping = Mapping {
            first,
            bytes,
            direction,
            kind,
            buffer,
            in_use: self.memory_use(buffer, bytes) == PageState::Used,
            made,
        };
        let Mapped::Twice(before) = self.shadow.map(device, mapping) else {
            return;
        };
        let name = self.name(device);
        let text = format!(
            "{name} was given {bytes} bytes at {first:#x} ({}) while {}",
            direction.name(),
            if before.last() >= first && first.saturating_add(bytes) > before.first {
                format!("{} is mapped", described(&before))
            } else {
                format!("the same memory is mapped as {}", described(&before))
            }
        );
        let history = self.history(Some(&before.made), None);
        let report = Report::new(Kind::DoubleMap, made.at, name, first, text);
        self.report(report.with_history(history));
    }

    /// Takes note of the segments of a scatter list; `None` if they cannot be read.
    fn map_list(
        &mut self,
        call: &ApiCall<'_, '_, '_>,
        device: GuestDevice,
        list: u64,
        direction: Direction,
    ) -> Option<()> {
        let count = call.returned();
        // Negative where it is an error, which has the highest bit of a word.
        if (1..1 << 31).contains(&count) {
            let layout = self.layouts(call.moment)?.list?;
            let kind = MappingKind::List(list);
            for segment in layout.segments(call, list, count) {
                self.map(call, device, segment, direction, kind, None);
            }
        }
        Some(())
    }

    fn unmap(
        &mut self,
        call: &ApiCall<'_, '_, '_>,
        device: GuestDevice,
        kind: MappingKind,
        first: u64,
        said: (u64, Option<Direction>),
    ) {
        let made = self.stacks.note(call.moment);
        let (bytes, direction) = said;
        let (rest, history) = match self.shadow.unmap(device, kind, first, said, made) {
            Unmapped::Unknown => return,
            Unmapped::Matched(mapping) => {
                self.check_pages(device, &mapping, made.at, Some(&made));
                return;
            }
            Unmapped::Differed(mapping) => (
                format!("was mapped as {}", described(&mapping)),
                self.history(Some(&mapping.made), Some(&made)),
            ),
            Unmapped::Nothing(Some(Past { mapping, ended, .. })) => (
                format!(
                    "was unmapped before, and is not mapped: {}",
                    described(&mapping)
                ),
                self.history(Some(&mapping.made), Some(&ended)),
            ),
            Unmapped::Nothing(None) => {
                ("is not mapped".to_owned(), self.history(None, Some(&made)))
            }
        };
        let name = self.name(device);
        let direction = direction.map_or_else(String::new, |d| format!(" ({})", d.name()));
        let function = call.function.name;
        let text =
            format!("{name}: {function} of {bytes} bytes at {first:#x}{direction}, which {rest}");
        let report = Report::new(Kind::DoubleUnmap, made.at, name, first, text);
        self.report(report.with_history(history));
    }

    fn unmap_list(&mut self, call: &ApiCall<'_, '_, '_>, device: GuestDevice, list: u64) {
        let made = self.stacks.note(call.moment);
        let gone = self.shadow.unmap_list(device, list, &made);
        if !gone.is_empty() || self.shadow.is_given_up(device) {
            return;
        }
        let name = self.name(device);
        let text = format!("{name}: dma_unmap_sg_attrs of the list {list:#x}, which is not mapped");
        let history = self.history(None, Some(&made));
        let report = Report::new(Kind::DoubleUnmap, made.at, name, list, text);
        self.report(report.with_history(history));
    }

    fn unbind(&mut self, call: &ApiCall<'_, '_, '_>, device: GuestDevice) {
        for mapping in self.shadow.unbind(device) {
            let name = self.name(device);
            let text = format!(
                "{name} has {} left from a driver that was unbound",
                described(&mapping)
            );
            let history = self.history(Some(&mapping.made), None);
            let at = call.moment.now_ns;
            let report = Report::new(Kind::Leak, at, name, mapping.first, text);
            self.report(report.with_history(history));
        }
    }
}
