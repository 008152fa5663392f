//! How the program ends.

use std::fmt;
use std::process::ExitCode;

/// The way in which a command ended, and thereby its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandExit {
    /// All went well: the guest powered off, or showed what was expected.
    Success,
    /// The guest failed, one of its commands did, or it ended without what was expected.
    GuestFailure,
    /// The interpreter and the translator did not do the same.
    TiersDiffer,
    /// A mistake of the user's, told on stderr.
    UserError,
    /// `--sanitize` found mistakes, however the run ended.
    DmaMistakes,
    /// A shard of a campaign needs what others have not made yet.
    Waits,
    /// A time limit was reached.
    Timeout,
    /// A run differs from the recording that it goes through again.
    Diverged,
    /// Something could not be judged; `git bisect run` takes the code for a commit to be left out.
    Undecided,
    /// Ended by this signal.
    Signal(u8),
}

impl CommandExit {
    /// Returns the exit code. 75 is `EX_TEMPFAIL` of sysexits.h, 124 what timeout(1) uses, and
    /// 128 + N what a shell shows for a signal.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::GuestFailure | Self::TiersDiffer => 1,
            Self::UserError => 2,
            Self::Diverged => 3,
            Self::DmaMistakes => 4,
            Self::Waits => 75,
            Self::Timeout => 124,
            Self::Undecided => 125,
            // Linux numbers signals from 1 to 64, so that the code fits and never saturates.
            Self::Signal(number) => number.saturating_add(128),
        }
    }

    /// Returns its name in a JSON report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::GuestFailure => "guest-failure",
            Self::TiersDiffer => "tiers-differ",
            Self::UserError => "user-error",
            Self::DmaMistakes => "dma-mistakes",
            Self::Waits => "waits",
            Self::Timeout => "timeout",
            Self::Diverged => "diverged",
            Self::Undecided => "undecided",
            Self::Signal(_) => "signal",
        }
    }
}

impl From<CommandExit> for ExitCode {
    fn from(outcome: CommandExit) -> Self {
        Self::from(outcome.code())
    }
}

/// A mistake of the user, or an obstacle in their system, as one sentence.
#[derive(Debug)]
pub struct UserError(String);

impl UserError {
    /// Creates an error with this sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Errors whose sentence is the user's.
macro_rules! sentences_of {
    ($($error:ty),* $(,)?) => {
        $(
            impl From<$error> for UserError {
                fn from(error: $error) -> Self {
                    Self(error.to_string())
                }
            }
        )*
    };
}

sentences_of! {
    guest_images::Error,
    vmm::Error,
    vmm_base::thread::ThreadError,
    vmm::campaign::CampaignError,
    vmm::TextError,
    vmm::ConfigError,
}
