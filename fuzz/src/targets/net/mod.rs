//! A network interface with a driver that starts it as drivers do, and then sends frames of any
//! kind to the built-in peer, or gets any from another; and with one that does anything.
//!
//! What a good driver gets is whole. The same run with the device saved and restored in between,
//! and without that, comes to the same; a damaged state is refused or lived with.

mod driver;
mod packets;

use arbitrary::{Arbitrary, Unstructured};
use driver::{Driver, HEADER, RAM, RECEIVE, TRANSMIT, register, responder};
use packets::{Data, Frame, Guest, Octets, checksum};
use serde_json::Value;
use vmm::devices::virtio::VirtioState;
use vmm_base::Clock;
use vmm_net::spec::{ETHERNET_HEADER, MAX_FRAME, PEER_MAC};
use vmm_net::{Peer, PeerState};

use super::rest::Rest;

/// Steps of one case.
const STEPS: usize = 96;
/// States that are damaged: each is written out.
const DAMAGED: usize = 6;
/// The most time that a case takes, in nanoseconds.
const LONGEST_NS: u64 = 1 << 60;

#[derive(Arbitrary, Debug)]
enum Step {
    Send(u8, Frame),
    /// With a header of any kind.
    Headed([u8; HEADER], u8, Frame),
    /// So many buffers of a length.
    Room(u8, u16),
    /// Buffers for whole frames.
    Rooms(u8),
    /// The peer that gives anything has this.
    Other(u8, Octets, u16),
    /// So many nanoseconds pass, shifted.
    Pass(u32, u8),
    Restart(u64),
    ResetQueue(bool),
    Register(u16, u32),
    Access(u16, u8, u64, bool),
    Poke(u16, u64),
    /// Descriptors of any kind: where, length, flags, next.
    Chain(bool, [(u16, u16, u8, u8); 4]),
    Moved,
    /// A value of the saved state is another.
    Damaged(u16, Damage),
    /// Two peers in the state of this one get a frame.
    Twins(Frame),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Damage {
    Number(u64),
    Small(u8),
    Signed(i64),
    Nothing,
    Truth(bool),
    Empty,
    Service,
}

impl Damage {
    fn value(self) -> Value {
        match self {
            Self::Number(number) => number.into(),
            Self::Small(number) => number.into(),
            Self::Signed(number) => number.into(),
            Self::Nothing => Value::Null,
            Self::Truth(truth) => truth.into(),
            Self::Empty => Value::Array(Vec::new()),
            Self::Service => "0.0.0.0".into(),
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Case {
    anything: bool,
    features: u64,
    steps: Rest<Step>,
}

struct Run {
    driver: Driver,
    guest: Guest,
    features: u64,
    /// Whether the peer is what it became by itself.
    own: bool,
    damaged: usize,
    log: Vec<Vec<u8>>,
}

impl Run {
    fn ready(&mut self) {
        if !self.driver.live {
            self.driver.start(self.features);
        }
    }

    fn send(&mut self, header: [u8; HEADER], first: u8, frame: &Frame) {
        self.ready();
        let mut bytes = self.guest.frame(frame);
        if bytes.is_empty() {
            bytes.push(0);
        }
        self.driver.send(header, &bytes, first);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Send(first, frame) => self.send([0; HEADER], *first, frame),
            Step::Headed(header, first, frame) => self.send(*header, *first, frame),
            Step::Room(count, length) => {
                self.ready();
                (0..count % 16).for_each(|_| self.driver.room(*length));
            }
            Step::Rooms(count) => {
                self.ready();
                (0..count % 64).for_each(|_| self.driver.room(2048));
            }
            Step::Other(count, octets, length) => {
                if let Some(frames) = &self.driver.others {
                    let mut frame = octets.0.clone();
                    let span = MAX_FRAME - ETHERNET_HEADER + 1;
                    frame.resize(ETHERNET_HEADER + usize::from(*length) % span, 0);
                    let mut frames = frames.lock().expect("nothing panicked with it");
                    (0..count % 8).for_each(|_| frames.push_back(frame.clone()));
                }
            }
            Step::Pass(ns, shift) => {
                let ns = u64::from(*ns) << (shift % 16);
                let now = self.driver.clock.now_ns();
                self.driver.clock.skip_to((now + ns).min(LONGEST_NS));
            }
            Step::Restart(features) => {
                self.features = *features;
                self.driver.start(*features);
            }
            Step::Twins(frame) => self.twins(frame),
            other => self.wild(other),
        }
        self.driver.go_on();
        if self.driver.live {
            self.look();
        }
    }

    /// Looks at what came.
    fn look(&mut self) {
        for frame in self.driver.received() {
            let sizes = ETHERNET_HEADER..=MAX_FRAME;
            assert!(sizes.contains(&frame.len()), "it is a frame");
            if self.own && self.driver.others.is_none() {
                assert_eq!(frame[6..12], PEER_MAC, "it is the peer's");
                let is_ip = frame[12..14] == [8, 0];
                assert!(!is_ip || checksum(&frame[14..34]) == 0, "its sum");
            }
            self.guest.take(&frame);
            self.log.push(frame);
        }
    }

    /// Does what no driver does.
    fn wild(&mut self, step: &Step) {
        match step {
            Step::ResetQueue(queue) => {
                self.driver.set(register::QUEUE_SELECT, (*queue).into());
                self.driver.set(register::QUEUE_RESET, 1);
            }
            Step::Register(offset, value) => {
                let offset = u64::from(*offset & 0x1fc);
                self.driver.set(offset, (*value).into());
            }
            Step::Access(offset, size, value, write) => {
                let (offset, size) = (u64::from(*offset & 0x3ff), 1 << (size & 3));
                if !*write {
                    self.driver.mmio.read(offset, size);
                    return;
                }
                self.driver.mmio.write(offset, size, *value);
            }
            Step::Poke(at, value) => {
                let at = RAM + u64::from(*at) * 8;
                self.driver.write(at, &value.to_le_bytes());
            }
            Step::Chain(receive, list) => {
                let queue = if *receive { RECEIVE } else { TRANSMIT };
                for (index, (at, length, flags, next)) in (0..).zip(list) {
                    // Mostly in RAM; some beyond it, and some that wrap.
                    let to = match at & 0xf {
                        0xf => u64::from(*at) << 48,
                        _ => RAM + u64::from(*at) * 16,
                    };
                    let length = u32::from(*length) << if flags & 0x40 != 0 { 16 } else { 0 };
                    let rest = (length, u16::from(flags & 7), u16::from(next & 0x1f));
                    self.driver.descriptor(queue, index, to, rest);
                }
                self.driver.offer(queue, 0);
            }
            Step::Damaged(at, damage) => return self.damage(*at, *damage),
            _ => return,
        }
        self.driver.live = false;
    }

    /// Lets another device go on with what was saved.
    fn moved(&mut self) {
        let saved = self.driver.mmio.save();
        let mut next = self.driver.another();
        match next.restore(&saved) {
            Ok(()) => {
                assert_eq!(next.save(), saved, "what is restored is what was saved");
                self.driver.mmio = next;
            }
            // Only where a driver has made rings of its queues that cannot be.
            Err(why) => assert!(!self.driver.live, "{why}"),
        }
    }

    /// Has a device go on with a state that no device had, if it takes it.
    fn damage(&mut self, at: u16, damage: Damage) {
        self.damaged += 1;
        if self.damaged > DAMAGED {
            return;
        }
        let mut value = serde_json::to_value(self.driver.mmio.save()).expect("it is plain data");
        let mut left = usize::from(at) % count(&value);
        replace(&mut value, &mut left, &damage.value());
        let Ok(state) = serde_json::from_value::<VirtioState>(value) else {
            return;
        };
        let mut next = self.driver.another();
        if next.restore(&state).is_ok() {
            assert_eq!(next.save().device, state.device);
            self.driver.mmio = next;
            self.driver.live = false;
            self.own = false;
        }
    }

    /// Has two peers in one state answer a frame.
    fn twins(&mut self, frame: &Frame) {
        if self.driver.others.is_some() {
            return;
        }
        let value = serde_json::to_value(self.driver.mmio.save().device);
        let mut value = value.expect("it is plain data");
        let state = serde_json::from_value::<PeerState>(value["net"]["peer"].take());
        let state = state.expect("a peer's state is read as it was written");
        let mut twins = [responder(), responder()];
        let taken = twins.each_mut().map(|twin| twin.restore(&state));
        assert_eq!(taken, [Ok(()), Ok(())], "it is such a one's");
        let bytes = self.guest.clone().frame(frame);
        let mut now = self.driver.clock.now_ns();
        for twin in &mut twins {
            twin.take(now, &bytes);
        }
        for _ in 0..8 {
            let [one, other] = twins.each_mut().map(|twin| twin.give(now));
            assert_eq!(one, other, "both answer the same");
            if one.is_none() {
                now = twins[0].next_ns().map_or(now, |next| next.max(now));
            }
        }
        let [one, other] = twins.each_ref().map(Peer::save);
        assert_eq!(one, other, "both come to the same");
    }
}

/// The most elements of an array that are damaged by themselves.
const ELEMENTS: usize = 4;

/// Returns how many values there are in one, of arrays the first ones only.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().take(ELEMENTS).map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

/// Puts another value in the place of the one that has `left` before it.
fn replace(value: &mut Value, left: &mut usize, new: &Value) -> bool {
    if *left == 0 {
        value.clone_from(new);
        return true;
    }
    *left -= 1;
    match value {
        Value::Array(list) => {
            let mut list = list.iter_mut().take(ELEMENTS);
            list.any(|value| replace(value, left, new))
        }
        Value::Object(map) => map.values_mut().any(|value| replace(value, left, new)),
        _ => false,
    }
}

/// Runs a case; what came of it. Without `moves` the device is never saved and restored.
fn run(case: &Case, moves: bool) -> (Vec<Vec<u8>>, VirtioState) {
    let mut run = Run {
        driver: Driver::new(case.anything),
        guest: Guest::default(),
        features: case.features,
        own: true,
        damaged: 0,
        log: Vec::new(),
    };
    run.driver.start(case.features);
    for step in case.steps.0.iter().take(STEPS) {
        if moves && matches!(step, Step::Moved) {
            run.moved();
        }
        run.step(step);
    }
    // Whatever was done, a driver that begins anew is served.
    run.ready();
    run.send([0; HEADER], 0, &Frame::Ping(0, Data::None));
    run.driver.room(2048);
    (run.log, run.driver.mmio.save())
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let first = run(&case, true);
    assert!(first == run(&case, false), "saving changes nothing");
}
