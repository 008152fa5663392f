//! Many runs of one plan.

use std::collections::{BTreeMap, BinaryHeap};
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use vmm_base::thread;
use vmm_faults::spec::{Plan, Rule};
use vmm_introspect::types::vmlinux::TypesFrom;

use super::classify::{Lines, Outcome, statuses};
use super::code::CodeMap;
use super::conditions::{self, Conditions};
use super::error::CampaignError;
use super::functions::Functions;
use super::run::{Done, Record, Runner, Task, seed_of};
use super::scenario::Scenario;
use super::single;
use super::start::Start;
use super::walk::{self, FaultAt, Walk};

/// Most runs of a campaign: what a person, a disk and memory can take.
pub const MAX_RUNS: u64 = 1_000_000;
/// Most runs of one outcome of which everything is kept; more than any page shows.
pub const MAX_WHOLE: usize = 2_000;

/// Keeps memory in bounds: of runs that ended alike those with the lowest numbers are kept whole,
/// and of others what sums and tables need.
///
/// So what is shown does not depend on the order in which runs ended, nor on the machines that they
/// ran on, as long as it is no more than the first [`MAX_WHOLE`] of an outcome.
#[derive(Debug, Default)]
pub struct RetentionPolicy(BTreeMap<Outcome, BinaryHeap<u64>>);

impl RetentionPolicy {
    /// Takes from `record` what is not needed any more.
    pub fn trim(&mut self, record: &mut Record) {
        // The lowest numbers yet, the greatest of them on top.
        let whole = self.0.entry(record.verdict.outcome).or_default();
        if whole.len() >= MAX_WHOLE {
            if whole.peek().is_none_or(|last| *last < record.run) {
                record.trim();
                return;
            }
            whole.pop();
        }
        whole.push(record.run);
    }
}

/// A run that was done again and was another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its number.
    pub run: u64,
    /// What was otherwise, and how.
    pub what: String,
}

/// Is told of a run when it has ended, and may change what is kept of it.
pub type Each<'e, E> = dyn FnMut(&mut Record) -> Result<(), E> + Send + 'e;

/// A plan that is ready to be run.
pub struct Prepared<'p> {
    /// The plan.
    pub plan: &'p Plan,
    /// How its runs are made.
    pub runner: Runner<'p>,
    /// The points that a run without faults came to, and which of them each rule is about.
    pub walk: Walk,
}

/// Checks what can be checked of a plan before its kernel is there: that its scenario's machine has
/// the devices that it names, and that its conditions can be read. Returns whether it has any of
/// these.
///
/// # Errors
/// It names one that is not there, or has one that cannot be read.
pub fn check(plan: &Plan) -> Result<bool, CampaignError> {
    single::check_devices(plan, &Scenario::new(plan.scenario).board())?;
    Ok(!conditions::of(plan)?.is_empty())
}

/// Returns the task of a run of `plan` in which nothing goes wrong, and that counts its points.
fn faultless(plan: &Plan) -> Task {
    // No run comes to so many points: rules count theirs, and none strikes.
    let never = |rule: &Rule| walk::only_at(rule, u64::MAX);
    Task {
        run: 0,
        seed: 0,
        rules: plan.fault.iter().map(never).collect(),
        point: None,
        more: Vec::new(),
        survey: true,
    }
}

impl<'p> Prepared<'p> {
    /// Runs the scenario once without faults: to know what is usual, and to count points.
    ///
    /// # Errors
    /// The scenario does not go well by itself, or the plan does not fit the kernel.
    pub fn new(
        plan: &'p Plan,
        scenario: &'p Scenario,
        start: &'p dyn Start,
    ) -> Result<Self, CampaignError> {
        Self::with_types(plan, scenario, start, &TypesFrom::Kernel)
    }

    /// Does as [`Prepared::new`], with the structures of the kernel, which conditions of the plan
    /// look at, from `types`.
    ///
    /// # Errors
    /// As [`Prepared::new`]; or they are of another kernel.
    pub fn with_types(
        plan: &'p Plan,
        scenario: &'p Scenario,
        start: &'p dyn Start,
        types: &TypesFrom,
    ) -> Result<Self, CampaignError> {
        let mut runner = Runner {
            start,
            scenario,
            functions: Functions::default(),
            conditions: Conditions::default(),
            usual: Lines::default(),
            code: None,
        };
        let task = faultless(plan);
        let first = runner.run(&task, None);
        let verdict = &first.record.verdict;
        let unwell = |why: &str| CampaignError::Unwell(why.to_owned());
        let mut machine = first.machine.ok_or_else(|| unwell(&verdict.why))?;
        let statuses = statuses(&first.console);
        if statuses.len() != scenario.commands.len() || statuses.iter().any(|status| *status != 0) {
            return Err(CampaignError::Commands {
                statuses,
                outcome: verdict.outcome,
            });
        }
        runner.functions = Functions::find(plan, &machine)?;
        runner.conditions = Conditions::find(plan, &machine, types)?;
        // This machine runs no more: one that does not fit is told here, and not by each run.
        runner.conditions.watch(&mut machine, &Arc::default())?;
        runner.usual = Lines::of(&first.console);
        // Again, with what is known now: it must be found to be unaffected, and the functions'
        // points are counted.
        let second = runner.run(&task, None);
        if second.record.verdict.outcome != Outcome::Unaffected {
            return Err(unwell(&second.record.verdict.why));
        }
        Ok(Self {
            plan,
            runner,
            walk: Walk::new(plan, second.account),
        })
    }

