//! The one gate through which input from outside reaches the guest, with the time at which it did.
//!
//! Input comes *live*, from another thread at whatever moment, or *scheduled*, for a given guest
//! time. The run loop opens the gate between slices of work only; what passes is recorded with the
//! guest time, so that a run with live input can be repeated by scheduling its record.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use vmm_base::Waker;

/// Most bytes that wait at the gate; more are refused, so that nobody can fill our memory.
pub const MAX_WAITING: usize = 1 << 20;
/// Most bytes of input that are remembered after they have passed: what people and scripts type. A
/// recording has all of it.
pub const MAX_RECORD: usize = 1 << 20;
/// The size that is counted for an entry of the record in addition to its bytes.
const RECORD_ENTRY: usize = 32;

/// Bytes that passed the gate at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// Guest time in nanoseconds since power-on.
    pub at_ns: u64,
    /// The bytes that passed.
    pub bytes: Vec<u8>,
}

/// The input that waits at a gate and that has passed it, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateState {
    /// Live input.
    pub live: Vec<u8>,
    /// Scheduled input, by guest time.
    pub scheduled: Vec<InputRecord>,
    /// Input that has passed.
    pub record: Vec<InputRecord>,
}

impl GateState {
    /// Returns the state of a gate that goes back from this one to what it was in `before`. What
    /// has passed since waits for its time once more if it is to pass `again`; what had not passed
    /// goes on waiting.
    #[must_use]
    pub fn back_to(self, before: &Self, again: bool) -> Self {
        // The record only ever grows.
        let since = self.record.get(before.record.len()..).unwrap_or_default();
        let since = since.iter().filter(|_| again).cloned();
        Self {
            live: self.live,
            scheduled: since.chain(self.scheduled).collect(),
            record: before.record.clone(),
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    live: VecDeque<u8>,
    scheduled: BTreeMap<u64, Vec<u8>>,
    scheduled_bytes: usize,
    senders: usize,
    /// Those of the senders for which the guest waits as for a person.
    persons: usize,
    /// Whether there were any.
    had_persons: bool,
    record: Vec<InputRecord>,
    /// The size of the record, in bytes.
    recorded: usize,
}

impl Waiting {
    /// Records that `bytes` passed at guest time `at_ns`, unless too much is remembered already.
    fn note(&mut self, at_ns: u64, bytes: &[u8]) {
        // Once something was left out, all that follows is: a record with gaps would repeat
        // nothing.
        self.recorded = self.recorded.saturating_add(bytes.len() + RECORD_ENTRY);
        if self.recorded <= MAX_RECORD {
            self.record.push(InputRecord {
                at_ns,
                bytes: bytes.to_vec(),
            });
        } else {
            self.recorded = usize::MAX;
        }
    }
}

/// Whether a person, or someone who takes as long, may type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attendance {
    /// There was never anybody to type.
    Nobody,
    /// Somebody may type at any moment.
    Present,
    /// Whoever might have typed has left.
    Gone,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    waker: Arc<Waker>,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The machine's side of the gate.
#[derive(Debug)]
pub struct InputGate(Arc<Shared>);

impl InputGate {
    /// Creates a closed gate at which no input waits. `waker` is told about live input.
    pub fn new(waker: Arc<Waker>) -> Self {
        Self(Arc::new(Shared {
            waiting: Mutex::default(),
            waker,
        }))
    }

    /// Returns a handle to send input. As long as one exists, input may arrive.
    pub fn input(&self) -> ConsoleInput {
        ConsoleInput::new(&self.0, false)
    }

    /// Returns a handle for a person: as long as it exists, virtual time that the guest idles away
    /// passes as the host's does.
    pub fn persons_input(&self) -> ConsoleInput {
        ConsoleInput::new(&self.0, true)
    }

    /// Returns whether a person may type.
    pub fn attendance(&self) -> Attendance {
        let waiting = self.0.waiting();
        match waiting.persons {
            0 if waiting.had_persons => Attendance::Gone,
            0 => Attendance::Nobody,
            _ => Attendance::Present,
        }
    }

    /// Returns the guest time of the earliest scheduled input.
    pub fn next_scheduled(&self) -> Option<u64> {
        self.0.waiting().scheduled.keys().next().copied()
    }

    /// Returns whether any input may still reach a guest that has `room` for so many bytes. Live
    /// input cannot while there is no room: it waits for the guest to read.
    pub fn can_arrive(&self, room: usize) -> bool {
        let waiting = self.0.waiting();
        let live = waiting.senders > 0 || !waiting.live.is_empty();
        // Scheduled input passes whatever the room, so it counts without.
        room > 0 && live || !waiting.scheduled.is_empty()
    }

    /// Returns everything that is due at guest time `now_ns`, and live input as far as that leaves
    /// some of `room` bytes for it; the rest goes on waiting. What passes is recorded.
    pub fn open(&self, now_ns: u64, room: usize) -> Vec<u8> {
        let mut waiting = self.0.waiting();
        let mut bytes = Vec::new();
        // What is scheduled comes first and whatever the room, or a repetition would deliver it at
        // another time.
        while let Some(entry) = waiting
            .scheduled
            .first_entry()
            .filter(|entry| *entry.key() <= now_ns)
        {
            bytes.extend(entry.remove());
        }
        // Up to here `bytes` holds scheduled input only, all of which was counted.
        waiting.scheduled_bytes -= bytes.len();
        // What was scheduled may exceed the room: then nothing live passes.
        let room = room.saturating_sub(bytes.len()).min(waiting.live.len());
        bytes.extend(waiting.live.drain(..room));
        if !bytes.is_empty() {
            waiting.note(now_ns, &bytes);
        }
        bytes
    }

    /// Records that `bytes` passed at guest time `at_ns`, without having waited.
    pub fn passed(&self, at_ns: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0.waiting().note(at_ns, bytes);
        }
    }

    /// Returns what waits and what has passed, to be saved.
    pub fn save(&self) -> GateState {
        let waiting = self.0.waiting();
        let scheduled = waiting.scheduled.iter();
        GateState {
            live: waiting.live.iter().copied().collect(),
            scheduled: scheduled
                .map(|(at_ns, bytes)| InputRecord {
                    at_ns: *at_ns,
                    bytes: bytes.clone(),
                })
                .collect(),
            record: waiting.record.clone(),
        }
    }

    /// Takes over what waited at another gate, as far as so much may wait here, and what had passed
    /// it.
    pub fn restore(&self, saved: &GateState) {
        let GateState {
            live,
            scheduled,
            record,
        } = saved;
        let mut waiting = self.0.waiting();
        waiting.live = live.iter().copied().take(MAX_WAITING).collect();
        waiting.record.clear();
        waiting.recorded = 0;
        // Noted anew instead of copied: the limit on what is remembered holds for a file, too.
        for InputRecord { at_ns, bytes } in record {
            waiting.note(*at_ns, bytes);
        }
        waiting.scheduled.clear();
        waiting.scheduled_bytes = 0;
        for InputRecord { at_ns, bytes } in scheduled {
            // A snapshot is a file like any other: the bounds of what waits hold for it, too.
            let room = MAX_WAITING - waiting.scheduled_bytes;
            // What does not fit is dropped, as it would have been refused when it was scheduled.
            let taken = &bytes[..bytes.len().min(room)];
            waiting.scheduled_bytes += taken.len();
            waiting.scheduled.entry(*at_ns).or_default().extend(taken);
        }
    }

    /// Returns whether all that has passed is remembered: no more than [`MAX_RECORD`] bytes.
    pub fn remembers_all(&self) -> bool {
        self.0.waiting().recorded != usize::MAX
    }

    /// Returns what passed so far, up to [`MAX_RECORD`] bytes.
    pub fn record(&self) -> Vec<InputRecord> {
        self.0.waiting().record.clone()
    }
}

/// Sends console input to a machine, from any thread. Clones send to the same machine.
///
/// A machine whose guest sleeps for good waits for input as long as a handle exists; drop the last
/// one when no input will come, and the machine can tell a dead guest.
#[derive(Debug)]
pub struct ConsoleInput {
    shared: Arc<Shared>,
    person: bool,
}

impl ConsoleInput {
    fn new(shared: &Arc<Shared>, person: bool) -> Self {
        let mut waiting = shared.waiting();
        waiting.senders += 1;
        waiting.persons += usize::from(person);
        // Stays when they have gone: whoever asks can tell that from there never having been any.
        waiting.had_persons |= person;
        drop(waiting);
        Self {
            shared: Arc::clone(shared),
            person,
        }
    }

