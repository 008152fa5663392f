//! Has a run look at its limit of the host's time when that is reached, whatever the cores do.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use vmm_base::thread;

use super::Control;

/// Goes off once, unless it is dropped before.
pub struct WallTimer {
    cancel: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl WallTimer {
    /// Makes `control` interrupt the run in `time`. Where no thread can be started the run looks
    /// between slices only.
    pub fn set(time: Duration, control: &Arc<Control>) -> Self {
        // Nothing is ever sent: to drop the sending end is to cancel.
        let (cancel, cancelled) = sync_channel(0);
        let control = Arc::clone(control);
        let wait = move || {
            if cancelled.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                control.look();
            }
        };
        let thread = thread::spawn("alarm", wait)
            .inspect_err(|error| tracing::warn!("the limit of wall time may be late: {error}"))
            .ok();
        Self {
            cancel: Some(cancel),
            thread,
        }
    }
}

impl Drop for WallTimer {
    fn drop(&mut self) {
        // The thread waits at the other end, and ends at once.
        drop(self.cancel.take());
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}
