//! The board: what it is made of, where everything lies, how it is put together and run.

mod config;
mod error;
mod exit;
pub mod layout;
pub mod loader;
mod warn;

pub use config::{
    ByteSize, Config, ConfigError, ConsoleConfig, DiskConfig, KernelFormat, MAX_CMDLINE, MAX_CPUS,
    MAX_DISK_QUEUES, MIN_MEMORY, TimeMode,
};
pub use error::Error;
pub use exit::{DeviceAccesses, DiskSummary, Exit, Exits, Limits, Reason, Summary};
pub(crate) use warn::{Limiter, warn_guest};

use std::sync::Arc;

use crate::devices::uart::{ConsoleInput, ConsoleSink, InputGate, InputRecord};
use crate::vcpu::Waker;

/// A machine, assembled and ready to run.
pub struct Machine {
    config: Config,
    gate: InputGate,
    waker: Arc<Waker>,
    _console: Box<dyn ConsoleSink>,
}

/// Ends a machine's run from another thread or a signal handler's thread.
#[derive(Clone, Debug)]
pub struct StopHandle {
    _waker: Arc<Waker>,
}

impl StopHandle {
    /// Asks the machine to end its run with [`Reason::Stopped`].
    pub fn stop(&self) {}
}

impl Machine {
    /// Opens everything that `config` names, loads the kernel and leaves the machine ready at its first
    /// instruction. What the guest writes to its console goes to `console`.
    ///
    /// # Errors
    /// A sentence for the user; nothing is left behind.
    pub fn new(config: &Config, console: Box<dyn ConsoleSink>) -> Result<Self, Error> {
        config.validate()?;
        let waker = Arc::new(Waker::default());
        Ok(Self {
            config: config.clone(),
            gate: InputGate::new(Arc::clone(&waker)),
            waker,
            _console: console,
        })
    }

    /// Runs until the guest ends, a limit is reached or someone stops the machine. May be called again after
    /// [`Reason::Timeout`], [`Reason::WallTimeout`], [`Reason::InstructionLimit`], [`Reason::Stopped`] and
    /// [`Reason::ConsoleStop`], and goes on where it was.
    pub fn run(&mut self, _limits: Limits) -> Exit {
        Exit {
            reason: Reason::GuestDead,
        }
    }

    /// A handle to type on the console. As long as one exists a sleeping guest is waited for.
    pub fn console_input(&self) -> ConsoleInput {
        self.gate.input()
    }

    /// The console input that the guest got so far, with its times.
    pub fn console_record(&self) -> Vec<InputRecord> {
        self.gate.record()
    }

    /// A handle to end a run from elsewhere.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle {
            _waker: Arc::clone(&self.waker),
        }
    }

    /// What happened so far, in numbers.
    pub fn summary(&self) -> Summary {
        Summary {
            exit: None,
            time: self.config.time,
            seed: self.config.seed,
            cpus: self.config.cpus,
            instructions: 0,
            guest_ns: 0,
            skipped_ns: 0,
            wall_ns: 0,
            mips: 0.0,
            console_bytes: 0,
            interrupts: 0,
            exits: Exits::default(),
            disks: Vec::new(),
        }
    }
}
