//! One guest of the demo.

use std::time::Duration;

use vmm::{Config, ConsoleSink, Flow, Limits, Machine, Reason, Summary};
use vmm_devices::uart::Capture;
use vmm_machine::MAX_CPUS;

use super::show::Quoted;
use crate::cli::commands::Commands;
use crate::cli::sandbox::{self, Policy};
use crate::cli::{UserError, text};

/// Guest time that is plenty: a stock kernel takes some five seconds.
const GUEST_LIMIT_NS: u64 = 120_000_000_000;
/// Host time that is plenty even beside a compiler on a slow machine.
const WALL_LIMIT: Duration = Duration::from_secs(900);

/// A guest that was run.
pub struct Guest {
    reason: Reason,
    summary: Summary,
    console: Vec<u8>,
}

/// Shows a console and keeps it.
struct Both(Quoted, Capture);

impl ConsoleSink for Both {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        self.0.write(bytes);
        self.1.write(bytes)
    }
}

/// Does `work` on a thread of its own, with those of its machine below it, which can restrict
/// itself: another one may have programs compile a kernel meanwhile, which the sandbox would not
/// let it.
pub fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let ended = std::thread::scope(|scope| scope.spawn(work).join());
    // A panic of that thread is one of this command.
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Restricts the system calls of this thread and of those that it starts to what guests take, one
/// after the other.
pub fn filter() -> Result<(), UserError> {
    sandbox::filter_this_thread(usize::from(MAX_CPUS))
}

impl Guest {
    /// Boots a guest and runs it to its end, its console shown.
    pub fn boot(config: &Config) -> Result<Self, UserError> {
        apart(|| Self::run(config))
    }

    fn run(config: &Config) -> Result<Self, UserError> {
        let mut policy = Policy::default();
        policy.machine(config);
        policy.enter()?;
        let console = Capture::default();
        let sink = Both(Quoted::default(), console.clone());
        let mut machine = Machine::builder(config, Box::new(sink)).build()?;
        let limits = Limits {
            guest_ns: Some(GUEST_LIMIT_NS),
            wall: Some(WALL_LIMIT),
            ..Limits::default()
        };
        filter()?;
        let exit = machine.run(limits);
        Ok(Self {
            reason: exit.reason,
            summary: machine.summary(),
            console: console.bytes(),
        })
    }

    /// Checks that the guest did its command and powered off.
    pub fn demand_success(&self) -> Result<(), UserError> {
        if self.reason != Reason::PowerOff {
            return Err(UserError::new(format!(
                "the guest {}: this is a bug in vmm",
                self.reason.sentence()
            )));
        }
        let mut commands = Commands::default();
        commands.feed(&self.console);
        commands
            .complaint(1)
            .map_or(Ok(()), |complaint| Err(UserError::new(complaint)))
    }

    /// Returns what the run took, as a sentence.
    pub fn account(&self) -> String {
        format!(
            "The guest powered off after {} instructions and {} of its own time; here that took {} ({:.0} MIPS).",
            text::count(self.summary.instructions),
            text::seconds(self.summary.guest_ns),
            text::seconds(self.summary.wall_ns),
            self.summary.mips
        )
    }
}
