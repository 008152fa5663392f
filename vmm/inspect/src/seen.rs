//! What a guest shows on the way: on its console, and at its IOMMUs.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use viommu::virtio::Request;
use viommu::virtio::spec::Status;
use vmm_devices::uart::{ConsoleSink, Flow};
use vmm_machine::{IommuEvent, IommuInfo, IommuSink, Machine, StopHandle, VirtioEvent};

use crate::Expect;

/// The most bytes of the console that are kept.
const MAX_LOG: usize = 1 << 20;
/// The most events that are kept.
const MAX_EVENTS: usize = 256;
/// The most characters of an event's line.
const MAX_EVENT: usize = 400;

/// Returns the line of an event, if it is one that is to be shown.
pub type Line = fn(&IommuInfo, u64, &IommuEvent<'_>) -> Option<String>;

/// Notes what a guest shows. Clones are the same.
#[derive(Clone, Default)]
pub struct Seen {
    state: Arc<Mutex<State>>,
    /// The machine, once it is made.
    machine: Arc<OnceLock<StopHandle>>,
}

/// Changes of a mapping that a virtio-iommu is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requests {
    /// The name of the IOMMU.
    pub iommu: String,
    /// The driver's number of the domain.
    pub domain: u32,
    /// The address.
    pub iova: u64,
    /// How many there were.
    pub number: u64,
    /// Whether the last one of them maps it.
    pub maps: bool,
    /// The one at which the machine is to arrive.
    pub last: Option<u64>,
}

#[derive(Default)]
struct State {
    /// The last bytes of the console.
    log: VecDeque<u8>,
    /// How many bytes there were.
    shown: u64,
    /// The last events, by their times.
    events: VecDeque<(u64, String)>,
    /// What the console is to show.
    console: Option<Expect>,
    /// The event that is to happen.
    iommu: Option<Expect>,
    requests: Option<Requests>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").finish_non_exhaustive()
    }
}

impl Seen {
    fn state(&self) -> MutexGuard<'_, State> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a console that notes what goes to `console`.
    pub fn console(&self, console: Box<dyn ConsoleSink>) -> Box<dyn ConsoleSink> {
        Box::new(NotedConsole {
            console,
            seen: self.clone(),
        })
    }

    /// Returns a sink that notes events by their `line`.
    pub fn sink(&self, line: Line) -> Arc<dyn IommuSink> {
        Arc::new(NotedEvents {
            seen: self.clone(),
            line,
        })
    }

    /// Connects the machine that both are of.
    pub fn connect(&self, machine: &Machine) {
        // Set once: there is one machine.
        let _ = self.machine.set(machine.stop_handle());
    }

    /// Has the machine arrive where the console shows `pattern`, from now on.
    pub(crate) fn expect_console(&self, pattern: Option<Expect>) {
        self.state().console = pattern;
    }

    /// Has the machine arrive where an event's line matches `pattern`, from now on.
    pub(crate) fn expect_event(&self, pattern: Option<Expect>) {
        self.state().iommu = pattern;
    }

    /// Counts requests from now on; returns those that were counted before.
    pub(crate) fn count_requests(&self, requests: Option<Requests>) -> Option<Requests> {
        std::mem::replace(&mut self.state().requests, requests)
    }

    /// Returns how many bytes the console has shown at its furthest place.
    pub(crate) fn shown(&self) -> u64 {
        self.state().shown
    }

    /// Returns the bytes of the console from byte `from` to byte `to`, as far as they are kept.
    pub(crate) fn log(&self, from: u64, to: u64) -> Vec<u8> {
        let state = self.state();
        // No more is kept than was shown.
        let first = state.shown - state.log.len() as u64;
        let index = |at: u64| usize::try_from(at.saturating_sub(first)).unwrap_or(usize::MAX);
        let bytes = state.log.iter().copied();
        let end = index(to.min(state.shown));
        bytes.take(end).skip(index(from)).collect()
    }

    /// Returns the last events up to guest time `now_ns`, at most so many, the last one last.
    pub(crate) fn events(&self, now_ns: u64, most: usize) -> Vec<String> {
        let state = self.state();
        let until = state.events.iter().filter(|(at, _)| *at <= now_ns);
        let mut last: Vec<String> = until
            .rev()
            .take(most)
            .map(|(_, line)| line.clone())
            .collect();
        last.reverse();
        last
    }
}

impl State {
    /// Notes what the console shows; returns whether it has come to what is expected.
    fn show(&mut self, bytes: &[u8]) -> bool {
        self.shown += bytes.len() as u64;
        self.log.extend(bytes);
        let excess = self.log.len().saturating_sub(MAX_LOG);
        self.log.drain(..excess);
        let found = self.console.as_mut().is_some_and(|mark| mark.feed(bytes));
        if found {
            self.console = None;
        }
        found
    }

    /// Notes an event; returns whether it is the one that is expected.
    fn happen(&mut self, at_ns: u64, mut line: String) -> bool {
        line.push('\n');
        let mark = self.iommu.as_mut();
        let found = mark.is_some_and(|mark| mark.feed(line.as_bytes()));
        if found {
            self.iommu = None;
        }
        let line: String = line.trim_end().chars().take(MAX_EVENT).collect();
        // The machine has gone back: what follows comes again.
        while self.events.back().is_some_and(|(last, _)| *last > at_ns) {
            self.events.pop_back();
        }
        // Like ones at one time are one, or the first that comes again would be there twice.
        let same_time = self.events.iter().rev().take_while(|(at, _)| *at == at_ns);
        if same_time.into_iter().all(|(_, known)| *known != line) {
            self.events.push_back((at_ns, line));
        }
        if self.events.len() > MAX_EVENTS {
            self.events.pop_front();
        }
        found
    }

