//! Ending a run from outside: signals, and Ctrl-A x.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use vmm::StopHandle;
use vmm_base::thread;

use super::{CommandExit, UserError, patience, tty};

/// The cause for which a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Ctrl-A x.
    Quit,
    /// A signal.
    Signal(u8),
}

impl Cause {
    /// The terminal went away.
    #[expect(clippy::cast_possible_truncation, reason = "it is 1")]
    pub const HANG_UP: Self = Self::Signal(SIGHUP as u8);

    /// Returns how a command ends for this cause alone.
    pub const fn exit(self) -> CommandExit {
        match self {
            Self::Quit => CommandExit::Success,
            Self::Signal(number) => CommandExit::Signal(number),
        }
    }
}

const NONE: i32 = 0;
const QUIT: i32 = -1;

/// Ends a run and remembers who asked for that first.
#[derive(Clone, Debug)]
pub struct Stopper {
    machine: StopHandle,
    cause: Arc<AtomicI32>,
}

impl Stopper {
    /// Creates a stopper for runs of this machine.
    pub fn new(machine: StopHandle) -> Self {
        Self {
            machine,
            cause: Arc::default(),
        }
    }

    /// Ends the run. Returns whether this was the first time.
    pub fn stop(&self, cause: Cause) -> bool {
        let value = match cause {
            Cause::Quit => QUIT,
            Cause::Signal(number) => i32::from(number),
        };
        // Only the first cause counts: a signal after Ctrl-A x must not change the exit code.
        let first = self
            .cause
            .compare_exchange(NONE, value, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        // Before the machine is told: its console may be waiting for a reader.
        patience::end();
        self.machine.stop();
        first
    }

    /// Forgets that Ctrl-C ended the run, if that was the cause: it was for less. Returns whether
    /// it was so.
    pub fn forget_interrupt(&self) -> bool {
        let forgotten =
            self.cause
                .compare_exchange(SIGINT, NONE, Ordering::AcqRel, Ordering::Acquire);
        forgotten.is_ok()
    }

    /// Returns who ended the run, if anyone did.
    pub fn cause(&self) -> Option<Cause> {
        match self.cause.load(Ordering::Acquire) {
            NONE => None,
            QUIT => Some(Cause::Quit),
            number => Some(Cause::Signal(u8::try_from(number).unwrap_or(u8::MAX))),
        }
    }
}

/// Makes a file that reaches the limit on the size of files an error where it is written, and not
/// this program's death.
pub fn survive_full_files() -> Result<(), UserError> {
    // Caught and not ignored: a child that is started does not inherit that.
    let caught = flag::register(SIGXFSZ, Arc::default());
    caught
        .map(drop)
        .map_err(|error| UserError::new(format!("cannot handle signals: {error}")))
}

/// Makes SIGINT, SIGQUIT and SIGTERM end the run in good order, and at the second time at once.
/// SIGHUP, which says that the terminal went away, is taken and ignored: the run goes on, and its
/// files are written.
pub fn handle(stopper: Stopper) -> Result<(), UserError> {
    let signals = Signals::new([SIGINT, SIGQUIT, SIGTERM, SIGHUP]);
    let mut signals =
        signals.map_err(|error| UserError::new(format!("cannot handle signals: {error}")))?;
    let wait = move || {
        for signal in signals.forever().filter(|signal| *signal != SIGHUP) {
            let number = u8::try_from(signal).unwrap_or(u8::MAX);
            // A second request: the run may hang, so that nothing is waited for, and `exit` runs no
            // destructor that would restore the terminal.
            if !stopper.stop(Cause::Signal(number)) {
                tty::restore();
                std::process::exit(CommandExit::Signal(number).code().into());
            }
        }
    };
    thread::spawn("signals", wait)?;
    Ok(())
}
