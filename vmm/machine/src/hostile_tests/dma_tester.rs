//! A guest without an operating system that has the DMA tester access what it has unmapped.

use vmm_devices::dma_tester::script::Step;

use super::guests::dma_tester::{ADDRESS_LO, COMMAND, DATA_WORD, FILL, LENGTH, bursts, world};
use super::guests::iommus::request;
use super::*;
use crate::DmaTesterConfig;

/// What is mapped, and where that leads to, from the base of RAM.
const IOVA: u64 = 0x1000_0000;
const PAGE: u64 = 0x80_0000;
/// Page tables of three levels, from the base of RAM.
const TABLES: u64 = 0x90_0000;
/// The word that is written while the page is mapped, and when it is no longer.
const BEFORE: u32 = 0x5a5a_5a5a;
const AFTER: u32 = 0xdead_dead;

/// Registers of context 0 of an IPMMU, and IMUCTR of uTLB 0 (viommu::ipmmu::spec).
const IMCTR: u32 = 0x800;
const IMTTBCR: u32 = 0x808;
const IMTTLBR0: u32 = 0x810;
const IMUCTR0: u32 = 0xb00;

impl World {
    /// Runs the guest for longer than its words take.
    fn carry_out(&mut self) {
        let limits = Limits {
            instructions: Some(self.machine.instructions() + 5000),
            ..Limits::default()
        };
        assert_eq!(self.machine.run(limits).reason, Reason::InstructionLimit);
    }

    /// Returns the words by which the guest has the tester fill a page at [`IOVA`].
    fn fill(&self, word: u32) -> [(u32, u32); 4] {
        let tester = self.registers("dma-tester");
        [
            (tester + ADDRESS_LO, u32::try_from(IOVA).unwrap()),
            (tester + LENGTH, 4096),
            (tester + DATA_WORD, word),
            (tester + COMMAND, FILL),
        ]
    }

    fn page(&self) -> Vec<u32> {
        let at = |word: u64| GuestAddress(self.base + PAGE + 4 * word);
        let memory = self.machine.memory();
        (0..1024)
            .map(|word| memory.read_obj(at(word)).unwrap())
            .collect()
    }

    /// Asserts that what was written before the unmapping arrived, what was written after it did
    /// not, and that the device and the IOMMU say so.
    fn is_refused(&mut self) {
        assert_eq!(self.page(), [BEFORE; 1024]);
        let state = self.machine.state().unwrap().dma_tester.unwrap();
        let met = state.met;
        // A translation fault, in the words of the registers.
        assert_eq!((met.faults, met.reason, met.fault), (1, 16, IOVA));
        assert_eq!(met.moved, 0);
        let iommu = &self.machine.summary().iommus[0];
        let faults: u64 = iommu.utlbs.iter().map(|utlb| utlb.faults).sum();
        assert_eq!(faults, 1, "{iommu:?}");
    }
}

/// Returns a guest that maps a page at an IPMMU, has it filled, unmaps it, and has it filled again.
fn ipmmu(script: Vec<Step>) -> World {
    let world = world(&[&POKE], |config| {
        config.iommus = vec![IommuConfig::new(IommuModel::Ipmmu)];
        config.dma_tester = Some(DmaTesterConfig {
            script,
            ..DmaTesterConfig::default()
        });
    });
    // As Linux's driver has them (drivers/iommu/io-pgtable-arm.c): the bits of a table and of a
    // page.
    let (table, page) = (0x8080_0000_0000_0003, 0xe63);
    let at = |offset: u64| world.base + TABLES + offset;
    let entries = [
        (0, at(0x1000) | table),
        (0x1000 + (IOVA >> 21 & 0x1ff) * 8, at(0x2000) | table),
        (0x2000, (world.base + PAGE) | page),
    ];
    for (offset, entry) in entries {
        world.put(TABLES + offset, &entry.to_le_bytes());
    }
    let ipmmu = world.registers("ipmmu0");
    let setup = [
        (ipmmu + IMTTLBR0, u32::try_from(at(0)).unwrap()),
        (ipmmu + IMTTBCR, 0x8000_3510),
        (ipmmu + IMCTR, 7),
        (ipmmu + IMUCTR0, 1),
    ];
    let unmap = [(u32::try_from(at(0x2000)).unwrap(), 0), (ipmmu + IMCTR, 7)];
    // Last a word for ever that does nothing.
    let rest = [(world.registers("dma-tester") + DATA_WORD, 0)];
    let (before, after) = (world.fill(BEFORE), world.fill(AFTER));
    world.poke(&[&setup[..], &before, &unmap, &after, &rest].concat());
    world
}