    /// Types `bytes` now. Returns how many were taken; the rest is refused, as no more than
    /// [`MAX_WAITING`] may wait.
    pub fn send(&self, bytes: &[u8]) -> usize {
        let mut waiting = self.shared.waiting();
        // Cannot underflow: input is added here and by `restore`, which both keep to the limit.
        let taken = bytes.len().min(MAX_WAITING - waiting.live.len());
        waiting.live.extend(&bytes[..taken]);
        // Unlocked first, or the run loop would wake only to wait for the lock.
        drop(waiting);
        self.shared.waker.wake();
        taken
    }

    /// Types `bytes` at guest time `at_ns`. Returns how many were taken.
    ///
    /// Deterministic when called before the run or from the machine's own thread.
    pub fn send_at(&self, at_ns: u64, bytes: &[u8]) -> usize {
        let mut waiting = self.shared.waiting();
        let taken = bytes.len().min(MAX_WAITING - waiting.scheduled_bytes);
        // An entry without bytes would end a slice of the run at its time all the same.
        if taken > 0 {
            waiting.scheduled_bytes += taken;
            waiting
                .scheduled
                .entry(at_ns)
                .or_default()
                .extend(&bytes[..taken]);
        }
        drop(waiting);
        self.shared.waker.wake();
        taken
    }
}

impl Clone for ConsoleInput {
    fn clone(&self) -> Self {
        // Each clone counts as a sender, since each is uncounted when it is dropped.
        Self::new(&self.shared, self.person)
    }
}

impl Drop for ConsoleInput {
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting();
        waiting.senders -= 1;
        waiting.persons -= usize::from(self.person);
        drop(waiting);
        // With the last handle gone, a machine whose guest sleeps for good can end.
        self.shared.waker.wake();
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the bytes are whatever")]
mod tests {
    use super::*;

