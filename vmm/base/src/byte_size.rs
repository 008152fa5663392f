//! Numbers of bytes as people write them.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::TextError;

/// A number of bytes: `4096`, `64K`, `256M`, `2G`, `0x4000_0000`.
///
/// Shown with the largest suffix that divides it, or in hexadecimal with `{:#}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let clean = text.trim().replace('_', "");
        let bad = || {
            TextError::from(format!(
                "{text:?} is not a size: write a number of bytes, or one with K, M or G"
            ))
        };
        if let Some(hex) = clean
            .strip_prefix("0x")
            .or_else(|| clean.strip_prefix("0X"))
        {
            return u64::from_str_radix(hex, 16).map(Self).map_err(|_| bad());
        }
        // What is left in front of the suffix may still be no number ("1.5", "-1"): the parser
        // below says so.
        let digits = clean.trim_end_matches(|c: char| !c.is_ascii_digit());
        // Powers of two, as `mem=` of Linux has them (lib/cmdline.c, `memparse`).
        let shift = match clean[digits.len()..].to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kib" => 10,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            _ => return Err(bad()),
        };
        let number: u64 = digits.parse().map_err(|_| bad())?;
        // 1 << 30 at most, so that the shift itself cannot overflow.
        number
            .checked_mul(1 << shift)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is too large").into())
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return write!(f, "{:#x}", self.0);
        }
        // Zero is divisible by everything and gets no suffix.
        for (shift, suffix) in [(30, "G"), (20, "M"), (10, "K")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{suffix}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        // Nothing is lost in the text: a suffix is written only where it divides the number.
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        // A file may hold a number or a text, and only its format knows which.
        d.deserialize_any(SizeVisitor)
    }
}

/// Takes a number of bytes or a text that says one.
struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes from 0 on, or a text such as \"256M\" or \"1G\"")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<ByteSize, E> {
        // Integers of TOML are signed, so every number of a TOML file arrives here.
        let wrong = |_| E::invalid_value(Unexpected::Signed(number), &self);
        number.try_into().map(ByteSize).map_err(wrong)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_and_print() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64K", 65536),
            ("256M", 256 << 20),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        assert_eq!("0x4000_0000".parse(), Ok(ByteSize(0x4000_0000)));
        for text in [
            "",
            "M",
            "1T",
            "-1",
            "1.5G",
            "99999999999G",
            "0xg",
            "é",
            "1é",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!(ByteSize(256 << 20).to_string(), "256M");
        assert_eq!(ByteSize(4097).to_string(), "4097");
        assert_eq!(format!("{:#}", ByteSize(0x4000_0000)), "0x40000000");
    }

    #[test]
    fn what_is_no_size_in_a_file_is_named() {
        #[derive(Debug, Deserialize)]
        struct File {
            #[serde(rename = "size")]
            _size: ByteSize,
        }
        for (value, words) in [
            ("-5", "integer `-5`, expected a number of bytes from 0 on"),
            (
                "1e9",
                "floating point `1000000000.0`, expected a number of bytes",
            ),
            ("true", "boolean `true`"),
            ("'1T'", "\"1T\" is not a size"),
        ] {
            let error = toml::from_str::<File>(&format!("size = {value}")).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        }
    }
}
