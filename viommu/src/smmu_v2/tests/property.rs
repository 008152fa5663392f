//! Streams, registers and translations against a plain model.

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::harness::{CR0, Machine, RAM, TLBIALLNSNH, cb, cbar, s2cr, smr};
use crate::smmu_v2::SmmuV2Config;
use crate::test_support::RegisterMachine as _;

/// Sixteen pages of RAM are used: enough for tables that lead to each other.
const PAGES: u64 = 16;
/// Streams and groups that the steps use.
const FEW: u32 = 4;

/// What the registers must be, in plain words.
#[derive(Clone, Debug)]
struct Plain {
    cr0: u32,
    smr: [u32; 4],
    s2cr: [u32; 4],
    /// Of each bank: CBAR, SCTLR, TCR, TTBR0 and TTBR1.
    banks: [[u64; 5]; 8],
    fsr: [u32; 8],
    far: [u64; 8],
    gfsr: u32,
    gfar: u64,
}

/// What an access meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    Address(u64),
    Context(usize, u32),
    Global(u32),
}

impl Plain {
    fn new() -> Self {
        Self {
            cr0: 1,
            smr: [0; 4],
            s2cr: [0; 4],
            banks: [[0; 5]; 8],
            fsr: [0; 8],
            far: [0; 8],
            gfsr: 0,
            gfar: 0,
        }
    }

    fn route(&self, machine: &Machine, stream: u32, iova: u64, write: bool) -> Met {
        let through = Met::Address(iova);
        if self.cr0 & 1 != 0 {
            return through;
        }
        let of = |smr: u32| smr >> 31 == 1 && (smr ^ stream) & !(smr >> 16) & 0x7fff == 0;
        let matching: Vec<usize> = (0..4).filter(|&group| of(self.smr[group])).collect();
        let s2cr = match matching[..] {
            [] if self.cr0 & 0x400 != 0 => return Met::Global(2),
            [group] => self.s2cr[group],
            [_, _, ..] if self.cr0 & 0x20_0000 != 0 => return Met::Global(4),
            _ => return through,
        };
        let bank = (s2cr & 0xff) as usize;
        match s2cr >> 16 & 3 {
            0 => {}
            1 => return through,
            _ => return Met::Global(1),
        }
        match self.banks.get(bank) {
            None => Met::Global(8),
            Some([cbar, ..]) if cbar >> 16 & 3 != 1 => Met::Global(1),
            Some([_, sctlr, ..]) if sctlr & 1 == 0 => through,
            Some(_) => match self.translate(machine, bank, iova, write) {
                Ok(address) => Met::Address(address),
                Err(fault) => Met::Context(bank, fault),
            },
        }
    }

    /// Walks the tables; an error is the bit of FSR.
    fn translate(
        &self,
        machine: &Machine,
        bank: usize,
        iova: u64,
        write: bool,
    ) -> Result<u64, u32> {
        let [_, _, tcr, ttbr0, ttbr1] = self.banks[bank];
        if iova >> 32 != 0 {
            return Err(2);
        }
        if tcr >> 31 & 1 == 0 {
            return self.translate_short(machine, bank, iova, write);
        }
        let (t0sz, t1sz) = (tcr & 7, tcr >> 16 & 7);
        let lower = t0sz == 0 || iova >> (32 - t0sz) == 0;
        let upper = match (t0sz, t1sz) {
            (0, 0) => false,
            (_, 0) => !lower,
            _ => iova >> (32 - t1sz) == (1 << t1sz) - 1,
        };
        let (ttbr, size, disabled) = match (upper, lower) {
            (true, _) => (ttbr1, t1sz, tcr >> 23 & 1),
            (false, true) => (ttbr0, t0sz, tcr >> 7 & 1),
            (false, false) => return Err(2),
        };
        if disabled == 1 {
            return Err(2);
        }
        let first = if size < 2 { 1 } else { 2 };
        let entries = 1 << (32 - size - (39 - 9 * first));
        let mut table = (ttbr & 0xff_ffff_ffff) / (entries * 8) * (entries * 8);
        let (mut read_only, mut no_user) = (false, false);
        for level in first..=3 {
            let shift = 39 - 9 * level;
            let index = iova >> shift & if level == first { entries - 1 } else { 0x1ff };
            let entry: u64 = machine
                .ram
                .read_obj(GuestAddress(table + index * 8))
                .map_err(|_| 0x10_u32)?;
            let address = entry & 0xffff_ffff_f000;
            match (entry & 3, level) {
                (1, 1 | 2) | (3, 3) => {
                    if address >> 40 != 0 {
                        return Err(2);
                    }
                    if entry >> 10 & 1 == 0 {
                        return Err(4);
                    }
                    let user = entry >> 6 & 1 == 1 && !no_user;
                    if !user || write && (entry >> 7 & 1 == 1 || read_only) {
                        return Err(8);
                    }
                    return Ok(address >> shift << shift | iova & ((1 << shift) - 1));
                }
                (3, _) if address >> 40 == 0 => {
                    table = address;
                    no_user |= entry >> 61 & 1 == 1;
                    read_only |= entry >> 62 & 1 == 1;
                }
                _ => return Err(2),
            }
        }
        unreachable!("the third level has no tables")
    }

