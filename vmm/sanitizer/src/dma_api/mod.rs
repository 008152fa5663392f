//! The guest's own view of DMA: what its kernel's DMA API gives to which device, learnt by probes
//! on an unmodified kernel, and the accesses and calls that do not fit.
//!
//! - `spec.rs` lists the functions of the kernel that are watched, by its age;
//! - `tracker.rs` turns calls of them into mappings of the `shadow.rs`, which is pure data, and
//!   reports calls that are wrong; `pages.rs` reads what the kernel records of its pages;
//! - `accesses.rs` holds each access of a device against these mappings.
//!
//! It is for 32-bit kernels, from power-on: what was mapped before it looks is not known to it.

mod accesses;
mod call;
mod exports;
mod list;
mod names;
mod owners;
mod pages;
mod shadow;
mod spec;
mod stack;
mod tracker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_introspect::probe::{self, Moment, Probe, ProbeResults, Watcher};
use vmm_introspect::types::vmlinux::TypesFrom;
use vmm_machine::Machine;
use vmm_machine::vcpu::{Cores, RamHit, Width};

use crate::{Kind, Options, Sanitizer};
use accesses::Accesses;
use names::Masters;
use spec::{FUNCTIONS, Function, Point};
use tracker::Tracker;

/// The kinds that accesses of devices are held against here.
pub(crate) const KINDS: [Kind; 7] = [
    Kind::OutsideMapping,
    Kind::Direction,
    Kind::FreedPage,
    Kind::Leak,
    Kind::DoubleMap,
    Kind::DoubleUnmap,
    Kind::ActiveAfterRemove,
];

/// Why the DMA API of a guest's kernel cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// The machine goes on from a snapshot.
    #[error("what a guest has mapped before a snapshot is not known")]
    Snapshot,
    /// Its cores have 64 bits.
    #[error("the DMA API of 64-bit kernels is not known")]
    Wide,
}

/// The guest's DMA API, watched.
#[derive(Clone)]
pub struct DmaApi {
    outcome: Arc<Mutex<ProbeResults>>,
    watches: Arc<[Watch]>,
    tracker: Arc<Mutex<Tracker>>,
}

impl DmaApi {
    /// Watches the DMA API of the kernel that `machine` boots, with `types` of it, and reports to
    /// `sanitizer`, whose other reports then say who mapped what they are about. To be called
    /// before the first run, and after all probes were set that change the guest: what they change
    /// is then seen as the guest's.
    ///
    /// # Errors
    /// The machine goes on from a snapshot, or has 64-bit cores.
    pub fn attach(
        sanitizer: &Sanitizer,
        machine: &mut Machine,
        types: TypesFrom,
    ) -> Result<Self, AttachError> {
        if machine.origin().is_some() {
            return Err(AttachError::Snapshot);
        }
        if machine.with_cores(|cores| cores.width()) == Some(Width::Bits64) {
            return Err(AttachError::Wide);
        }
        let tracker = Tracker::new(
            Arc::clone(sanitizer.reports()),
            Masters::of(machine.board()),
            machine.memory(),
        );
        Ok(Self::watch(sanitizer, machine, types, tracker))
    }

    /// Goes on where this was when a snapshot was taken of its machine, in `machine`, which was
    /// made from that snapshot. `sanitizer` is a [`fork`](Sanitizer::fork) of the one before. To be
    /// called before the first run of `machine`, as [`attach`](Self::attach) is.
    pub fn go_on(&self, sanitizer: &Sanitizer, machine: &mut Machine, types: TypesFrom) -> Self {
        let reports = Arc::clone(sanitizer.reports());
        let tracker = lock(&self.tracker).fork(reports, machine.memory());
        Self::watch(sanitizer, machine, types, tracker)
    }

    fn watch(
        sanitizer: &Sanitizer,
        machine: &mut Machine,
        types: TypesFrom,
        tracker: Tracker,
    ) -> Self {
        let watches: Arc<[Watch]> = watches(sanitizer.reports().options()).into();
        let tracker = Arc::new(Mutex::new(tracker));
        sanitizer.set_origins(Arc::new(Accesses(Arc::clone(&tracker))));
        sanitizer.add(Box::new(Accesses(Arc::clone(&tracker))));
        let probes = probes(&watches);
        let watcher = Box::new(Calls {
            tracker: Arc::clone(&tracker),
            watches: Arc::clone(&watches),
        });
        let outcome = probe::attach_watcher(machine, probes, types, watcher);
        Self {
            outcome,
            watches,
            tracker,
        }
    }

