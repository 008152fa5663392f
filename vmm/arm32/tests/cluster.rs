//! Cores take turns: deterministic, fair to locks, and woken by events and timers.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arm32::cluster::{Cluster, Stop};
use arm32::state::CpuState;
use arm32::wires::{Conduit, FirmwareAction, Machine, Output};
use common::{BASE, Firmware, FlatBus, RAM, TestClock};

/// Core 0 starts the others; each adds 1 to a counter 5000 times; core 0 waits for all and powers
/// off.
const COUNTERS: &[u32] = &[
    0xe3a0_1001, //        mov   r1, #1
    0xe28f_2024, //        add   r2, pc, #36   (worker)
    0xe140_0071, // next:  hvc   #1
    0xe281_1001, //        add   r1, r1, #1
    0xe351_0004, //        cmp   r1, #4
    0x1aff_fffb, //        bne   next
    0xe59f_405c, //        ldr   r4, =counter
    0xe59f_505c, //        ldr   r5, =15000
    0xe594_0000, // wait:  ldr   r0, [r4]
    0xe150_0005, //        cmp   r0, r5
    0x1320_f002, //        wfene
    0xea00_000e, //        b     check
    0xe59f_4044, // worker: ldr  r4, =counter   (entry = RAM + 0x30)
    0xe59f_6048, //        ldr   r6, =5000
    0xe194_0f9f, // again: ldrex r0, [r4]
    0xe280_0001, //        add   r0, r0, #1
    0xe184_3f90, //        strex r3, r0, [r4]
    0xe353_0000, //        cmp   r3, #0
    0x1aff_fffa, //        bne   again
    0xe256_6001, //        subs  r6, r6, #1
    0x1aff_fff8, //        bne   again
    0xe320_f004, //        sev
    0xe320_f003, // idle:  wfi
    0xeaff_fffd, //        b     idle
    0xe1a0_0000, //        nop
    0xe1a0_0000, //        nop
    0xe1a0_0000, //        nop
    0xe150_0005, // check: cmp   r0, r5
    0x1aff_ffea, //        bne   wait
    0xe140_0072, //        hvc   #2
    0xe1a0_0000, //        nop
    0x4000_4000, //        counter
    15000,
    5000,
];

fn run_counters() -> (Stop, u32, u64, u64) {
    let bus = FlatBus::new();
    bus.write_words(RAM, COUNTERS);
    let clock = Arc::new(TestClock::default());
    let mut cluster = Cluster::new(4, bus.clone(), clock.clone());
    cluster.state_mut(0).r[15] = BASE;
    let stop = cluster.run(&mut Firmware::default(), 10_000_000);
    (
        stop,
        bus.word(0x4000_4000),
        cluster.retired(),
        clock.0.load(Ordering::Relaxed),
    )
}

#[test]
fn exclusives_count_right_across_cores_and_every_run_is_the_same() {
    let first = run_counters();
    assert_eq!((first.0, first.1), (Stop::SystemOff, 15_000));
    assert_eq!(first.2, first.3, "virtual time is retired instructions");
    assert_eq!(first, run_counters());
}

#[test]
fn a_sleeping_core_names_its_timer_and_is_woken_by_it() {
    let bus = FlatBus::new();
    bus.write_words(
        RAM,
        &[
            0xe3a0_0e3e, // mov r0, #0x3e0 (992 ticks)
            0xee0e_0f13, // mcr p15, 0, r0, c14, c3, 0   CNTV_TVAL
            0xe3a0_0001, // mov r0, #1
            0xee0e_0f33, // mcr p15, 0, r0, c14, c3, 1   CNTV_CTL
            0xe320_f003, // wfi
            0xe140_0072, // hvc #2
        ],
    );
    let clock = Arc::new(TestClock::default());
    let mut cluster = Cluster::new(1, bus, clock.clone());
    cluster.state_mut(0).r[15] = BASE;
    let mut machine = Firmware::default();
    let Stop::Idle {
        wake_ns: Some(wake),
    } = cluster.run(&mut machine, 1000)
    else {
        panic!("the core waits for its timer");
    };
    assert!((992 * 16..993 * 16).contains(&wake), "{wake}");
    clock.0.store(wake, Ordering::Relaxed);
    let pins = cluster.pins(0);
    assert_eq!(
        cluster.run(&mut machine, 1000),
        Stop::Idle { wake_ns: None }
    );
    assert_eq!(machine.outputs, [(0, Output::VirtualTimer, true)]);
    pins.set_irq(true);
    assert_eq!(cluster.run(&mut machine, 1000), Stop::SystemOff);
}

