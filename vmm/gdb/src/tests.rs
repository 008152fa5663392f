//! Sessions with a debugger that speaks the protocol byte by byte, and with ones that do not.

mod client;
mod reverse;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use gdbstub::arch::{RegId, Registers as _};
use proptest::prelude::*;
use tempfile::NamedTempFile;
use vm_memory::GuestAddress;
use vmm_devices::uart::Capture;
use vmm_machine::vcpu::{Aarch64Cores, Aarch64State, Core};
use vmm_machine::{ByteSize, Config, KernelFormat, Limits, Machine, Reason, Summary};

use super::aarch64::Aarch64;
use super::arm::Arm;
use super::event::{Cause, Event};
use super::isa::Isa;
use super::registers::{self, Id, Values};
use super::session;
use super::target::Abilities;
use super::{Server, memory};
use client::Client;
use vmm_machine::GuestRam;

/// Where the kernel starts.
const ENTRY: u32 = 0x4000_8000;
/// Counts a word in memory up to 1000 and powers off.
const COUNT: [u32; 12] = [
    0xe3a0_1409, // 00 mov  r1, #0x09000000 (the UART)
    0xe3a0_0068, // 04 mov  r0, #'h'
    0xe5c1_0000, // 08 strb r0, [r1]
    0xe28f_2f40, // 0c add  r2, pc, #0x100 (0x114)
    0xe592_3000, // 10 ldr  r3, [r2]
    0xe283_3001, // 14 add  r3, r3, #1
    0xe582_3000, // 18 str  r3, [r2]
    0xe353_0ffa, // 1c cmp  r3, #1000
    0x1aff_fffa, // 20 bne  10
    0xe3a0_0484, // 24 mov  r0, #0x84000000
    0xe380_0008, // 28 orr  r0, r0, #8
    0xe140_0070, // 2c hvc  #0 (PSCI SYSTEM_OFF)
];
/// b to itself
const SPIN: [u32; 1] = [0xeaff_fffe];

fn machine(program: &[u32]) -> Machine {
    let mut file = NamedTempFile::new().unwrap();
    for word in program {
        file.write_all(&word.to_le_bytes()).unwrap();
    }
    let config = Config {
        kernel: file.path().into(),
        kernel_format: KernelFormat::Image,
        memory: ByteSize(32 << 20),
        rng: false,
        cpus: 2,
        ..Config::default()
    };
    Machine::builder(&config, Box::new(Capture::default()))
        .build()
        .unwrap()
}

/// Runs `program` under a debugger that does `session`; why the run ended, and what it was.
fn debugged<R: Send + 'static>(
    program: &[u32],
    session: impl FnOnce(SocketAddr) -> R + Send + 'static,
) -> (Reason, Summary, R) {
    debugged_in(machine(program), session)
}

/// Does the same in a machine that has not run.
fn debugged_in<R: Send + 'static>(
    mut machine: Machine,
    session: impl FnOnce(SocketAddr) -> R + Send + 'static,
) -> (Reason, Summary, R) {
    let server = Server::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = server.address().unwrap();
    server.attach(&mut machine).unwrap();
    let debugger = thread::spawn(move || session(address));
    let exit = machine.run(Limits {
        wall: Some(Duration::from_secs(120)),
        ..Limits::default()
    });
    let summary = machine.summary();
    (exit.reason, summary, debugger.join().unwrap())
}

