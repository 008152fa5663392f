//! What can go wrong with a run, as sentences.

use std::path::PathBuf;

/// A run that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no oracle, and it cannot be installed.
    #[error("qemu-arm is not installed; install it with: {command}")]
    NoOracle {
        /// The command that would.
        command: &'static str,
    },
    /// The host has no translator, or allows no code to be made.
    #[error("instructions cannot be translated here: {0}; leave --tier out")]
    Translate(std::io::Error),
    /// The oracle could not be run.
    #[error("cannot run {program}: {source}", program = program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The oracle ended in another way than by itself, or wrote too little.
    #[error("qemu-arm ended with {status} after {bytes} bytes: {text}")]
    Oracle {
        /// Its exit status.
        status: std::process::ExitStatus,
        /// How much it had written.
        bytes: usize,
        /// What it said.
        text: String,
    },
    /// The oracle does not end; some case is in a loop there but not here.
    #[error("qemu-arm did not end within {seconds} seconds in the cases from {first} on")]
    Hang {
        /// Number of the first case of the batch.
        first: u64,
        /// How long it had.
        seconds: u64,
    },
    /// The test program could not be written.
    #[error("cannot write the test program: {0}")]
    Write(std::io::Error),
}
