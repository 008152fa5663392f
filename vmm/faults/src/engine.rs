//! A plan at work in one machine: every point asks here, and is told what goes wrong.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use viommu::SourceId;
use vmm_base::{Clock, Control};

use super::delayed_action::{DelayedAction, DelayedActions};
use super::point::PointFault;
use super::rule::Active;
use super::spec::{FaultPoint, Mask, Rule};
use super::survey::Survey;

/// Most faults of a run that are told one by one.
const MAX_TOLD: usize = 256;

/// A fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// Guest time, in nanoseconds since power-on.
    pub at_ns: u64,
    /// Which rule, from 0.
    pub rule: usize,
    /// What happened where, in words.
    pub text: String,
}

/// A point that was come to: its kind, its device, and which register.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Point {
    /// What kind of point.
    #[serde(rename = "where")]
    pub place: FaultPoint,
    /// Of which device; empty if of none.
    pub device: String,
}

/// The account of a plan at work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Faults, the first of them.
    pub told: Vec<FaultRecord>,
    /// How many faults there were.
    pub faults: u64,
    /// How many points each rule was about, in the order of the plan.
    pub seen: Vec<u64>,
    /// How many points of each kind there were.
    pub points: BTreeMap<Point, u64>,
    /// Where they were, in a run that was to find out.
    pub survey: Option<Survey>,
}

#[derive(Default)]
struct State {
    /// When the scenario began; nothing happens before.
    armed_ns: Option<u64>,
    rules: Vec<Active>,
    delayed: DelayedActions,
    account: Account,
}

/// What is connected once the machine stands.
struct Connected {
    clock: Arc<dyn Clock>,
    control: Arc<Control>,
    /// The names of the board's devices, by their [`SourceId`].
    names: Vec<String>,
}

/// Faults of one machine. A machine is made with one, or without any points at all; the plan is
/// armed later, when the scenario begins.
#[derive(Default)]
pub struct Injection {
    state: Mutex<State>,
    epoch: AtomicU64,
    connected: OnceLock<Connected>,
}

/// A fault that strikes.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultAction<F> {
    /// What happens.
    pub fault: F,
    /// A bit that the seed chose, of those that a value has here.
    pub bit: u64,
    /// A number that the seed chose, for whatever else is to be chosen.
    pub chosen: u64,
}

impl<F> FaultAction<F> {
    /// Returns the bits to flip: those of the plan, or the one that the seed chose.
    pub fn bits(&self, mask: Option<Mask>) -> u64 {
        mask.map_or(self.bit, u64::from)
    }
}

impl Injection {
    /// Creates an injection without a plan.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects the injection to a machine, which is complete.
    pub fn connect(&self, clock: Arc<dyn Clock>, control: Arc<Control>, names: Vec<String>) {
        // An injection belongs to one machine: a second one has no points.
        let _ = self.connected.set(Connected {
            clock,
            control,
            names,
        });
    }

    fn now_ns(&self) -> u64 {
        // Without a machine, as in unit tests, no time passes.
        self.connected.get().map_or(0, |c| c.clock.now_ns())
    }

    /// Begins to count points, from now on, and lets `rules` strike as `seed` has it.
    pub fn arm(&self, rules: &[Rule], seed: u64) {
        let now = self.now_ns();
        let mut seeds = Xoshiro256PlusPlus::seed_from_u64(seed);
        // IOMMUs invalidate what they translated before, so that the rules are asked again.
        self.epoch.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        state.armed_ns = Some(now);
        // Each rule has a stream of its own, so that none disturbs another.
        state.rules = rules
            .iter()
            .map(|rule| Active::new(rule, seeds.next_u64()))
            .collect();
        state.account = Account::default();
    }

    /// Does as [`arm`](Self::arm), and keeps account of where each point is.
    pub fn survey(&self, rules: &[Rule], seed: u64) {
        self.arm(rules, seed);
        self.state().account.survey = Some(Survey::new(rules.len()));
    }

    /// Returns the account of what happened so far.
    pub fn account(&self) -> Account {
        let state = self.state();
        Account {
            seen: state.rules.iter().map(Active::seen).collect(),
            ..state.account.clone()
        }
    }

