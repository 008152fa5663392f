//! The live registers: contents, and the flushes that are under way.

use super::features::Features;
use super::spec::{Imctr, Imuctr};
use super::state::{ContextState, InstanceState, IpmmuState, RestoreError, UtlbState};
use crate::grace::GracePeriod;
use crate::inject::FlushFault;

/// A context.
#[derive(Debug, Default)]
pub(super) struct Context {
    /// Its registers; IMCTR.FLUSH is set while `flush` is there.
    pub(super) state: ContextState,
    /// The flush that is under way.
    pub(super) flush: Option<GracePeriod>,
    /// What keeps it from being complete, besides accesses that are under way.
    pub(super) held: Option<FlushFault>,
}

impl Context {
    /// Counts down a late flush at a look of the guest; returns whether a fault keeps the flush
    /// from being complete.
    pub(super) fn is_held(&mut self) -> bool {
        self.held = self.held.and_then(FlushFault::after_look);
        self.held.is_some()
    }

    /// Updates the flush that is under way; returns whether it has just become complete.
    pub(super) fn poll_flush(&mut self) -> bool {
        let done = self.held.is_none() && self.flush.as_mut().is_some_and(GracePeriod::is_over);
        if done {
            self.flush = None;
        }
        // Reads and snapshots take IMCTR as it is stored, so its bit must follow.
        let flushing = self.flush.is_some();
        self.state.imctr = self.state.imctr().with_flush(flushing).into_bits();
        done
    }
}

/// A uTLB.
#[derive(Debug, Default)]
pub(super) struct Utlb {
    /// Its registers; IMUCTR.FLUSH is set while `flush` is there.
    pub(super) state: UtlbState,
    /// The flush that is under way.
    pub(super) flush: Option<GracePeriod>,
}

impl Utlb {
    /// Updates the flush that is under way.
    pub(super) fn poll_flush(&mut self) {
        if self.flush.as_mut().is_some_and(GracePeriod::is_over) {
            self.flush = None;
        }
        let flushing = self.flush.is_some();
        let control = Imuctr::from_bits(self.state.imuctr);
        self.state.imuctr = control.with_flush(flushing).into_bits();
    }

    pub(super) fn route(&self, features: &Features) -> Route {
        let control = Imuctr::from_bits(self.state.imuctr);
        let ttsel = control.ttsel();
        match usize::from(ttsel) {
            // First: TTSEL of a disabled uTLB means nothing.
            _ if !control.mmuen() => Route::Disabled,
            context if context < features.contexts => Route::Context(context),
            _ => Route::Unmodelled(ttsel),
        }
    }
}

/// Where a uTLB's accesses go, as IMUCTR has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To the bus, untranslated.
    Disabled,
    /// Through a context.
    Context(usize),
    /// Through something that is not modelled: the PMB, or a context that this generation does not
    /// have.
    Unmodelled(u8),
}

/// An instance.
#[derive(Debug, Default)]
pub(super) struct InstanceRegisters {
    pub(super) contexts: Vec<Context>,
    pub(super) utlbs: Vec<Utlb>,
    pub(super) unimplemented: u64,
}

impl InstanceRegisters {
    /// Creates the registers out of reset: everything is 0, all uTLBs are disabled.
    pub(super) fn new(features: &Features, utlbs: usize) -> Self {
        Self {
            contexts: (0..features.contexts).map(|_| Context::default()).collect(),
            utlbs: (0..utlbs).map(|_| Utlb::default()).collect(),
            unimplemented: 0,
        }
    }

    // Grace periods are not saved; FLUSH in a control register says that one is to be begun again.
    fn save(&self) -> InstanceState {
        let Self {
            contexts,
            utlbs,
            unimplemented,
        } = self;
        InstanceState {
            contexts: contexts
                .iter()
                .map(
                    |Context {
                         state,
                         flush: _,
                         held: _,
                     }| *state,
                )
                .collect(),
            utlbs: utlbs
                .iter()
                .map(|Utlb { state, flush: _ }| *state)
                .collect(),
            unimplemented: *unimplemented,
        }
    }

