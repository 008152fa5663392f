//! `--reverse`, `--goto` and `--ask`: a debugger, or questions, in the history of a run.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use vmm::inspect::{Expect, Place, Seen};
use vmm::{
    ByteSize, Config, IommuEvent, IommuInfo, IommuSink, Limits, Machine, Reason, StopHandle,
};
use vmm_devices::uart::{ConsoleSink, Flow};
use vmm_machine::{BothSinks, HISTORY_LIMIT, NoHistory};

use super::ask::{self, Asked};
use super::gdb::{self, GdbAddress};
use super::origin::Origin;
use super::settings::Settings;
use super::signals::{self, Stopper};
use super::trace::line;
use super::{CommandExit, UserError, sandbox, stdout, text};

/// The flags of commands that run one guest under a debugger, or answer questions about it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TravelArgs {
    /// With --gdb: have the debugger go back, too (reverse-step, reverse-continue). What that takes
    /// is kept in so much memory, 512M unless a size is given; a run that is too long for it can be
    /// gone back in less far. The guest cannot be changed then. With --replay, and with --ask, it
    /// is always so
    #[arg(
        long,
        value_name = "SIZE",
        num_args = 0..=1,
        default_missing_value = "512M",
        require_equals = true,
        help_heading = "Run"
    )]
    reverse: Option<ByteSize>,
    /// With --gdb or --ask: run to a place first, and wait for the debugger, or answer, there:
    /// instruction:N, time:SECONDS of the guest's clock, console:REGEX, what the console has just
    /// shown, or iommu:REGEX, the first event with such a line in --trace iommu
    #[arg(
        long,
        value_name = "PLACE",
        allow_hyphen_values = true,
        help_heading = "Run"
    )]
    goto: Option<Place>,
    /// Answer questions about the guest where --goto says, or at the end of its run: these, with
    /// semicolons between them, or else those on the lines of stdin, which a terminal is prompted
    /// for. `help` lists what can be asked
    #[arg(
        long,
        value_name = "QUESTIONS",
        num_args = 0..=1,
        default_missing_value = "",
        conflicts_with = "gdb",
        help_heading = "Run"
    )]
    ask: Option<Asked>,
}

impl TravelArgs {
    /// Checks that there is a debugger or a question, if one is needed.
    ///
    /// # Errors
    /// There is none.
    pub fn need(&self, debugger: bool) -> Result<(), UserError> {
        if debugger || self.asks() || self.reverse.is_none() && self.goto.is_none() {
            return Ok(());
        }
        Err(UserError::new(
            "--reverse and --goto are for a debugger or for questions: say where it connects with --gdb PORT, or ask \
             with --ask",
        ))
    }

    /// Returns whether questions are to be answered.
    pub const fn asks(&self) -> bool {
        self.ask.is_some()
    }

    /// Checks that nothing is asked for that takes a history.
    ///
    /// # Errors
    /// Something is.
    pub fn goes_forward(&self) -> Result<(), UserError> {
        match self.asks() || self.reverse.is_some() {
            true => Err(UserError::new(
                "a run of a campaign cannot be gone back in, since faults are put in: leave --reverse and --ask out",
            )),
            false => Ok(()),
        }
    }
}

/// What a debugger can do with the run, and where it begins; or what is asked there.
#[derive(Clone, Debug, Default)]
pub struct Travel {
    history: Option<ByteSize>,
    goto: Option<Place>,
    ask: Option<Asked>,
    /// What the guest shows, if something is asked.
    seen: Seen,
    /// The machine, once it is made.
    machine: Arc<OnceLock<StopHandle>>,
}

