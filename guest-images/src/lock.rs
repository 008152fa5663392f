//! Locks between processes (and threads): whoever makes something holds its lock file.

use crate::error::{Error, IoContext};
use crate::progress::Progress;
use fs4::TryLockError;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// The descriptors of all locks that this process holds.
static HELD: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// Longest note of an owner in a lock file, in bytes.
const MAX_NOTE: usize = 256;

/// A held lock. It ends with the value, or with the process and the programs that it has at work,
/// however these end: a killed run never blocks the next for longer than it takes to end what it
/// left behind (see `keeper`).
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

/// The locks that this process holds; while the value lives no lock is taken or given back.
pub(crate) struct Held(MutexGuard<'static, Vec<RawFd>>);

impl Held {
    /// Returns their descriptors.
    pub fn descriptors(&self) -> Vec<RawFd> {
        self.0.clone()
    }
}

/// Returns the locks that this process holds.
pub(crate) fn held() -> Held {
    // Poisoned only by a panic that its own thread has reported; another one here would hide it.
    Held(HELD.lock().unwrap_or_else(|e| e.into_inner()))
}

impl Lock {
    /// Waits for the lock; says so on `progress` when another run holds it. `what` is what that run
    /// is busy with.
    ///
    /// # Errors
    /// The file cannot be made, locked or written.
    pub fn acquire(path: &Path, what: &str, progress: &mut dyn Progress) -> Result<Self, Error> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).at("created", parent)?;
        }
        let file = File::options()
            .create(true)
            // Its contents name the owner, for those who wait.
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .at("opened", path)?;
        // First without waiting, so that a wait can be told.
        match fs4::FileExt::try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress.note(&waiting(&file, what));
                fs4::FileExt::lock(&file).at("locked", path)?;
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("locked", path, error)),
        }
        // From now on a keeper holds it as well, for as long as its program runs.
        held().0.push(file.as_raw_fd());
        let lock = Self { file };
        lock.sign().at("written", path)?;
        Ok(lock)
    }

    /// Notes in the file who holds the lock, for those who wait.
    fn sign(&self) -> std::io::Result<()> {
        let note = format!("{} {}\n", std::process::id(), command_line());
        self.file.set_len(0)?;
        // Who had to wait has read who was there, up to its end.
        (&self.file).rewind()?;
        (&self.file).write_all(note.as_bytes())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Until the file is unlocked: no program may start in between, with a copy of the
        // descriptor that it takes for a lock.
        let mut held = held();
        held.0
            .retain(|descriptor| *descriptor != self.file.as_raw_fd());
        // Explicitly, as a program that another thread has at work holds a copy of the descriptor.
        let _ = fs4::FileExt::unlock(&self.file);
    }
}

/// Returns this process's command line, short and on one line.
fn command_line() -> String {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default();
    let mut line = program.to_string_lossy().into_owned();
    for word in words {
        let _ = write!(line, " {}", word.to_string_lossy());
    }
    clean(&line)
}

/// Returns the text without control characters, and cut off where it is too long.
fn clean(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    // A character takes up to four bytes.
    printable.take(MAX_NOTE / 4).collect()
}

/// Returns what someone who waits for a lock is told.
fn waiting(mut file: &File, what: &str) -> String {
    let mut note = [0; MAX_NOTE];
    let count = file.read(&mut note).unwrap_or(0);
    let note = String::from_utf8_lossy(&note[..count]).into_owned();
    let owner = note
        .split_once(' ')
        .and_then(|(pid, command)| Some((pid.parse::<u32>().ok()?, clean(command))));
    match owner {
        Some((pid, _)) if pid == std::process::id() => {
            format!("Waiting for another part of this run, which is busy with {what}.")
        }
        // The owner may be gone, and what it started still hold the lock.
        Some((pid, command)) if Path::new(&format!("/proc/{pid}")).exists() => {
            format!("Waiting for process {pid} ({command}), which is busy with {what}.")
        }
        Some((pid, command)) => format!(
            "Waiting for the end of what process {pid} ({command}) left running; it was busy with {what}."
        ),
        None => format!("Waiting for another run that is busy with {what}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn only_one_holds_it_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks/x.lock");
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _lock = Lock::acquire(&path, "x", &mut Silent).unwrap();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 1);
    }

    #[test]
    fn who_waits_is_told_for_whom() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let told = |note: &str| {
            fs::write(&path, note).unwrap();
            waiting(&File::open(&path).unwrap(), "x")
        };
        assert_eq!(
            told("1 init --flag\n"),
            "Waiting for process 1 (init --flag), which is busy with x."
        );
        assert!(told(&format!("{} me\n", std::process::id())).contains("another part of this run"));
        // Beyond the largest process number that Linux gives.
        let gone = told("4194999 vmm images fetch ipmmu\n");
        assert!(
            gone.contains("what process 4194999 (vmm images fetch ipmmu) left running"),
            "{gone}"
        );
        for damaged in ["", "x y", "99999999999999 z", "\u{1b}[2J"] {
            assert_eq!(
                told(damaged),
                "Waiting for another run that is busy with x."
            );
        }
        assert!(!told("1 a\u{1b}[2Jb\nc").chars().any(char::is_control));
    }

    #[test]
    fn the_file_names_the_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = Lock::acquire(&path, "x", &mut Silent).unwrap();
        let note = fs::read_to_string(&path).unwrap();
        assert!(
            note.starts_with(&format!("{} ", std::process::id())),
            "{note}"
        );
        assert!(held().descriptors().contains(&lock.file.as_raw_fd()));
    }

    #[test]
    fn who_waited_signs_from_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, "1 init --flag\n").unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        waiting(&file, "x");
        Lock { file }.sign().unwrap();
        let note = fs::read_to_string(&path).unwrap();
        assert!(
            note.starts_with(&format!("{} ", std::process::id())),
            "{note:?}"
        );
    }
}