    #[test]
    fn scheduled_input_passes_when_due_and_is_recorded() {
        let gate = InputGate::new(Arc::default());
        assert!(!gate.can_arrive(1));
        let input = gate.input();
        assert_eq!(input.send_at(200, b"two"), 3);
        assert_eq!(input.send_at(100, b"one"), 3);
        drop(input);
        assert!(gate.can_arrive(1));
        assert_eq!(gate.next_scheduled(), Some(100));
        assert_eq!(gate.open(99, 9), b"");
        assert_eq!(gate.open(100, 9), b"one");
        assert_eq!(gate.open(500, 0), b"two", "what is due does not wait");
        assert!(!gate.can_arrive(1));
        let record = gate.record();
        assert_eq!(record.len(), 2);
        assert_eq!(
            (record[1].at_ns, record[1].bytes.as_slice()),
            (500, b"two".as_slice())
        );
    }

    #[test]
    fn live_input_is_bounded_and_senders_are_counted() {
        let gate = InputGate::new(Arc::default());
        let input = gate.input();
        let second = input.clone();
        assert_eq!(second.send(&vec![0; MAX_WAITING + 5]), MAX_WAITING);
        assert_eq!(second.send(b"x"), 0);
        assert_eq!(gate.open(0, 10).len(), 10, "what finds no room waits");
        assert_eq!(second.send(&[0; 11]), 10);
        assert_eq!(gate.open(0, usize::MAX).len(), MAX_WAITING);
        drop(second);
        assert!(gate.can_arrive(1));
        assert!(
            !gate.can_arrive(0),
            "a guest that reads nothing gets nothing"
        );
        drop(input);
        assert!(!gate.can_arrive(1));
    }

    #[test]
    fn what_has_passed_is_remembered_up_to_a_limit() {
        let gate = InputGate::new(Arc::default());
        let input = gate.input();
        let mut passed = 0;
        for n in 0..(3 * MAX_RECORD / 1000) as u64 {
            input.send(&[n as u8; 1000]);
            passed += gate.open(n, usize::MAX).len();
        }
        let record = gate.record();
        let bytes: usize = record.iter().map(|entry| entry.bytes.len()).sum();
        assert!(passed > 2 * MAX_RECORD && bytes <= MAX_RECORD, "{bytes}");
        assert!(record.iter().zip(0..).all(|(entry, n)| entry.at_ns == n));
        let again = InputGate::new(Arc::default());
        again.restore(&gate.save());
        assert_eq!(again.record(), record);
    }

    #[test]
    fn what_passed_since_passes_once_more() {
        let gate = InputGate::new(Arc::default());
        let input = gate.input();
        input.send(b"a");
        assert_eq!(gate.open(10, 9), b"a");
        let before = gate.save();
        input.send(b"b");
        assert_eq!(gate.open(20, 9), b"b");
        input.send(b"c");
        assert_eq!(gate.open(30, 0), b"", "there is no room");
        input.send_at(50, b"d");
        gate.restore(&gate.save().back_to(&before, true));
        assert_eq!(
            (gate.next_scheduled(), gate.record()),
            (Some(20), before.record.clone())
        );
        assert_eq!(gate.open(19, 0), b"");
        assert_eq!(gate.open(20, 0), b"b");
        assert_eq!(gate.open(50, 9), b"dc");
        assert!(gate.remembers_all());
        gate.restore(&gate.save().back_to(&before, false));
        assert!(!gate.can_arrive(0));
    }

    #[test]
    fn persons_come_and_go() {
        let gate = InputGate::new(Arc::default());
        let script = gate.input();
        assert_eq!(gate.attendance(), Attendance::Nobody);
        let person = gate.persons_input();
        let second = person.clone();
        drop(person);
        assert_eq!(gate.attendance(), Attendance::Present);
        drop(second);
        assert_eq!(gate.attendance(), Attendance::Gone);
        drop(script);
        assert_eq!(gate.attendance(), Attendance::Gone);
    }
}
