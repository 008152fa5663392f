//! The terminal's settings: raw while a guest has it, and back however the program ends or is
//! stopped, short of SIGKILL and SIGSTOP.

#![expect(
    unsafe_code,
    reason = "signal handlers give the terminal its settings back"
)]

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::stdio::stdin;
use rustix::termios::{self, LocalModes, OptionalActions, OutputModes, Termios};
use signal_hook::consts::{
    SIGABRT, SIGALRM, SIGBUS, SIGCONT, SIGFPE, SIGILL, SIGIO, SIGPROF, SIGSEGV, SIGSYS, SIGTRAP,
    SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU,
};
use signal_hook_registry::register_signal_unchecked;

use super::UserError;

/// The settings before a guest had the terminal, and those while it has. What handlers of signals
/// reach must be there without a lock.
static MODES: OnceLock<Modes> = OnceLock::new();
/// Whether a guest has the terminal, also while this program is stopped.
static TAKEN: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
struct Modes {
    before: Termios,
    raw: Termios,
}

/// Signals that end a program which does not handle them. Those that end a run in good order are in
/// [`super::signals`], SIGXFSZ and SIGPIPE end nothing.
const FATAL: [i32; 16] = [
    SIGILL,
    SIGTRAP,
    SIGABRT,
    SIGBUS,
    SIGFPE,
    SIGUSR1,
    SIGSEGV,
    SIGUSR2,
    SIGALRM,
    libc::SIGSTKFLT,
    SIGXCPU,
    SIGVTALRM,
    SIGPROF,
    SIGIO,
    libc::SIGPWR,
    SIGSYS,
];

/// Returns whether stdin is a terminal that this process may read: one in the background would be
/// stopped.
pub fn is_ours() -> bool {
    std::io::stdin().is_terminal() && is_foreground()
}

fn is_foreground() -> bool {
    termios::tcgetpgrp(stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Hands the terminal to the guest, until it is dropped.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// Sends every key to the guest, Ctrl-C too. Output is left as it is, so that our own messages
    /// look right. `None` when the terminal does not let us.
    pub fn enter() -> Result<Option<Self>, UserError> {
        let Ok(before) = termios::tcgetattr(stdin()) else {
            return Ok(None);
        };
        let mut raw = before.clone();
        raw.make_raw();
        raw.output_modes |= OutputModes::OPOST;
        raw.local_modes -= LocalModes::ISIG;
        let modes = MODES.get_or_init(|| Modes { before, raw });
        // The handlers are there before the terminal is raw, so that no signal in between leaves it
        // so.
        handle_signals()
            .map_err(|error| UserError::new(format!("cannot handle signals: {error}")))?;
        // Before the change: a handler that runs in between sets what is set already, and one that
        // runs after it must not find the terminal raw and not taken.
        TAKEN.store(true, Ordering::SeqCst);
        if set(&modes.raw) {
            return Ok(Some(Self(())));
        }
        TAKEN.store(false, Ordering::SeqCst);
        Ok(None)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was; does nothing if it was not taken.
pub fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst)
        && let Some(modes) = MODES.get()
    {
        // It may be gone, and then there is nothing to restore.
        set(&modes.before);
    }
}

fn set(modes: &Termios) -> bool {
    // At once: to drain the output first may wait for ever on a terminal that Ctrl-S has stopped.
    termios::tcsetattr(stdin(), OptionalActions::Now, modes).is_ok()
}

/// Makes signals that end or stop this program give the terminal back first, and SIGCONT take it
/// again.
fn handle_signals() -> std::io::Result<()> {
    // Real-time signals end a program too. The first one is what KVM's cores are interrupted by.
    for signal in FATAL
        .into_iter()
        .chain(libc::SIGRTMIN() + 1..=libc::SIGRTMAX())
    {
        // SAFETY: The action makes system calls and touches atomics only. It does not return to
        // what raised the signal.
        unsafe { register_signal_unchecked(signal, move || die(signal)) }?;
    }
    for signal in [SIGTSTP, SIGTTIN, SIGTTOU] {
        // SAFETY: As above, except that it returns; none of these signals comes from an
        // instruction.
        unsafe { register_signal_unchecked(signal, pause) }?;
    }
    // SAFETY: As above.
    unsafe { register_signal_unchecked(SIGCONT, take_again) }?;
    Ok(())
}

fn die(signal: i32) {
    // Before the signal is raised again below, with its default action: that is what makes the
    // parent see which signal ended this program.
    restore();
    // SAFETY: Both are async-signal-safe (signal-safety(7)). The handler that is replaced is not
    // waited for by anyone.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Stops this program, with the terminal's settings as they were.
fn pause() {
    // The flag stays set, so that SIGCONT takes the terminal again.
    if TAKEN.load(Ordering::SeqCst)
        && let Some(modes) = MODES.get()
    {
        set(&modes.before);
    }
    // SAFETY: It is async-signal-safe (signal-safety(7)).
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Goes on after a stop. In the background the terminal is left alone; when the program comes to
/// the foreground there is another SIGCONT.
fn take_again() {
    if TAKEN.load(Ordering::SeqCst)
        && is_foreground()
        && let Some(modes) = MODES.get()
    {
        set(&modes.raw);
    }
}
