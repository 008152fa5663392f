//! What devices reach.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use viommu::{Attachment, Extent, Mapping};
use vm_memory::Permissions;
use vmm_devices::ram::DmaSpace;
use vmm_machine::Machine;
use vmm_machine::board::{Board, Entry, Role};

use super::{Inspector, NoAnswer};

/// The most looks at a domain: as many as pages of 4 KiB in 4 GiB. A guest can make its tables look
/// as if there were more.
const MAX_LOOKS: usize = 1 << 20;
/// The most ranges of a domain that are shown.
const MAX_RANGES: usize = 256;

/// A bus master behind an IOMMU.
pub(super) struct Master {
    /// Its name.
    pub name: String,
    /// The name of the IOMMU.
    pub iommu: String,
    /// What it sees of memory.
    pub space: DmaSpace,
    port: String,
    domain_word: &'static str,
}

impl Master {
    /// Returns the bus masters of a machine that stand behind an IOMMU.
    pub fn all(machine: &Machine) -> Vec<Self> {
        let board = machine.board();
        let behind = board.devices.iter().filter_map(|entry| {
            let port = entry.iommu?;
            Some(Self {
                name: entry.name.clone(),
                iommu: board.iommu_name(port.iommu)?.to_owned(),
                space: machine.dma_space(&entry.name)?,
                port: format!("{} {}", board.port_word(port.iommu), port.utlb),
                domain_word: domain_word(board, port.iommu),
            })
        });
        behind.collect()
    }

    /// Returns the guest's number of the domain that it is attached to.
    pub fn domain(&self) -> Option<u32> {
        self.space.domain_number()
    }

    /// Returns the IOMMU and the domain, in words.
    pub fn translated_by(&self) -> String {
        match self.domain() {
            Some(number) => format!("{} {} {number}", self.iommu, self.domain_word),
            None => self.iommu.clone(),
        }
    }
}

fn domain_word(board: &Board, iommu: usize) -> &'static str {
    let mut entries = board.devices.iter();
    let role = entries.find(|entry| entry.iommu_index() == Some(iommu));
    match role.and_then(|entry| entry.role) {
        Some(Role::Iommu(model, _)) => model.facts().domain_word,
        _ => "domain",
    }
}

impl Inspector {
    /// Returns the devices, a line each.
    pub(super) fn devices(machine: &Machine) -> String {
        let board = machine.board();
        let mut text = String::new();
        let behind = |entry: &Entry| {
            let port = entry.iommu?;
            let name = board.iommu_name(port.iommu)?;
            let word = board.port_word(port.iommu);
            Some(format!("  behind {name}, {word} {}", port.utlb))
        };
        for entry in &board.devices {
            let ranges: Vec<String> = entry.ranges.iter().map(ToString::to_string).collect();
            let irqs = entry.irqs.iter().map(|irq| format!("  SPI {}", irq.spi));
            // Writing to a `String` cannot fail, so these results are dropped.
            let _ = writeln!(
                text,
                "{:12} {}{}{}",
                entry.name,
                ranges.join(" "),
                irqs.collect::<String>(),
                behind(entry).unwrap_or_default()
            );
        }
        text
    }

    /// Returns what each port with a device is attached to, a line each.
    pub(super) fn ports(machine: &Machine) -> String {
        let mut text = String::new();
        for master in Master::all(machine) {
            let to = match (master.space.attachment(), master.domain()) {
                (Some(Attachment::Bypass), _) => "not translated: it passes through".to_owned(),
                (Some(Attachment::Blocked), _) | (None, _) => "blocked".to_owned(),
                (Some(Attachment::Domain(_)), Some(number)) => {
                    format!("{} {number}", master.domain_word)
                }
                (Some(Attachment::Domain(_)), None) => {
                    format!("a {} that is gone", master.domain_word)
                }
            };
            let Master {
                iommu, port, name, ..
            } = &master;
            let _ = writeln!(text, "{iommu} {port} ({name}): {to}");
        }
        if text.is_empty() {
            text.push_str("no device stands behind an IOMMU\n");
        }
        text
    }