#[test]
fn a_session_sees_and_stops_and_the_run_is_the_same() {
    let (reason, summary, ()) = debugged(&COUNT, |address| {
        let mut gdb = Client::connect(address);
        assert!(
            gdb.ask("qSupported:swbreak+;hwbreak+;vContSupported+")
                .contains("vContSupported+")
        );
        assert_eq!(gdb.ask("?"), "T05thread:01;");
        assert_eq!(gdb.ask("Hg1"), "OK");
        assert_eq!((gdb.pc(), gdb.register(25 - 9)), (0, 0x1d3));
        assert_eq!(gdb.ask("m40008000,4"), "0914a0e3");
        assert_eq!(gdb.ask("mfffffff0,4"), "E0e");
        // A breakpoint, met before its instruction; a step; another round.
        assert_eq!(gdb.ask("Z0,40008014,4"), "OK");
        assert!(gdb.ask("vCont;c").starts_with("T05"));
        assert_eq!((gdb.pc(), gdb.register(3)), (0x14, 0));
        assert!(gdb.ask("vCont;s:1;c").starts_with("T05"));
        assert_eq!((gdb.pc(), gdb.register(3)), (0x18, 1));
        assert!(gdb.ask("vCont;c").contains("swbreak"));
        assert_eq!((gdb.pc(), gdb.register(3)), (0x14, 1));
        assert_eq!(gdb.ask("z0,40008014,4"), "OK");
        // A watchpoint, met before the store; a range, stepped through to its end.
        assert_eq!(gdb.ask("Z2,40008114,4"), "OK");
        let stop = gdb.ask("vCont;c");
        assert!(stop.contains("watch:40008114"), "{stop}");
        assert_eq!(gdb.pc(), 0x18);
        assert_eq!(gdb.ask("m40008114,4"), "01000000");
        assert_eq!(gdb.ask("z2,40008114,4"), "OK");
        assert!(gdb.ask("vCont;r40008010,40008024:1;c").starts_with("T05"));
        assert_eq!((gdb.pc(), gdb.register(3)), (0x24, 1000));
        // Both cores are threads; the second is off, and has registers of its own.
        assert_eq!(gdb.ask("qfThreadInfo"), "m01,02");
        assert_eq!(gdb.ask("Hg2"), "OK");
        assert_eq!(gdb.register(15), 0);
        assert!(!gdb.ask("qRcmd,696e666f").is_empty());
        assert_eq!(gdb.ask("D"), "OK");
    });
    assert_eq!(reason, Reason::PowerOff);
    let mut alone = machine(&COUNT);
    alone.run(Limits::default());
    let plain = alone.summary();
    let same = |s: &Summary| (s.instructions, s.guest_ns, s.exits.clone(), s.console_bytes);
    assert_eq!(same(&summary), same(&plain));
}

#[test]
fn a_debugger_changes_registers_and_memory() {
    let (reason, summary, ()) = debugged(&COUNT, |address| {
        let mut gdb = Client::connect(address);
        gdb.ask("Z0,40008014,4");
        gdb.ask("vCont;c");
        assert_eq!(gdb.ask("P3=e6030000"), "OK"); // r3 = 998
        assert_eq!(gdb.ask("M40008114,4:11223344"), "OK");
        assert_eq!(gdb.ask("m40008114,4"), "11223344");
        assert_eq!(gdb.ask("P11=0102030405060708"), "OK");
        assert_eq!(gdb.register(0x11), 0x0807_0605_0403_0201);
        assert_eq!(gdb.ask("M0,4:11223344"), "E0e");
        let all = gdb.ask("g");
        assert_eq!(all.len(), 2 * (17 * 4 + 32 * 8 + 4));
        assert_eq!(gdb.ask(&format!("G{all}")), "OK");
        assert_eq!(gdb.ask("g"), all);
        assert_eq!(gdb.ask("D"), "OK");
    });
    assert_eq!(reason, Reason::PowerOff);
    assert!(summary.instructions < 100, "998 is nearly 1000");
}

#[test]
fn the_debugger_hears_of_the_end_and_can_make_one() {
    let (reason, _, ()) = debugged(&COUNT, |address| {
        assert_eq!(Client::connect(address).ask("vCont;c"), "W00");
    });
    assert_eq!(reason, Reason::PowerOff);
    let (reason, ..) = debugged(&SPIN, |address| {
        let mut gdb = Client::connect(address);
        gdb.run_and_interrupt("vCont;c");
        assert_eq!(gdb.pc(), 0);
        // One that just goes away lets the guest run on, and the next finds it running.
        drop(gdb);
        let mut gdb = Client::connect(address);
        assert_eq!(gdb.pc(), 0);
        gdb.send("k");
    });
    assert_eq!(reason, Reason::Stopped);
}

#[test]
fn a_core_that_is_held_is_not_dead() {
    let (reason, ..) = debugged(&SPIN, |address| {
        let mut gdb = Client::connect(address);
        // Only the second core may run, and that is off.
        gdb.run_and_interrupt("vCont;c:2");
        gdb.send("k");
    });
    assert_eq!(reason, Reason::Stopped);
}

