//! `--reverse` and `--goto`: a debugger in the history of a run.

use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use vmm::{ByteSize, Config, IommuEvent, IommuInfo, IommuSink, Machine, StopHandle, TextError};
use vmm_devices::uart::{ConsoleSink, Flow};
use vmm_machine::{BothSinks, HISTORY_LIMIT, NoHistory, Until};

use super::UserError;
use super::expect::Expect;
use super::origin::Origin;
use super::settings::Settings;
use super::trace::line;
use super::values::Seconds;

/// The flags of commands that run one guest under a debugger.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TravelArgs {
    /// With --gdb: have the debugger go back, too (reverse-step, reverse-continue). What that takes
    /// is kept in so much memory, 512M unless a size is given; a run that is too long for it can be
    /// gone back in less far. The guest cannot be changed then. With --replay it is always so
    #[arg(
        long,
        value_name = "SIZE",
        num_args = 0..=1,
        default_missing_value = "512M",
        require_equals = true,
        help_heading = "Run"
    )]
    reverse: Option<ByteSize>,
    /// With --gdb: run to a place first, and wait for the debugger there: instruction:N,
    /// time:SECONDS of the guest's clock, console:REGEX, what the console has just shown, or
    /// iommu:REGEX, the first event with such a line in --trace iommu
    #[arg(
        long,
        value_name = "PLACE",
        allow_hyphen_values = true,
        help_heading = "Run"
    )]
    goto: Option<Goto>,
}

impl TravelArgs {
    /// Checks that there is a debugger, if one is needed.
    ///
    /// # Errors
    /// There is none.
    pub fn need(&self, debugger: bool) -> Result<(), UserError> {
        if debugger || self.reverse.is_none() && self.goto.is_none() {
            return Ok(());
        }
        Err(UserError::new(
            "--reverse and --goto are for a debugger: say where it connects with --gdb PORT",
        ))
    }
}

/// A place in a run.
#[derive(Clone, Debug, PartialEq)]
enum Goto {
    /// After so many instructions of all cores.
    Instruction(u64),
    /// When the guest's clock shows this.
    Time(Seconds),
    /// When the console shows what matches this.
    Console(String),
    /// When something happens at an IOMMU whose line in a trace matches this.
    Iommu(String),
}

impl FromStr for Goto {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        match text.split_once(':') {
            Some(("instruction", count)) => {
                let count = count.replace('_', "").parse();
                let bad = |_| format!("{text:?} does not name a number of instructions").into();
                count.map(Self::Instruction).map_err(bad)
            }
            Some(("time", seconds)) => seconds.parse().map(Self::Time),
            // Looked at here, so that a mistake is one of the command line's.
            Some(("console", pattern)) => {
                Expect::new(pattern).map(|_| Self::Console(pattern.to_owned()))
            }
            Some(("iommu", pattern)) => {
                Expect::new(pattern).map(|_| Self::Iommu(pattern.to_owned()))
            }
            _ => Err(format!(
                "{text:?} is no place to go to: say instruction:N, time:SECONDS, console:REGEX or iommu:REGEX"
            )
            .into()),
        }
    }
}

impl Goto {
    fn until(&self) -> Until {
        match self {
            Self::Instruction(count) => Until::instructions(*count),
            Self::Time(seconds) => Until {
                guest_ns: Some(seconds.ns()),
                ..Until::NEVER
            },
            Self::Console(_) | Self::Iommu(_) => Until {
                asked: true,
                ..Until::NEVER
            },
        }
    }
}

/// What a debugger can do with the run, and where it begins.
#[derive(Clone, Debug, Default)]
pub struct Travel {
    history: Option<ByteSize>,
    goto: Option<Goto>,
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
        if settings.gdb.is_none() {
            return Ok(Self::default());
        }
        let TravelArgs { reverse, goto } = args;
        let replays = matches!(origin, Origin::Recording(_));
        let history = reverse.or_else(|| replays.then_some(HISTORY_LIMIT));
        let tells = !settings.probe.is_empty() || settings.timeline.is_some();
        let tells = tells || !settings.trace.is_empty() || settings.sanitize.is_some();
        if history.is_some() && tells {
            return Err(UserError::new(
                "what a debugger goes back over runs again, and would be told of again: leave --probe, --timeline, \
                 --trace and --sanitize out, or run without --gdb for them",
            ));
        }
        if matches!(goto, Some(Goto::Iommu(_))) && origin.config().iommu_list().is_empty() {
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
            machine: Arc::default(),
        })
    }

    /// Returns what `args` ask for in a run that can always be gone back in.
    pub fn always(args: TravelArgs) -> Self {
        Self {
            history: Some(args.reverse.unwrap_or(HISTORY_LIMIT)),
            goto: args.goto,
            machine: Arc::default(),
        }
    }

    /// Finds out whether a run of `config` can be gone back in, before anything is obtained for it.
    fn check(config: &Config) -> Result<(), UserError> {
        match NoHistory::of(config) {
            Some(why) => Err(vmm::Error::NoHistory(why).into()),
            None => Ok(()),
        }
    }

    /// Returns the console that ends the way to the first place where `console` shows that.
    ///
    /// # Errors
    /// Its pattern cannot be used.
    pub fn console(
        &self,
        console: Box<dyn ConsoleSink>,
    ) -> Result<Box<dyn ConsoleSink>, UserError> {
        match &self.goto {
            Some(Goto::Console(pattern)) => Ok(Box::new(Marked {
                console,
                mark: Expect::new(pattern)?,
                shown: false,
            })),
            _ => Ok(console),
        }
    }

    /// Returns the sink that has the machine arrive where the event happens that is waited for, if
    /// one is; `next` is told of events before.
    ///
    /// # Errors
    /// Its pattern cannot be used.
    pub fn iommu_sink(
        &self,
        next: Option<Arc<dyn IommuSink>>,
    ) -> Result<Option<Arc<dyn IommuSink>>, UserError> {
        let Some(Goto::Iommu(pattern)) = &self.goto else {
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
        if let Some(goto) = &self.goto {
            machine.go_first_to(goto.until());
        }
        // Set once: there is one machine.
        let _ = self.machine.set(machine.stop_handle());
        Ok(())
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
            goto: Some(Goto::Iommu("detach".into())),
            ..Travel::default()
        };
        let sink = travel.iommu_sink(Some(Arc::new(Checking))).unwrap();
        let sink = sink.expect("one that waits");
        assert!(sink.wants_direct() && !sink.wants_dma());
        assert_eq!(sink.hit_check(), HitCheck::On);
        let alone = travel.iommu_sink(None).unwrap().expect("one that waits");
        assert_eq!(alone.hit_check(), HitCheck::Off);
    }

    #[test]
    fn places_are_read() {
        let place = |text: &str| text.parse::<Goto>();
        assert_eq!(place("instruction:1_000"), Ok(Goto::Instruction(1000)));
        assert_eq!(place("console:a: b").map(|p| p.until().asked), Ok(true));
        assert_eq!(
            place("time:1.5").map(|p| p.until().guest_ns),
            Ok(Some(1_500_000_000))
        );
        for text in [
            "",
            "5",
            "instruction:",
            "instruction:-1",
            "time:x",
            "console:(",
            "fault:1",
        ] {
            assert_eq!(
                place(text).unwrap_err().to_string().lines().count(),
                1,
                "{text}"
            );
        }
    }
}
