//! The demo's disk.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use sha2::{Digest, Sha256};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::NamedTempFile;

use crate::cli::{Outcome, UserError, terminal};

const SIZE: usize = 8 << 20;
const SEED: u64 = 1;

/// The file that a signal has removed; ordinary ends remove it by themselves.
static FILE: Mutex<Option<PathBuf>> = Mutex::new(None);

fn file() -> MutexGuard<'static, Option<PathBuf>> {
    FILE.lock().unwrap_or_else(|e| e.into_inner())
}

/// Has SIGINT and SIGTERM end the program with nothing left behind. What was being fetched or built goes on at the
/// next run.
pub fn remove_on_signals() -> Result<(), UserError> {
    let signals = Signals::new([SIGINT, SIGTERM]);
    let mut signals =
        signals.map_err(|error| UserError::new(format!("cannot handle signals: {error}")))?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            if let Some(path) = file().take() {
                let _ = std::fs::remove_file(path);
            }
            terminal::restore();
            std::process::exit(
                Outcome::Signal(u8::try_from(signal).unwrap_or(u8::MAX))
                    .code()
                    .into(),
            );
        }
    });
    Ok(())
}

/// A file with seeded noise, gone when dropped.
pub struct Disk {
    file: NamedTempFile,
    sha256: String,
}

impl Disk {
    /// Makes the file in the system's directory for temporary ones.
    pub fn create() -> Result<Self, UserError> {
        let fail = |error: std::io::Error| {
            UserError::new(format!("cannot write a temporary disk: {error}"))
        };
        let mut bytes = vec![0; SIZE];
        Xoshiro256PlusPlus::seed_from_u64(SEED).fill_bytes(&mut bytes);
        let mut disk = tempfile::Builder::new()
            .prefix("vmm-demo-")
            .suffix(".img")
            .tempfile()
            .map_err(fail)?;
        *file() = Some(disk.path().to_owned());
        disk.write_all(&bytes).map_err(fail)?;
        let sha256 = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self { file: disk, sha256 })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its checksum in lower-case hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}
