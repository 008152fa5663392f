//! Collects events from several sources into one timeline, within bounds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::burst::BurstKey;
use super::limits::Limits;
use super::spec::{Category, Dropped, Event, Kind, Lane, LaneId, Timeline};
use super::states::intervals;
use super::text::from_guest;

/// The lane of events beyond [`Limits::lanes`].
const NO_LANE: LaneId = LaneId(u16::MAX);
/// Bytes kept of an unfinished console line: more than are shown of a finished one.
const MAX_PARTIAL_LINE: usize = 1_024;

/// Collects events. Any number of threads may record at once; the order is that of virtual time,
/// and for equal times that of recording.
///
/// Memory is bounded by [`Limits`]: what does not fit is counted.
pub struct Recorder {
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    limits: Limits,
    buffer: Mutex<Buffer>,
}

#[derive(Default)]
struct Buffer {
    lanes: Vec<Lane>,
    by_name: BTreeMap<Lane, LaneId>,
    events: Vec<Event>,
    bulk: usize,
    kept: BTreeMap<Category, usize>,
    /// The bursts that may still grow.
    open: BTreeMap<(LaneId, BurstKey), usize>,
    /// The latest event of each interrupt line.
    interrupts: BTreeMap<u32, usize>,
    dropped: BTreeMap<Category, u64>,
    console: PartialLine,
}

#[derive(Default)]
struct PartialLine {
    since: u64,
    bytes: Vec<u8>,
}

impl Recorder {
    /// Creates a recorder that takes the time of events, in nanoseconds of virtual time, from
    /// `clock`, which is called on the thread that records and must not record itself.
    pub fn new(limits: Limits, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            clock: Box::new(clock),
            limits,
            buffer: Mutex::default(),
        }
    }

    /// Returns the number of `lane`, for the other calls. Numbers are this recorder's own; a
    /// [`Timeline`] has others.
    pub fn lane(&self, lane: Lane) -> LaneId {
        let mut buffer = self.lock();
        if let Some(id) = buffer.by_name.get(&lane) {
            return *id;
        }
        let id = match u16::try_from(buffer.lanes.len()) {
            // The number of `NO_LANE` stays free, whatever the limit.
            Ok(number) if buffer.lanes.len() < self.limits.lanes && number != NO_LANE.0 => {
                LaneId(number)
            }
            _ => return NO_LANE,
        };
        buffer.lanes.push(lane.clone());
        buffer.by_name.insert(lane, id);
        id
    }

    /// Records that `kind` happens now, done by `core` if by a core.
    pub fn record(&self, lane: LaneId, core: Option<u8>, kind: Kind) {
        self.record_with(lane, core, |_| kind);
    }

    /// Records as happening now what `kind` makes of the present time in nanoseconds.
    pub fn record_with(&self, lane: LaneId, core: Option<u8>, kind: impl FnOnce(u64) -> Kind) {
        let mut buffer = self.lock();
        // Within the lock, so that events are kept in the order of their times.
        let at = (self.clock)();
        let kind = kind(at);
        buffer.push(
            &self.limits,
            Event {
                at,
                core,
                lane,
                kind,
            },
        );
    }

    /// Records an event with a time of its own, from a source that reports late.
    pub fn record_event(&self, event: Event) {
        self.lock().push(&self.limits, event);
    }

    /// Records that the interrupt `line` of `source` becomes active or inactive. Activity that
    /// recurs soon is one event.
    pub fn interrupt(&self, line: u32, source: &str, active: bool) {
        // Before the lock, which `lane` takes as well.
        let lane = self.lane(Lane::Interrupts);
        let mut buffer = self.lock();
        let at = (self.clock)();
        buffer.interrupt(&self.limits, lane, (line, source, active), at);
    }

    /// Records that the guest wrote `bytes` to its console. A line is an event at the time of its
    /// first byte.
    pub fn console(&self, bytes: &[u8]) {
        // Before the lock, which `lane` takes as well.
        let lane = self.lane(Lane::Console);
        let mut buffer = self.lock();
        let at = (self.clock)();
        for byte in bytes {
            buffer.console_byte(&self.limits, lane, *byte, at);
        }
    }

    /// Returns what was recorded until now.
    pub fn timeline(&self) -> Timeline {
        let buffer = self.lock();
        let now = (self.clock)();
        let mut order: Vec<LaneId> = buffer.by_name.values().copied().collect();
        let lanes: Vec<Lane> = buffer.by_name.keys().cloned().collect();
        // The lanes are shown in the order of their names, not in that in which they came.
        let mut renumbered = vec![NO_LANE; order.len()];
        for (number, id) in order.drain(..).enumerate() {
            if let (Some(slot), Ok(number)) =
                (renumbered.get_mut(usize::from(id.0)), u16::try_from(number))
            {
                *slot = LaneId(number);
            }
        }
        let mut events = buffer.events.clone();
        // A line without its end may be the last thing that a guest says.
        let partial = buffer.console.event(buffer.by_name.get(&Lane::Console));
        events.extend(partial);
        for event in &mut events {
            event.lane = renumbered
                .get(usize::from(event.lane.0))
                .copied()
                .unwrap_or(NO_LANE);
        }
        // Stable, so that events of one time stay in the order in which they were recorded.
        events.sort_by_key(|event| event.at);
        let end = events
            .iter()
            // A source with times of its own may be ahead of the clock.
            .map(|event| event.until(event.at))
            .fold(now, u64::max);
        Timeline {
            end,
            intervals: intervals(&lanes, &events, end),
            lanes,
            events,
            dropped: buffer
                .dropped
                .iter()
                .map(|(category, count)| Dropped {
                    category: *category,
                    count: *count,
                })
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("limits", &self.limits)
            .field("events", &self.lock().events.len())
            .finish_non_exhaustive()
    }
}

