//! Where a guest's console goes.

use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Deserialize;
use vmm::inspect::Expect;
use vmm::{ConsoleSink, Flow, TextError};

use super::commands::Commands;
use super::lowmem::Lowmem;

/// The place where the user wants the console.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Destination {
    /// This program's terminal.
    #[default]
    Stdio,
    /// Nowhere.
    None,
    /// A file.
    File(PathBuf),
}

impl TryFrom<String> for Destination {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

impl FromStr for Destination {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        match text {
            "" => Err("a console's file has a name: use stdio, none or a file's".into()),
            "stdio" => Ok(Self::Stdio),
            "none" => Ok(Self::None),
            _ => Ok(Self::File(text.into())),
        }
    }
}

/// Bytes held back at most before they are written, unless a line ends or the guest pauses.
const BUFFER: usize = 4096;

/// Writes to a stream until that fails; a reader who left does not end the guest's run.
struct Lossy {
    stream: Option<Box<dyn Write + Send>>,
    buffer: Vec<u8>,
}

impl Lossy {
    fn write(&mut self, bytes: &[u8]) {
        // The guest's bytes come one at a time: they are gathered, or each would be a system call.
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER || bytes.contains(&b'\n') {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        // The buffer is cleared for want of a reader too, or a guest could fill the host's memory.
        let Some(stream) = &mut self.stream else {
            self.buffer.clear();
            return;
        };
        // A failure ends the writing and not the run: the reader has left.
        if stream
            .write_all(&self.buffer)
            .and_then(|()| stream.flush())
            .is_err()
        {
            self.stream = None;
        }
        self.buffer.clear();
    }
}

/// The observations on a console.
#[derive(Debug, Default)]
pub struct Seen {
    /// The pattern that is expected, if any.
    pub expect: Option<Expect>,
    /// The reports of the guest's `/init`.
    pub commands: Commands,
    /// The kernel's message about memory that it does not use.
    pub lowmem: Lowmem,
}

/// A console that is shown and watched.
pub struct Watched {
    out: Lossy,
    seen: Arc<Mutex<Seen>>,
}

/// The other end of a [`Watched`] console.
#[derive(Clone, Debug)]
pub struct Watcher(Arc<Mutex<Seen>>);

impl Watcher {
    /// Returns what was seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.0)
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    // Poisoned only by a panic that its own thread has reported; another one here would hide it.
    seen.lock().unwrap_or_else(|e| e.into_inner())
}

impl Watched {
    /// Shows the console on `stream`, if any, and ends the run when `expect` was seen.
    pub fn new(stream: Option<Box<dyn Write + Send>>, expect: Option<Expect>) -> (Self, Watcher) {
        let seen = Arc::new(Mutex::new(Seen {
            expect,
            commands: Commands::default(),
            lowmem: Lowmem::default(),
        }));
        let out = Lossy {
            stream,
            buffer: Vec::with_capacity(BUFFER),
        };
        (
            Self {
                out,
                seen: Arc::clone(&seen),
            },
            Watcher(seen),
        )
    }
}

impl ConsoleSink for Watched {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        // Before the lock is taken: the write may wait for a reader.
        self.out.write(bytes);
        let mut seen = lock(&self.seen);
        seen.commands.feed(bytes);
        seen.lowmem.feed(bytes);
        let found = seen
            .expect
            .as_mut()
            .is_some_and(|expect| expect.feed(bytes));
        if found { Flow::Stop } else { Flow::Continue }
    }

    fn flush(&mut self) {
        self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// Takes so many bytes, then fails.
    struct Breaks(usize, Arc<Mutex<Vec<u8>>>);

    impl Write for Breaks {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let count = bytes.len().min(self.0);
            self.0 -= count;
            self.1.lock().unwrap().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_left_changes_nothing_for_the_guest() {
        let shown = Arc::default();
        let stream = Breaks(4, Arc::clone(&shown));
        let (mut console, watcher) = Watched::new(
            Some(Box::new(stream)),
            Some(Expect::new("the end").unwrap()),
        );
        assert_eq!(console.write(b"one\n"), Flow::Continue);
        assert_eq!(console.write(b"guest: ready\n"), Flow::Continue);
        assert_eq!(console.write(b"the e"), Flow::Continue);
        assert_eq!(console.write(b"nd"), Flow::Stop);
        console.flush();
        assert_eq!(shown.lock().unwrap().as_slice(), b"one\n");
        assert!(watcher.seen().commands.ready());
        assert!(watcher.seen().expect.as_mut().unwrap().finish());
    }

    #[test]
    fn lines_are_shown_when_they_end_or_the_guest_pauses() {
        let shown = Arc::default();
        let (mut console, _) = Watched::new(Some(Box::new(Breaks(100, Arc::clone(&shown)))), None);
        console.write(b"log");
        assert!(shown.lock().unwrap().is_empty());
        console.flush();
        assert_eq!(shown.lock().unwrap().as_slice(), b"log");
        console.write(b"in\n");
        assert_eq!(shown.lock().unwrap().as_slice(), b"login\n");
    }
}
