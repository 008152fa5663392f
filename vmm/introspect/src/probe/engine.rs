//! Probes at work: their breakpoints, and what is done when one is hit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use vmm_machine::vcpu::{Cores, Halted, Resume, Stop, StopHandler, Width};

use super::abi::{Abi, CoreMemory};
use super::action;
use super::ast::Probe;
use super::breakpoint::Breakpoint;
use super::eval::{Evaluator, Frame};
use super::kernel::Kernel;
use super::outcome::{Hit, ProbeError, ProbeResults};
use super::scope::Scope;
use super::start::{Unplaced, entries};
use super::watch::{Moment, Watcher};
use crate::symbols::SymbolsError;
use crate::types::TypesError;
use crate::types::vmlinux::TypesFrom;
use vmm_machine::GuestRam;

/// Most times that a kernel is looked for: a search reads much memory, and the code where kernels
/// begin may be a loop.
const MAX_SEARCHES: u32 = 8;
/// Most calls that are waited for to return: tasks that never do, such as those killed, would fill
/// the list.
const MAX_PENDING: usize = 4096;

/// The function that every kernel calls when a module is in memory, its symbols in place and none
/// of its code run yet (kernel/module/main.c; kernel/module.c before 5.19).
const MODULE_READY: &str = "do_init_module";

mod accessed;
mod placing;

/// A call of a function whose return is waited for.
struct Pending {
    probe: usize,
    frame: Frame,
}

/// Told of each hit, in order.
pub type Sink = Box<dyn FnMut(&Probe, &Hit) + Send>;

/// An observer that sets probes once the kernel is in memory, and serves their hits.
pub struct Engine {
    probes: Vec<Probe>,
    ram: Arc<GuestRam>,
    ram_base: u64,
    ram_size: u64,
    /// A 64-bit kernel that was found and is waited for to be at its virtual addresses.
    unplaced: Option<Unplaced>,
    kernel: Option<Arc<Kernel>>,
    types: TypesFrom,
    /// The place of the kernel's image, if that was found out just now: see [`Halted::image`].
    pub(super) image: Option<(u64, u64)>,
    places: BTreeMap<u64, Breakpoint>,
    /// The addresses of probes, and whether they are in a module.
    set: BTreeMap<(u64, usize), bool>,
    /// Probes that were set, at least once.
    placed: BTreeSet<usize>,
    /// Probes whose place has not been in memory yet, and must come to be.
    waiting: BTreeSet<usize>,
    /// The address of [`MODULE_READY`].
    module_ready: Option<u64>,
    pending: VecDeque<Pending>,
    searches: u32,
    sink: Sink,
    watcher: Option<Box<dyn Watcher>>,
    outcome: Arc<Mutex<ProbeResults>>,
}

impl Engine {
    /// Creates an engine for `probes` in a machine with this RAM. Its breakpoints are set by
    /// [`Engine::prepare`].
    pub fn new(
        probes: Vec<Probe>,
        ram: Arc<GuestRam>,
        (ram_base, ram_size): (u64, u64),
        sink: Sink,
    ) -> Self {
        let outcome = ProbeResults {
            hits: vec![0; probes.len()],
            ..ProbeResults::default()
        };
        Self {
            probes,
            ram,
            ram_base,
            ram_size,
            unplaced: None,
            kernel: None,
            types: TypesFrom::Kernel,
            image: None,
            places: BTreeMap::new(),
            set: BTreeMap::new(),
            placed: BTreeSet::new(),
            waiting: BTreeSet::new(),
            module_ready: None,
            pending: VecDeque::new(),
            searches: 0,
            sink,
            watcher: None,
            outcome: Arc::new(Mutex::new(outcome)),
        }
    }

    /// Takes the types of the kernel from elsewhere. To be called before the run.
    pub fn use_types(&mut self, types: TypesFrom) {
        self.types = types;
    }

