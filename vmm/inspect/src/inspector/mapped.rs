//! Who mapped an address: the last event in the history that did.
//!
//! Where mappings are tables in guest memory, it is the last write to the descriptor; of a
//! virtio-iommu it is its driver's last request.

use std::fmt::Write as _;

use arm32::watch::{WatchKind, Watchpoint};
use viommu::{Descriptor, Extent};
use vm_memory::{Bytes, GuestAddress};
use vmm_base::{Reason, Seconds};
use vmm_machine::vcpu::Stop;
use vmm_machine::{Arrival, Backward, Machine, StopHandler};

use super::dma::{Master, masters, words};
use super::travel::{return_to, to_asked};
use super::{Inspector, NoAnswer, code};
use crate::seen::{Requests, Seen};

/// The most writes to a descriptor, or requests, that are gone back over: of what is not mapped the
/// last one unmapped it, and one before has mapped it.
const MAX_WRITES: usize = 16;

/// A change of a mapping.
struct Change {
    maps: bool,
    at_ns: u64,
    instructions: u64,
    core: usize,
    stack: Vec<String>,
}

/// Has the machine arrive at watched accesses.
struct Writes;

impl StopHandler for Writes {
    fn stopped(&mut self, _: Stop, _: &mut vmm_machine::Halted<'_>) -> vmm_machine::Resume {
        vmm_machine::Resume::Continue
    }

    fn wants(&self, stop: Stop) -> bool {
        matches!(stop, Stop::Watchpoint { .. })
    }
}

impl Inspector {
    /// Says who mapped `iova` last, and who has unmapped it since.
    pub(super) fn who_mapped(
        &mut self,
        machine: &mut Machine,
        device: Option<&str>,
        iova: u64,
    ) -> Result<String, NoAnswer> {
        let master = choose(masters(machine, device)?, iova)?;
        // Before it goes back: at first the kernel may not have been there.
        let known = self.find_kernel(machine);
        let here = machine.instructions();
        let mut text = mapped_now(&master, iova);
        let found = match master.space.descriptor(iova) {
            Some(descriptor) => {
                known?;
                self.writes(machine, (&master, iova), descriptor)
            }
            None => self.requests(machine, &master, iova),
        };
        // Also where the search failed: a question leaves the machine where it is.
        return_to(machine, here)?;
        let changes = found?;
        if changes.iter().all(|change| !change.maps) {
            let device = master.name;
            return Err(NoAnswer::NeverMapped { iova, device });
        }
        for change in changes {
            let what = if change.maps { "mapped" } else { "unmapped" };
            // Writing to a `String` cannot fail, so these results are dropped.
            let _ = writeln!(
                text,
                "{what} at {} s, after instruction {}, by core {}",
                Seconds(change.at_ns),
                change.instructions,
                change.core
            );
            for (n, frame) in change.stack.iter().enumerate() {
                let _ = writeln!(text, "  #{n:<2} {frame}");
            }
        }
        Ok(text)
    }

    /// Returns the last writes to a descriptor, from the last one back to the one that made it
    /// valid.
    fn writes(
        &mut self,
        machine: &mut Machine,
        of: (&Master, u64),
        descriptor: Descriptor,
    ) -> Result<Vec<Change>, NoAnswer> {
        let va = self.virtual_address(machine, descriptor.address)?;
        let watch = Watchpoint::new(va, u32::from(descriptor.bytes), WatchKind::Write);
        if !self.watches {
            machine.observe(Box::new(Writes));
            self.watches = true;
        }
        let Some(cluster) = machine.cluster() else {
            return Ok(Vec::new());
        };
        cluster.insert_watchpoint(watch);
        let found = self.watched(machine, of, descriptor.address);
        if let Some(cluster) = machine.cluster() {
            cluster.remove_watchpoint(watch);
        }
        found
    }

    fn watched(
        &self,
        machine: &mut Machine,
        (master, iova): (&Master, u64),
        address: u64,
    ) -> Result<Vec<Change>, NoAnswer> {
        let mut changes: Vec<Change> = Vec::new();
        let is_mapped = || matches!(master.space.extent(iova), Some(Extent::Mapped(_)));
        let mut stands = is_mapped();
        for _ in 0..MAX_WRITES {
            let core = match machine.back(Backward::Continue) {
                Ok(Some(Arrival::Stop(Stop::Watchpoint { core, .. }))) => core,
                Ok(Some(_)) => break,
                Ok(None) | Err(_) => return Err(NoAnswer::Ended),
            };
            // What is mapped was mapped by the last write. Before the one that unmapped it, the
            // memory may have been something else than a table.
            let maps = is_valid(machine, address) && (stands || is_mapped());
            stands = false;
            let change = self.change(machine, core, maps);
            // Of several writes that leave it as it is the last one counts.
            if maps || changes.is_empty() {
                changes.push(change);
            }
            if maps {
                break;
            }
            // Before the write, or it would be found again.
            let before = machine.instructions().saturating_sub(1);
            return_to(machine, before)?;
        }
        Ok(changes)
    }

