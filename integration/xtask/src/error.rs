//! Why a command could not do its work.

use std::io;
use std::process::ExitCode;

/// Why a command could not do its work, in a sentence for its user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A program could not be started or watched.
    #[error("{program}: {source}")]
    Program {
        /// The program's name.
        program: String,
        /// What the operating system said.
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
    /// There is no such fuzz target.
    #[error("there is no fuzz target {name:?}; there are {known}")]
    NoTarget {
        /// What was asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A signal asked for the end.
    #[error("ended by a signal; every program that was started has ended too")]
    Interrupted(i32),
}

impl Error {
    /// Returns the exit code that tells of this error: 128+N for signal N, and otherwise 2.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Interrupted(signal) => {
                ExitCode::from(128u8.saturating_add(u8::try_from(*signal).unwrap_or(0)))
            }
            _ => ExitCode::from(2),
        }
    }
}