    /// Has `watcher` told of hits, in place of the sink; conditions and actions are left out then.
    /// To be called before the run.
    pub fn watch(&mut self, watcher: Box<dyn Watcher>) {
        self.watcher = Some(watcher);
    }

    /// Returns what becomes of the probes.
    pub fn outcome(&self) -> Arc<Mutex<ProbeResults>> {
        Arc::clone(&self.outcome)
    }

    fn with_outcome<T>(&self, look: impl FnOnce(&mut ProbeResults) -> T) -> T {
        // An outcome is plain data, good to be read even if a panic came in between.
        look(&mut self.outcome.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets breakpoints at the kernel's first instruction, in all places where it can be: by then a
    /// compressed one has been unpacked. To be called before the run; without probes nothing is
    /// set.
    pub fn prepare(&self, cores: &mut Cores<'_>) {
        if !self.probes.is_empty() {
            self.entries(cores.width())
                .for_each(|va| cores.insert_breakpoint(va));
        }
    }

    /// Does as [`Engine::prepare`] where the kernel is in memory already. The outcome says if a
    /// probe does not fit it.
    pub fn prepare_in(&mut self, mut kernel: Arc<Kernel>, cores: &mut Cores<'_>) {
        if self.probes.is_empty() {
            return;
        }
        if let Some(view) = cores.core(0) {
            // Where there are no modules to be seen, there is no probe in one.
            // A copy, if other machines share the kernel: the modules are those of this one.
            let _ = Arc::make_mut(&mut kernel).read_modules(&CoreMemory(&view));
        }
        let begun = if kernel.symbols.is_placed() {
            self.begin(kernel, cores)
        } else {
            Err(ProbeError::NoBeginning)
        };
        if let Err(error) = begun {
            self.with_outcome(|outcome| outcome.error = Some(error));
        }
    }

    fn entries(&self, width: Width) -> impl Iterator<Item = u64> + use<> {
        // Addresses past those of 32 bits are no entries of such cores.
        entries(width, self.ram_base).filter(move |va| width.cut(*va) == *va)
    }

    /// Is called when a core has come to the breakpoint that was set at `pc`.
    pub(super) fn reached(
        &mut self,
        core: usize,
        pc: u64,
        cores: &mut Cores<'_>,
        now_ns: u64,
    ) -> Resume {
        if self.kernel.is_some() {
            return self.hit(core, pc, cores, now_ns);
        }
        let waits = self.unplaced.as_ref();
        let result = if waits.is_some_and(|unplaced| unplaced.settles_at() == pc) {
            self.settled(core, cores)
        } else if waits.is_none() && self.entries(cores.width()).any(|entry| entry == pc) {
            self.arm(pc, cores)
        } else {
            Ok(())
        };
        match result {
            Ok(()) => Resume::Continue,
            Err(error) => self.fail(error),
        }
    }

    /// Looks for the kernel, which may be in memory now.
    fn arm(&mut self, pc: u64, cores: &mut Cores<'_>) -> Result<(), ProbeError> {
        let found = Kernel::find_with(&*self.ram, self.ram_base, self.ram_size, &self.types);
        let width = cores.width();
        let kernel = match found {
            Ok(kernel) if kernel.symbols.width() == width => kernel,
            // The code that begins here is not the kernel, but something else at an address where
            // kernels begin.
            Ok(_) | Err(SymbolsError::None) => {
                self.searches += 1;
                if self.searches >= MAX_SEARCHES {
                    self.give_up_entries(cores);
                }
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.give_up_entries(cores);
        match width {
            Width::Bits32 => {
                self.image = kernel.image(pc);
                self.begin(Arc::new(kernel), cores)
            }
            // With the memory management unit still off, its symbols are no addresses yet: it has
            // to be waited for once more.
            Width::Bits64 => {
                let unplaced = Unplaced::new(kernel, pc)?;
                self.image = Some(unplaced.image());
                cores.insert_breakpoint(unplaced.settles_at());
                self.unplaced = Some(unplaced);
                Ok(())
            }
        }
    }

    fn give_up_entries(&self, cores: &mut Cores<'_>) {
        for va in self.entries(cores.width()) {
            cores.remove_breakpoint(va);
        }
    }

    /// Is called when a 64-bit kernel has come to its virtual addresses.
    fn settled(&mut self, core: usize, cores: &mut Cores<'_>) -> Result<(), ProbeError> {
        let (Some(unplaced), Some(pc)) = (self.unplaced.take(), cores.core(core).map(|c| c.pc()))
        else {
            return Ok(());
        };
        cores.remove_breakpoint(unplaced.settles_at());
        let (kernel, image) = unplaced.place(pc)?;
        self.image = Some(image);
        self.begin(Arc::new(kernel), cores)
    }

    /// Sets all probes in `kernel` that have their place in memory.
    fn begin(&mut self, kernel: Arc<Kernel>, cores: &mut Cores<'_>) -> Result<(), ProbeError> {
        match &kernel.types {
            // The user's mistake, whether or not a probe needs the types.
            Err(TypesError::Mismatch(error)) => return Err(error.clone().into()),
            Err(error) => {
                let error = error.clone();
                self.with_outcome(|outcome| outcome.no_types = Some(error));
            }
            Ok(_) => {}
        }
        self.module_ready = kernel.symbols.address(MODULE_READY);
        if let Some(va) = self.module_ready {
            cores.insert_breakpoint(va);
        }
        self.place_all(&kernel, cores)?;
        self.kernel = Some(kernel);
        self.with_outcome(|outcome| outcome.armed = true);
        Ok(())
    }

    /// Is called when a module is about to run.
    fn module_loaded(&mut self, core: usize, cores: &mut Cores<'_>) -> Result<(), ProbeError> {
        let Some(mut kernel) = self.kernel.take() else {
            return Ok(());
        };
        let read = match cores.core(core) {
            Some(view) => Arc::make_mut(&mut kernel).read_modules(&CoreMemory(&view)),
            None => Ok(()),
        };
        let placed = match (read, self.waiting.first()) {
            (Ok(()), _) => {
                self.withdraw_from_modules(cores);
                self.place_all(&kernel, cores)
            }
            (Err(source), Some(&index)) => {
                let text = self.probes[index].text.clone();
                Err(ProbeError::Modules { text, source })
            }
            // No probe waits for a module, so that the modules cannot be read harms nobody.
            (Err(_), None) => Ok(()),
        };
        self.kernel = Some(kernel);
        placed
    }

    fn fail(&mut self, error: ProbeError) -> Resume {
        self.with_outcome(|outcome| outcome.error = Some(error));
        Resume::End
    }

    fn hit(&mut self, core: usize, pc: u64, cores: &mut Cores<'_>, now_ns: u64) -> Resume {
        if self.module_ready == Some(pc)
            && let Err(error) = self.module_loaded(core, cores)
        {
            return self.fail(error);
        }
        let Some(place) = self.places.get(&pc) else {
            return Resume::Continue;
        };
        let (here, calls) = (place.here.clone(), place.calls.clone());
        let returning = place.returns > 0;
        let mut resume = Resume::Continue;
        // Returns first: the call that returns here ended before the function at this address
        // begins.
        if returning {
            resume = self.returned(core, pc, cores, now_ns);
        }
        for probe in calls {
            self.call(probe, core, cores);
        }
        for probe in here {
            // An action of the probe before may have moved the core.
            if cores.core(core).is_none_or(|view| view.pc() != pc) {
                break;
            }
            let Some(frame) = cores.core(core).map(|view| Frame::at_entry(&view)) else {
                break;
            };
            if self.serve(probe, &frame, core, cores, now_ns) == Resume::End {
                resume = Resume::End;
            }
        }
        resume
    }

    /// Is called when a function begins whose return is waited for.
    fn call(&mut self, probe: usize, core: usize, cores: &mut Cores<'_>) {
        let Some(frame) = cores.core(core).map(|view| Frame::at_entry(&view)) else {
            return;
        };
        let abi = Abi::of(cores.width());
        let to = frame.returns_to(abi);
        self.places.entry(to).or_default().returns += 1;
        cores.insert_breakpoint(to);
        self.pending.push_back(Pending { probe, frame });
        // The oldest is the likeliest never to return.
        if self.pending.len() > MAX_PENDING
            && let Some(oldest) = self.pending.pop_front()
        {
            self.forget(oldest.frame.returns_to(abi), cores);
        }
    }

    /// Takes away the breakpoint of one call that returns to `to`.
    fn forget(&mut self, to: u64, cores: &mut Cores<'_>) {
        cores.remove_breakpoint(to);
        if let Some(place) = self.places.get_mut(&to) {
            place.returns = place.returns.saturating_sub(1);
            if place.is_empty() {
                self.places.remove(&to);
            }
        }
    }

    /// Serves the calls that have returned to `pc`: the stack is then where it was at their entry,
    /// which tells apart tasks, and calls that recurse.
    fn returned(&mut self, core: usize, pc: u64, cores: &mut Cores<'_>, now_ns: u64) -> Resume {
        let abi = Abi::of(cores.width());
        let Some(sp) = cores.core(core).map(|view| view.reg(abi.sp)) else {
            return Resume::Continue;
        };
        // Several tasks may be in one function, and return to one address.
        let is_done = |p: &Pending| p.frame.returns_to(abi) == pc && p.frame.sp == sp;
        let (done, waiting): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(is_done);
        self.pending = waiting;
        let mut resume = Resume::Continue;
        for call in done {
            self.forget(pc, cores);
            if self.serve(call.probe, &call.frame, core, cores, now_ns) == Resume::End {
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
        cores: &mut Cores<'_>,
        now_ns: u64,
    ) -> Resume {
        let abi = Abi::of(cores.width());
        let (Some(kernel), Some(mut view)) = (&self.kernel, cores.core(core)) else {
            return Resume::Continue;
        };
        let probe = &self.probes[index];
        if let Some(watcher) = &mut self.watcher {
            watcher.hit(&Moment {
                probe: index,
                now_ns,
                kernel,
                core: &view,
                frame,
            });
            watcher.watch_ram(cores);
            self.with_outcome(|outcome| outcome.hits[index] += 1);
            return Resume::Continue;
        }
        let caller = kernel.symbols.at(frame.returns_to(abi));
        let mut hit = Hit {
            at: now_ns,
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
            if action::take(&mut evaluator, action, &mut hit) == Resume::End {
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

impl StopHandler for Engine {
    fn stopped(&mut self, stop: Stop, halted: &mut Halted<'_>) -> Resume {
        let (core, pc) = match stop {
            Stop::Breakpoint { core, pc } => (core, pc),
            Stop::WatchedRam { core, hit } => {
                self.accessed(core, &hit, halted);
                return Resume::Continue;
            }
            _ => return Resume::Continue,
        };
        let resume = self.reached(core, pc, &mut halted.cores, halted.now_ns);
        halted.image = self.image.take().or(halted.image);
        resume
    }

    fn ended(&mut self, _reason: vmm_machine::Reason) {
        let missing = self.waiting.first().map(|&index| {
            let Probe { text, site, .. } = &self.probes[index];
            ProbeError::NeverLoaded {
                text: text.clone(),
                site: site.to_string(),
            }
        });
        self.with_outcome(|outcome| {
            // A machine may run on, and load the module then.
            if matches!(outcome.error, None | Some(ProbeError::NeverLoaded { .. })) {
                outcome.error = missing;
            }
        });
    }
}
