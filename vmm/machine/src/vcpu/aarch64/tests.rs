//! Addresses found by tables of every shape, and memory by them.

use proptest::prelude::*;

use super::state::{EL1H, EL1T};
use super::*;
use vmm_devices::ram::GuestRam;

const RAM: u64 = 0x4000_0000;
const SIZE: usize = 8 << 20;

fn cluster() -> Aarch64Cores {
    let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), SIZE)]).unwrap();
    Aarch64Cores::new(2, Arc::new(ram))
}

/// Tables that are made as they are needed, the plain way: every level a whole page of the granule.
struct Tables<'a> {
    cluster: &'a mut Aarch64Cores,
    next: u64,
    granule: u32,
    bits: u32,
    root: u64,
}

impl<'a> Tables<'a> {
    fn new(cluster: &'a mut Aarch64Cores, granule: u32, bits: u32) -> Self {
        let next = RAM + (2 << 20);
        Self {
            cluster,
            next: next + (1 << granule),
            granule,
            bits,
            root: next,
        }
    }

    /// Maps `va`'s page, or its block at `level`s above the last, to `pa`.
    fn map(&mut self, va: u64, pa: u64, above: u32) {
        let stride = self.granule - 3;
        let levels = (self.bits - self.granule).div_ceil(stride);
        let mut table = self.root;
        for left in (above + 1..=levels).rev() {
            let shift = self.granule + stride * (left - 1);
            let width = (self.bits - shift).min(stride);
            let at = GuestAddress(table + 8 * (va >> shift & ((1 << width) - 1)));
            let ram = Arc::clone(&self.cluster.ram);
            if left == above + 1 {
                let kind = if above == 0 { 3 } else { 1 };
                // Attributes all around the address: access flag, shareability, not executable, and
                // what software keeps.
                let descriptor = pa | kind | 0x0060_0000_0000_0f0c;
                ram.write_obj(descriptor, at).unwrap();
                return;
            }
            let entry: u64 = ram.read_obj(at).unwrap();
            if entry == 0 {
                ram.write_obj(self.next | 3, at).unwrap();
                table = self.next;
                self.next += 1 << self.granule;
            } else {
                table = entry & !3;
            }
        }
    }

    fn switch_on(self, upper: bool) {
        let s = self.cluster.state_mut(0);
        let size = u64::from(64 - self.bits);
        let granule = match (self.granule, upper) {
            (16, false) => 1,
            (14, false) => 2,
            (12, false) => 0,
            (16, true) => 3,
            (14, true) => 1,
            _ => 2_u64,
        };
        // The other half's size must not matter.
        s.tcr = if upper {
            size << 16 | granule << 30 | 39
        } else {
            size | granule << 14 | 39 << 16
        };
        // An address space number, and that tables may be shared.
        let base = self.root | 0x1234 << 48 | 1;
        (s.ttbr0, s.ttbr1) = if upper { (0x40, base) } else { (base, 0x40) };
        s.sctlr = 1;
    }
}

/// Generates a granule, the bits of addresses, and which half.
fn shapes() -> impl Strategy<Value = (u32, u32, bool)> {
    let granule = prop::sample::select(vec![12, 14, 16_u32]);
    (granule, 25..=48_u32, any::<bool>())
}

proptest! {
    #[test]
    fn what_is_mapped_is_found((granule, bits, upper) in shapes(), pages in prop::collection::vec(any::<u64>(), 1..8),
                               offset in any::<u64>()) {
        let mut cluster = cluster();
        let mut tables = Tables::new(&mut cluster, granule, bits);
        let page = (1_u64 << granule) - 1;
        let inside = (1_u64 << bits) - 1;
        let sign = if upper { !inside } else { 0 };
        let mapped: BTreeMap<u64, u64> = pages
            .iter()
            .map(|bits| (sign | bits & inside & !page, RAM + (bits.rotate_left(7) & 0x3f_ffff & !page)))
            .collect();
        for (&va, &pa) in &mapped {
            tables.map(va, pa, 0);
        }
        tables.switch_on(upper);
        let offset = offset & page;
        for (&va, &pa) in &mapped {
            prop_assert_eq!(cluster.translate(0, va | offset), Some(pa | offset));
            let next = va.wrapping_add(page + 1);
            prop_assert_eq!(cluster.translate(0, next).is_some(), mapped.contains_key(&next));
            // Of the other half, of none.
            prop_assert_eq!(cluster.translate(0, va ^ !inside), None);
            prop_assert_eq!(cluster.translate(0, va ^ 1 << 60), None);
            cluster.state_mut(0).tcr |= 3 << 37;
            prop_assert_eq!(cluster.translate(0, va ^ 1 << 60 | offset), Some(pa | offset), "a tag");
            cluster.state_mut(0).tcr &= !(3 << 37);
        }
        cluster.state_mut(0).tcr |= 1 << 7 | 1 << 23;
        for va in mapped.keys() {
            prop_assert_eq!(cluster.translate(0, *va), None, "tables that are not to be looked at");
        }
    }

    /// Whatever a guest writes, it is looked at and nothing else happens.
    #[test]
    fn no_guest_confuses_the_walk(regs in any::<[u64; 4]>(), vas in prop::collection::vec(any::<u64>(), 8),
                                  words in prop::collection::vec(any::<u64>(), 64), table in 0..64_u64) {
        let mut cluster = cluster();
        for (n, word) in (0..).zip(words) {
            // Tables that lead to each other.
            let word = if word & 4 == 0 { RAM | word & 0x1f_f003 } else { word };
            cluster.ram.write_obj(word, GuestAddress(RAM + 8 * n)).unwrap();
        }
        let s = cluster.state_mut(0);
        (s.sctlr, s.tcr) = (regs[0] | 1, regs[1]);
        (s.ttbr0, s.ttbr1) = (regs[2], (RAM + table * 64) | (regs[3] & 1));
        for va in vas {
            let _ = cluster.translate(0, va);
            let _ = cluster.core(0).unwrap().read(va, &mut [0; 100]);
            let _ = cluster.core(0).unwrap().write(va, &[0; 100]);
        }
    }
}

