//! The registers and the translations against a plain model.

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::harness::{Machine, RAM, page_at};
use crate::attachment::Attachment;
use crate::fault::{DomainId, EndpointId};
use crate::rockchip::{Format, RockchipConfig};
use crate::test_support::RegisterMachine as _;

/// Sixteen pages of RAM are used: enough for tables that lead to each other.
const PAGES: u64 = 16;

/// What the registers must be, in plain words.
#[derive(Clone, Debug, Default)]
struct Plain {
    wide: bool,
    directory: u32,
    paging: bool,
    stall: bool,
    fault: bool,
    fault_write: bool,
    fault_address: u32,
    pending: u32,
    mask: u32,
    gating: u32,
}

impl Plain {
    fn write(&mut self, offset: u64, value: u32) {
        let wide = self.wide;
        match (offset, value) {
            (0x00, _) => self.directory = value & if wide { !0xf } else { !0xfff },
            (0x08, 0) => self.paging = true,
            (0x08, 1) => self.paging = false,
            (0x08, 2) => self.stall |= self.paging,
            (0x08, 3) => self.stall = false,
            (0x08, 5) => self.fault = false,
            (0x08, 6) => {
                *self = Self {
                    wide,
                    ..Self::default()
                }
            }
            (0x18, _) => self.pending &= !value,
            (0x1c, _) => self.mask = value & 3,
            (0x24, _) => self.gating = value,
            _ => {}
        }
    }

    fn read(&self, offset: u64) -> u32 {
        let bits = [
            self.paging,
            self.fault,
            self.stall,
            true,
            true,
            self.fault_write,
        ];
        let status = bits
            .iter()
            .enumerate()
            .map(|(n, &bit)| u32::from(bit) << n)
            .sum();
        match offset {
            0x00 => self.directory,
            0x04 => status,
            0x0c => self.fault_address,
            0x14 => self.pending,
            0x1c => self.mask,
            0x20 => self.pending & self.mask,
            0x24 => self.gating,
            _ => 0,
        }
    }

    fn address(&self, entry: u32) -> u64 {
        let e = u64::from(entry);
        let high = if self.wide {
            (e >> 8 & 15) | (e >> 4 & 15) << 4
        } else {
            0
        };
        high << 32 | e >> 12 << 12
    }

    /// Returns the page that an access meets, or whether it is a bus error (true) or a page fault.
    fn translate(&self, machine: &Machine, iova: u32, write: bool) -> Result<u64, bool> {
        let entry = |table: u64, index: u32| {
            let at = GuestAddress(table + u64::from(index) * 4);
            machine.ram.read_obj::<u32>(at).map_err(|_| true)
        };
        let outer = entry(self.address(self.directory), iova >> 22)?;
        if outer & 1 == 0 {
            return Err(false);
        }
        let inner = entry(self.address(outer), iova >> 12 & 0x3ff)?;
        let wanted = if write { 5 } else { 3 };
        if inner & wanted != wanted {
            return Err(false);
        }
        Ok(self.address(inner))
    }

    /// Makes the access of a bus master; returns the address that it reaches.
    fn access(&mut self, machine: &Machine, iova: u32, write: bool) -> Option<u64> {
        if !self.paging {
            return Some(iova.into());
        }
        let bus_error = match self.translate(machine, iova, write) {
            Ok(page) => return Some(page | u64::from(iova & 0xfff)),
            Err(bus_error) => bus_error,
        };
        if bus_error {
            self.pending |= 2;
        }
        if self.fault {
            return None;
        }
        self.fault_address = iova;
        if !bus_error {
            self.pending |= 1;
            (self.fault, self.fault_write) = (true, write);
        }
        None
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u32),
    /// Puts an entry at this word of RAM, and zaps all.
    Poke(u64, u32),
    Access(u32, bool),
    SaveAndRestore,
}

/// Returns an entry: one that leads to RAM, or anything.
fn entry() -> impl Strategy<Value = u32> {
    let inside = (0..PAGES, 0..8u32).prop_map(|(page, bits)| (RAM + page * 0x1000) as u32 | bits);
    prop_oneof![6 => inside, 1 => any::<u32>()]
}

fn step() -> impl Strategy<Value = Step> {
    let register = (0..12u64).prop_map(|n| n * 4);
    let command = prop_oneof![4 => Just(0u32), 5 => 0..8u32];
    // Few words and few indices, so that they meet.
    let word = (0..PAGES, 0..8u64).prop_map(|(page, index)| page * 0x400 + index);
    let iova = (0..8u32, 0..8u32, 0..4u32).prop_map(|(a, b, c)| a << 22 | b << 12 | c << 3);
    prop_oneof![
        2 => (register, any::<u32>()).prop_map(|(at, value)| Step::Write(at, value)),
        2 => command.prop_map(|command| Step::Write(8, command)),
        2 => entry().prop_map(|entry| Step::Write(0, entry)),
        1 => (0..8u32).prop_map(|mask| Step::Write(0x1c, mask)),
        8 => (word, entry()).prop_map(|(at, entry)| Step::Poke(at, entry)),
        8 => (iova, any::<bool>()).prop_map(|(iova, write)| Step::Access(iova, write)),
        1 => Just(Step::SaveAndRestore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn everything_is_as_in_the_plain_model(
        wide: bool,
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let format = if wide { Format::Bits40 } else { Format::Bits32 };
        let config = RockchipConfig::new("mmu", format);
        let mut machine = Machine::new(&config);
        let mut plain = Plain { wide, ..Plain::default() };
        for step in steps {
            match step {
                Step::Write(offset, value) => {
                    machine.write(offset, value);
                    plain.write(offset, value);
                    if offset == 0 {
                        // What is cached of the old directory may be used, and the plain model has
                        // no cache.
                        machine.write(8, 4);
                    }
                }
                Step::Poke(word, entry) => {
                    machine.poke(RAM + word * 4, entry);
                    machine.write(8, 4);
                }
                Step::Access(iova, write) => {
                    let dma = machine.dma();
                    let reached = plain.access(&machine, iova, write);
                    let at = GuestAddress(iova.into());
                    let (found, expected) = if write {
                        // What stands there already, so that tables do not change.
                        let old = reached.and_then(|address| machine.ram.read_obj(GuestAddress(address)).ok());
                        (dma.write_obj::<u64>(old.unwrap_or(0), at).ok().and(old), old)
                    } else {
                        let old = reached.and_then(|address| machine.ram.read_obj(GuestAddress(address)).ok());
                        (dma.read_obj::<u64>(at).ok(), old)
                    };
                    prop_assert_eq!(found, expected, "{:#x}", iova);
                }
                Step::SaveAndRestore => {
                    let saved = machine.iommu.save();
                    machine = Machine::with(machine.ram.clone(), &config);
                    machine.iommu.restore(&saved).unwrap();
                    prop_assert_eq!(machine.iommu.save(), saved);
                }
            }
            for offset in (0..0x30).step_by(4) {
                prop_assert_eq!(machine.read(offset), plain.read(offset), "{:#x}", offset);
            }
            let attached = machine.iommu.unit().attachment(EndpointId(0));
            let expected = if plain.paging { Attachment::Domain(DomainId(0)) } else { Attachment::Bypass };
            prop_assert_eq!(attached, expected);
        }
        // Whatever the tables hold, this comes to an end.
        machine.iommu.mappings();
        page_at(&machine.dma(), 0);
    }
}