impl Travel {
    /// Returns what `args` ask for in a run of `settings` from `origin`.
    ///
    /// # Errors
    /// It does not fit the rest.
    pub fn new(args: TravelArgs, settings: &Settings, origin: &Origin) -> Result<Self, UserError> {
        args.need(settings.gdb.is_some())?;
        let asks = args.asks();
        if settings.gdb.is_none() && !asks {
            return Ok(Self::default());
        }
        let TravelArgs { reverse, goto, ask } = args;
        let always = asks || matches!(origin, Origin::Recording(_));
        let history = reverse.or_else(|| always.then_some(HISTORY_LIMIT));
        let tells = !settings.probe.is_empty() || settings.timeline.is_some();
        let tells = tells || !settings.trace.is_empty() || settings.sanitize.is_some();
        if history.is_some() && tells {
            return Err(UserError::new(
                "what is gone back over runs again, and would be told of again: leave --probe, --timeline, --trace and \
                 --sanitize out, or run without --gdb and --ask for them",
            ));
        }
        if asks && (settings.json.is_some() || settings.expect.is_some()) {
            return Err(UserError::new(
                "--ask answers about a run that goes on and back, which --json cannot sum up and --expect cannot end: \
                 leave them out",
            ));
        }
        if matches!(goto, Some(Place::Iommu(_))) && origin.config().iommu_list().is_empty() {
            return Err(UserError::new(
                "--goto iommu:REGEX waits for an event at an IOMMU, and the machine has none: add one with --iommu",
            ));
        }
        if goto.as_ref().is_some_and(|goto| goto.until().asked) && settings.expect.is_some() {
            return Err(UserError::new(
                "--expect ends the run where --goto waits for a debugger: leave one of them out",
            ));
        }
        if let (Origin::Power(config), Some(_)) = (origin, history) {
            Self::check(config)?;
        }
        Ok(Self {
            history,
            goto,
            ask,
            ..Self::default()
        })
    }

    /// Returns what `args` ask for in a run that can always be gone back in.
    pub fn always(args: TravelArgs) -> Self {
        Self {
            history: Some(args.reverse.unwrap_or(HISTORY_LIMIT)),
            goto: args.goto,
            ask: args.ask,
            ..Self::default()
        }
    }

    /// Returns what `args` ask for in a run that cannot be gone back in, which begins at `moment`,
    /// in nanoseconds, if they do not say where.
    ///
    /// # Errors
    /// They ask to go back.
    pub fn forward(args: TravelArgs, moment: Option<u64>) -> Result<Self, UserError> {
        args.goes_forward()?;
        Ok(Self {
            goto: args.goto.or(moment.map(Place::Time)),
            ..Self::default()
        })
    }

    /// Finds out whether a run of `config` can be gone back in, before anything is obtained for it.
    fn check(config: &Config) -> Result<(), UserError> {
        match NoHistory::of(config) {
            Some(why) => Err(vmm::Error::NoHistory(why).into()),
            None => Ok(()),
        }
    }

    /// Returns the console that ends the way to the first place where `console` shows that, or
    /// notes what it shows for who asks.
    ///
    /// # Errors
    /// Its pattern cannot be used.
    pub fn console(
        &self,
        console: Box<dyn ConsoleSink>,
    ) -> Result<Box<dyn ConsoleSink>, UserError> {
        match &self.goto {
            _ if self.ask.is_some() => Ok(self.seen.console(console)),
            Some(Place::Console(pattern)) => Ok(Box::new(Marked {
                console,
                mark: Expect::new(pattern)?,
                shown: false,
            })),
            _ => Ok(console),
        }
    }

    /// Returns the sink that has the machine arrive where the event happens that is waited for, if
    /// one is, or notes events for who asks; `next` is told of events before.
    ///
    /// # Errors
    /// Its pattern cannot be used.
    pub fn iommu_sink(
        &self,
        next: Option<Arc<dyn IommuSink>>,
    ) -> Result<Option<Arc<dyn IommuSink>>, UserError> {
        if self.ask.is_some() {
            return Ok(BothSinks::of(next, Some(self.seen.sink(line))));
        }
        let Some(Place::Iommu(pattern)) = &self.goto else {
            return Ok(next);
        };
        let mark: Arc<dyn IommuSink> = Arc::new(EventMark {
            mark: Mutex::new(Some(Expect::new(pattern)?)),
            machine: Arc::clone(&self.machine),
        });
        Ok(BothSinks::of(next, Some(mark)))
    }

    /// Prepares `machine`, which has not run.
    ///
    /// # Errors
    /// Its run does not repeat.
    pub fn prepare(&self, machine: &mut Machine) -> Result<(), UserError> {
        if let Some(limit) = self.history {
            machine.keep_history(limit)?;
        }
        if let (Some(goto), None) = (&self.goto, &self.ask) {
            machine.go_first_to(goto.until());
        }
        self.seen.connect(machine);
        // Set once: there is one machine.
        let _ = self.machine.set(machine.stop_handle());
        Ok(())
    }

