//! `--tier both`: the run of two machines that must do the same.

use std::sync::Arc;

use vmm::inspect::Expect;
use vmm::introspect::types::vmlinux::TypesFrom;
use vmm::{Accel, Config, IommuSink, TimeMode};
use vmm_devices::uart::ConsoleSink;
use vmm_machine::lockstep::{Pair, PairExit};

use super::super::console::Watched;
use super::super::ending::Ending;
use super::super::sandbox;
use super::super::signals::{self, Cause, Stopper};
use super::super::tier::Both;
use super::super::trace::{self, IommuTrace};
use super::super::values::{Idle, Trace};
use super::super::{CommandExit, UserError, text};
use super::stream::{publish, stream};
use super::{Boot, limit_patience, limits};

impl Boot {
    /// Returns the same run, by two machines if `both` says so.
    ///
    /// # Errors
    /// Something was asked for that two machines cannot do.
    pub fn by_both(mut self, both: Option<Both>) -> Result<Self, UserError> {
        self.both = both;
        match both.and_then(|_| self.refusal()) {
            Some(what) => Err(UserError::new(format!(
                "--tier both runs two machines side by side, {what}"
            ))),
            None => Ok(self),
        }
    }

    /// Returns what does not fit two machines, as the end of a sentence.
    fn refusal(&self) -> Option<&'static str> {
        let Self {
            settings,
            origin,
            record,
            faults,
            travel,
            ..
        } = self;
        let config = origin.config();
        let writes = |config: &Config| {
            let mut disks = config.disks.iter();
            disks.any(|disk| !disk.read_only && !disk.overlay)
        };
        let refusals = [
            // First: it is what has the clock be the host's.
            (
                config.accel == Accel::Kvm,
                "and KVM's cores are neither of them: leave --accel kvm out",
            ),
            (
                config.time == TimeMode::Host,
                "whose clocks must not follow the host's: leave --time host out",
            ),
            (
                record.is_some() || matches!(origin, super::Origin::Recording(_)),
                "and a recording is of one: leave --record and --replay out",
            ),
            (
                faults.is_some(),
                "and faults are those of one: leave --faults out",
            ),
            (
                settings.gdb.is_some(),
                "and a debugger looks at one: leave --gdb out",
            ),
            (
                travel.asks(),
                "and questions are about one: leave --ask out",
            ),
            (
                !settings.probe.is_empty() || settings.timeline.is_some(),
                "and probes and timelines are of one: leave --probe and --timeline out",
            ),
            (
                settings.sanitize.is_some(),
                "and a sanitizer looks at one: leave --sanitize out",
            ),
            (
                settings.shell == Some(true) || settings.idle == Some(Idle::Wait),
                "and nobody can type at them: leave --shell and --idle wait out, and use --run",
            ),
            (
                // Those that go on from a snapshot write to memory of their own.
                matches!(origin, super::Origin::Power(_)) && writes(config),
                "which would both write to a disk's file: add ,ro or ,overlay to each --disk",
            ),
        ];
        let mut refusals = refusals.into_iter();
        refusals.find_map(|(refused, why)| refused.then_some(why))
    }

    /// Makes both machines, and runs them to their end.
    pub(super) fn run_both(self, both: Both) -> Result<CommandExit, UserError> {
        let Self {
            settings,
            origin,
            expect,
            json,
            console,
            ..
        } = self;
        // Each watches its own console: what is expected ends both at the same instruction.
        let again = settings.expect.as_deref().map(Expect::new).transpose()?;
        let (unseen, _) = Watched::new(None, again);
        let (later, stream) = stream(console);
        let (shown, watcher) = Watched::new(stream, expect);
        let tracing = settings.trace.contains(&Trace::Iommu);
        let iommu_sink = tracing.then(|| Arc::new(IommuTrace) as Arc<dyn IommuSink>);
        let start_ns = origin.start_ns();
        let machine = |console: Box<dyn ConsoleSink>, sink| {
            let made = origin.machine(
                settings.seed,
                (None, &TypesFrom::Kernel),
                console,
                sink,
                None,
            );
            made.map(|(machine, _)| machine)
        };
        let interpreting = machine(Box::new(unseen), None)?;
        let translating = machine(Box::new(shown), iommu_sink)?;
        if tracing {
            trace::ports(translating.board());
        }
        let cores = usize::from(origin.config().cpus);
        let mut pair = match both.differs_after {
            None => Pair::new(interpreting, translating)?,
            Some(after) => Pair::differing(interpreting, translating, after)?,
        };
        publish(later.as_ref())?;
        let stopper = Stopper::new(pair.translating().stop_handle());
        signals::handle(stopper.clone())?;
        let limits = limits(&settings, start_ns, None);
        limit_patience(&settings);
        // A search has two machines at a time, beside the pair, and what an earlier one has left.
        sandbox::filter(3 * cores)?;
        let exit = pair.run(limits)?;
        let cause = stopper.cause();
        tell(&exit, cause, settings.quiet == Some(true));
        Ending {
            settings: &settings,
            origin: &origin,
            machine: pair.into_translating(),
            recorder: None,
            probes: None,
            sanitizer: None,
            dma_api: None,
            timeline: None,
            watcher,
            later,
            json,
            save: None,
            tiers_differ: exit.difference.is_some(),
        }
        .tell(exit.reason, cause)
    }
}

/// Says whether both machines did the same.
fn tell(exit: &PairExit, cause: Option<Cause>, quiet: bool) {
    match &exit.difference {
        Some(difference) => difference.to_string().lines().for_each(text::complain),
        None if quiet => {}
        None => {
            let compared = text::count(exit.compared);
            // The last slice was not whole.
            let rest = match cause {
                Some(_) => "; what came after was not compared",
                None => "",
            };
            text::complain(&format!(
                "the interpreter and the translator did the same for {compared} instructions{rest}"
            ));
        }
    }
}
