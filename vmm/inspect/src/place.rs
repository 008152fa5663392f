//! Places in a run.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use vmm_base::{Seconds, TextError};
use vmm_machine::Until;

use crate::Expect;

/// The last time that can be named, in seconds: some 31 years.
const MAX_SECONDS: f64 = 1e9;

/// A place in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// After so many instructions of all cores.
    Instruction(u64),
    /// When the guest's clock shows this, in nanoseconds since power-on.
    Time(u64),
    /// When the console has shown what matches this.
    Console(String),
    /// When something happens at an IOMMU whose line in a trace matches this.
    Iommu(String),
}

impl Place {
    /// Returns where a run that goes there ends. For what the guest shows, whoever sees that has to
    /// say so.
    pub const fn until(&self) -> Until {
        match self {
            Self::Instruction(count) => Until::instructions(*count),
            Self::Time(ns) => Until {
                guest_ns: Some(*ns),
                ..Until::NEVER
            },
            Self::Console(_) | Self::Iommu(_) => Until {
                asked: true,
                ..Until::NEVER
            },
        }
    }
}

impl FromStr for Place {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        match text.split_once(':') {
            Some(("instruction", count)) => {
                let count = count.replace('_', "").parse();
                let bad = |_| format!("{text:?} does not name a number of instructions").into();
                count.map(Self::Instruction).map_err(bad)
            }
            Some(("time", seconds)) => time(seconds).map(Self::Time),
            // Looked at here, so that a mistake is told before anything runs.
            Some(("console", pattern)) => {
                Expect::new(pattern).map(|_| Self::Console(pattern.to_owned()))
            }
            Some(("iommu", pattern)) => {
                Expect::new(pattern).map(|_| Self::Iommu(pattern.to_owned()))
            }
            _ => Err(format!(
                "{text:?} is no place to go to: say instruction:N, time:SECONDS, console:REGEX or iommu:REGEX"
            )
            .into()),
        }
    }
}

/// Reads a time, in nanoseconds.
fn time(text: &str) -> Result<u64, TextError> {
    let seconds = text.parse().ok();
    // NaN fails both comparisons. The bound keeps `from_secs_f64` from panicking.
    let seconds = seconds.filter(|seconds: &f64| *seconds >= 0.0 && *seconds <= MAX_SECONDS);
    let Some(seconds) = seconds else {
        return Err(format!(
            "{text:?} is not a time: write a number of seconds from 0 to {MAX_SECONDS}"
        )
        .into());
    };
    let ns = Duration::from_secs_f64(seconds).as_nanos();
    Ok(u64::try_from(ns).unwrap_or(u64::MAX))
}

/// As it is read.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instruction(count) => write!(f, "instruction:{count}"),
            Self::Time(ns) => write!(f, "time:{}", Seconds(*ns)),
            Self::Console(pattern) => write!(f, "console:{pattern}"),
            Self::Iommu(pattern) => write!(f, "iommu:{pattern}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_read() {
        let place = |text: &str| text.parse::<Place>();
        assert_eq!(place("instruction:1_000"), Ok(Place::Instruction(1000)));
        assert_eq!(place("console:a: b").map(|p| p.until().asked), Ok(true));
        assert_eq!(
            place("time:1.5").map(|p| p.until().guest_ns),
            Ok(Some(1_500_000_000))
        );
        for text in [
            "",
            "5",
            "instruction:",
            "instruction:-1",
            "time:x",
            "time:nan",
            "time:1e10",
            "console:(",
            "fault:1",
        ] {
            assert_eq!(
                place(text).unwrap_err().to_string().lines().count(),
                1,
                "{text}"
            );
        }
    }

    proptest! {
        /// What a place is told as is the same place; times are exact up to a day.
        #[test]
        fn places_are_told_as_they_are_read(count: u64, ns in 0..86_400_000_000_000_u64) {
            for place in [Place::Instruction(count), Place::Time(ns)] {
                prop_assert_eq!(place.to_string().parse(), Ok(place));
            }
        }
    }
}