#[test]
fn a_debugger_that_steps_and_leaves_at_once_lets_the_guest_go_on() {
    let mut machine = machine(&COUNT);
    let server = Server::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = server.address().unwrap();
    let stop = machine.stop_handle();
    let abilities = Abilities {
        cores: 2,
        watches: true,
        history: false,
    };
    let mut observer = session::start::<Arm>(server, abilities, stop.clone()).unwrap();
    // The debugger leaves when the step is over, whose end is told only when the session has asked
    // for a stop: so they cross.
    let (stepped, leave) = std::sync::mpsc::channel();
    let (told, heard) = std::sync::mpsc::sync_channel(4);
    let session = std::mem::replace(&mut observer.events, told);
    let asked = Arc::clone(&observer.interrupt);
    let crossing = thread::spawn(move || {
        let mut crossed = false;
        for event in heard {
            if let Event::Stopped {
                cause: Cause::Stop(_),
                ..
            } = &event
            {
                stepped.send(()).unwrap();
                while !asked.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                crossed = true;
            }
            let over = matches!(event, Event::Ended(_));
            let _ = session.send(event);
            if over {
                break;
            }
        }
        crossed
    });
    machine.observe(Box::new(observer));
    stop.interrupt();
    let debugger = thread::spawn(move || {
        let mut client = Client::connect(address);
        client.ask("?");
        client.send("s");
        leave.recv_timeout(Duration::from_secs(60)).unwrap();
    });
    let exit = machine.run(Limits {
        wall: Some(Duration::from_secs(60)),
        ..Limits::default()
    });
    debugger.join().unwrap();
    drop(machine);
    assert!(crossing.join().unwrap());
    assert_eq!(exit.reason, Reason::PowerOff);
}

#[test]
fn limits_end_a_run_that_waits_for_a_debugger() {
    let mut machine = machine(&SPIN);
    let server = Server::bind(([127, 0, 0, 1], 0).into()).unwrap();
    server.attach(&mut machine).unwrap();
    let exit = machine.run(Limits {
        wall: Some(Duration::from_millis(200)),
        ..Limits::default()
    });
    assert_eq!(exit.reason, Reason::WallTimeout);
    assert_eq!(machine.summary().instructions, 0);
}

fn described<I: Isa>() {
    let xml = I::target_description_xml().unwrap();
    let sizes: Vec<usize> = xml
        .lines()
        .filter_map(|line| line.split("bitsize=\"").nth(1))
        .map(|rest| rest.split('"').next().unwrap().parse::<usize>().unwrap() / 8)
        .collect();
    for (id, size) in sizes.iter().enumerate() {
        let (_, known) = Id::<I>::from_raw_id(id).unwrap();
        assert_eq!(known.unwrap().get(), *size, "register {id}");
    }
    assert!(Id::<I>::from_raw_id(sizes.len()).is_none());
    assert!(Id::<I>::from_raw_id(usize::MAX).is_none());
}

#[test]
fn every_register_that_is_described_has_a_number_and_a_size() {
    described::<Arm>();
    described::<Aarch64>();
}

/// Reads all registers at once.
fn sent<I: Isa>(core: &Core<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Values::<I>::of(core)
        .unwrap()
        .gdb_serialize(|byte| bytes.extend(byte));
    bytes
}

#[test]
fn registers_of_64_bits_are_read_and_written() {
    let ram = GuestRam::from_ranges(&[(GuestAddress(0x4000_0000), 0x1_0000)]).unwrap();
    let mut cluster = Aarch64Cores::new(1, Arc::new(ram));
    let mut core = Core::Aarch64(cluster.core(0).unwrap());
    // Each alone, and the same among all, which are in the same order.
    for id in 0.. {
        let Some((one, Some(size))) = Id::<Aarch64>::from_raw_id(id) else {
            break;
        };
        // The mode stays, with its stack pointer.
        let bytes: Vec<u8> = (0..size.get()).map(|n| (id + n) as u8 & !0xf | 5).collect();
        assert_eq!(
            registers::write(&mut core, one, &bytes),
            Some(()),
            "{one:?}"
        );
        assert_eq!(registers::read(&core, one), Some(bytes), "{one:?}");
        assert_eq!(registers::write(&mut core, one, &[0; 17]), None, "{one:?}");
    }
    let all = sent::<Aarch64>(&core);
    assert_eq!(all.len(), 33 * 8 + 4 + 32 * 16 + 8);
    let mut registers = Values::<Aarch64>::default();
    assert!(registers.gdb_deserialize(&all[1..]).is_err());
    registers.gdb_deserialize(&all).unwrap();
    *match &mut core {
        Core::Aarch64(core) => core.state_mut(),
        Core::Aarch32(_) => unreachable!("it was made above"),
    } = Aarch64State::default();
    registers.write(&mut core).unwrap();
    assert_eq!(sent::<Aarch64>(&core), all);
    assert_eq!(Values::<Arm>::of(&core), None);
}

