//! Debuggers that go back.

use std::net::SocketAddr;

use vmm_machine::{HISTORY_LIMIT, Limits, Reason, Summary};

use super::client::Client;
use super::{COUNT, debugged_in, machine};

/// Runs a machine with a history, and so that the numbers of its slices do not count.
fn debugged<R: Send + 'static>(
    session: impl FnOnce(SocketAddr) -> R + Send + 'static,
) -> (Reason, Summary, R) {
    let mut machine = machine(&COUNT);
    machine.keep_history(HISTORY_LIMIT).unwrap();
    debugged_in(machine, session)
}

#[test]
fn steps_and_breakpoints_are_gone_back_to() {
    let (reason, _, ()) = debugged(|address| {
        let mut gdb = Client::connect(address);
        let supported = gdb.ask("qSupported:swbreak+;hwbreak+;vContSupported+");
        assert!(supported.contains("ReverseStep+") && supported.contains("ReverseContinue+"));
        gdb.ask("Z0,40008014,4");
        for round in 0..3 {
            assert!(gdb.ask("vCont;c").contains("swbreak"));
            assert_eq!((gdb.pc(), gdb.register(3)), (0x14, round));
        }
        // Over the load, whose effect is undone, over the branch, and so on.
        for (pc, r3) in [(0x10, 2), (0x20, 2), (0x1c, 2), (0x18, 2), (0x14, 1)] {
            assert!(gdb.ask("bs").starts_with("T05thread:01"));
            assert_eq!((gdb.pc(), gdb.register(3)), (pc, r3));
        }
        assert_eq!(gdb.ask("m40008114,4"), "01000000");
        // The breakpoint that it stands at is not met once more.
        assert!(gdb.ask("bc").contains("swbreak"));
        assert_eq!((gdb.pc(), gdb.register(3)), (0x14, 0));
        assert!(gdb.ask("bc").contains("replaylog:begin"));
        assert_eq!(gdb.pc(), 0);
        assert!(gdb.ask("bs").contains("replaylog:begin"));
        // And forward again, by the same ways.
        assert!(gdb.ask("vCont;c").contains("swbreak"));
        assert_eq!((gdb.pc(), gdb.register(3)), (0x14, 0));
        gdb.send("k");
    });
    assert_eq!(reason, Reason::Stopped);
}

#[test]
fn the_last_access_is_found_from_the_end() {
    let (reason, summary, ()) = debugged(|address| {
        let mut gdb = Client::connect(address);
        assert!(gdb.ask("vCont;c").contains("replaylog:end"));
        assert_eq!(gdb.register(3), 1000);
        gdb.ask("Z2,40008114,4");
        for last in [1000, 999] {
            // From behind the store, over which a debugger steps back.
            let stop = gdb.ask("bc");
            assert!(stop.contains("watch:40008114"), "{stop}");
            assert_eq!((gdb.pc(), gdb.register(3)), (0x1c, last));
            gdb.ask("bs");
            assert_eq!((gdb.pc(), gdb.register(3)), (0x18, last));
            let before = (last as u32 - 1).to_le_bytes();
            let before = before.map(|byte| format!("{byte:02x}")).concat();
            assert_eq!(gdb.ask("m40008114,4"), before);
        }
        // Loads before that, by another watchpoint.
        gdb.ask("z2,40008114,4");
        gdb.ask("Z3,40008114,4");
        assert!(gdb.ask("bc").contains("rwatch:40008114"));
        assert_eq!((gdb.pc(), gdb.register(3)), (0x14, 998));
        gdb.ask("z3,40008114,4");
        assert!(gdb.ask("vCont;c").contains("replaylog:end"));
        assert_eq!(gdb.ask("vCont;c"), "W00");
    });
    assert_eq!(reason, Reason::PowerOff);
    let mut alone = machine(&COUNT);
    alone.run(Limits::default());
    let plain = alone.summary();
    let same = |s: &Summary| {
        (
            s.instructions,
            s.guest_ns,
            s.exits.mmio.clone(),
            s.console_bytes,
        )
    };
    assert_eq!(same(&summary), same(&plain));
}

#[test]
fn who_leaves_does_not_hold_up_the_end() {
    let (reason, ..) = debugged(|address| {
        let mut gdb = Client::connect(address);
        gdb.ask("Z0,40008014,4");
        gdb.ask("vCont;c");
        gdb.ask("bs");
        assert_eq!(gdb.ask("D"), "OK");
    });
    assert_eq!(reason, Reason::PowerOff);
}

#[test]
fn what_has_happened_cannot_be_changed() {
    let (reason, ..) = debugged(|address| {
        let mut gdb = Client::connect(address);
        gdb.ask("vCont;s:1;c");
        // EROFS
        assert_eq!(gdb.ask("P3=e6030000"), "E1e");
        assert_eq!(gdb.ask("M40008114,4:11223344"), "E1e");
        let all = gdb.ask("g");
        assert_eq!(gdb.ask(&format!("G{all}")), "E1e");
        // Nor by holding the other core.
        assert!(gdb.ask("vCont;s:1").starts_with("T05"));
        gdb.send("k");
    });
    assert_eq!(reason, Reason::Stopped);
}