    /// Returns whether questions are to be answered.
    pub const fn asks(&self) -> bool {
        self.ask.is_some()
    }

    /// Answers what is asked about `machine`, which was prepared and has not run. Its run has these
    /// limits.
    ///
    /// # Errors
    /// An answer could not be printed.
    pub fn answer(
        &self,
        machine: &mut Machine,
        limits: Limits,
        stopper: &Stopper,
    ) -> Result<CommandExit, UserError> {
        let nothing = Asked::default();
        let ask = self.ask.as_ref().unwrap_or(&nothing);
        let at = (self.goto.as_ref(), &self.seen);
        let outcome = ask::run(ask, at, (machine, limits), stopper);
        stdout::check().map(|()| outcome)
    }

    /// Runs `machine`, which has not run, within these limits, under a debugger that connects `at`
    /// some place, or to answer what is asked. Nothing is judged.
    ///
    /// # Errors
    /// It cannot, as a sentence.
    pub fn enter(
        &self,
        machine: &mut Machine,
        at: Option<GdbAddress>,
        limits: Limits,
    ) -> Result<CommandExit, UserError> {
        self.prepare(machine)?;
        let stopper = Stopper::new(machine.stop_handle());
        signals::handle(stopper.clone())?;
        if let Some(at) = at {
            gdb::attach(machine, at, self.goes_first())?;
        }
        sandbox::filter(0)?;
        if self.asks() {
            return self.answer(machine, limits, &stopper);
        }
        let reason = machine.run(limits).reason;
        text::complain(&format!("the guest {}", reason.sentence()));
        Ok(match (stopper.cause(), reason) {
            // The debugger ended it, or the guest did.
            (None, Reason::Stopped | Reason::PowerOff | Reason::ConsoleStop) => {
                CommandExit::Success
            }
            _ => CommandExit::GuestFailure,
        })
    }

    /// Returns whether the debugger has to wait for the machine to be somewhere.
    pub const fn goes_first(&self) -> bool {
        self.goto.is_some()
    }
}

/// A console that asks once for an end of what runs, where it has shown what it is to show.
struct Marked {
    console: Box<dyn ConsoleSink>,
    mark: Expect,
    shown: bool,
}

impl ConsoleSink for Marked {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        let flow = self.console.write(bytes);
        if self.shown || !self.mark.feed(bytes) {
            return flow;
        }
        self.shown = true;
        Flow::Stop
    }

    fn flush(&mut self) {
        self.console.flush();
    }
}

/// A sink that has the machine arrive at the first event whose line matches.
struct EventMark {
    /// `None` once it was found.
    mark: Mutex<Option<Expect>>,
    machine: Arc<OnceLock<StopHandle>>,
}

impl IommuSink for EventMark {
    fn event(&self, iommu: &IommuInfo, at_ns: u64, event: &IommuEvent<'_>) {
        // Without a machine this is what was there when it was made.
        let (Some(machine), Some(line)) = (self.machine.get(), line(iommu, at_ns, event)) else {
            return;
        };
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        let line = format!("{line}\n");
        if mark.as_mut().is_some_and(|mark| mark.feed(line.as_bytes())) {
            *mark = None;
            machine.arrive();
        }
    }
}

#[cfg(test)]
mod tests {
    use viommu::HitCheck;

    use super::*;

    struct Checking;

    impl IommuSink for Checking {
        fn event(&self, _: &IommuInfo, _: u64, _: &IommuEvent<'_>) {}

        fn wants_direct(&self) -> bool {
            true
        }

        fn hit_check(&self) -> HitCheck {
            HitCheck::On
        }
    }

    #[test]
    fn another_sink_gets_all_that_it_wants() {
        let travel = Travel {
            goto: Some(Place::Iommu("detach".into())),
            ..Travel::default()
        };
        let sink = travel.iommu_sink(Some(Arc::new(Checking))).unwrap();
        let sink = sink.expect("one that waits");
        assert!(sink.wants_direct() && !sink.wants_dma());
        assert_eq!(sink.hit_check(), HitCheck::On);
        let alone = travel.iommu_sink(None).unwrap().expect("one that waits");
        assert_eq!(alone.hit_check(), HitCheck::Off);
    }
}
