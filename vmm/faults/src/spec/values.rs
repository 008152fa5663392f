//! The numbers of a plan, each with its limits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vmm_base::TextError;

/// The n-th time, or one that the seed chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nth {
    /// The first that it may be, from 1.
    pub first: u64,
    /// The last that it may be.
    pub last: u64,
}

/// A time or a duration of the guest, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

/// Bits to flip, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Mask(u64);

/// How often something happens: 1 to a million times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Count(u32);

/// A status of a request of a virtio-iommu (virtio 1.2, 5.13.6): 0 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct RequestStatus(u8);

/// Lets numbers with limits be written as the numbers that they are.
macro_rules! into_number {
    ($($name:ident: $number:ident),+) => {
        $(impl From<$name> for $number {
            fn from(value: $name) -> Self {
                value.0
            }
        })+
    };
}

into_number!(Mask: u64, Count: u32, RequestStatus: u8);

impl TryFrom<u64> for Mask {
    type Error = TextError;

    fn try_from(mask: u64) -> Result<Self, Self::Error> {
        match mask {
            0 => Err("a mask of 0 flips nothing".into()),
            _ => Ok(Self(mask)),
        }
    }
}

impl TryFrom<u32> for Count {
    type Error = TextError;

    fn try_from(count: u32) -> Result<Self, Self::Error> {
        match count {
            0 => Err("a count of 0 does nothing".into()),
            1..=1_000_000 => Ok(Self(count)),
            _ => Err(format!("a count of {count} is too high").into()),
        }
    }
}

impl TryFrom<u8> for RequestStatus {
    type Error = TextError;

    fn try_from(status: u8) -> Result<Self, Self::Error> {
        match status {
            0..=8 => Ok(Self(status)),
            _ => Err(format!("{status} is no status of a request: use 0 to 8").into()),
        }
    }
}

/// `N` or `N..M`, both included.
impl FromStr for Nth {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let wrong = || {
            TextError::from(format!(
                "{text:?} is no number of a point: use N, or N..M for one of these"
            ))
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let (first, last) = match text.split_once("..") {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(text)?, number(text)?),
        };
        // Points count from 1, and whoever chooses one subtracts the first from the last.
        if first == 0 || last < first {
            return Err(wrong());
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for Nth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}..{}", self.first, self.last)
        }
    }
}

impl Serialize for Nth {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nth {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        /// A number need not stand in quotes.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Negative(i64),
            Fraction(f64),
            Text(String),
        }
        // Every number becomes text first, so that one sentence quotes whatever was wrong.
        let text = match Either::deserialize(d) {
            Ok(Either::Number(number)) => number.to_string(),
            Ok(Either::Negative(number)) => number.to_string(),
            Ok(Either::Fraction(number)) => number.to_string(),
            Ok(Either::Text(text)) => text,
            // Refused below by that sentence: serde's own would not say what is allowed.
            Err(_) => String::new(),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The longest time that a plan may name: longer than any scenario.
const MAX_TIME_NS: u64 = 3_600_000_000_000;

/// A whole number with `ns`, `us`, `ms` or `s`.
impl FromStr for Time {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        // Digits are single bytes, so that the text is split between characters whatever follows
        // them.
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let factor: Option<u64> = match unit {
            "ns" => Some(1),
            "us" => Some(1_000),
            "ms" => Some(1_000_000),
            "s" => Some(1_000_000_000),
            _ => None,
        };
        let ns = number.parse::<u64>().ok().zip(factor);
        ns.and_then(|(number, factor)| number.checked_mul(factor))
            .filter(|ns| *ns <= MAX_TIME_NS)
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "{text:?} is no time: use a number with ns, us, ms or s, of an hour at most"
                )
                .into()
            })
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The largest unit without a fraction, since only whole numbers are read back.
        let (number, unit) = match self.0 {
            0 => (0, "ns"),
            ns if ns % 1_000_000_000 == 0 => (ns / 1_000_000_000, "s"),
            ns if ns % 1_000_000 == 0 => (ns / 1_000_000, "ms"),
            ns if ns % 1_000 == 0 => (ns / 1_000, "us"),
            ns => (ns, "ns"),
        };
        write!(f, "{number}{unit}")
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
