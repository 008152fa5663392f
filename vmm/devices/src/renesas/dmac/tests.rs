//! The controller as Linux's driver uses it, and against a model that moves one byte at a time.
#![expect(
    clippy::cast_possible_truncation,
    reason = "addresses and sizes are small"
)]

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use vmm_base::VirtualClock;

use super::spec::{DIPT_SHIFT, channel, chcrb, dpbase};
use super::*;
use crate::ram::GuestRam;

const BASE: u64 = 0x4000_0000;
const SIZE: usize = 0x2_0000;
const TS_4B: u32 = 2 << 3;
const MEMORY_TO_MEMORY: u32 =
    1 << chcr::DM_SHIFT | 1 << chcr::SM_SHIFT | 4 << chcr::RS_SHIFT | TS_4B;

#[derive(Default)]
struct Level(AtomicBool);

impl Interrupt for Level {
    fn set(&self, level: bool) {
        assert_ne!(
            self.0.swap(level, Ordering::Relaxed),
            level,
            "told of changes only"
        );
    }
}

impl Level {
    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

struct Rig {
    ram: Arc<GuestRam>,
    clock: Arc<VirtualClock>,
    error: Arc<Level>,
    lines: Vec<Arc<Level>>,
    dmac: Dmac,
}

impl Rig {
    fn new() -> Self {
        let ram = Arc::new(GuestRam::from_ranges(&[(GuestAddress(BASE), SIZE)]).unwrap());
        let bytes: Vec<u8> = (0..SIZE).map(|index| ((index * 7) >> 3) as u8).collect();
        ram.write_slice(&bytes, GuestAddress(BASE)).unwrap();
        let clock = Arc::new(VirtualClock::default());
        let error = Arc::new(Level::default());
        let dmac = Dmac::new(clock.clone(), error.clone(), Box::new(|| {}));
        let lines: Vec<Arc<Level>> = (0..CHANNELS).map(|_| Arc::default()).collect();
        for line in &lines {
            dmac.add_channel(DmaSpace::pass_through(Arc::clone(&ram)), line.clone());
        }
        let rig = Self {
            ram,
            clock,
            error,
            lines,
            dmac,
        };
        rig.dmac.write(common::CHCLR, 0x7fff);
        rig.dmac.write(common::OR, u32::from(or::DME));
        rig
    }

    /// Starts what registers say.
    fn start(&self, index: usize, from: u64, to: u64, units: u32, control: u32) {
        let write = |offset, value| self.dmac.write_channel(index, offset, value);
        for (low, high, address) in [
            (channel::SAR, channel::FIXSAR, from),
            (channel::DAR, channel::FIXDAR, to),
        ] {
            write(low, address as u32);
            write(high, (address >> 32) as u32);
        }
        write(channel::TCR, units);
        write(channel::CHCR, control | chcr::DE | chcr::IE | chcr::CAIE);
    }

    /// Lets time pass until nothing is due.
    fn finish(&self) {
        while let Some(at) = self.dmac.next_alarm() {
            self.clock.skip_to(at);
            self.dmac.tick();
        }
    }

    fn control(&self, index: usize) -> u32 {
        self.dmac.read_channel(index, channel::CHCR)
    }

