//! Probes at work: breakpoints where they lie, and what is done when one is hit.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use arm32::{CoreView, Stop};
use vm_memory::GuestMemoryMmap;

use super::ast::{Action, Expr, Probe, Site};
use super::eval::{Change, EvalError, Evaluator, Frame};
use super::kernel::Kernel;
use super::scope::{Scope, ScopeError};
use crate::observe::symbols::SymbolsError;
use crate::observe::types::value::Value;
use crate::vcpu::{Halted, Resume, StopHandler};

/// Where 32-bit ARM kernels begin, from the base of RAM: TEXT_OFFSET of arch/arm/Makefile, the usual one first.
const ENTRIES: [u64; 2] = [0x8000, 0x0020_8000];
/// Most times that a kernel is looked for: a search reads much memory, and what lies where kernels begin may be a loop.
const MAX_SEARCHES: u32 = 8;
/// Most calls that are waited for to return: tasks that never do, such as those killed, would fill the list.
const MAX_PENDING: usize = 4096;

/// What a probe saw and did, once.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Guest time, in nanoseconds since power-on.
    pub at: u64,
    /// The core.
    pub core: usize,
    /// Which probe, in the order in which they were given.
    pub probe: usize,
    /// Who called the function; empty when unknown.
    pub caller: String,
    /// What was to be printed, by the text that asked for it.
    pub values: Vec<(String, Result<Value, EvalError>)>,
    /// What was changed.
    pub changes: Vec<Change>,
    /// What was done, in words.
    pub actions: Vec<String>,
}

/// Why probes cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// A probe does not fit the kernel.
    #[error("the probe `{text}` does not fit this kernel: {source}")]
    Scope {
        /// The probe.
        text: String,
        /// Why.
        source: ScopeError,
    },
    /// There is a kernel, without symbols.
    #[error("no probe can be set: {0}")]
    Symbols(#[from] SymbolsError),
}

/// What became of a set of probes; shared with whoever started the run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Whether the kernel was found and the probes were set.
    pub armed: bool,
    /// Why not, or why no longer.
    pub error: Option<ProbeError>,
    /// How often each probe was hit with its condition true.
    pub hits: Vec<u64>,
    /// The probe that ended the run, if one did.
    pub stopped_by: Option<usize>,
}

/// A call of a function whose return is waited for.
struct Pending {
    probe: usize,
    frame: Frame,
}

/// Where a breakpoint lies, and why.
#[derive(Default)]
struct Place {
    /// Probes at this very place.
    here: Vec<usize>,
    /// Probes of the return of the function that begins here.
    calls: Vec<usize>,
    /// Calls that return here.
    returns: usize,
}

/// Told of each hit, in order.
pub type Sink = Box<dyn FnMut(&Probe, &Hit) + Send>;

/// An observer that sets probes once the kernel is in memory, and serves their hits.
pub struct Engine {
    probes: Vec<Probe>,
    ram: Arc<GuestMemoryMmap<()>>,
    ram_base: u64,
    ram_size: u64,
    kernel: Option<Arc<Kernel>>,
    places: BTreeMap<u32, Place>,
    pending: VecDeque<Pending>,
    searches: u32,
    sink: Sink,
    outcome: Arc<Mutex<Outcome>>,
}

impl Engine {
    /// An engine for `probes` in a machine with this RAM. Its breakpoints are set by [`Engine::prepare`].
    pub fn new(
        probes: Vec<Probe>,
        ram: Arc<GuestMemoryMmap<()>>,
        (ram_base, ram_size): (u64, u64),
        sink: Sink,
    ) -> Self {
        let outcome = Outcome {
            hits: vec![0; probes.len()],
            ..Outcome::default()
        };
        Self {
            probes,
            ram,
            ram_base,
            ram_size,
            kernel: None,
            places: BTreeMap::new(),
            pending: VecDeque::new(),
            searches: 0,
            sink,
            outcome: Arc::new(Mutex::new(outcome)),
        }
    }

    /// What becomes of the probes.
    pub fn outcome(&self) -> Arc<Mutex<Outcome>> {
        Arc::clone(&self.outcome)
    }

