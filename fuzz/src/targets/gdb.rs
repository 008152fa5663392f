//! A debugger that sends packets of any kind, and bytes that are none, to a machine that runs:
//! answers, and the machine ends when it should.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use vmm::gdb::Server;
use vmm::machine::Fork;
use vmm::{Discard, Limits};

use super::rest::Rest;
use super::snapshot::good;

/// How long a session takes at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// A part of what is sent.
#[derive(Arbitrary, Debug)]
enum Part<'a> {
    /// A packet of the protocol, with numbers.
    Known(u8, Number, u16),
    /// Any packet.
    Packet(&'a [u8]),
    /// A command to the monitor.
    Monitor(u8, Number),
    /// Bytes as they are.
    Bytes([u8; 4]),
    Interrupt,
}

/// A number that means something to a machine.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Ram(u16),
    Small(u8),
    Any(u32),
    Long(u64),
}

impl Number {
    fn value(self) -> u64 {
        match self {
            Self::Ram(at) => 0xc000_8000 + u64::from(at),
            Self::Small(n) => n.into(),
            Self::Any(n) => n.into(),
            Self::Long(n) => n,
        }
    }
}

/// Packets; `{a}` and `{b}` are numbers, `{h}` bytes in hexadecimal digits.
const PACKETS: &[&str] = &[
    "?",
    "g",
    "G{h}",
    "p{b}",
    "P{b}={h}",
    "m{a},{b}",
    "M{a},{b}:{h}",
    "X{a},{b}:abc",
    "Z0,{a},4",
    "z0,{a},4",
    "Z1,{a},2",
    "z1,{a},2",
    "Z2,{a},{b}",
    "z2,{a},{b}",
    "Z3,{a},{b}",
    "Z4,{a},{b}",
    "z4,{a},{b}",
    "c",
    "s",
    "c{a}",
    "s{a}",
    "vCont;c",
    "vCont;s",
    "vCont;s:1;c",
    "vCont;s:p1.2;c:p1.-1",
    "vCont;r{a},{a}",
    "vCont?",
    "Hg0",
    "Hg1",
    "Hg2",
    "Hc-1",
    "T1",
    "T{b}",
    "qfThreadInfo",
    "qsThreadInfo",
    "qC",
    "qAttached",
    "qSupported:multiprocess+;vContSupported+;hwbreak+;swbreak+",
    "qXfer:features:read:target.xml:{b},fff",
    "qXfer:features:read:x:0,1",
    "qXfer:memory-map:read::0,{b}",
    "qThreadExtraInfo,1",
    "QStartNoAckMode",
    "vMustReplyEmpty",
    "D",
    "D;1",
    "k",
    "vKill;1",
    "!",
    "R00",
    "bs",
    "bc",
    "qOffsets",
    "qSymbol::",
    "qTStatus",
    "QThreadEvents:1",
    "qXfer:exec-file:read:1:0,10",
    "m{a},4",
    "i",
    "qRcmd,{h}",
];
/// Commands of the monitor.
const COMMANDS: &[&str] = &[
    "help",
    "iommu",
    "iommu {a}",
    "translate {a}",
    "cp15",
    "cp15 {a}",
    "mmu {a}",
    "system",
    "time",
    "where",
    "hold 1",
    "registers",
    "walk {a}",
    "iommu walk 0 {a}",
    "",
    "stats",
];

fn fill(template: &str, a: u64, b: u16) -> String {
    let digits: String = a
        .to_le_bytes()
        .iter()
        .cycle()
        .take(usize::from(b % 256))
        .map(|b| format!("{b:02x}"))
        .collect();
    template
        .replace("{a}", &format!("{a:x}"))
        .replace("{b}", &format!("{b:x}"))
        .replace("{h}", &digits)
}

fn packet(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    [b"$", body, format!("#{sum:02x}").as_bytes()].concat()
}

fn bytes(part: &Part<'_>) -> Vec<u8> {
    match part {
        Part::Known(which, a, b) => {
            packet(fill(PACKETS[usize::from(*which) % PACKETS.len()], a.value(), *b).as_bytes())
        }
        Part::Packet(body) => packet(&body[..body.len().min(512)]),
        Part::Monitor(which, a) => {
            let command = fill(COMMANDS[usize::from(*which) % COMMANDS.len()], a.value(), 1);
            let digits: String = command.bytes().map(|b| format!("{b:02x}")).collect();
            packet(format!("qRcmd,{digits}").as_bytes())
        }
        Part::Bytes(bytes) => bytes.to_vec(),
        Part::Interrupt => vec![3],
    }
}

/// Sends everything, and then goes away for good, whatever state the packets have led to.
fn session(mut stream: TcpStream, sent: &[u8]) {
    // The server may have hung up already, here and below.
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let all = [sent, &packet(b"D").repeat(3)].concat();
    if stream.write_all(&all).is_ok() {
        let _ = stream.shutdown(Shutdown::Write);
        let mut answers = Vec::new();
        let _ = stream.read_to_end(&mut answers);
    }
}

/// Runs a session, and another one that only leaves: after one that was no debugger's, the machine
/// still waits for one.
fn sessions(address: SocketAddr, sent: &[u8]) {
    for sent in [sent, b""] {
        if let Ok(stream) = TcpStream::connect(address) {
            session(stream, sent);
        }
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let Ok(parts) = Rest::<Part<'_>>::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let sent: Vec<u8> = parts.0.iter().take(32).flat_map(bytes).collect();
    let snapshot = good();
    let mut machine = snapshot
        .machine(Fork::new(Box::new(Discard)))
        .expect("a good snapshot");
    let server = Server::bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = server.address().expect("it has one");
    server.attach(&mut machine).expect("threads");
    let debugger = thread::spawn(move || sessions(address, &sent));
    machine.run(Limits {
        instructions: Some(snapshot.instructions() + 3000),
        wall: Some(PATIENCE),
        ..Limits::default()
    });
    // The session ends with the machine.
    drop(machine);
    debugger.join().expect("it does not panic");
}