    /// Walks tables of short descriptors.
    fn translate_short(
        &self,
        machine: &Machine,
        bank: usize,
        iova: u64,
        write: bool,
    ) -> Result<u64, u32> {
        let [_, sctlr, tcr, ttbr0, ttbr1] = self.banks[bank];
        let read = |at: u64| {
            let word = machine.ram.read_obj::<u32>(GuestAddress(at));
            word.map(u64::from).map_err(|_| 0x10_u32)
        };
        let n = tcr & 7;
        let is_lower = iova >> (32 - n) == 0;
        let (ttbr, size, disabled) = if is_lower {
            (ttbr0, 0x4000 >> n, tcr >> 4 & 1)
        } else {
            (ttbr1, 0x4000, tcr >> 5 & 1)
        };
        if disabled == 1 {
            return Err(2);
        }
        let first = read((ttbr & 0xffff_ffff) / size * size + (iova >> 20) * 4)?;
        let (address, size, ap) = match (first & 3, first >> 18 & 1) {
            (0, _) => return Err(2),
            (1, _) => {
                let page = read(first / 0x400 * 0x400 + (iova >> 12 & 0xff) * 4)?;
                let size = match page & 3 {
                    0 => return Err(2),
                    1 => 0x1_0000,
                    _ => 0x1000,
                };
                (
                    page / size * size,
                    size,
                    (page >> 9 & 1) << 2 | page >> 4 & 3,
                )
            }
            (_, 0) => (
                first >> 20 << 20,
                1 << 20,
                (first >> 15 & 1) << 2 | first >> 10 & 3,
            ),
            _ => {
                let high = (first >> 5 & 15) << 36 | (first >> 20 & 15) << 32;
                (
                    high | first >> 24 << 24,
                    1 << 24,
                    (first >> 15 & 1) << 2 | first >> 10 & 3,
                )
            }
        };
        if sctlr >> 2 & 1 == 1 && ap & 1 == 0 {
            return Err(4);
        }
        let (readable, writable) = match (sctlr >> 2 & 1, ap) {
            (1, 3) | (0, 3) => (true, true),
            (1, 7) | (0, 2 | 6 | 7) => (true, false),
            _ => (false, false),
        };
        if !readable || write && !writable {
            return Err(8);
        }
        Ok(address + iova % size)
    }

    /// Makes the access of a bus master; returns the address that it reaches.
    fn access(&mut self, machine: &Machine, stream: u32, iova: u64, write: bool) -> Option<u64> {
        let (status, address, fault) = match self.route(machine, stream, iova, write) {
            Met::Address(address) => return Some(address),
            Met::Context(bank, fault) => (&mut self.fsr[bank], &mut self.far[bank], fault),
            Met::Global(fault) => (&mut self.gfsr, &mut self.gfar, fault),
        };
        if *status == 0 {
            (*status, *address) = (fault, iova);
        } else {
            *status |= 1 << 31;
        }
        None
    }
}

