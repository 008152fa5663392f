//! Breakpoints that several cores come to at once, at instructions that take long, and at ones of
//! the guest's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{CORES, PAGE, START_OTHERS, kernel, limited, machine_of, runs};
use crate::Reason;
use crate::vcpu::{Halted, Resume, Stop, StopHandler, Width};

/// Of the general registers the one in which each core counts how often it went by.
const COUNTER: u8 = 21;
/// Bytes from the guest's first page to what all cores do in the end.
const BODY: u64 = PAGE + 4 * START_OTHERS.len() as u64;
/// Longer than any of these guests takes, even on an emulated host.
const LIMIT: Duration = Duration::from_secs(120);

/// Compares what each core counts with how often it has stopped, and ends the run when all have
/// stopped often enough.
struct Counter {
    /// Where the guest's memory begins.
    base: u64,
    /// How often each core is to stop.
    enough: [u64; CORES as usize],
    stops: Arc<[AtomicU64; CORES as usize]>,
}

impl StopHandler for Counter {
    fn stopped(&mut self, stop: Stop, halted: &mut Halted<'_>) -> Resume {
        let Stop::Breakpoint { core, .. } = stop else {
            panic!("{stop:?}");
        };
        // From now on breakpoints are instructions in memory: nothing of this guest is ever mapped.
        halted.image = Some((self.base, self.base));
        let counted = halted.core(core).unwrap().reg(COUNTER);
        let stops = self.stops[core].fetch_add(1, Ordering::Relaxed);
        assert_eq!(counted, stops, "core {core}");
        let mut all = self.stops.iter().zip(self.enough);
        if all.all(|(stops, enough)| stops.load(Ordering::Relaxed) >= enough) {
            Resume::End
        } else {
            Resume::Continue
        }
    }
}

/// Runs a guest whose cores do this in the end, with breakpoints at these words of it, until all
/// have stopped often enough.
fn count(body: &[u32], breakpoints: &[u64], enough: [u64; CORES as usize]) {
    if !runs(Width::Bits64) {
        return;
    }
    let mut machine = machine_of(&kernel(body), Width::Bits64);
    let base = machine.board().ram.base;
    let stops = Arc::default();
    machine
        .with_cores(|cores| {
            for word in breakpoints {
                cores.insert_breakpoint(base + BODY + 4 * word);
            }
        })
        .unwrap();
    machine.observe(Box::new(Counter {
        base,
        enough,
        stops: Arc::clone(&stops),
    }));
    let reason = machine.run(limited(LIMIT)).reason;
    assert_eq!(reason, Reason::Stopped, "{stops:?}");
}

#[test]
fn every_core_stops_each_time_it_comes_to_a_breakpoint() {
    let body = [
        0xd280_0015, // mov x21, #0
        0x9100_06b5, // add x21, x21, #1
        0x17ff_ffff, // b back
    ];
    count(&body, &[1], [25; CORES as usize]);
}

#[test]
fn a_core_that_waits_at_a_breakpoint_goes_on_and_others_stop_meanwhile() {
    let body = [
        0xd538_00a1, // mrs x1, mpidr_el1
        0x9240_0421, // and x1, x1, #3
        0xd280_0015, // mov x21, #0
        0xb500_0081, // cbnz x1, to the second loop
        0xd503_207f, // wfi: nothing interrupts it
        0x9100_06b5, // add x21, x21, #1
        0x17ff_fffe, // b back
        0x9100_06b5, // add x21, x21, #1
        0x17ff_ffff, // b back
    ];
    count(&body, &[4, 7], [3, 25, 25, 25]);
}

#[test]
fn a_breakpoint_at_a_breakpoint_instruction_of_the_guests_own_stops_once_and_the_guest_has_its_own()
{
    /// Words from there to the exceptions of its own level, 0x200 bytes from vectors at a multiple
    /// of 0x800.
    const HANDLER: usize = (0xa00 - START_OTHERS.len() * 4) / 4;
    let mut body = vec![
        0xd280_0015, // mov x21, #0
        0x1000_3ee1, // adr x1, vectors
        0xd518_c001, // msr vbar_el1, x1
        0xd503_3fdf, // isb
        0xd503_4fff, // msr daifclr, #15
        0xd420_00a0, // brk #5
        0x17ff_ffff, // b back
    ];
    body.resize(HANDLER, 0);
    body.extend([
        // Counted only if interrupts are masked, as an exception does.
        0xd53b_4223_u32, // mrs x3, daif
        0xd347_fc63,     // lsr x3, x3, #7
        0x9240_0063,     // and x3, x3, #1
        0x8b03_02b5,     // add x21, x21, x3
        0xd538_4022,     // mrs x2, elr_el1
        0x9100_1042,     // add x2, x2, #4
        0xd518_4022,     // msr elr_el1, x2
        0xd69f_03e0,     // eret
    ]);
    count(&body, &[5], [10; CORES as usize]);
}