impl Buffer {
    fn push(&mut self, limits: &Limits, event: Event) {
        match BurstKey::of(&event.kind) {
            Some(key) => self.push_burst(limits, key, event),
            None => {
                // What explains a change must not be hidden within a burst that began before it.
                if !event.kind.category().is_bulk() {
                    self.open.clear();
                }
                self.push_one(limits, event);
            }
        }
    }

    fn push_burst(&mut self, limits: &Limits, key: BurstKey, event: Event) {
        let Some(next) = event.kind.burst().copied() else {
            return;
        };
        let key = (event.lane, key);
        if let Some(open) = self
            .open
            .get(&key)
            .and_then(|index| self.events.get_mut(*index))
        {
            let began = open.at;
            // Otherwise it is too late for that burst, and a new one begins.
            if let Some(burst) = open.kind.burst_mut()
                && burst.accepts(began, &next, limits)
            {
                burst.join(&next);
                return;
            }
        }
        // An event that was dropped cannot grow: further ones like it are counted one by one.
        if let Some(index) = self.push_one(limits, event) {
            self.open.insert(key, index);
        }
    }

    /// Keeps or counts `event`, and returns where it was put.
    fn push_one(&mut self, limits: &Limits, event: Event) -> Option<usize> {
        let category = event.kind.category();
        let bulk = category.is_bulk();
        let kept = self.kept.entry(category).or_default();
        // No kind takes the room of all others: a guest may write registers in a loop.
        let full = self.events.len() >= limits.events
            || (bulk && self.bulk >= limits.bulk)
            || *kept >= limits.events.div_ceil(2);
        // `NO_LANE` is past the last lane, and so are the events that it stands for.
        if full || usize::from(event.lane.0) >= self.lanes.len() {
            let count = self.dropped.entry(category).or_default();
            *count = count.saturating_add(1);
            return None;
        }
        *kept += 1;
        self.bulk += usize::from(bulk);
        self.events.push(event);
        Some(self.events.len() - 1)
    }

    fn interrupt(&mut self, limits: &Limits, lane: LaneId, change: (u32, &str, bool), at: u64) {
        let (line, source, active) = change;
        if let Some(event) = self
            .interrupts
            .get(&line)
            .and_then(|index| self.events.get_mut(*index))
            && let Kind::Interrupt { pulses, until, .. } = &mut event.kind
        {
            match (active, *until) {
                // The line was driven again at the level that it had.
                (true, None) => return,
                (false, None) => {
                    *until = Some(at);
                    return;
                }
                (false, Some(_)) => return,
                (true, Some(lowered))
                    if at.saturating_sub(lowered) <= limits.burst_gap_ns
                        && at.saturating_sub(event.at) <= limits.burst_ns =>
                {
                    *pulses = pulses.saturating_add(1);
                    *until = None;
                    return;
                }
                (true, Some(_)) => {}
            }
        }
        // Its rise was before the recording, or was not kept.
        if !active {
            return;
        }
        let event = Event {
            at,
            core: None,
            lane,
            kind: Kind::Interrupt {
                line,
                source: source.to_owned(),
                pulses: 1,
                until: None,
            },
        };
        match self.push_one(limits, event) {
            Some(index) => self.interrupts.insert(line, index),
            // Or the next change of the line would be taken for one of an event that was not kept.
            None => self.interrupts.remove(&line),
        };
    }

    fn console_byte(&mut self, limits: &Limits, lane: LaneId, byte: u8, at: u64) {
        if byte == b'\n' {
            if let Some(event) = self.console.event(Some(&lane)) {
                self.push_one(limits, event);
            }
            self.console.bytes.clear();
            return;
        }
        if self.console.bytes.is_empty() {
            self.console.since = at;
        }
        // A guest may never end its line.
        if self.console.bytes.len() < MAX_PARTIAL_LINE {
            self.console.bytes.push(byte);
        }
    }
}

impl PartialLine {
    /// Returns the line, unless it is empty.
    fn event(&self, lane: Option<&LaneId>) -> Option<Event> {
        let text = from_guest(self.bytes.trim_ascii_end());
        (!text.is_empty()).then_some(Event {
            at: self.since,
            core: None,
            lane: *lane?,
            kind: Kind::Console { text },
        })
    }
}
