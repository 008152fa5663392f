//! A program whose standard output is a guest's console, watched while it runs.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

/// Clock ticks a second in `/proc`, which Linux has fixed for all programs on x86-64 and arm64
/// (`USER_HZ`).
const TICKS: u64 = 100;
/// Longest time that a run may take: on a host with other work QEMU's boot of a whole system has
/// taken more than ten minutes.
const LIMIT: Duration = Duration::from_secs(3 * 3600);
/// Console that is kept for a message, in bytes.
const TAIL: usize = 2000;

/// A program under watch; it is ended when this value is dropped.
pub struct Watched {
    child: Child,
    chunks: Receiver<Vec<u8>>,
    start: Instant,
    /// All of the console so far.
    console: String,
    /// Up to where it has been looked at.
    seen: usize,
}

/// A moment of a program's run.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Time since its start.
    pub wall: Duration,
    /// Processor time that it has had, all its threads together.
    pub processor: Duration,
}

impl Watched {
    /// Starts a program.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let start = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut stdout = child.stdout.take().context("there is no console")?;
        let (sender, chunks) = mpsc::channel();
        // A thread of its own: a pipe cannot be read with a time limit.
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            chunks,
            start,
            console: String::new(),
            seen: 0,
        })
    }

    /// Waits until the console shows `words` after what was seen before. Returns what came before
    /// them, and when that was.
    ///
    /// # Errors
    /// The program ends without showing them, or takes too long.
    pub fn wait_for(&mut self, words: &str) -> anyhow::Result<(String, Moment)> {
        loop {
            if let Some(at) = self.console[self.seen..].find(words) {
                let before = self.console[self.seen..self.seen + at].to_owned();
                self.seen += at + words.len();
                return Ok((before, self.now()?));
            }
            let left = LIMIT.saturating_sub(self.start.elapsed());
            match self.chunks.recv_timeout(left) {
                // The console's bytes may be cut within a character; such are not looked for.
                Ok(bytes) => self.console += &String::from_utf8_lossy(&bytes),
                Err(RecvTimeoutError::Timeout) => return Err(self.missing(words, "took too long")),
                Err(RecvTimeoutError::Disconnected) => return Err(self.missing(words, "ended")),
            }
        }
    }

    fn missing(&self, words: &str, how: &str) -> anyhow::Error {
        let mut from = self.console.len().saturating_sub(TAIL);
        while !self.console.is_char_boundary(from) {
            from += 1;
        }
        let tail = &self.console[from..];
        anyhow!("the guest {how} before it showed {words:?}; its console ends with\n{tail}")
    }

    fn now(&self) -> anyhow::Result<Moment> {
        let wall = self.start.elapsed();
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let processor = processor_time(&stat).context("cannot read a program's processor time")?;
        Ok(Moment { wall, processor })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the processor time in a process's `stat` (proc_pid_stat(5)): its 14th and 15th field.
/// The second, its name, may hold anything, and ends with the last parenthesis.
fn processor_time(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks()? + ticks()?) * 1000 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read_after_any_name() {
        let stat = "1 (a) b) S 0 0 0 0 0 0 0 0 0 0 150 50 9 9 0";
        assert_eq!(processor_time(stat), Some(Duration::from_secs(2)));
        assert_eq!(processor_time("1 (a) S 0"), None);
    }

    #[test]
    fn words_are_found_one_after_another() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; printf 'two three'; sleep 0.1; echo four"]);
        let mut watched = Watched::start(&mut command).unwrap();
        assert_eq!(watched.wait_for("two").unwrap().0, "one\n");
        assert_eq!(watched.wait_for("four").unwrap().0, " three");
        let error = watched.wait_for("one").unwrap_err().to_string();
        assert!(error.contains("ended before it showed \"one\""), "{error}");
    }
}
