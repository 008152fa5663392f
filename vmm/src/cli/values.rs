//! Values of settings, as flags and in a `machine.toml`.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use vmm::{DiskConfig, IommuConfig, PortConfig};

/// A list, or its only element alone.
pub fn one_or_more<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<Vec<T>, D::Error> {
    let value = toml::Value::deserialize(d)?;
    let list = match value {
        toml::Value::Array(list) => list,
        one => vec![one],
    };
    let parse = |value: toml::Value| {
        value
            .try_into()
            .map_err(|e: toml::de::Error| e.message().to_owned())
    };
    list.into_iter()
        .map(parse)
        .collect::<Result<_, _>>()
        .map_err(serde::de::Error::custom)
}

/// What can be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trace {
    /// Attachments, flushes, faults and bus errors of IOMMUs.
    Iommu,
}

/// An IOMMU as `MODEL[,name=NAME]` or as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iommu(pub IommuConfig);

impl FromStr for Iommu {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

impl<'de> Deserialize<'de> for Iommu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "an IOMMU is \"MODEL[,name=NAME]\" or a table with model and name"
        )]
        enum Form {
            Text(String),
            Table(IommuConfig),
        }
        match Form::deserialize(deserializer)? {
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
            Form::Table(iommu) => Ok(Self(iommu)),
        }
    }
}

/// The entropy device: whether there is one, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RngSetting {
    /// Whether there is one.
    pub present: bool,
    /// Where it stands.
    pub iommu: Option<PortConfig>,
}

impl From<bool> for RngSetting {
    fn from(present: bool) -> Self {
        Self {
            present,
            iommu: None,
        }
    }
}

impl FromStr for RngSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.split_once('=')) {
            ("true", _) => Ok(true.into()),
            ("false", _) => Ok(false.into()),
            (_, Some(("iommu", port))) => Ok(Self {
                present: true,
                iommu: Some(port.parse()?),
            }),
            _ => Err(format!("{text:?} is not true, false or iommu=NAME:N")),
        }
    }
}

impl<'de> Deserialize<'de> for RngSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "rng is true, false or a table with iommu")]
        enum Form {
            Present(bool),
            Table(Table),
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            iommu: PortConfig,
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Present(present) => present.into(),
            Form::Table(Table { iommu }) => Self {
                present: true,
                iommu: Some(iommu),
            },
        })
    }
}

/// A disk as `FILE[,ro][,queues=N][,iommu=NAME:N]` or as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk(pub DiskConfig);

impl FromStr for Disk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

impl<'de> Deserialize<'de> for Disk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "a disk is \"FILE[,ro]\" or a table with path, read-only, queues and iommu"
        )]
        enum Form {
            Text(String),
            Table(DiskConfig),
        }
        match Form::deserialize(deserializer)? {
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
            Form::Table(disk) => Ok(Self(disk)),
        }
    }
}

/// A positive number of seconds, whole or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Seconds(pub Duration);

impl Seconds {
    /// In nanoseconds; it fits.
    pub fn ns(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Self, String> {
        /// Some 31 years, far below where nanoseconds leave 64 bits.
        const MAX: f64 = 1e9;
        if seconds > 0.0 && seconds <= MAX {
            return Ok(Self(Duration::from_secs_f64(seconds)));
        }
        Err(format!(
            "{seconds} is not a time limit: write a number of seconds above 0 and up to {MAX}"
        ))
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds: f64 = text
            .parse()
            .map_err(|_| format!("{text:?} is not a number of seconds"))?;
        seconds.try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_positive_and_finite() {
        assert_eq!("1.5".parse::<Seconds>().unwrap().ns(), 1_500_000_000);
        for text in ["0", "-1", "nan", "inf", "1e10", "x", ""] {
            assert!(text.parse::<Seconds>().is_err(), "{text}");
        }
    }
}