    /// Returns the name of the bus master with this number; none if it has no number.
    pub(crate) fn name(&self, source: Option<SourceId>) -> &str {
        // An access without a source is no device's: only rules without `device` are about it.
        let names = self.connected.get().map(|c| &c.names);
        source
            .and_then(|source| names?.get(source.index()))
            .map_or("", String::as_str)
    }

    /// Tells the rules that wait for `function` that the guest has come to it.
    pub fn reached(&self, function: &str) {
        let mut state = self.state();
        for active in &mut state.rules {
            if active.rule.when.probe.as_deref() == Some(function) {
                active.reached();
            }
        }
    }

    /// Counts a fault point that has been reached, and returns what strikes there. `bits` says how
    /// many bits a value has that may be flipped. `words` tell more of what happens.
    pub fn at<F: PointFault>(
        &self,
        device: &str,
        bits: u32,
        words: impl Fn(&FaultAction<F>) -> String,
    ) -> Option<FaultAction<F>> {
        self.at_part((device, ""), bits, |_| true, words)
    }

    /// Does as [`at`](Self::at), for a fault point that is a part of a device, such as a register,
    /// or a function of the kernel. `fits` says whether a fault of this kind of point is about it.
    pub fn at_part<F: PointFault>(
        &self,
        (device, part): (&str, &str),
        bits: u32,
        fits: impl Fn(&F) -> bool,
        words: impl Fn(&FaultAction<F>) -> String,
    ) -> Option<FaultAction<F>> {
        let now = self.now_ns();
        let mut state = self.state();
        let State {
            armed_ns,
            rules,
            account,
            ..
        } = &mut *state;
        // Before a plan is armed no point is counted: the guest boots without faults.
        let since = now.saturating_sub((*armed_ns)?);
        let point = Point {
            place: F::POINT,
            device: device.into(),
        };
        *account.points.entry(point).or_default() += 1;
        let survey = account.survey.as_mut();
        let mut survey = survey.map(|survey| (survey.arrive(F::POINT, device, part), survey));
        let mut action = None;
        for (index, active) in rules.iter_mut().enumerate() {
            let named = active.rule.device.as_deref();
            let about = named.is_none_or(|name| name == device)
                && F::of(&active.rule.fault).is_some_and(&fits);
            if !about {
                continue;
            }
            // Every rule counts its points, also where another one strikes.
            let before = active.seen();
            let strikes = active.strikes(since);
            if let Some((site, survey)) = &mut survey
                && active.seen() > before
            {
                survey.note(index, *site);
            }
            if !strikes {
                continue;
            }
            // Both numbers are drawn for every kind of fault, and where another rule strikes first,
            // so that the stream depends on neither.
            let (bit, chosen) = (active.bit(bits.max(1)), active.number());
            if action.is_some() {
                continue;
            }
            let Some(fault) = F::of(&active.rule.fault).cloned() else {
                continue;
            };
            let new = action.insert(FaultAction { fault, bit, chosen });
            // All are counted, and few told: a rule may strike at every point of a long run.
            account.faults += 1;
            if account.told.len() < MAX_TOLD {
                let (place, what) = (F::POINT, &new.fault);
                let of = if device.is_empty() { "" } else { " of " };
                account.told.push(FaultRecord {
                    at_ns: now,
                    rule: index,
                    text: format!("{place}{of}{device}: {what}{}", words(new)),
                });
            }
        }
        action
    }

    /// Sets `alarm` to be due in `delay_ns` nanoseconds.
    pub fn later(&self, delay_ns: u64, alarm: DelayedAction) {
        let at = self.now_ns().saturating_add(delay_ns);
        self.state().delayed.set(at, alarm);
        if let Some(connected) = self.connected.get() {
            // The run may be in a slice that ends only after this is due.
            connected.control.recheck();
        }
    }

    /// Returns when the next delayed action is due.
    pub fn next_alarm(&self) -> Option<u64> {
        self.state().delayed.next()
    }

    /// Returns the delayed actions that are due by now, in order.
    pub fn due(&self) -> Vec<DelayedAction> {
        self.due_by(self.now_ns())
    }

    /// Returns the delayed actions that are due by `now`, in nanoseconds since power-on.
    pub fn due_by(&self, now: u64) -> Vec<DelayedAction> {
        self.state().delayed.due(now)
    }

    /// Returns how often a plan was armed.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }
}