    /// Returns the last requests for an address, from the last one back to the one that mapped it.
    fn requests(
        &self,
        machine: &mut Machine,
        master: &Master,
        iova: u64,
    ) -> Result<Vec<Change>, NoAnswer> {
        let Some(domain) = master.domain() else {
            return Ok(Vec::new());
        };
        let wanted = Requests {
            iommu: master.iommu.clone(),
            domain,
            iova,
            number: 0,
            maps: false,
            last: None,
        };
        let mut changes: Vec<Change> = Vec::new();
        let mut end = machine.instructions();
        for from in machine.checkpoints().into_iter().rev() {
            if from >= end {
                continue;
            }
            let all = count(&self.seen, wanted.clone(), machine, (from, end))?;
            // From the last one back, as only that one is of interest which maps it.
            for number in (1..=all.number).rev().take(MAX_WRITES) {
                let last = Some(number);
                let wanted = Requests {
                    last,
                    ..wanted.clone()
                };
                let found = count(&self.seen, wanted, machine, (from, end))?;
                let core = machine.with_cores(|cores| cores.current()).unwrap_or(0);
                if found.maps || changes.is_empty() {
                    changes.push(self.change(machine, core, found.maps));
                }
                if found.maps {
                    return Ok(changes);
                }
            }
            end = from;
        }
        Ok(changes)
    }

    fn change(&self, machine: &mut Machine, core: usize, maps: bool) -> Change {
        let stack = machine.with_cores(|cores| {
            let core = cores.core(core);
            core.map_or(Vec::new(), |core| self.frames(&core))
        });
        Change {
            maps,
            at_ns: machine.guest_ns(),
            instructions: machine.instructions(),
            core,
            stack: stack.unwrap_or_default(),
        }
    }

    /// Returns where the kernel has the memory at a physical address: in the part of its address
    /// space in which all that it uses itself has one distance (arch/arm/include/asm/memory.h,
    /// `__phys_to_virt`).
    fn virtual_address(&self, machine: &mut Machine, address: u64) -> Result<u32, NoAnswer> {
        let missing = || NoAnswer::NoTable(address);
        let symbols = self.kernel.as_ref().map(|kernel| &kernel.symbols);
        let text = symbols.and_then(code).ok_or_else(missing)?;
        let found = machine.with_cores(|cores| {
            (0..cores.len()).find_map(|index| {
                let core = cores.core(index)?;
                let distance = text.wrapping_sub(core.translate(text)?);
                let va = address.wrapping_add(distance);
                (core.translate(va) == Some(address)).then(|| u32::try_from(va).ok())?
            })
        });
        found.flatten().ok_or_else(missing)
    }
}

/// Goes from one place to another, or to the request that is `wanted` as the last one; returns
/// those that were counted on the way.
fn count(
    seen: &Seen,
    wanted: Requests,
    machine: &mut Machine,
    (from, end): (u64, u64),
) -> Result<Requests, NoAnswer> {
    return_to(machine, from)?;
    seen.count_requests(Some(wanted.clone()));
    let reason = to_asked(machine, end);
    let counted = seen.count_requests(None);
    match reason {
        Some(Reason::Stopped) => Err(NoAnswer::Ended),
        _ => Ok(counted.unwrap_or(wanted)),
    }
}

/// Returns the one bus master that is meant: the only one, or the only one that has `iova` mapped.
fn choose(mut masters: Vec<Master>, iova: u64) -> Result<Master, NoAnswer> {
    let is_mapped = |master: &Master| matches!(master.space.extent(iova), Some(Extent::Mapped(_)));
    if masters.len() > 1 && masters.iter().any(is_mapped) {
        masters.retain(is_mapped);
    }
    let mut domains: Vec<String> = masters.iter().map(Master::translated_by).collect();
    domains.sort_unstable();
    domains.dedup();
    let names: Vec<&str> = masters.iter().map(|master| master.name.as_str()).collect();
    let names = names.join(", ");
    match masters.into_iter().next() {
        Some(master) if domains.len() == 1 => Ok(master),
        _ => Err(NoAnswer::Which(names)),
    }
}

/// Says what is at `iova` now.
fn mapped_now(master: &Master, iova: u64) -> String {
    let (by, name) = (master.translated_by(), &master.name);
    match master.space.extent(iova) {
        Some(Extent::Mapped(mapping)) => {
            let address = mapping.address.wrapping_add(iova - mapping.first);
            let permitted = words(mapping.permissions);
            format!("{iova:#x} of {name} ({by}) leads to {address:#x}: {permitted}\n")
        }
        _ => format!("{iova:#x} of {name} ({by}) is not mapped\n"),
    }
}

/// Returns whether a descriptor is valid: bits 1:0 of an invalid one are 0 in each format (ARM ARM
/// DDI 0406C B3.5.1 and B3.6.1; Linux, drivers/iommu/rockchip-iommu.c).
fn is_valid(machine: &Machine, address: u64) -> bool {
    let word = machine.memory().read_obj::<u32>(GuestAddress(address));
    word.is_ok_and(|word| word & 3 != 0)
}
