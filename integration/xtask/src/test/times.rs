//! How long each program's tests took when they last passed here, in the target directory.

use super::programs::Programs;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::{env, fs};

/// What there is to say where the tests have not run yet.
pub(crate) const UNKNOWN: &str = "They took some 25 minutes on two busy cores of a cloud host; how long they take \
     here the next run will say. Guest images that are not in the cache come on top, \
     two of them with a kernel to compile, some ten minutes of two cores each.";

/// Seconds by program.
#[derive(Debug)]
pub(crate) struct Times(Map<String, Value>);

impl Times {
    /// Reads what earlier runs left; nothing, if that cannot be read.
    pub(crate) fn load() -> Self {
        let bytes = fs::read(path()).unwrap_or_default();
        Self(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Takes down how long a program took.
    pub(crate) fn note(&mut self, program: &str, seconds: u64) {
        self.0.insert(program.into(), seconds.into());
    }

    /// Stores the times for later runs. A failure does not matter.
    pub(crate) fn store(&self) {
        if let Ok(bytes) = serde_json::to_vec_pretty(&self.0) {
            let _ = fs::write(path(), bytes);
        }
    }

    /// Returns how many seconds all these programs will take, if each has run before.
    pub(crate) fn of(&self, programs: &Programs) -> Option<u64> {
        let seconds = programs
            .list
            .iter()
            .map(|program| self.0.get(&program.name)?.as_u64());
        seconds.sum()
    }
}

/// Returns the file.
fn path() -> PathBuf {
    let directory = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    crate::workspace()
        .join(directory)
        .join("xtask-test-times.json")
}