#[test]
fn blocks_are_found() {
    for (granule, bits, above, size) in [
        (12, 48, 1, 2 << 20),
        (12, 39, 2, 1 << 30),
        (14, 47, 1, 32 << 20),
        (16, 48, 1, 512 << 20_u64),
    ] {
        let mut cluster = cluster();
        let mut tables = Tables::new(&mut cluster, granule, bits);
        let va = (!0 << bits) | (5 * size);
        tables.map(va, 3 * size, above);
        tables.switch_on(true);
        let at = |va| cluster.translate(0, va);
        assert_eq!(at(va + 0x12_3456), Some(3 * size + 0x12_3456), "{granule}");
        assert_eq!(at(va + size), None);
        assert_eq!(at(va - 1), None);
    }
}

#[test]
fn memory_is_what_the_core_sees() {
    let mut cluster = cluster();
    let mut core = cluster.core(1).unwrap();
    // Nothing is mapped yet: addresses are physical.
    core.write(RAM + 0xffe, b"abcd").unwrap();
    let mut bytes = [0; 4];
    core.read(RAM + 0xffe, &mut bytes).unwrap();
    assert_eq!(&bytes, b"abcd");
    let mut tables = Tables::new(&mut cluster, 12, 48);
    let va = 0xffff_8000_0800_0000;
    tables.map(va, RAM, 0);
    tables.map(va + 0x1000, RAM + 0x5000, 0);
    tables.switch_on(true);
    let mut core = cluster.core(0).unwrap();
    core.read(va + 0xffe, &mut bytes).unwrap();
    assert_eq!(&bytes, b"ab\0\0", "the second page is another one");
    let beyond = va + 0x2000;
    assert_eq!(
        core.write(va + 0x1ffe, b"1234"),
        Err(NoMemory { va: beyond })
    );
    core.read(va + 0x1ffc, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 4], "all or nothing");
    assert_eq!(core.read(beyond, &mut bytes), Err(NoMemory { va: beyond }));
    let top = u64::MAX - 1;
    assert_eq!(core.read(top, &mut bytes), Err(NoMemory { va: top }));
}

#[test]
fn arguments_are_in_registers_and_then_on_the_stack() {
    let mut cluster = cluster();
    let s = cluster.state_mut(0);
    s.pstate.set_mode(EL1H);
    (s.sp_el0, s.sp_el1) = (0, RAM + 0x100);
    (0..8).for_each(|n| s.set_reg(n, 100 + u64::from(n)));
    let mut core = cluster.core(0).unwrap();
    core.write(RAM + 0x108, &7_u64.to_le_bytes()).unwrap();
    assert_eq!(core.argument(7), Ok(107));
    assert_eq!(core.argument(9), Ok(7));
    core.state_mut().pstate.set_mode(EL1T);
    assert_eq!(core.argument(8), Err(NoMemory { va: 0 }));
    assert_eq!(core.state().reg(31), 0, "the other stack pointer");
}

#[test]
fn breakpoints_are_counted() {
    let mut cluster = cluster();
    let va = 0xffff_8000_0801_0000;
    cluster.insert_breakpoint(va);
    cluster.insert_breakpoint(va);
    assert!(cluster.remove_breakpoint(va));
    assert_eq!(cluster.breakpoints().collect::<Vec<_>>(), [va]);
    assert!(cluster.remove_breakpoint(va));
    assert!(!cluster.remove_breakpoint(va));
}