#[test]
fn dma_to_what_was_unmapped_at_an_ipmmu_is_refused_and_reported() {
    let mut world = ipmmu(Vec::new());
    world.carry_out();
    world.is_refused();
}

#[test]
fn dma_to_what_was_unmapped_at_a_virtio_iommu_is_refused_and_reported() {
    let mut world = world(&[&POKE], |config| {
        config.iommus = vec![IommuConfig::new(IommuModel::Virtio)];
    });
    let iova = u32::try_from(IOVA).unwrap();
    let page = u32::try_from(world.base + PAGE).unwrap();
    let requests = [
        request(1, &[1, 0, 0, 0]),
        // To be read and written.
        request(3, &[1, iova, 0, iova + 0xfff, 0, page, 0, 3]),
        request(4, &[1, iova, 0, iova + 0xfff, 0, 0]),
    ];
    for (n, request) in (0..).zip(&requests) {
        let at = HEADER + 128 * n;
        world.put(at, request);
        let (head, second) = (DESC + 32 * n, u16::try_from(2 * n + 1).unwrap());
        let len = u32::try_from(request.len()).unwrap();
        world.descriptor(head, (at, len), NEXT, second);
        world.descriptor(head + 16, (DATA, 4), WRITE, 0);
    }
    let notify = (world.registers("viommu0") + VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    // The index of what is available is the upper half of the ring's first word.
    let one_more = (u32::try_from(world.base + AVAIL).unwrap(), 3 << 16);
    let rest = [(world.registers("dma-tester") + DATA_WORD, 0)];
    let (before, after) = (world.fill(BEFORE), world.fill(AFTER));
    let more = [&before[..], &[one_more, notify], &after, &rest].concat();
    let ring: Vec<u16> = (0..RING).map(|n| 2 * n % RING).collect();
    world.set_up_with("viommu0", &ring, 2, &more);
    world.carry_out();
    assert_eq!(world.used(), 3, "all requests are answered");
    world.is_refused();
}

#[test]
fn a_script_does_the_same_without_the_guest() {
    let step = |keys: &str| format!("[[step]]\nop = \"read\"\naddress = 0x10000000\n{keys}\n");
    // The first flush is that of the set-up, before the uTLB translates.
    let script = [
        step("on = \"flush\"\nexpect = \"bus-error\""),
        step("delay = \"20ns\"\nexpect = \"ok\""),
        step("on = \"unmap\"\nexpect = \"fault\"").replace("0x10000000", "\"previous\""),
        step("on = \"flush\"\nexpect = \"fault\""),
    ];
    let script = DmaTesterConfig::parse_script(&script.concat()).unwrap();
    let mut world = ipmmu(script);
    world.carry_out();
    let steps = world.machine.summary().dma_script.unwrap();
    let outcomes: Vec<_> = steps.iter().map(|step| step.outcome.as_str()).collect();
    assert_eq!(outcomes, ["bus-error", "ok", "fault", "not-begun"]);
    assert_eq!(steps.iter().filter(|step| step.holds).count(), 3);
    // It is the same run again, from any place on.
    let results = world.machine.state().unwrap().dma_tester;
    let mut whole = ipmmu(world.machine.config.dma_tester.clone().unwrap().script);
    let limits = |instructions| Limits {
        instructions: Some(instructions),
        ..Limits::default()
    };
    whole.machine.run(limits(77));
    let snapshot = whole.machine.snapshot().unwrap();
    let mut forked = snapshot.machine(Fork::new(Box::new(Discard))).unwrap();
    forked.run(limits(5000));
    assert_eq!(forked.state().unwrap().dma_tester, results);
}

#[test]
fn the_largest_burst_goes_on_at_the_same_instant_after_a_snapshot() {
    let mut worlds = [0, 1].map(|_| bursts(TimeMode::Virtual));
    let limits = |guest_ns| Limits {
        guest_ns: Some(guest_ns),
        ..Limits::default()
    };
    for world in &mut worlds {
        world.machine.run(limits(1_000_000));
    }
    let [mut whole, mut saved] = worlds;
    let snapshot = saved.machine.snapshot().unwrap();
    let mut forked = snapshot.machine(Fork::new(Box::new(Discard))).unwrap();
    for machine in [&mut whole.machine, &mut forked] {
        machine.run(limits(2_000_000));
    }
    let state = |machine: &mut Machine| {
        let mut state = machine.state().unwrap();
        state.run = Default::default();
        state
    };
    let (one, other) = (state(&mut whole.machine), state(&mut forked));
    assert!(one.dma_tester.as_ref().unwrap().met.accesses <= 2);
    assert_eq!(one, other);
}