    fn bytes(&self, from: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.ram.read_slice(&mut bytes, GuestAddress(from)).unwrap();
        bytes
    }
}

#[test]
fn a_copy_takes_its_time_and_interrupts_at_its_end() {
    let rig = Rig::new();
    let want = rig.bytes(BASE + 0x100, 0x3000);
    rig.start(
        3,
        BASE + 0x100,
        BASE + 0x1_0200,
        0x3000 / 4,
        MEMORY_TO_MEMORY,
    );
    rig.dmac.tick();
    assert_eq!(
        rig.dmac.read_channel(3, channel::TCRB),
        0xc00,
        "nothing is done at once"
    );
    let first = rig.dmac.next_alarm().unwrap();
    rig.clock.skip_to(first);
    rig.dmac.tick();
    // The first burst ends with the page of the destination.
    assert_eq!(
        rig.dmac.read_channel(3, channel::TCRB),
        (0x3000 - 0xe00) / 4
    );
    assert!(!rig.lines[3].get());
    rig.finish();
    assert_eq!(rig.bytes(BASE + 0x1_0200, 0x3000), want);
    assert!(rig.lines[3].get() && !rig.error.get());
    assert_eq!(rig.dmac.read(common::ISTA), 1 << 3);
    assert_eq!(rig.clock.now_ns(), 0x3000 * NS_PER_BYTE);
    // As the driver's handler ends it.
    let ended = rig.control(3);
    rig.dmac
        .write_channel(3, channel::CHCR, ended & !(chcr::TE | chcr::DE));
    assert!(!rig.lines[3].get());
    assert_eq!(rig.control(3) & (chcr::TE | chcr::DE), 0);
}

/// What `rcar_dmac_chan_start_xfer` writes for a transfer of three chunks.
#[test]
fn descriptors_follow_each_other() {
    let rig = Rig::new();
    let list = BASE + 0x8000;
    let chunks = [
        (0x100, 0x1_0000, 0x40),
        (0x2000, 0x1_1000, 0x1000),
        (0x40, 0x1_3000, 4),
    ];
    for (index, (from, to, bytes)) in chunks.into_iter().enumerate() {
        let words = [BASE as u32 + from, BASE as u32 + to, bytes / 4, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        rig.ram
            .write_slice(&bytes, GuestAddress(list + 16 * index as u64))
            .unwrap();
    }
    let write = |offset, value| rig.dmac.write_channel(1, offset, value);
    write(channel::DPBASE, list as u32 | dpbase::SEL);
    write(channel::CHCRB, 2 << chcrb::DCNT_SHIFT | chcrb::DRST);
    write(channel::DPCR, 1 << DIPT_SHIFT);
    let flags = chcr::RPT_SAR | chcr::RPT_DAR | chcr::RPT_TCR | chcr::DPB;
    let once = MEMORY_TO_MEMORY | flags | 1 << chcr::DPM_SHIFT;
    write(channel::CHCR, once | chcr::IE | chcr::DE | chcr::CAIE);
    rig.finish();
    for (from, to, bytes) in chunks {
        let read = |offset: u32| rig.bytes(BASE + u64::from(offset), bytes as usize);
        assert_eq!(read(from), read(to));
    }
    assert_eq!(rig.control(1) & (chcr::TE | chcr::CAE), chcr::TE);
    assert!(rig.lines[1].get());

    // In infinite mode each stage can interrupt, and the list begins anew.
    write(channel::CHCR, 0);
    write(channel::CHCRB, 2 << chcrb::DCNT_SHIFT | chcrb::DRST);
    let endless = MEMORY_TO_MEMORY | flags | 3 << chcr::DPM_SHIFT;
    write(channel::CHCR, endless | chcr::DSIE | chcr::DE);
    for stage in [2, 0, 1, 2] {
        while rig.control(1) & chcr::DSE == 0 {
            rig.clock.skip_to(rig.dmac.next_alarm().unwrap());
            rig.dmac.tick();
        }
        assert!(rig.lines[1].get());
        let pointer = rig.dmac.read_channel(1, channel::CHCRB) & chcrb::DPTR;
        write(channel::CHCR, rig.control(1) & !chcr::DSE);
        write(channel::DPCR, stage << DIPT_SHIFT);
        assert!(pointer >> chcrb::DPTR_SHIFT <= 2);
    }
    assert_eq!(rig.control(1) & chcr::TE, 0);
}

#[test]
fn an_address_error_stops_the_channel_or_all_of_them() {
    let rig = Rig::new();
    // Outside of memory from the second page on.
    rig.start(
        2,
        BASE,
        BASE + SIZE as u64 - 0x1000,
        0x800,
        MEMORY_TO_MEMORY,
    );
    rig.finish();
    assert_eq!(rig.control(2) & (chcr::CAE | chcr::TE), chcr::CAE);
    assert!(rig.lines[2].get() && !rig.error.get());
    assert_eq!(
        rig.bytes(BASE + SIZE as u64 - 0x1000, 16),
        rig.bytes(BASE, 16)
    );
    rig.dmac.write(common::CHCLR, 1 << 2);
    assert_eq!((rig.control(2), rig.lines[2].get()), (0, false));

    // Without its own interrupt the controller's, and the other channels wait.
    rig.start(4, BASE, BASE + 0x8000, 0x400, MEMORY_TO_MEMORY);
    rig.dmac.write_channel(5, channel::DAR, 2);
    rig.dmac
        .write_channel(5, channel::CHCR, MEMORY_TO_MEMORY | chcr::DE);
    rig.finish();
    assert!(rig.error.get() && !rig.lines[5].get());
    assert_eq!(rig.control(4) & chcr::TE, 0);
    assert_eq!(rig.dmac.read(common::OR), u32::from(or::DME | or::AE));
    rig.dmac.write_channel(5, channel::CHCR, 0);
    rig.dmac.write(common::OR, u32::from(or::DME));
    assert!(!rig.error.get());
    rig.finish();
    assert_eq!(rig.control(4) & chcr::TE, chcr::TE);
}

#[test]
fn what_nobody_requests_waits() {
    let rig = Rig::new();
    let from_a_peripheral = MEMORY_TO_MEMORY & !(0xf << chcr::RS_SHIFT) | 8 << chcr::RS_SHIFT;
    rig.start(0, BASE, BASE + 0x8000, 4, from_a_peripheral);
    assert_eq!(rig.dmac.next_alarm(), None);
    // Nor does anything go on while the controller is off; a channel that is stopped goes on where
    // it was.
    rig.start(1, BASE, BASE + 0x8000, 0x1000, MEMORY_TO_MEMORY);
    rig.clock.skip_to(rig.dmac.next_alarm().unwrap());
    rig.dmac.tick();
    rig.dmac.write(common::OR, 0);
    assert_eq!(rig.dmac.next_alarm(), None);
    rig.dmac.write(common::OR, u32::from(or::DME));
    let control = rig.control(1);
    rig.dmac
        .write_channel(1, channel::CHCR, control & !chcr::DE);
    assert_eq!(rig.dmac.next_alarm(), None);
    assert_eq!(rig.dmac.read_channel(1, channel::TCR), 0xc00);
    rig.dmac.write_channel(1, channel::CHCR, control);
    rig.finish();
    assert_eq!(rig.control(1) & chcr::TE, chcr::TE);
}

#[test]
fn a_saved_controller_goes_on_as_it_would_have() {
    let rig = Rig::new();
    rig.start(7, BASE, BASE + 0x1_0000, 0x2000, MEMORY_TO_MEMORY);
    rig.clock.skip_to(rig.dmac.next_alarm().unwrap());
    rig.dmac.tick();
    let saved = rig.dmac.save();
    let text = serde_json::to_string(&saved).unwrap();
    let other = Rig::new();
    other.clock.skip_to(rig.clock.now_ns());
    other
        .dmac
        .restore(&serde_json::from_str(&text).unwrap())
        .unwrap();
    assert_eq!(other.dmac.save(), saved);
    for rig in [&rig, &other] {
        rig.finish();
    }
    assert_eq!(other.dmac.save(), rig.dmac.save());
    assert_eq!(other.clock.now_ns(), rig.clock.now_ns());
    assert!(other.lines[7].get());

    let bad = |change: fn(&mut DmacState)| {
        let mut state = saved.clone();
        change(&mut state);
        assert_eq!(other.dmac.restore(&state), Err(WrongDmac));
    };
    bad(|state| state.channels.truncate(3));
    bad(|state| state.or = 0xffff);
    bad(|state| state.channels[0].sar = 1 << 40);
    bad(|state| state.channels[0].tcr = 1 << 24);
    // A time that is too far away is no reason for a channel to hang.
    let mut state = saved.clone();
    state.channels[7].due_ns = Some(u64::MAX);
    other.dmac.restore(&state).unwrap();
    assert!(other.dmac.next_alarm().unwrap() <= other.clock.now_ns() + 4096 * NS_PER_BYTE);
}

#[test]
fn what_was_planned_stays_planned_in_a_saved_controller() {
    let rig = Rig::new();
    rig.start(7, BASE, BASE + 0x1_0000, 0x2000, MEMORY_TO_MEMORY);
    // The rest is shorter than the burst whose end is planned.
    rig.dmac.write_channel(7, channel::TCR, 1);
    let saved = rig.dmac.save();
    let other = Rig::new();
    other.dmac.restore(&saved).unwrap();
    assert_eq!(other.dmac.save(), saved);
}

/// A transfer, one byte after the other.
fn model(memory: &mut [u8], (from, to): (u64, u64), units: u32, (unit, sm, dm): (u64, u32, u32)) {
    let moved = |address: u64, mode, count: u64| match mode {
        0 => address,
        1 => address + count * unit,
        _ => address - count * unit,
    };
    for count in 0..u64::from(units) {
        let (from, to) = (moved(from, sm, count), moved(to, dm, count));
        for byte in 0..unit {
            memory[(to + byte - BASE) as usize] = memory[(from + byte - BASE) as usize];
        }
    }
}

proptest! {
    #[test]
    fn any_transfer_is_the_models(
        size in 0_usize..7, sm in 0_u32..3, dm in 0_u32..3, units in 1_u32..600,
        from in 0_u64..0x100, to in 0_u64..0x100,
    ) {
        let codes = [0, 1 << 3, 2 << 3, 1 << 20 | 3 << 3, 3 << 3, 1 << 20, 1 << 20 | 1 << 3];
        let unit = 1_u64 << size;
        // The middle of one half of memory each, so that neither leaves its half.
        let units = units.min(0x7000 / unit as u32);
        let (from, to) = (BASE + 0x8000 + from * unit % 0x1000, BASE + 0x1_8000 + to * unit % 0x1000);
        let rig = Rig::new();
        let mut want = rig.bytes(BASE, SIZE);
        model(&mut want, (from, to), units, (unit, sm, dm));
        let control = codes[size] | sm << chcr::SM_SHIFT | dm << chcr::DM_SHIFT | 4 << chcr::RS_SHIFT;
        rig.start(9, from, to, units, control);
        rig.finish();
        prop_assert_eq!(rig.control(9) & (chcr::TE | chcr::CAE), chcr::TE);
        prop_assert!(rig.bytes(BASE, SIZE) == want);
    }

    #[test]
    fn no_driver_breaks_it(accesses in prop::collection::vec((0_usize..16, 0_u64..0x90, any::<u32>()), 1..80)) {
        let rig = Rig::new();
        for (index, offset, value) in accesses {
            match index {
                15 => rig.dmac.write(offset & !3, value),
                _ => rig.dmac.write_channel(index, offset & !3, value),
            }
            if let Some(at) = rig.dmac.next_alarm() {
                rig.clock.skip_to(at);
            }
            rig.dmac.tick();
            let saved = rig.dmac.save();
            prop_assert!(rig.dmac.restore(&saved).is_ok());
            prop_assert_eq!(rig.dmac.save(), saved);
            for (index, line) in rig.lines.iter().enumerate() {
                prop_assert_eq!(line.get(), rig.dmac.read(common::ISTA) >> index & 1 != 0);
            }
        }
    }
}