#[derive(Clone, Debug)]
enum Step {
    Control(u32),
    Smr(u32, u32),
    S2cr(u32, u32),
    /// Sets all registers of a bank that matter: CBAR, SCTLR, TCR, TTBR0, TTBR1.
    Bank(u64, [u64; 5]),
    Clear(u64),
    /// Puts a descriptor at this place of RAM.
    Poke(u64, u64),
    Access(u32, u64, bool),
    SaveAndRestore,
}

/// Returns a descriptor: one that leads to RAM, or anything.
fn descriptor() -> impl Strategy<Value = u64> {
    let attributes = prop_oneof![4 => Just(0x443u64), 1 => Just(0x441), 1 => 0..0x1000u64];
    let inside = (0..PAGES, attributes).prop_map(|(page, bits)| (RAM + page * 0x1000) | bits);
    let both = (short_descriptor(), short_descriptor()).prop_map(|(low, high)| low | high << 32);
    prop_oneof![6 => inside, 4 => both, 1 => any::<u64>()]
}

/// Returns a short descriptor: a table, a small page, a section or a large page in RAM, or
/// anything.
fn short_descriptor() -> impl Strategy<Value = u64> {
    let table = (0..PAGES * 4).prop_map(|table| RAM + table * 0x400 + 1);
    let bits = prop_oneof![4 => Just(0x32u64), 1 => Just(0x232), 1 => 0..0x1000u64];
    let small = (0..PAGES, bits).prop_map(|(page, bits)| (RAM + page * 0x1000) | bits);
    prop_oneof![
        6 => table,
        4 => small,
        1 => Just(RAM | 0xc02),
        1 => Just(RAM | 0x8402),
        1 => Just(RAM | 0x31),
        1 => any::<u32>().prop_map(u64::from),
    ]
}

fn ttbr() -> impl Strategy<Value = u64> {
    (0..PAGES, 0..3u64).prop_map(|(page, asid)| (RAM + page * 0x1000) | (asid << 48))
}

fn step() -> impl Strategy<Value = Step> {
    let control = (0..4u32, any::<bool>(), any::<bool>()).prop_map(|(bypass, usf, smcf)| {
        Step::Control(u32::from(bypass == 0) | u32::from(usf) << 10 | u32::from(smcf) << 21)
    });
    let smr = (0..4u32, 0..4u32, 0..2u32, 0..4u32).prop_map(|(group, id, mask, valid)| {
        Step::Smr(group, id | mask << 16 | u32::from(valid != 0) << 31)
    });
    let kind = prop_oneof![6 => Just(0u32), 2 => 0..4u32];
    let s2cr = (0..4u32, kind, prop_oneof![8 => 0..3u32, 1 => 7..10u32])
        .prop_map(|(group, kind, bank)| Step::S2cr(group, kind << 16 | bank));
    let tcr = prop_oneof![
        4 => Just(0x8080_2020u64),
        2 => (0..8u64, 0..8u64, 0..4u64, 0..4u64).prop_map(|(t0, t1, epd, eae)| {
            t0 | t1 << 16 | (epd & 1) << 7 | (epd >> 1) << 23 | u64::from(eae != 0) << 31
        }),
        // Short descriptors, of which mostly the lower region is everything.
        3 => Just(0u64),
        1 => (0..8u64, 0..4u64).prop_map(|(n, pd)| n | pd << 4),
    ];
    let cbar = prop_oneof![6 => Just(0x1_f300u64), 1 => (0..4u64).prop_map(|kind| kind << 16)];
    // The second without AFE.
    let sctlr = prop_oneof![6 => Just(0x1067u64), 2 => Just(0x1063), 1 => Just(0)];
    let bank = (0..3u64, cbar, sctlr, tcr, ttbr(), ttbr())
        .prop_map(|(bank, cbar, sctlr, tcr, a, b)| Step::Bank(bank, [cbar, sctlr, tcr, a, b]));
    // Few places and few indices, so that they meet.
    let place = (0..PAGES, 0..4u64).prop_map(|(page, index)| RAM + page * 0x1000 + index * 8);
    let iova = prop_oneof![
        8 => (0..4u64, 0..4u64, 0..4u64, 0..4u64)
            .prop_map(|(a, b, c, d)| a << 30 | b << 21 | c << 12 | d << 3),
        1 => any::<u32>().prop_map(|iova| u64::from(iova & !7)),
        1 => Just(1 << 32),
    ];
    prop_oneof![
        1 => control,
        3 => smr,
        3 => s2cr,
        4 => bank,
        1 => (0..3u64).prop_map(Step::Clear),
        8 => (place, descriptor()).prop_map(|(at, value)| Step::Poke(at, value)),
        10 => (0..FEW, iova, any::<bool>()).prop_map(|(stream, iova, write)| Step::Access(stream, iova, write)),
        1 => Just(Step::SaveAndRestore),
    ]
}