    /// Restores a state of the right shape. Flushes are left to be begun again.
    fn restore(&mut self, features: &Features, saved: &InstanceState) {
        let InstanceState {
            contexts,
            utlbs,
            unimplemented,
        } = saved;
        for (context, state) in self.contexts.iter_mut().zip(contexts) {
            *context = Context {
                // A snapshot is a file, and may have bits set that no register has.
                state: state.sane(features),
                flush: None,
                held: None,
            };
        }
        for (utlb, state) in self.utlbs.iter_mut().zip(utlbs) {
            *utlb = Utlb {
                state: state.sane(),
                flush: None,
            };
        }
        self.unimplemented = *unimplemented;
    }
}

/// All instances.
#[derive(Debug)]
pub(super) struct Registers {
    /// If there are leaves, the first is the root.
    pub(super) instances: Vec<InstanceRegisters>,
    /// The level of the interrupt line.
    pub(super) level: bool,
}

impl Registers {
    /// Returns the contexts that translate: the root's, or the only instance's.
    pub(super) fn root(&self) -> &[Context] {
        // `IpmmuConfig::check` refuses a configuration without instances.
        &self.instances[0].contexts
    }

    /// Returns whether accesses of uTLBs of `instance` on `context` are translated: the root's
    /// IMCTR.MMUEN must be set and, of a leaf, its own too (6.1 writes IMCTR to both,
    /// `ipmmu_ctx_write_all`; that both count is a choice).
    pub(super) fn translates(&self, instance: usize, context: usize) -> bool {
        let enabled = |instance: usize| {
            let control: Imctr = self.instances[instance].contexts[context].state.imctr();
            control.mmuen()
        };
        enabled(0) && enabled(instance)
    }

    pub(super) fn save(&self) -> IpmmuState {
        // The level of the line follows from the contexts; `Ipmmu::restore` sets it anew.
        let Self {
            instances,
            level: _,
        } = self;
        IpmmuState {
            version: IpmmuState::VERSION,
            instances: instances.iter().map(InstanceRegisters::save).collect(),
        }
    }

    /// Restores `saved`, as far as registers can hold it, or nothing of it. Instances and uTLBs
    /// that were added to the configuration since are as after a reset.
    pub(super) fn restore(
        &mut self,
        features: &Features,
        saved: &IpmmuState,
    ) -> Result<(), RestoreError> {
        let IpmmuState { version, instances } = saved;
        if *version != IpmmuState::VERSION {
            return Err(RestoreError::Version(*version));
        }
        // All shapes are checked before the first change.
        check_room("instances", instances.len(), self.instances.len())?;
        for (mine, saved) in self.instances.iter().zip(instances) {
            check_shape("contexts", saved.contexts.len(), mine.contexts.len())?;
            check_room("uTLBs", saved.utlbs.len(), mine.utlbs.len())?;
        }
        let none = InstanceState::default();
        let instances = instances.iter().chain(std::iter::repeat(&none));
        for (mine, saved) in self.instances.iter_mut().zip(instances) {
            let mut saved = saved.clone();
            let (contexts, utlbs) = (mine.contexts.len(), mine.utlbs.len());
            saved.contexts.resize_with(contexts, Default::default);
            saved.utlbs.resize_with(utlbs, Default::default);
            mine.restore(features, &saved);
        }
        Ok(())
    }
}

/// Checks that there is room for what is saved.
fn check_room(what: &'static str, found: usize, expected: usize) -> Result<(), RestoreError> {
    check_shape(what, found.max(expected), expected)
}

fn check_shape(what: &'static str, found: usize, expected: usize) -> Result<(), RestoreError> {
    if found == expected {
        Ok(())
    } else {
        Err(RestoreError::Shape {
            what,
            found,
            expected,
        })
    }
}

impl UtlbState {
    /// Returns what the registers can hold of a saved state.
    fn sane(self) -> Self {
        let Self { imuctr, imuasid } = self;
        Self {
            imuctr: imuctr & imuctr_mask(),
            imuasid: imuasid & super::spec::IMUASID_MASK,
        }
    }
}

/// Returns the bits that IMUCTR has. FIXADDEN and FIXADD are left out: no published manual says
/// what they do, so nothing is promised.
pub(super) fn imuctr_mask() -> u32 {
    Imuctr::new()
        .with_mmuen(true)
        .with_flush(true)
        .with_ttsel(15)
        .into_bits()
}
