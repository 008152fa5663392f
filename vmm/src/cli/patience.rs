//! Writing to streams whose readers may not read: that holds a run up, which is as it should be,
//! but never its end.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};

/// The time for which a stream is waited for before it is looked whether the run ends. When it
/// does, this is all that its readers get for each piece of what is left.
const PATIENCE: Duration = Duration::from_millis(20);
/// The bytes that a pipe that can be written takes without waiting (POSIX: at least 512; Linux:
/// PIPE_BUF).
const PIECE: usize = 4096;

/// Whether the run is to end, and when it will have to. Streams are of the whole process, and so is
/// this.
static ENDS: AtomicBool = AtomicBool::new(false);
static DEADLINE: Mutex<Option<Instant>> = Mutex::new(None);
/// The flag that a signal sets.
static SIGNALLED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
/// Whether some of the console was lost that way.
static LOST: AtomicBool = AtomicBool::new(false);

/// Notes that the run ends: readers that do not read are waited for no more.
pub fn end() {
    ENDS.store(true, Ordering::Release);
}

/// Notes that the run ends once `signalled` is set, if it has not before.
pub fn end_when(signalled: &Arc<AtomicBool>) {
    // One program has one such flag.
    let _ = SIGNALLED.set(Arc::clone(signalled));
}

/// Notes that the run ends this long from now on, if it has not before. An earlier such note counts
/// no more.
pub fn end_after(limit: Duration) {
    // A limit beyond what the clock can hold is none.
    *DEADLINE.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now().checked_add(limit);
}

/// Returns whether some of the console was lost, as nobody read it.
pub fn was_lost() -> bool {
    LOST.load(Ordering::Acquire)
}

fn ends() -> bool {
    // The lock is held for a copy only, and an instant is whole even after a panic elsewhere.
    let deadline = *DEADLINE.lock().unwrap_or_else(PoisonError::into_inner);
    let set = |flag: &Arc<AtomicBool>| flag.load(Ordering::Acquire);
    ENDS.load(Ordering::Acquire)
        || SIGNALLED.get().is_some_and(set)
        || deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// Waits until `stream` takes something, however long that is, but not beyond the end of the run.
///
/// # Errors
/// [`ErrorKind::TimedOut`] if the run ends before.
fn wait(stream: BorrowedFd<'_>) -> io::Result<()> {
    let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    loop {
        // Regular files are always ready (poll(2)), so that a file costs one more call and no wait.
        let mut polled = [PollFd::from_borrowed_fd(stream, PollFlags::OUT)];
        match poll(&mut polled, Some(&patience)) {
            // Only when the stream takes nothing: a reader who keeps up gets all that is left.
            Ok(0) if ends() => {
                return Err(io::Error::new(ErrorKind::TimedOut, "nobody reads it"));
            }
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            // Errors count as ready: what is wrong is found by writing.
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes all of `bytes` to `stream`, which belongs to this process alone or is not waited for by a
/// write of a piece.
fn write_all(mut stream: impl Write + AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        wait(stream.as_fd())?;
        // A piece that a pipe takes without waiting once it is ready, as the stream itself may
        // wait.
        match stream.write(&bytes[..bytes.len().min(PIECE)]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            // Another process that writes to the same stream was faster: it is waited for again.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A file, or a pipe or device whose writes do not wait by themselves.
#[derive(Debug)]
pub struct Patient<W>(W);

impl<W: Write + AsFd> Patient<W> {
    /// Creates a writer to `stream`.
    pub fn new(stream: W) -> Self {
        Self(stream)
    }
}

impl<W: Write + AsFd> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            wait(self.0.as_fd())?;
            match self.0.write(bytes) {
                // Another process that writes to the same pipe was faster.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The standard output for a guest's console.
pub struct Console {
    /// A terminal, opened again so that no write waits: one that can be written may still wait for
    /// the rest of a piece.
    terminal: Option<File>,
}

impl Console {
    /// Opens the standard output for a console.
    pub fn new() -> Self {
        // Opened anew, as O_NONBLOCK on the inherited descriptor would hold for the shell and
        // others that share it.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let again = || open("/proc/self/fd/1", flags, Mode::empty()).ok();
        let terminal = io::stdout().is_terminal().then(again).flatten();
        Self {
            terminal: terminal.map(File::from),
        }
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &self.terminal {
            Some(terminal) => write_all(terminal, bytes),
            None => {
                let mut stdout = io::stdout().lock();
                // What was printed through the buffer comes first.
                stdout.flush()?;
                // Past the buffer, whose flush would write more than a piece and could wait for
                // ever.
                write_all(RawStdout(stdout.as_fd()), bytes)
            }
        };
        written.inspect_err(|error| {
            super::stdout::note(error);
            if error.kind() == ErrorKind::TimedOut {
                LOST.store(true, Ordering::Release);
            }
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The standard output without its buffer.
struct RawStdout<'a>(BorrowedFd<'a>);

impl AsFd for RawStdout<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0
    }
}

impl Write for RawStdout<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        rustix::io::write(self.0, bytes).map_err(io::Error::from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The standard error. What its reader does not take before the run ends is lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr().lock();
        write_all(stderr, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
