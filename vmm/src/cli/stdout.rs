//! What this program prints, and whether all of it arrived.

use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

use vmm_files::atomic_file::reason;

use super::UserError;

/// The reason for which something printed was lost, once something was. A stream of the whole
/// process, so a state of the whole process.
static LOST: OnceLock<String> = OnceLock::new();

/// The standard output. That its reader left is no failure; that it could not take what was written
/// is one, of which [`check`] tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).inspect_err(note)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().inspect_err(note)
    }
}

/// Remembers that something was lost, unless it was for a reader who left.
pub fn note(error: &io::Error) {
    if !matches!(
        error.kind(),
        ErrorKind::BrokenPipe
            | ErrorKind::Interrupted
            | ErrorKind::WouldBlock
            // The run's end did not wait for a reader who does not read.
            | ErrorKind::TimedOut
    ) {
        LOST.get_or_init(|| reason(error));
    }
}

/// Prints `text`.
pub fn print(text: &str) {
    let mut stdout = Stdout;
    // What went wrong was noted, and `check` tells of it at the end.
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// Sends what is still held back.
///
/// # Errors
/// Something printed was lost.
pub fn check() -> Result<(), UserError> {
    // A failure of the flush is in `LOST`, as that of any write.
    let _ = Stdout.flush();
    match LOST.get() {
        Some(why) => Err(UserError::new(format!(
            "cannot write to the standard output, where something is missing now: {why}"
        ))),
        None => Ok(()),
    }
}
