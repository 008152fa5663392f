//! The sandbox of processes that run guests: what a guest could do that broke out of the machine.
//!
//! [`Policy`] says which files a command's machines need. [`Policy::enter`] restricts the files
//! (Landlock) before they are opened and before threads start, which inherit that; [`filter`]
//! restricts system calls (seccomp) of all threads, before the first instruction of a guest. Both
//! are the command's doing: whoever embeds the machine decides for themselves.
//!
//! A kernel that lacks one of them runs guests with the other, or with none; `VMM_LOG=info` says
//! what is in force.

mod calls;
pub mod check;
mod files;
mod policy;
mod violation;

use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use vmm::Config;
use vmm_machine::code_memory;

use super::{UserError, text};

use calls::Sockets;
pub use policy::Policy;

/// Whether `--sandbox off` was given: the decision is one for the whole process.
static OFF: AtomicBool = AtomicBool::new(false);

/// What `--sandbox` can say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Restricted as far as this host's kernel can.
    #[default]
    On,
    /// Not restricted.
    Off,
}

/// The flag of every command that runs guests.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct SandboxArgs {
    /// Whether this process keeps itself from all files and system calls that the machine does not
    /// need before a guest runs, as far as this host's kernel can do that (see docs/security.md)
    #[arg(
        long,
        value_name = "on|off",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        help_heading = "Host"
    )]
    sandbox: Mode,
}

impl SandboxArgs {
    /// Makes this the decision of the process, and says so aloud if it is to do without.
    pub fn apply(self) {
        let off = self.sandbox == Mode::Off;
        // Relaxed: it is set before there is any other thread.
        OFF.store(off, Ordering::Relaxed);
        if off {
            text::complain(
                "the sandbox is off: a guest that broke out of the machine would have all of this user's rights",
            );
        }
    }
}

fn is_off() -> bool {
    OFF.load(Ordering::Relaxed)
}

/// Restricts the system calls of all threads of this process, now and later. A system call that is
/// not allowed ends the process with a sentence that names it, and exit code 159.
///
/// Memory that can be executed is not to be had after that: it is set aside before, for the code of
/// `cores` emulated cores of machines that are yet to be made. Cores beyond that are interpreted.
///
/// # Errors
/// The kernel has seccomp and refuses the filter.
pub fn filter(cores: usize) -> Result<(), UserError> {
    set_aside_code_memory(cores);
    restrict_calls(|| calls::apply_to_all_threads(Sockets::default()))
}

/// Restricts system calls as [`filter`] does, and lets connections be made: to Unix sockets for the
/// processes of `config`'s vhost-user devices, if it has any, when they come again, and by IPv4 if
/// it has a user-mode network.
///
/// # Errors
/// As [`filter`].
pub fn filter_machine(cores: usize, config: &Config) -> Result<(), UserError> {
    let sockets = Sockets {
        unix: !config.vhost_user.is_empty(),
        inet: config.has_user_network(),
    };
    set_aside_code_memory(cores);
    restrict_calls(|| calls::apply_to_all_threads(sockets))
}

/// Restricts system calls as [`filter`] does, for this thread and those that it starts: where
/// another part of the process still has programs to start. The memory for code is all that there
/// will be in the whole process.
///
/// # Errors
/// As [`filter`].
pub fn filter_this_thread(cores: usize) -> Result<(), UserError> {
    set_aside_code_memory(cores);
    restrict_calls(|| calls::apply_to_this_thread(Sockets::default()))
}

fn set_aside_code_memory(cores: usize) {
    if let Err(why) = code_memory::reserve(cores) {
        tracing::info!("no memory for translated code: {why}");
    }
    code_memory::seal();
}

fn restrict_calls(apply: impl FnOnce() -> Result<bool, calls::Error>) -> Result<(), UserError> {
    if is_off() {
        return Ok(());
    }
    // Before the filter, whose first refusal must find the handler.
    violation::handle().map_err(|error| {
        UserError::new(format!("cannot handle SIGSYS for the sandbox: {error}"))
    })?;
    match apply() {
        Ok(true) => tracing::info!("sandbox: system calls are restricted (seccomp)"),
        Ok(false) => {
            tracing::info!("sandbox: system calls are not restricted: there is no seccomp here")
        }
        Err(error) => {
            return Err(UserError::new(format!(
                "cannot restrict system calls: {error}; --sandbox off does without"
            )));
        }
    }
    Ok(())
}
