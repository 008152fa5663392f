//! Tests of the program `vmm`, run as a user would.

mod advice;
mod ask;
mod bisect;
mod boot;
mod children;
mod demo;
mod early;
mod errors;
mod fakes;
mod gdb;
mod guided;
mod hostile;
mod idle;
mod inject;
mod install;
mod lab;
mod moved;
mod overwrite;
mod pipes;
mod record;
mod sandbox;
mod sanitize;
mod sentences;
mod snapshot;
mod terminal;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tiers;
mod unfinished;
mod unprivileged;

use std::fs;
use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use tempfile::TempDir;

/// The program with these arguments, and nothing to read.
pub fn vmm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmm"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("VMM_LOG")
        .env("NO_COLOR", "1");
    command
}

/// How the program ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// Asserts that these words are on standard output.
    #[track_caller]
    pub fn assert_stdout(&self, words: &str) {
        assert!(self.stdout.contains(words), "{self:?} lacks {words:?}");
    }

    /// Asserts that these words are on standard error.
    #[track_caller]
    pub fn assert_stderr(&self, words: &str) {
        assert!(self.stderr.contains(words), "{self:?} lacks {words:?}");
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Ended {
    vmm(arguments)
        .output()
        .expect("the program should start")
        .into()
}

/// Asserts that the program takes these arguments for a mistake, which it tells in one line with
/// these words.
pub fn assert_mistake(arguments: &[&str], words: &str) {
    let ended = run(arguments);
    assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
    assert!(
        ended.stderr.contains(words),
        "{arguments:?}: {ended:?} lacks {words:?}"
    );
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
}

/// A directory of a test's own, with a kernel in it.
pub struct TestDirectory(TempDir);

impl TestDirectory {
    /// Creates one in which the file `kernel` is this program.
    pub fn with_kernel(program: &[u32]) -> Self {
        let directory = Self(tempfile::tempdir().expect("a directory for a test"));
        let bytes: Vec<u8> = program.iter().flat_map(|word| word.to_le_bytes()).collect();
        fs::write(directory.path("kernel"), bytes).expect("a kernel for a test");
        directory
    }

    /// Returns the path of a file in it.
    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}

/// What comes from `stream`, as it comes.
pub fn watch(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, seen) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if send.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    seen
}