#[test]
fn memory_ends_where_ram_does() {
    let ram = GuestRam::from_ranges(&[(GuestAddress(0x4000_0000), 0x1_0000)]).unwrap();
    let mut cluster = Aarch64Cores::new(1, Arc::new(ram));
    let mut core = Core::Aarch64(cluster.core(0).unwrap());
    assert_eq!(memory::write(&mut core, 0x4000_0ffe, b"abcd"), Some(()));
    assert_eq!(memory::read(&core, 0x4000_0ffe, 4), b"abcd");
    assert_eq!(memory::read(&core, 0x4000_fffe, 0x2000), [0; 2]);
    assert_eq!(memory::write(&mut core, 0x4000_fffe, b"abcd"), None);
    assert_eq!(
        memory::read(&core, 0x4000_fffe, 2),
        [0; 2],
        "all or nothing"
    );
    assert_eq!(memory::read(&core, u64::MAX, 2), [0; 0]);
}

/// What a broken or malicious debugger may send.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "g",
        "G",
        "G00",
        "p",
        "pffffffff",
        "P0=1",
        "P11=00",
        "P99=0",
        "m",
        "m0,ffffffff",
        "mffffffff,10",
        "m40008000,10000000",
        "M0,4:",
        "M40008000,4:zz",
        "X40008000,4:a",
        "Z0,",
        "Z0,0,0",
        "Z1,ffffffff,4",
        "Z2,0,ffffffff",
        "Z3,fffffff0,0",
        "Z4,1,1",
        "Z9,0,0",
        "z0,5,4",
        "z2,0,ffffffff",
        "H",
        "Hg0",
        "Hg-1",
        "Hgffff",
        "Hc0",
        "T0",
        "T1",
        "Tffffffffffffffff",
        "vCont",
        "vCont?",
        "vCont;",
        "vCont;s",
        "vCont;s:1",
        "vCont;s:9",
        "vCont;c:2",
        "vCont;r1,2:1",
        "vCont;r0,ffffffff:1",
        "vCont;t",
        "vCont;x",
        "s",
        "c",
        "qRcmd,",
        "qRcmd,zz",
        "qRcmd,7068797320307830203939393939393939",
        "qXfer:features:read:target.xml:0,ffffffff",
        "qXfer:features:read:target.xml:ffffffff,1",
        "qXfer:features:read:x:0,1",
        "qThreadExtraInfo,1",
        "qThreadExtraInfo,99",
        "qfThreadInfo",
        "qsThreadInfo",
        "?",
        "QStartNoAckMode",
        "vFile:open:",
        "\u{3}",
        "!",
    ]);
    let framed = (word, any::<bool>()).prop_map(|(word, right)| {
        let sum = word.bytes().fold(u8::from(!right), u8::wrapping_add);
        format!("${word}#{sum:02x}").into_bytes()
    });
    let noise = prop::collection::vec(any::<u8>(), 0..40);
    let braced = prop::collection::vec(any::<u8>(), 0..40)
        .prop_map(|bytes| [b"$", &bytes[..], b"#00"].concat());
    prop_oneof![8 => framed, 1 => noise, 1 => braced]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_debugger_brings_the_machine_down(pieces in prop::collection::vec(garbage(), 1..40)) {
        let (reason, ..) = debugged(&SPIN, move |address| {
            let mut bad = Client::connect(address);
            for piece in pieces {
                // It may be thrown out at any time.
                if bad.0.write_all(&piece).is_err() {
                    break;
                }
            }
            let _ = bad.0.shutdown(std::net::Shutdown::Write);
            drop(bad);
            // The next one, once it is let in, finds all in order.
            loop {
                let mut good = TcpStream::connect(address).unwrap();
                good.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                good.write_all(b"$?#3f").unwrap();
                let mut answer = [0];
                if matches!(good.read(&mut answer), Ok(1)) {
                    good.write_all(b"+$k#6b").unwrap();
                    // Until it hangs up: what one leaves unread may cost the other what was sent.
                    while matches!(good.read(&mut answer), Ok(1)) {}
                    break;
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        prop_assert_eq!(reason, Reason::Stopped);
    }
}