    /// Returns what is mapped for a device, or for all of them, by domain.
    pub(super) fn mappings(machine: &Machine, device: Option<&str>) -> Result<String, NoAnswer> {
        let mut domains: BTreeMap<String, Vec<Master>> = BTreeMap::new();
        for master in masters(machine, device)? {
            let domain = domains.entry(master.translated_by()).or_default();
            domain.push(master);
        }
        let mut text = String::new();
        for (domain, masters) in &domains {
            let names: Vec<&str> = masters.iter().map(|m| m.name.as_str()).collect();
            let _ = writeln!(text, "{domain} ({}):", names.join(", "));
            if let Some(master) = masters.first() {
                list(&mut text, machine.board(), &master.space);
            }
        }
        Ok(text)
    }
}

/// Returns the bus master of that name, or all that are translated.
///
/// # Errors
/// There is none.
pub(super) fn masters(machine: &Machine, device: Option<&str>) -> Result<Vec<Master>, NoAnswer> {
    let all = Master::all(machine).into_iter();
    let Some(device) = device else {
        let translated: Vec<Master> = all.filter(|master| master.domain().is_some()).collect();
        return match translated.is_empty() {
            true => Err(NoAnswer::NoDomain),
            false => Ok(translated),
        };
    };
    let mut named = all.filter(|master| master.name == device);
    match named.next() {
        Some(master) if master.domain().is_none() => {
            Err(NoAnswer::NotTranslated(device.to_owned()))
        }
        Some(master) => Ok(vec![master]),
        None => Err(NoAnswer::Device(device.to_owned())),
    }
}

/// Writes what a bus master has mapped, adjacent mappings that continue each other as one.
fn list(text: &mut String, board: &Board, space: &DmaSpace) {
    let (mut ranges, mut pages) = (Vec::<Mapping>::new(), 0_usize);
    let (mut iova, mut more) = (Some(0), false);
    for look in 0..=MAX_LOOKS {
        let Some(at) = iova else { break };
        if look == MAX_LOOKS {
            more = true;
            break;
        }
        let last = match space.extent(at) {
            Some(Extent::Mapped(mapping)) => {
                pages += 1;
                match ranges.last_mut() {
                    Some(before) if continues(before, &mapping) => before.last = mapping.last,
                    _ => ranges.push(mapping),
                }
                mapping.last
            }
            Some(Extent::Hole { last }) => last,
            None => break,
        };
        // Beyond what was looked at, whatever is answered.
        iova = last.max(at).checked_add(1);
    }
    for range in ranges.iter().take(MAX_RANGES) {
        let Mapping {
            first,
            last,
            address,
            ..
        } = range;
        // In what is mapped no address wraps, but for a virtio-iommu's, which may be any.
        let end = address.wrapping_add(last - first);
        let ram = board.ram.base..=board.ram.end() - 1;
        let place = match ram.contains(address) && ram.contains(&end) {
            true => "",
            false => "  no RAM",
        };
        let permitted = words(range.permissions);
        let _ = writeln!(
            text,
            "  {first:#010x}..={last:#010x} -> {address:#010x}  {permitted}{place}"
        );
    }
    let hidden = ranges.len().saturating_sub(MAX_RANGES);
    if hidden > 0 {
        let _ = writeln!(text, "  and {hidden} more ranges");
    }
    let so_far = if more { " so far: there is more" } else { "" };
    let _ = writeln!(text, "  {pages} mappings{so_far}");
}

/// Returns whether `next` goes on where `before` ends, in both address spaces.
fn continues(before: &Mapping, next: &Mapping) -> bool {
    before.last.checked_add(1) == Some(next.first)
        && before.address.checked_add(next.first - before.first) == Some(next.address)
        && before.permissions == next.permissions
}

/// Returns what is permitted, in words.
pub(super) fn words(permissions: Permissions) -> &'static str {
    match permissions {
        Permissions::No => "no access",
        Permissions::Read => "read",
        Permissions::Write => "write",
        Permissions::ReadWrite => "read, write",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_continues_is_one_range() {
        let page = |first: u64, address: u64, permissions| Mapping {
            first,
            last: first + 0xfff,
            address,
            permissions,
        };
        let both = Permissions::ReadWrite;
        let before = page(0x1000, 0x8000, both);
        assert!(continues(&before, &page(0x2000, 0x9000, both)));
        for other in [
            page(0x3000, 0xa000, both),
            page(0x2000, 0xa000, both),
            page(0x2000, 0x9000, Permissions::Read),
        ] {
            assert!(!continues(&before, &other));
        }
        let last = Mapping {
            last: u64::MAX,
            ..before
        };
        assert!(!continues(&last, &page(0, 0, both)));
    }
}