    fn with_outcome(&self, change: impl FnOnce(&mut Outcome)) {
        change(&mut self.outcome.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The kernel's first instruction is waited for: by then a compressed one has been unpacked. To be called before
    /// the run; without probes nothing is set.
    pub fn prepare(&self, cluster: &mut arm32::Cluster) {
        if !self.probes.is_empty() {
            self.entries().for_each(|va| cluster.insert_breakpoint(va));
        }
    }

    /// As [`Engine::prepare`], where the kernel is in memory already. The outcome says if a probe does not fit it.
    pub fn prepare_in(&mut self, kernel: Arc<Kernel>, cluster: &mut arm32::Cluster) {
        if !self.probes.is_empty()
            && let Err(error) = self.set(kernel, cluster)
        {
            self.with_outcome(|outcome| outcome.error = Some(error));
        }
    }

    /// Addresses of the first instruction, virtual and physical: the memory management unit is off there.
    fn entries(&self) -> impl Iterator<Item = u32> + use<> {
        let base = self.ram_base;
        ENTRIES
            .into_iter()
            .filter_map(move |offset| u32::try_from(base + offset).ok())
    }

    /// The kernel may be in memory now.
    fn arm(&mut self, halted: &mut Halted<'_>) -> Resume {
        let kernel = match Kernel::find(&*self.ram, self.ram_base, self.ram_size) {
            Ok(kernel) => kernel,
            // What begins here is something else, which happens to lie where kernels do.
            Err(SymbolsError::None) => {
                self.searches += 1;
                if self.searches >= MAX_SEARCHES {
                    for va in self.entries() {
                        halted.cluster.remove_breakpoint(va);
                    }
                }
                return Resume::Continue;
            }
            Err(error) => return self.fail(error.into()),
        };
        for va in self.entries() {
            halted.cluster.remove_breakpoint(va);
        }
        match self.set(Arc::new(kernel), halted.cluster) {
            Ok(()) => Resume::Continue,
            Err(error) => self.fail(error),
        }
    }

    /// Sets all probes in `kernel`.
    fn set(&mut self, kernel: Arc<Kernel>, cluster: &mut arm32::Cluster) -> Result<(), ProbeError> {
        for index in 0..self.probes.len() {
            if let Err(source) = self.place(&kernel, index)
                && !self.probes[index].optional
            {
                let text = self.probes[index].text.clone();
                return Err(ProbeError::Scope { text, source });
            }
        }
        self.places
            .keys()
            .for_each(|&va| cluster.insert_breakpoint(va));
        self.kernel = Some(kernel);
        self.with_outcome(|outcome| outcome.armed = true);
        Ok(())
    }

    fn fail(&mut self, error: ProbeError) -> Resume {
        self.with_outcome(|outcome| outcome.error = Some(error));
        Resume::End
    }

    fn place(&mut self, kernel: &Kernel, index: usize) -> Result<(), ScopeError> {
        let probe = &self.probes[index];
        let site = &probe.site;
        let scope = Scope { kernel, site };
        scope.symbol(&site.symbol)?;
        scope.check(probe)?;
        // Static functions of one name are all meant.
        for symbol in kernel.symbols.named(&site.symbol) {
            let place = self
                .places
                .entry(symbol.address.wrapping_add(site.offset) & !1)
                .or_default();
            if site.at_return {
                place.calls.push(index);
            } else {
                place.here.push(index);
            }
        }
        Ok(())
    }

    fn hit(&mut self, core: usize, pc: u32, halted: &mut Halted<'_>) -> Resume {
        let Some(place) = self.places.get(&pc) else {
            return Resume::Continue;
        };
        let (here, calls) = (place.here.clone(), place.calls.clone());
        let returning = place.returns > 0;
        let mut resume = Resume::Continue;
        if returning {
            resume = self.returned(core, pc, halted);
        }
        for probe in calls {
            self.call(probe, core, halted);
        }
        for probe in here {
            // An action of the probe before may have moved the core.
            if halted.core(core).is_none_or(|view| view.pc() != pc) {
                break;
            }
            let Some(frame) = halted.core(core).map(|view| Frame::at_entry(&view)) else {
                break;
            };
            if self.serve(probe, &frame, core, halted) == Resume::End {
                resume = Resume::End;
            }
        }
        resume
    }

    /// A function begins whose return is of interest.
    fn call(&mut self, probe: usize, core: usize, halted: &mut Halted<'_>) {
        let Some(frame) = halted.core(core).map(|view| Frame::at_entry(&view)) else {
            return;
        };
        let to = frame.lr & !1;
        self.places.entry(to).or_default().returns += 1;
        halted.cluster.insert_breakpoint(to);
        self.pending.push_back(Pending { probe, frame });
        if self.pending.len() > MAX_PENDING
            && let Some(oldest) = self.pending.pop_front()
        {
            self.forget(oldest.frame.lr & !1, halted);
        }
    }

    fn forget(&mut self, to: u32, halted: &mut Halted<'_>) {
        halted.cluster.remove_breakpoint(to);
        if let Some(place) = self.places.get_mut(&to) {
            place.returns = place.returns.saturating_sub(1);
            if place.returns == 0 && place.here.is_empty() && place.calls.is_empty() {
                self.places.remove(&to);
            }
        }
    }

    /// Serves the calls that have returned to `pc`: the stack is then where it was at their entry, which tells apart
    /// tasks, and calls that recurse.
    fn returned(&mut self, core: usize, pc: u32, halted: &mut Halted<'_>) -> Resume {
        let Some(sp) = halted.core(core).map(|view| view.reg(13)) else {
            return Resume::Continue;
        };
        let is_done = |p: &Pending| p.frame.lr & !1 == pc && p.frame.sp == sp;
        let (done, waiting): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(is_done);
        self.pending = waiting;
        let mut resume = Resume::Continue;
        for call in done {
            self.forget(pc, halted);
            if self.serve(call.probe, &call.frame, core, halted) == Resume::End {
                resume = Resume::End;
            }
        }
        resume
    }

    /// Does what probe `index` says.
    fn serve(
        &mut self,
        index: usize,
        frame: &Frame,
        core: usize,
        halted: &mut Halted<'_>,
    ) -> Resume {
        let at = halted.now_ns;
        let (Some(kernel), Some(mut view)) = (&self.kernel, halted.core(core)) else {
            return Resume::Continue;
        };
        let probe = &self.probes[index];
        let caller = kernel.symbols.at(frame.lr & !1);
        let mut hit = Hit {
            at,
            core,
            probe: index,
            caller: caller.map_or_else(String::new, |location| location.to_string()),
            values: Vec::new(),
            changes: Vec::new(),
            actions: Vec::new(),
        };
        let mut evaluator = Evaluator {
            scope: Scope {
                kernel,
                site: &probe.site,
            },
            frame,
            core: &mut view,
        };
        // A condition that has no value, say for a pointer that is NULL, does not hold.
        let holds = probe
            .condition
            .as_ref()
            .is_none_or(|condition| evaluator.holds(condition).unwrap_or(false));
        if !holds {
            return Resume::Continue;
        }
        let mut resume = Resume::Continue;
        for action in &probe.actions {
            if act(&mut evaluator, action, &mut hit) == Resume::End {
                resume = Resume::End;
            }
        }
        self.with_outcome(|outcome| {
            outcome.hits[index] += 1;
            if resume == Resume::End {
                outcome.stopped_by = Some(index);
            }
        });
        (self.sink)(&self.probes[index], &hit);
        resume
    }
}

fn act(evaluator: &mut Evaluator<'_, '_>, action: &Action, hit: &mut Hit) -> Resume {
    let result = match action {
        Action::Print(values) => {
            for value in values {
                hit.values.push((value.to_string(), evaluator.value(value)));
            }
            Ok(())
        }
        Action::Set(place, value) => set(evaluator, place, value, hit),
        Action::Return(value) => number(evaluator, value.as_ref()).map(|value| {
            evaluator.core.return_at_once(value.map(|v| v as u32));
            hit.actions.push(match value {
                Some(value) => format!("returned {value} at once"),
                None => "returned at once".into(),
            });
        }),
        Action::Goto(site) => goto(evaluator, site, hit),
        Action::Stop => {
            hit.actions.push("ended the run".into());
            return Resume::End;
        }
    };
    if let Err(error) = result {
        hit.actions.push(format!("failed: {error}"));
    }
    Resume::Continue
}

fn number(evaluator: &Evaluator<'_, '_>, value: Option<&Expr>) -> Result<Option<i128>, EvalError> {
    value
        .map(|value| {
            evaluator
                .value(value)?
                .number()
                .ok_or(EvalError::NotANumber)
        })
        .transpose()
}

fn set(
    evaluator: &mut Evaluator<'_, '_>,
    place: &Expr,
    value: &Expr,
    hit: &mut Hit,
) -> Result<(), EvalError> {
    let Expr::Path(place) = place else {
        return Err(ScopeError::ReadOnly(place.to_string()).into());
    };
    let value = evaluator
        .value(value)?
        .number()
        .ok_or(EvalError::NotANumber)?;
    let change = evaluator.set(place, value)?;
    hit.actions.push(format!("set {place} to {value}"));
    hit.changes.push(change);
    Ok(())
}

fn goto(evaluator: &mut Evaluator<'_, '_>, site: &Site, hit: &mut Hit) -> Result<(), EvalError> {
    let target = evaluator.scope.symbol(&site.symbol)?;
    let core: &mut CoreView<'_> = evaluator.core;
    // The table of symbols does not say which instruction set; code of one kernel is all of one.
    let thumb = u32::from(core.state().psr.thumb);
    core.branch(target.wrapping_add(site.offset) & !1 | thumb);
    hit.actions.push(format!("went on at {site}"));
    Ok(())
}

impl StopHandler for Engine {
    fn stopped(&mut self, stop: Stop, halted: &mut Halted<'_>) -> Resume {
        match stop {
            Stop::Breakpoint { core, pc } if self.kernel.is_some() => self.hit(core, pc, halted),
            Stop::Breakpoint { pc, .. } if self.entries().any(|entry| entry == pc) => {
                self.arm(halted)
            }
            _ => Resume::Continue,
        }
    }
}
