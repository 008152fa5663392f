//! Running programs of the host.

#![expect(
    unsafe_code,
    reason = "a child asks for its end before its program begins"
)]

use crate::{Error, keeper, lock};
use rustix::io::FdFlags;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

/// Text kept of a program's error output: its end.
const KEPT_STDERR: usize = 64 << 10;

/// The outcome of a program.
#[derive(Debug)]
pub(crate) struct ProgramExit {
    /// Its exit status.
    pub status: ExitStatus,
    /// The end of its error output.
    pub stderr: String,
}

impl ProgramExit {
    /// Returns the last line of the error output that matters, for a message: apt's `E:` line if
    /// there is one.
    pub fn last_error(&self) -> String {
        let lines = || {
            self.stderr
                .lines()
                .rev()
                .map(str::trim)
                .filter(|line| !line.is_empty())
        };
        let line = lines()
            .find(|line| line.starts_with("E: "))
            .or_else(|| lines().next());
        let text = line.map_or_else(|| format!("it ended with {}", self.status), str::to_owned);
        text.trim_start_matches("E: ")
            .trim_end_matches('.')
            .to_owned()
    }

    /// Checks that the program succeeded in writing to `into`.
    ///
    /// # Errors
    /// [`Error::DiskFull`] if it complained of that, and else what `otherwise` makes of its last
    /// error.
    pub fn check(&self, into: &Path, otherwise: impl FnOnce(String) -> Error) -> Result<(), Error> {
        if self.status.success() {
            return Ok(());
        }
        if self.disk_was_full() {
            return Err(Error::DiskFull {
                path: into.to_path_buf(),
                needed: None,
            });
        }
        Err(otherwise(self.last_error()))
    }

    /// Returns whether the program complained of a full disk.
    pub fn disk_was_full(&self) -> bool {
        says_disk_full(&self.stderr)
    }
}

/// Returns whether a program's words are those of the C library for a full disk.
pub(crate) fn says_disk_full(text: &str) -> bool {
    text.contains("No space left on device") || text.contains("Disk quota exceeded")
}

/// Returns a command in the C locale, so that its words can be understood here, and without input.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Runs a command to its end, handing on each line of its output. It ends, with all that it
/// started, when this process does, however that happens.
pub(crate) fn run(
    command: &mut Command,
    on_line: &mut dyn FnMut(&str),
) -> Result<ProgramExit, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |error: io::Error| Error::Program {
        program: program.clone(),
        detail: start_failure(&error),
    };
    let held = lock::held();
    keeper::keep(command, &held);
    let spawned = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    // The child has its copies of the locks: other threads may take and release theirs again.
    drop(held);
    let mut child = spawned.map_err(failed)?;
    // On a thread of its own: a program that fills this pipe while only the other one is read would
    // wait for ever.
    let errors = child.stderr.take().map(|stream| {
        let read = move || read_tail(stream);
        thread::Builder::new().name("stderr".into()).spawn(read)
    });
    let errors = match errors.transpose() {
        Ok(errors) => errors,
        Err(error) => {
            // It could wait for ever for somebody to read what it says.
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(error));
        }
    };
    let read = child
        .stdout
        .take()
        .map_or(Ok(()), |stream| read_lines(stream, on_line));
    let status = child.wait().map_err(failed)?;
    // Only after the wait, or a failure to read would leave a zombie.
    read.map_err(failed)?;
    let stderr = errors
        .and_then(|reader| reader.join().ok())
        .unwrap_or_default();
    Ok(ProgramExit { status, stderr })
}

/// Runs a command that must not be cut short, such as the host's package manager at work. Should
/// this process end before it, it goes on, in silence, with a copy of this process's locks, for
/// which the next run then waits.
pub(crate) fn run_undisturbed(command: &mut Command) -> Result<ProgramExit, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |error: io::Error| Error::Program {
        program: program.clone(),
        detail: start_failure(&error),
    };
    // Files, not pipes: whoever writes into a pipe without a reader is killed.
    let errors = tempfile::tempfile().map_err(failed)?;
    let held = lock::held();
    let locks = held.descriptors();
    // SAFETY: fcntl is a system call, and the descriptors are those of locks, which stay as they
    // are while `held` lives.
    unsafe {
        command.pre_exec(move || {
            for lock in &locks {
                rustix::io::fcntl_setfd(BorrowedFd::borrow_raw(*lock), FdFlags::empty())?;
            }
            Ok(())
        });
    }
    let spawned = command
        .stdout(Stdio::null())
        .stderr(errors.try_clone().map_err(failed)?)
        // Ctrl-C at the terminal ends this process, and must not reach the package manager.
        .process_group(0)
        .spawn();
    drop(held);
    let status = spawned.and_then(|mut child| child.wait()).map_err(failed)?;
    let mut reader = &errors;
    reader.seek(io::SeekFrom::Start(0)).map_err(failed)?;
    let stderr = read_tail(reader);
    Ok(ProgramExit { status, stderr })
}

/// Runs a command and returns its outcome and output.
pub(crate) fn output(command: &mut Command) -> Result<(ProgramExit, String), Error> {
    let mut text = String::new();
    let outcome = run(command, &mut |line| {
        text.push_str(line);
        text.push('\n');
    })?;
    Ok((outcome, text))
}

/// Returns words for a program that could not be started.
fn start_failure(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "is not installed".to_owned(),
        _ => format!("could not be run ({error})"),
    }
}

fn read_lines(stream: impl Read, on_line: &mut dyn FnMut(&str)) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        on_line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(())
}

/// Reads all, keeps the end.
fn read_tail(mut stream: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        // Cut at twice the size, so that what is kept is seldom moved.
        if kept.len() > 2 * KEPT_STDERR {
            kept.drain(..kept.len() - KEPT_STDERR);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut shell = command("sh");
        shell.args(["-c", script]);
        shell
    }

    #[test]
    fn hands_on_lines_status_and_errors() {
        let mut lines = Vec::new();
        let outcome = run(
            &mut shell("echo a; echo b; echo 'W: w' >&2; echo 'E: bad.' >&2; echo z >&2; exit 3"),
            &mut |line| {
                lines.push(line.to_owned());
            },
        )
        .unwrap();
        assert_eq!(lines, ["a", "b"]);
        assert_eq!(outcome.status.code(), Some(3));
        assert_eq!(outcome.last_error(), "bad");
    }

    #[test]
    fn much_error_output_neither_blocks_nor_is_kept() {
        let (outcome, text) = output(&mut shell(
            "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo done",
        ))
        .unwrap();
        assert_eq!(text, "done\n");
        assert!(outcome.stderr.len() <= 2 * KEPT_STDERR);
    }

    #[test]
    fn missing_program_is_a_sentence() {
        let error = output(&mut command("no-such-program-here")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "The program no-such-program-here is not installed; it is needed to obtain this image."
        );
    }

    #[test]
    fn silent_failure_names_the_status() {
        let (outcome, _) = output(&mut shell("exit 7")).unwrap();
        assert_eq!(outcome.last_error(), "it ended with exit status: 7");
    }
}