#[test]
fn a_request_to_stop_wakes_no_core() {
    let bus = FlatBus::new();
    bus.write_words(RAM, &[0xe320_f003, 0xe140_0072]); // wfi; hvc #2
    let mut cluster = Cluster::new(1, bus, Arc::new(TestClock::default()));
    cluster.state_mut(0).r[15] = BASE;
    let asleep = Stop::Idle { wake_ns: None };
    assert_eq!(cluster.run(&mut Firmware::default(), 1000), asleep);
    cluster.pins(0).request_stop();
    assert_eq!(cluster.run(&mut Firmware::default(), 1000), asleep);
    assert_eq!((cluster.retired(), cluster.waits(0)), (1, 1));
}

/// Returns when the overflow interrupt of the cycle counter rises, in a run of `program` given in
/// slices of `slice` instructions.
fn overflow_at(program: &[u32], slice: u64) -> u64 {
    struct Watch(Arc<TestClock>, Option<u64>);
    impl Machine for Watch {
        fn output(&mut self, _cpu: usize, output: Output, level: bool) {
            if (output, level) == (Output::Pmu, true) {
                self.1 = Some(self.0.0.load(Ordering::Relaxed));
            }
        }

        fn firmware(
            &mut self,
            _cpu: usize,
            _conduit: Conduit,
            _s: &mut CpuState,
            _powered: &[bool],
        ) -> FirmwareAction {
            FirmwareAction::Undefined
        }
    }
    let bus = FlatBus::new();
    bus.write_words(RAM, program);
    bus.write_words(RAM + 0x208, &[0xe1b0_f00e]); // at the vector of SVC: movs pc, lr
    let clock = Arc::new(TestClock::default());
    let mut cluster = Cluster::new(1, bus, clock.clone());
    let s = cluster.state_mut(0);
    (s.r[15], s.cp15.vbar) = (BASE, BASE + 0x200);
    let mut watch = Watch(clock, None);
    while cluster.retired() < 3000 {
        cluster.run(&mut watch, slice);
    }
    watch.1.expect("the counter overflowed")
}

#[test]
fn an_overflow_of_a_counter_shows_at_the_same_instruction_however_the_run_is_sliced() {
    let program = [COUNT_CYCLES, &[0xeaff_fffe]].concat(); // b .
    let whole = overflow_at(&program, 3000);
    assert!((100..120).contains(&whole), "{whole}");
    assert_eq!(
        [1, 7, 333].map(|slice| overflow_at(&program, slice)),
        [whole; 3]
    );
}

#[test]
fn an_overflow_of_what_only_one_privilege_level_counts_shows_when_it_happens() {
    // The filter; how many instructions of the setup and of the loop count.
    for (filter, setup, user_counts) in [(0xe3a0_0102u32, 0, true), (0xe3a0_0101, 3, false)] {
        // mov r0, #P or #U
        let program = [
            &[
                0xe3a0_101f, // mov r1, #31
                0xee09_1fbc, // mcr p15, 0, r1, c9, c12, 5   PMSELR
                filter,
                0xee09_0f3d, // mcr p15, 0, r0, c9, c13, 1   PMXEVTYPER
            ],
            COUNT_CYCLES,
            &[
                0xe3a0_00d0, // mov r0, #0xd0: User mode
                0xe121_f000, // msr cpsr_c, r0
                0xe281_1001, // loop: add r1, r1, #1
                0xef00_0000, // svc #0
                0xeaff_fffc, // b loop
            ],
        ]
        .concat();
        let before = 4 + COUNT_CYCLES.len() as u64 + 2;
        // Three instructions of the loop are at PL0 and then the handler's one at PL1.
        let level = |n: u64| {
            if n < before {
                false
            } else {
                (n - before) % 4 != 2
            }
        };
        let counts = |n: u64| n >= before - setup && level(n) == user_counts;
        let mut counted = 0;
        let want = (0..).find(|n| {
            counted += u64::from(counts(*n));
            counted == 100
        });
        let whole = overflow_at(&program, 3000);
        assert_eq!(Some(whole - 1), want);
        assert_eq!(
            [1, 7, 333].map(|slice| overflow_at(&program, slice)),
            [whole; 3]
        );
    }
}

/// Has the cycle counter interrupt after 100 cycles.
const COUNT_CYCLES: &[u32] = &[
    0xe3e0_0063, // mvn r0, #99
    0xee09_0f1d, // mcr p15, 0, r0, c9, c13, 0   PMCCNTR = -100
    0xe3a0_0102, // mov r0, #1 << 31
    0xee09_0f3e, // mcr p15, 0, r0, c9, c14, 1   PMINTENSET
    0xee09_0f3c, // mcr p15, 0, r0, c9, c12, 1   PMCNTENSET
    0xe3a0_0001, // mov r0, #1
    0xee09_0f1c, // mcr p15, 0, r0, c9, c12, 0   PMCR.E
];
