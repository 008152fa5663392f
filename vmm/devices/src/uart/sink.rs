//! Where the bytes of the console go.

/// Whether the machine goes on after the console has shown something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// End the run with [`Reason::ConsoleStop`](vmm_base::Reason::ConsoleStop) after the current
    /// block of instructions. In virtual time that is a deterministic point.
    Stop,
}

/// Takes the bytes that the guest writes to its console.
///
/// Called on the thread that runs the machine, byte by byte as the guest writes. A sink deals with
/// its own errors: the guest cannot be told that a terminal went away.
pub trait ConsoleSink: Send {
    /// Shows `bytes`.
    fn write(&mut self, bytes: &[u8]) -> Flow;

    /// Is called before the machine sleeps and when a run ends.
    fn flush(&mut self) {}
}

/// A sink that shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl ConsoleSink for Discard {
    fn write(&mut self, _bytes: &[u8]) -> Flow {
        Flow::Continue
    }
}

/// Most bytes that a [`Capture`] collects: a thousand times what a boot says.
pub const MAX_CAPTURE: usize = 16 << 20;

/// Collects what the guest writes, up to [`MAX_CAPTURE`] bytes; clones share one buffer.
#[derive(Clone, Debug, Default)]
pub struct Capture(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Capture {
    /// Returns what was written so far, up to the limit.
    pub fn bytes(&self) -> Vec<u8> {
        // Poisoned only by a panic that its own thread has reported; what was written is complete
        // up to there.
        self.0.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

impl ConsoleSink for Capture {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        let mut kept = self.0.lock().unwrap_or_else(|e| e.into_inner());
        // Cannot underflow: bytes are added nowhere else.
        let room = MAX_CAPTURE - kept.len();
        // The rest is dropped and the guest runs on: what is kept of its output must not change the
        // run.
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Flow::Continue
    }
}
