//! What is known of the guest's mappings, brought up to date by its calls, and what is wrong with
//! these.

mod memory;
mod ownership;
mod pools;

use std::collections::BTreeMap;
use std::sync::Arc;

use vmm_introspect::probe::Moment;
use vmm_machine::GuestRam;

use super::call::ApiCall;
use super::list;
use super::names::{self, Masters};
use super::owners::Owners;
use super::pages::{self, Numbers, PageState};
use super::shadow::{
    Direction, GuestDevice, MAX_DEVICES, Mapped, Mapping, MappingKind, Past, Shadow, Unmapped,
};
use super::spec::{Effect, Function, Point};
use super::stack::{Made, Stacks};
use crate::report::{History, Report};
use crate::{Kind, Reports};
use pools::Pools;

mod bounce;
mod described;
mod fork;
mod freed;

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
    users: pages::Users,
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
    /// Whether it was tried to find that out from the kernel's variables.
    anchored: bool,
    /// The mappings of all devices.
    pub(super) shadow: Shadow<Made>,
    /// The memory that belongs to devices, if that is looked at.
    owners: Option<Owners<Made>>,
    pools: Pools,
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
            owners: Owners::wanted(reports.options()),
            reports,
            masters,
            ram,
            layouts: None,
            numbers: None,
            are_physical: false,
            anchored: false,
            shadow: Shadow::default(),
            pools: Pools::default(),
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

    /// Returns who made a mapping, who unmapped it, and who freed its memory, in words.
    pub fn history(&self, mapping: Option<&Mapping<Made>>, unmapped: Option<&Made>) -> History {
        let call = |made: &Made| self.stacks.call(made);
        let freed = mapping.and_then(|mapping| mapping.freed.as_ref());
        History {
            mapped: mapping.map(|mapping| call(&mapping.made)),
            unmapped: unmapped.map(call),
            freed: freed.map(|(_, by)| call(by)),
            accessed: None,
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
                users: pages::Users::of(types),
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
        self.disown(device);
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
        if self.is_of_dmabounce(&call) || self.call_of_pool(&call) || self.call_that_frees(&call) {
            return;
        }
        // A call that cannot be read is one that is not known: nothing may be said of its device.
        if self.carry_out(&call).is_none()
            && let Some(device) = call.argument(0)
        {
            self.give_up(GuestDevice(device));
        }
    }

    fn give_up(&mut self, device: GuestDevice) {
        self.shadow.give_up(device);
        self.disown(device);
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
                ..
            } => {
                if let Some(first) = call.returned_address() {
                    let bytes = call.argument(size)?;
                    let direction = Direction::of(call.argument(direction)?);
                    let buffer = self.buffer(call, memory);
                    let kind = MappingKind::Streaming;
                    let mapping = self.mapping(call, (first, bytes), direction, kind, buffer);
                    self.map(device, mapping.clone());
                    let parts = buffer.map(|buffer| (buffer, bytes));
                    self.own(call, device, mapping, parts.into_iter().collect());
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
            Effect::MapList {
                list, direction, ..
            } => {
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
                    let kind = MappingKind::Coherent;
                    let mapping = self.mapping(call, (first, bytes), direction, kind, None);
                    self.map(device, mapping);
                }
            }
            Effect::Free { size, handle } => {
                let first = call.argument(handle)?;
                let said = (call.argument(size)?, None);
                self.unmap(call, device, MappingKind::Coherent, first, said);
            }
            Effect::Untold => self.give_up(device),
            Effect::Unbind => self.unbind(call, device),
            // Argument 0 is no device: these were seen before.
            Effect::CreatePool { .. }
            | Effect::DestroyPool
            | Effect::AllocateBlock { .. }
            | Effect::FreeBlock { .. }
            | Effect::Release(_) => {}
            Effect::Sync { .. } | Effect::SyncList { .. } => self.hand_over(call, device)?,
        }
        Some(())
    }

    /// Returns a mapping that a call has made.
    fn mapping(
        &mut self,
        call: &ApiCall<'_, '_, '_>,
        (first, bytes): (u64, u64),
        direction: Direction,
        kind: MappingKind,
        buffer: Option<u64>,
    ) -> Mapping<Made> {
        Mapping {
            first,
            bytes,
            direction,
            kind,
            buffer,
            in_use: self.memory_use(buffer, bytes) == PageState::Used,
            owned: self.owners.as_mut().map(Owners::number),
            freed: None,
            made: self.stacks.note(call.moment),
        }
    }

    fn map(&mut self, device: GuestDevice, mapping: Mapping<Made>) {
        let Mapping {
            first,
            bytes,
            direction,
            made,
            ..
        } = mapping;
        let physical = self.physical(&mapping, first);
        let before = match self.shadow.map(device, mapping) {
            Mapped::Twice(before) => before,
            Mapped::New => return,
            Mapped::Unknown => return self.disown(device),
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
        let history = self.history(Some(&before), None);
        let report = Report::new(Kind::DoubleMap, made.at, name, first, text);
        self.report(report.with_physical(physical).with_history(history));
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
            let segments = layout.segments(call, list, count);
            for &segment in &segments {
                let mapping = self.mapping(call, segment, direction, kind, None);
                self.map(device, mapping.clone());
                // The list belongs to the device as a whole, by its first segment.
                if segment == segments[0] {
                    let parts = self.parts(call, list);
                    self.own(call, device, mapping, parts);
                }
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
        let unmapped = self.shadow.unmap(device, kind, first, said, made);
        if let Unmapped::Matched(mapping) | Unmapped::Differed(mapping) = &unmapped {
            self.release(mapping, &made);
        }
        let (rest, known, ended) = match unmapped {
            Unmapped::Unknown => return,
            Unmapped::Matched(mapping) => {
                self.check_pages(device, &mapping, made.at, Some(&made));
                return;
            }
            Unmapped::Differed(mapping) => {
                let rest = format!("was mapped as {}", described(&mapping));
                (rest, Some(mapping), made)
            }
            Unmapped::Nothing(Some(Past { mapping, ended, .. })) => {
                let was = described(&mapping);
                let rest = format!("was unmapped before, and is not mapped: {was}");
                (rest, Some(mapping), ended)
            }
            Unmapped::Nothing(None) => ("is not mapped".to_owned(), None, made),
        };
        let history = self.history(known.as_ref(), Some(&ended));
        let physical = known.and_then(|mapping| self.physical(&mapping, first));
        let name = self.name(device);
        let direction = direction.map_or_else(String::new, |d| format!(" ({})", d.name()));
        let function = call.function.name;
        let text =
            format!("{name}: {function} of {bytes} bytes at {first:#x}{direction}, which {rest}");
        let report = Report::new(Kind::DoubleUnmap, made.at, name, first, text);
        self.report(report.with_physical(physical).with_history(history));
    }

    fn unmap_list(&mut self, call: &ApiCall<'_, '_, '_>, device: GuestDevice, list: u64) {
        let made = self.stacks.note(call.moment);
        let gone = self.shadow.unmap_list(device, list, &made);
        gone.iter().for_each(|mapping| self.release(mapping, &made));
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
        // What is left is reported here, and its memory is somebody else's soon.
        self.disown(device);
        for mapping in self.shadow.unbind(device) {
            let name = self.name(device);
            let text = format!(
                "{name} has {} left from a driver that was unbound",
                described(&mapping)
            );
            let history = self.history(Some(&mapping), None);
            let at = call.moment.now_ns;
            let physical = self.physical(&mapping, mapping.first);
            let report = Report::new(Kind::Leak, at, name, mapping.first, text);
            self.report(report.with_physical(physical).with_history(history));
        }
    }
}
