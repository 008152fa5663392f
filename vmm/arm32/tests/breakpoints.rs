//! Breakpoints in code that is translated: what is behind one becomes host code in time, and no
//! jump may lead there past it.

mod common;

use std::sync::Arc;

use arm32::cluster::{Cluster, Stop};
use common::{BASE, Firmware, FlatBus, RAM, TestClock};

/// Calls a function through R5 for ever.
const CALLS: [u32; 6] = [
    0xe12f_ff35, // blx r5
    0xe281_1001, // add r1, r1, #1
    0xeaff_fffc, // b   .-8
    0xe1a0_0000, // nop
    0xe280_0001, // f: add r0, r0, #1
    0xe12f_ff1e, // bx lr
];
/// The word at which the function begins.
const FUNCTION: u32 = 4;

fn cluster() -> Cluster {
    let bus = FlatBus::new();
    bus.write_words(RAM, &CALLS);
    let mut cluster = Cluster::new(1, bus, Arc::new(TestClock::default()));
    // Hosts without a translator interpret.
    let _ = cluster.translate_code_after(2);
    let state = cluster.state_mut(0);
    (state.r[0], state.r[1]) = (0, 0);
    (state.r[5], state.r[15]) = (BASE + 4 * FUNCTION, BASE);
    cluster
}

/// The jump is computed, or a run has ended just there.
#[test]
fn a_breakpoint_is_met_however_the_core_comes_to_it() {
    for place in [FUNCTION, 1, 5] {
        let mut cluster = cluster();
        let pc = BASE + 4 * place;
        cluster.insert_breakpoint(pc);
        let mut stops = 0;
        for budget in (1..400).cycle().take(3000) {
            match cluster.run(&mut Firmware::default(), budget) {
                Stop::Breakpoint { core: 0, pc: at } if at == pc => stops += 1,
                Stop::Budget => continue,
                stop => panic!("{stop:?}"),
            }
            let calls = cluster.state(0).r[0] + u32::from(place == FUNCTION);
            assert_eq!(calls, stops, "word {place}");
        }
        assert!(stops > 1000, "{stops}");
    }
}