    /// Notes a request that a virtio-iommu has carried out; returns whether the machine is to
    /// arrive at it.
    fn carry_out(&mut self, iommu: &str, request: &Request) -> bool {
        let Some(wanted) = &mut self.requests else {
            return false;
        };
        let (domain, first, last, maps) = match *request {
            Request::Map {
                domain,
                first,
                last,
                ..
            } => (domain, first, last, true),
            Request::Unmap {
                domain,
                first,
                last,
            } => (domain, first, last, false),
            _ => return false,
        };
        let concerns = (first..=last).contains(&wanted.iova);
        if !concerns || domain != wanted.domain || iommu != wanted.iommu {
            return false;
        }
        wanted.number += 1;
        wanted.maps = maps;
        wanted.last == Some(wanted.number)
    }
}

struct NotedConsole {
    console: Box<dyn ConsoleSink>,
    seen: Seen,
}

impl ConsoleSink for NotedConsole {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        let flow = self.console.write(bytes);
        match self.seen.state().show(bytes) {
            true => Flow::Stop,
            false => flow,
        }
    }

    fn flush(&mut self) {
        self.console.flush();
    }
}

struct NotedEvents {
    seen: Seen,
    line: Line,
}

impl IommuSink for NotedEvents {
    fn event(&self, iommu: &IommuInfo, at_ns: u64, event: &IommuEvent<'_>) {
        // Without a machine this is what was there when it was made.
        let Some(machine) = self.seen.machine.get() else {
            return;
        };
        let mut state = self.seen.state();
        let mut arrives = false;
        if let IommuEvent::Virtio(VirtioEvent::Request(exchange)) = event
            && let (Some(request), Some(Status::Ok)) = (&exchange.request, exchange.status)
        {
            arrives |= state.carry_out(&iommu.name, request);
        }
        if let Some(line) = (self.line)(iommu, at_ns, event) {
            arrives |= state.happen(at_ns, line);
        }
        if arrives {
            machine.arrive();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_is_kept_within_bounds() {
        let seen = Seen::default();
        seen.expect_console(Some(Expect::new("the end").unwrap()));
        assert!(!seen.state().show(b"begins, "));
        assert_eq!(seen.log(0, 6), b"begins");
        assert!(!seen.state().show(&vec![b'x'; MAX_LOG]) && seen.state().show(b"the end"));
        let shown = 8 + MAX_LOG as u64 + 7;
        assert_eq!(seen.shown(), shown);
        assert_eq!(seen.log(0, u64::MAX).len(), MAX_LOG);
        assert_eq!(seen.log(shown - 3, shown), b"end");
        assert_eq!(seen.log(shown, 0), b"");
        assert!(!seen.state().show(b"the end"), "it is expected once");
    }

    #[test]
    fn events_that_come_again_are_there_once() {
        let seen = Seen::default();
        let happens = |at: u64, line: &str| seen.state().happen(at, line.to_owned());
        for at in 0..MAX_EVENTS as u64 + 10 {
            happens(at, "e");
        }
        assert_eq!(seen.events(u64::MAX, usize::MAX).len(), MAX_EVENTS);
        for line in ["a", "b", "a"] {
            happens(100, line);
        }
        happens(101, &"é".repeat(MAX_EVENT + 1));
        let events = seen.events(100, 3);
        assert_eq!(events, ["e", "a", "b"]);
        assert_eq!(seen.events(101, 1)[0].chars().count(), MAX_EVENT);
        seen.expect_event(Some(Expect::new("detach utlb=3$").unwrap()));
        assert!(!happens(102, "detach utlb=31"));
        assert!(happens(103, "detach utlb=3"));
        assert!(!happens(104, "detach utlb=3"));
    }

    #[test]
    fn requests_for_an_address_are_counted() {
        let seen = Seen::default();
        let wanted = Requests {
            iommu: "viommu0".into(),
            domain: 3,
            iova: 0x1800,
            number: 0,
            maps: false,
            last: Some(2),
        };
        seen.count_requests(Some(wanted.clone()));
        let map = |domain, first| Request::Map {
            domain,
            first,
            last: first + 0xfff,
            address: 0,
            flags: 3,
        };
        let unmap = Request::Unmap {
            domain: 3,
            first: 0,
            last: u64::MAX,
        };
        let mut state = seen.state();
        assert!(!state.carry_out("viommu0", &unmap));
        for (iommu, request) in [
            ("viommu0", map(2, 0x1000)),
            ("viommu0", map(3, 0x2000)),
            ("viommu1", map(3, 0x1000)),
        ] {
            assert!(!state.carry_out(iommu, &request));
        }
        assert!(state.carry_out("viommu0", &map(3, 0x1000)));
        drop(state);
        let counted = seen.count_requests(None).unwrap();
        assert_eq!((counted.number, counted.maps), (2, true));
    }
}
