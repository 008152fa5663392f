//! Why a command could not do its work.

use std::io;
use std::process::ExitCode;

/// The reason for which a command could not do its work, in a sentence for its user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A program could not be started or watched.
    #[error("{program}: {source}")]
    Program {
        /// The program's name.
        program: String,
        /// The host's reason.
        source: io::Error,
    },
    /// A program did not succeed; it has said why.
    #[error("`{0}` failed")]
    Failed(String),
    /// Something that the tests take is missing; the program that looked has said what.
    #[error("nothing was compiled")]
    Missing,
    /// A test program cannot say which tests it has.
    #[error("{0} does not list its tests")]
    Listing(String),
    /// No test is left of what was asked for.
    #[error("no test of that name was found")]
    NoTests,
    /// A part of the Rust toolchain is not there.
    #[error("{0} is not installed: run `rustup component add {0}`")]
    NoComponent(String),
    /// Git cannot say what has changed.
    #[error(
        "git cannot say what has changed ({0}): name a commit with --base, or check everything with --all"
    )]
    Git(String),
    /// A check found something, and has shown it.
    #[error("{0}")]
    Check(String),
    /// A step of CI failed, and has said why.
    #[error(
        "the step `{0}` failed, as is shown above; `cargo xtask ci {0}` repeats it, \
         and `cargo xtask ci --from {0}` goes on from it"
    )]
    Step(String),
    /// There is nothing of that name.
    #[error("there is no {what} {name:?}; there are {known}")]
    Unknown {
        /// What should have that name.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// cargo-deny can be had in no way.
    #[error(
        "cargo-deny could not be installed, as is said above: install it with \
         `cargo install --locked cargo-deny`, and call this again"
    )]
    NoDeny,
    /// A signal asked for the end.
    #[error("ended by a signal; every program that was started has ended too")]
    Interrupted(i32),
}

impl Error {
    /// Returns the exit code that tells of this error: 128+N for signal N, 1 if a check found
    /// something, and otherwise 2.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Interrupted(signal) => {
                ExitCode::from(128u8.saturating_add(u8::try_from(*signal).unwrap_or(0)))
            }
            Self::Check(_) | Self::Step(_) => ExitCode::FAILURE,
            _ => ExitCode::from(2),
        }
    }
}
