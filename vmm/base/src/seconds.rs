//! Times as people read them.

use std::fmt;

/// A time in nanoseconds, shown in seconds with all nine digits: exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NS: u64 = 1_000_000_000;
        let Self(ns) = self;
        write!(f, "{}.{:09}", ns / NS, ns % NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_digits_are_shown() {
        assert_eq!(Seconds(0).to_string(), "0.000000000");
        assert_eq!(Seconds(61_000_000_002).to_string(), "61.000000002");
    }
}