    /// Returns how many calls of the kernel's DMA API were seen.
    pub fn calls(&self) -> u64 {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let hits = outcome.hits.iter().zip(&*self.watches);
        // Memory is freed on all sorts of occasions.
        let hits = hits.filter(|(_, (function, _))| !function.effect.releases());
        hits.map(|(hits, _)| hits).sum()
    }

    /// Returns how many mappings were not watched for accesses of the CPU, as more of them were
    /// there at a time than are watched.
    pub fn unwatched(&self) -> u64 {
        lock(&self.tracker).unwatched()
    }

    /// Returns why the kernel's calls were not followed, if they were not: to be asked when the run
    /// is over.
    pub fn problem(&self) -> Option<String> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match (&outcome.error, &outcome.no_types) {
            (Some(error), _) => Some(error.to_string()),
            (None, Some(why)) => Some(why.to_string()),
            (None, None) if !outcome.armed => Some("no kernel was found in memory".into()),
            (None, None) => None,
        }
    }
}

/// A function, and where it is looked at.
type Watch = (&'static Function, Point);

/// Returns what is watched, for these options.
fn watches(options: &Options) -> Vec<Watch> {
    let owners = options.wants_any(&[Kind::Ownership, Kind::SharedLine]);
    let pages = options.wants(Kind::FreedPage);
    let all = FUNCTIONS
        .iter()
        .filter(|f| (owners || !f.effect.hands_over()) && (pages || !f.effect.releases()));
    let mut watches: Vec<Watch> = all.map(|function| (function, function.point())).collect();
    // Whether a call that takes something back has returned concerns translations that outlive it.
    if options.wants(Kind::MissingInvalidation) {
        let takes_back = FUNCTIONS.iter().filter(|f| f.effect.takes_back());
        watches.extend(takes_back.map(|function| (function, Point::Return)));
    }
    watches
}

/// Returns a probe for each of `watches`, in their order.
fn probes(watches: &[Watch]) -> Vec<Probe> {
    let text = |(function, point): &Watch| match point {
        Point::Return => format!("?{}@return", function.name),
        Point::Entry => format!("?{}", function.name),
    };
    let probe = |watch| probe::parse(&text(watch)).ok();
    // All of them can be parsed, says a test: none is left out, and numbers stay.
    watches.iter().filter_map(probe).collect()
}

/// Sees the calls of the guest's kernel.
struct Calls {
    tracker: Arc<Mutex<Tracker>>,
    watches: Arc<[Watch]>,
}

impl Watcher for Calls {
    fn hit(&mut self, moment: &Moment<'_, '_>) {
        if let Some(&(function, point)) = self.watches.get(moment.probe) {
            lock(&self.tracker).call(function, point, moment);
        }
    }

    fn accessed(&mut self, moment: &Moment<'_, '_>, hit: &RamHit) {
        lock(&self.tracker).accessed(moment, hit);
    }

    fn watch_ram(&mut self, cores: &mut Cores<'_>) {
        lock(&self.tracker).watch_ram(cores);
    }
}

fn lock(tracker: &Mutex<Tracker>) -> MutexGuard<'_, Tracker> {
    // Poisoned only by a panic that its own thread has reported.
    tracker.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_has_its_probes() {
        for (options, less, more) in [
            ("dma=leak", 8 + 12, 0),
            ("dma=leak,missing-invalidation", 8 + 12, 6),
            ("dma=ownership", 12, 0),
            ("dma=shared-line,freed-page", 0, 0),
        ] {
            let watches = watches(&options.parse().unwrap());
            assert_eq!(watches.len(), FUNCTIONS.len() - less + more);
            let probes = probes(&watches);
            assert_eq!(probes.len(), watches.len());
            for (probe, (function, point)) in probes.iter().zip(watches) {
                assert_eq!(probe.site.symbol, function.name);
                assert_eq!(probe.site.at_return, point == Point::Return);
                assert!(probe.optional);
            }
        }
    }
}