/// Does a step to both; of an access, compares what is reached.
fn apply(machine: &mut Machine, plain: &mut Plain, step: Step) -> Result<(), TestCaseError> {
    match step {
        Step::Control(value) => {
            machine.write(CR0, value);
            plain.cr0 = value;
        }
        Step::Smr(group, value) => {
            machine.write(smr(group.into()), value);
            plain.smr[group as usize] = value;
        }
        Step::S2cr(group, value) => {
            machine.write(s2cr(group.into()), value);
            plain.s2cr[group as usize] = value;
        }
        Step::Bank(bank, values) => {
            let [cbar_value, sctlr, tcr, ttbr0, ttbr1] = values;
            machine.write(cbar(bank), cbar_value as u32);
            machine.write(cb(bank, 0x30), tcr as u32);
            machine.write_long(cb(bank, 0x20), ttbr0);
            machine.write_long(cb(bank, 0x28), ttbr1);
            machine.write(cb(bank, 0), sctlr as u32);
            plain.banks[bank as usize] = values;
        }
        Step::Clear(bank) => {
            machine.write(cb(bank, 0x58), u32::MAX);
            machine.write(0x48, u32::MAX);
            (plain.fsr[bank as usize], plain.gfsr) = (0, 0);
        }
        Step::Poke(at, value) => machine.poke(at, value),
        Step::Access(stream, iova, write) => {
            // What is cached may be used, and the plain model has no cache.
            machine.write(TLBIALLNSNH, 0);
            let dma = machine.dma(stream);
            let reached = plain.access(machine, stream, iova, write);
            let old: Option<u64> =
                reached.and_then(|address| machine.ram.read_obj(GuestAddress(address)).ok());
            let at = GuestAddress(iova);
            let found = if write {
                // What stands there already, so that tables do not change.
                let value = old.unwrap_or(0);
                dma.write_obj(value, at).ok().map(|()| value)
            } else {
                dma.read_obj(at).ok()
            };
            prop_assert_eq!(found, old, "{:#x}", iova);
        }
        Step::SaveAndRestore => {
            let saved = machine.smmu.save();
            *machine = Machine::with(machine.ram.clone(), &SmmuV2Config::new("smmu"));
            machine.smmu.restore(&saved).unwrap();
            prop_assert_eq!(machine.smmu.save(), saved);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn everything_is_as_in_the_plain_model(steps in proptest::collection::vec(step(), 1..200)) {
        let mut machine = Machine::new();
        let mut plain = Plain::new();
        for step in steps {
            apply(&mut machine, &mut plain, step)?;
            prop_assert_eq!(machine.read(0x48), plain.gfsr);
            prop_assert_eq!(machine.read_long(0x40), plain.gfar);
            for bank in 0..8 {
                // But for the format.
                let fsr = machine.read(cb(bank, 0x58)) & !0x600;
                prop_assert_eq!(fsr, plain.fsr[bank as usize]);
                prop_assert_eq!(machine.read_long(cb(bank, 0x60)), plain.far[bank as usize]);
            }
        }
        // Whatever the tables hold, this comes to an end.
        machine.smmu.mappings();
    }
}