    /// Has runs find out which blocks they reach of the functions of the kernel that `patterns`
    /// name, where `*` stands for any text: of those that the scenario does not reach without
    /// faults.
    ///
    /// # Errors
    /// A pattern names no function, or they have too many blocks.
    pub fn watch_code(&mut self, patterns: &[String]) -> Result<(), CampaignError> {
        let task = faultless(self.plan);
        let Done {
            record, machine, ..
        } = self.runner.run(&task, None);
        let unwell = || CampaignError::Unwell(record.verdict.why.clone());
        let mut machine = machine.ok_or_else(unwell)?;
        self.runner.code = Some(CodeMap::find(patterns, &mut machine)?);
        let usual = self.runner.run(&task, None).record.blocks;
        self.runner
            .code
            .iter_mut()
            .for_each(|code| code.usual.clone_from(&usual));
        Ok(())
    }

    /// Returns the task of run `run` of a campaign with this seed.
    pub fn task(&self, seed: u64, run: u64) -> Task {
        Task {
            run,
            seed: seed_of(seed, run),
            rules: self.plan.fault.clone(),
            point: None,
            more: Vec::new(),
            survey: false,
        }
    }

    /// Returns the task of run `run` of a walk of every point with this seed: one rule at one
    /// point, and with `pairs` after all points two at a time; `None` after the last.
    pub fn systematic_task(&self, seed: u64, run: u64, pairs: bool) -> Option<Task> {
        let (point, second) = self.walk.run(run, pairs)?;
        let points: Vec<FaultAt> = std::iter::once(point).chain(second).collect();
        self.task_at(seed, run, &points)
    }

    /// Returns the task of run `run` of a campaign with this seed in which faults of the plan
    /// happen at these points and nowhere else; `None` if the plan has no such fault.
    pub fn task_at(&self, seed: u64, run: u64, points: &[FaultAt]) -> Option<Task> {
        let rule = |(rule, nth): &FaultAt| Some(walk::only_at(self.plan.fault.get(*rule)?, *nth));
        let (point, more) = points.split_first()?;
        Some(Task {
            run,
            seed: seed_of(seed, run),
            rules: points.iter().map(rule).collect::<Option<_>>()?,
            point: Some(*point),
            more: more.to_vec(),
            survey: false,
        })
    }

    /// Runs those of `tasks` whose numbers are among `runs` and not among `done`, `jobs` at a time,
    /// and tells `each` of every one as it ends, which may change what is kept of it; until all are
    /// done, or `stop`. Returns all that is done, in order.
    ///
    /// # Errors
    /// Those of `each`; what is done by then has been told.
    pub fn run<E: Send>(
        &self,
        tasks: &(dyn Fn(u64) -> Option<Task> + Sync),
        runs: impl Iterator<Item = u64>,
        done: BTreeMap<u64, Record>,
        jobs: NonZeroUsize,
        stop: &AtomicBool,
        each: &mut Each<'_, E>,
    ) -> Result<BTreeMap<u64, Record>, E> {
        let left: Vec<u64> = runs.filter(|run| !done.contains_key(run)).collect();
        self.runner.start.prepare(jobs.get().min(left.len()));
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let state = Mutex::new((done, None, each));
        let work = || {
            while !stop.load(Ordering::Relaxed) && !failed.load(Ordering::Relaxed) {
                // Relaxed will do: each run is taken once, and `state` has a lock.
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(task) = left.get(index).and_then(|run| tasks(*run)) else {
                    return;
                };
                // Only the record is kept: the machine and its RAM go before this thread makes
                // another.
                let mut record = self.runner.run(&task, None).record;
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                let (done, error, each) = &mut *state;
                // A run that could not be written down is not done: it is made again.
                if let Err(why) = each(&mut record) {
                    failed.store(true, Ordering::Relaxed);
                    // Several threads may fail for one reason, such as a full disk: the first one
                    // tells it.
                    error.get_or_insert(why);
                    return;
                }
                done.insert(record.run, record);
            }
        };
        let started =
            std::thread::scope(|scope| thread::spawn_several(scope, "inject", jobs.get(), work));
        if let Err(error) = started {
            tracing::error!("{error}; no runs are made at the same time");
            work();
        }
        let (done, error, _) = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        error.map_or(Ok(done), Err)
    }

    /// Does about `sample` of the runs that are `done` again, evenly chosen, and compares all that
    /// is known of them: how many were done, and which of them were others. None should be.
    pub fn recheck(
        &self,
        tasks: &(dyn Fn(u64) -> Option<Task> + Sync),
        done: &BTreeMap<u64, Record>,
        sample: NonZeroUsize,
        jobs: NonZeroUsize,
        stop: &AtomicBool,
    ) -> (usize, Vec<Difference>) {
        // `step_by` panics for 0, which is what it would be if no run were done.
        let step = done.len().div_ceil(sample.get()).max(1);
        let numbers: Vec<u64> = done.keys().copied().step_by(step).collect();
        let task = |index: u64| tasks(*numbers.get(usize::try_from(index).ok()?)?);
        let mut others = Vec::new();
        let Ok(again) = self.run(
            &task,
            0..numbers.len() as u64,
            BTreeMap::new(),
            jobs,
            stop,
            &mut |record: &mut Record| {
                let first = done.get(&record.run);
                if let Some(what) = first.and_then(|first| first.difference(record)) {
                    let run = record.run;
                    others.push(Difference { run, what });
                }
                Ok::<(), Infallible>(())
            },
        );
        // Runs end in any order.
        others.sort_unstable_by_key(|other| other.run);
        (again.len(), others)
    }
}
