//! Signals during a campaign.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::cli::{CommandExit, UserError, patience};

/// The signals that have come: the first has the runs that are under way come to their end, the
/// second ends the program.
#[derive(Default)]
pub struct Signals {
    /// Whether one has come.
    pub stop: Arc<AtomicBool>,
    /// The signal that came last.
    pub last: Arc<AtomicUsize>,
}

impl Signals {
    /// Handles SIGINT and SIGTERM so from now on.
    ///
    /// # Errors
    /// The host refuses.
    pub fn handle() -> Result<Self, UserError> {
        let signals = Self::default();
        patience::end_when(&signals.stop);
        for signal in [SIGINT, SIGTERM] {
            let code = CommandExit::Signal(u8::try_from(signal).unwrap_or(u8::MAX)).code();
            let (stop, last) = (&signals.stop, &signals.last);
            // Actions run in this order: the first signal must find the flag unset, and only the
            // second end the program.
            flag::register_conditional_shutdown(signal, code.into(), Arc::clone(stop))
                .and_then(|_| {
                    flag::register_usize(signal, Arc::clone(last), signal.unsigned_abs() as usize)
                })
                .and_then(|_| flag::register(signal, Arc::clone(stop)))
                .map_err(|error| UserError::new(format!("cannot handle signals: {error}")))?;
        }
        Ok(signals)
    }
}
