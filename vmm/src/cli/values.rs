//! Values of settings, as flags and in a `machine.toml`.

use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use guest_images::root_disk::{self, RootSpec};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer, StrDeserializer};
use serde::de::{self, DeserializeOwned, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use vmm::{
    ByteSize, DiskConfig, DmaTesterConfig, IommuConfig, NetConfig, PortConfig, TextError,
    VhostUserConfig,
};
use vmm_machine::MAX_CPUS;

/// Reads a list, or its only element alone.
pub fn one_or_more<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<Vec<T>, D::Error> {
    d.deserialize_any(OneOrMore(PhantomData))
}

/// Takes a list element by element, so that a mistake in one is told with its line, or what is an
/// element itself.
struct OneOrMore<T>(PhantomData<T>);

/// Reads an element that has no parts.
fn one<'de, T: Deserialize<'de>, E: de::Error>(
    value: impl IntoDeserializer<'de, E>,
) -> Result<Vec<T>, E> {
    Ok(vec![T::deserialize(value.into_deserializer())?])
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMore<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list, or what would be in it")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Vec<T>, A::Error> {
        Ok(vec![T::deserialize(MapAccessDeserializer::new(table))?])
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
        one(text)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Vec<T>, E> {
        one(number)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Vec<T>, E> {
        one(number)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Vec<T>, E> {
        one(number)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Vec<T>, E> {
        one(value)
    }
}

/// Reads a text, or a table with the same; `form` says what is expected. A mistake in either is
/// told as it is.
fn text_or_table<'de, D, T>(deserializer: D, form: &str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = TextError> + DeserializeOwned,
{
    // By way of a value: an untagged enum of serde's would say only that no variant matched.
    let told = match toml::Value::deserialize(deserializer)? {
        toml::Value::String(text) => text.parse(),
        toml::Value::Table(table) => table
            .try_into()
            .map_err(|error: toml::de::Error| error.message().into()),
        other => Err(format!("{form}, not {other}").into()),
    };
    told.map_err(de::Error::custom)
}

/// Returns how many runs there are at once, by `--jobs` if it was given, else one a core of the
/// host.
pub fn jobs_or_cores(jobs: Option<NonZeroUsize>) -> NonZeroUsize {
    jobs.unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
}

/// A root disk on offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rootfs(pub &'static RootSpec);

impl FromStr for Rootfs {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let found = root_disk::find(text).map(Self);
        found.map_err(|error| error.to_string().trim_end_matches('.').to_owned().into())
    }
}

impl TryFrom<String> for Rootfs {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

/// Reads one of a few words, as it would be read from a `machine.toml`.
pub fn word<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, TextError> {
    let deserializer: StrDeserializer<'_, NoWord> = StrDeserializer::new(text);
    T::deserialize(deserializer).map_err(|NoWord(sentence)| sentence.into())
}

/// The error that a word is none of those that are known.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoWord(String);

impl de::Error for NoWord {
    fn custom<M: std::fmt::Display>(message: M) -> Self {
        Self(message.to_string())
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self(format!("{word:?} is not known: use {}", known.join(" or ")))
    }
}

/// What can be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trace {
    /// Attachments, flushes, faults and bus errors of IOMMUs.
    Iommu,
}

/// Declares what is written as text or as a table; a mistake is told with the form that it should
/// have.
macro_rules! text_or_table {
    ($(#[$doc:meta])* $name:ident($config:ident), $form:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(pub $config);

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                text.parse().map(Self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text_or_table(deserializer, $form).map(Self)
            }
        }
    };
}

text_or_table! {
    /// An IOMMU as `MODEL[,name=NAME]` or as a table.
    Iommu(IommuConfig),
    "an IOMMU is \"MODEL[,name=NAME]\" or a table with model and name"
}

/// The entropy device: whether there is one, and where it is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RngSetting {
    /// Whether there is one.
    pub present: bool,
    /// The port that it is connected to.
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
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        match (text, text.split_once('=')) {
            ("true", _) => Ok(true.into()),
            ("false", _) => Ok(false.into()),
            (_, Some(("iommu", port))) => Ok(Self {
                present: true,
                iommu: Some(port.parse()?),
            }),
            _ => Err(format!("{text:?} is not true, false or iommu=NAME:N").into()),
        }
    }
}

impl<'de> Deserialize<'de> for RngSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            iommu: PortConfig,
        }
        match toml::Value::deserialize(deserializer)? {
            toml::Value::Boolean(present) => Ok(present.into()),
            toml::Value::Table(table) => match table.try_into() {
                Ok(Table { iommu }) => Ok(Self {
                    present: true,
                    iommu: Some(iommu),
                }),
                Err(error) => Err(de::Error::custom(error.message())),
            },
            other => Err(de::Error::custom(format!(
                "rng is true, false or a table with iommu, not {other}"
            ))),
        }
    }
}

/// A DMA tester as `true`, as `iommu=NAME:N,...` or as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmaTester(pub DmaTesterConfig);

impl FromStr for DmaTester {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        text.parse().map(Self)
    }
}

impl<'de> Deserialize<'de> for DmaTester {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            #[serde(deserialize_with = "one_or_more")]
            iommu: Vec<PortConfig>,
        }
        let form = "dma-tester is true, \"iommu=NAME:N\" or a table with iommu";
        let told: Result<_, TextError> = match toml::Value::deserialize(deserializer)? {
            toml::Value::Boolean(true) => Ok(DmaTesterConfig::default()),
            toml::Value::String(text) => text.parse(),
            toml::Value::Table(table) => match table.try_into() {
                // The script is in a file of its own, so that it is read with its lines.
                Ok(Table { iommu }) => Ok(DmaTesterConfig {
                    iommu,
                    script: Vec::new(),
                }),
                Err(error) => Err(error.message().into()),
            },
            other => Err(format!("{form}, not {other}").into()),
        };
        told.map(Self).map_err(de::Error::custom)
    }
}

text_or_table! {
    /// A disk as `FILE[,ro][,queues=N][,iommu=NAME:N]` or as a table.
    Disk(DiskConfig),
    "a disk is \"FILE[,ro]\" or a table with path, read-only, queues and iommu"
}

text_or_table! {
    /// A device in another process as `SOCKET,type=TYPE[,iommu=NAME:N][,queues=N]` or as a table.
    VhostUser(VhostUserConfig),
    "a vhost-user device is \"SOCKET,type=TYPE\" or a table with socket, type, queues, queue-size and iommu"
}

text_or_table! {
    /// A network interface as `TYPE[,folder=DIR][,iommu=NAME:N]` or as a table.
    Net(NetConfig),
    "a network interface is \"TYPE[,folder=DIR]\" or a table with type, folder, folder-sha256, hostfwd, mac and iommu"
}

/// A number of cores that may be too large for a machine, but is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct Cpus(pub u8);

impl TryFrom<i64> for Cpus {
    type Error = TextError;

    fn try_from(number: i64) -> Result<Self, TextError> {
        u8::try_from(number)
            .map(Self)
            .map_err(|_| format!("a machine has 1 to {MAX_CPUS} CPUs, not {number}").into())
    }
}

impl FromStr for Cpus {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let number: i64 = text
            .parse()
            .map_err(|_| format!("{text:?} is not a number of CPUs: use 1 to {MAX_CPUS}"))?;
        number.try_into()
    }
}

/// A physical address, written as a number or, like a size, with a suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct Address(pub ByteSize);

impl FromStr for Address {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        text.parse().map(Self).map_err(|_| {
            format!("{text:?} is not an address: write one such as 0x80000000 or 2G").into()
        })
    }
}

impl TryFrom<toml::Value> for Address {
    type Error = TextError;

    fn try_from(value: toml::Value) -> Result<Self, TextError> {
        match value {
            toml::Value::String(text) => text.parse(),
            // Hexadecimal ones, too, are numbers to TOML.
            other => other.to_string().parse(),
        }
    }
}

/// A positive number of seconds, whole or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Seconds(pub Duration);

impl Seconds {
    /// Returns the time in nanoseconds; it fits.
    pub fn ns(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl TryFrom<f64> for Seconds {
    type Error = TextError;

    fn try_from(seconds: f64) -> Result<Self, TextError> {
        /// Some 31 years, far below where nanoseconds leave 64 bits.
        const MAX: f64 = 1e9;
        // NaN fails both comparisons. The bound keeps `from_secs_f64` from panicking.
        if seconds > 0.0 && seconds <= MAX {
            return Ok(Self(Duration::from_secs_f64(seconds)));
        }
        Err(format!(
            "{seconds} is not a time limit: write a number of seconds above 0 and up to {MAX}"
        )
        .into())
    }
}

impl FromStr for Seconds {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let seconds: f64 = text
            .parse()
            .map_err(|_| format!("{text:?} is not a number of seconds"))?;
        seconds.try_into()
    }
}

/// The date of the real-time clock at power-on. `now` is the host's date when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub u32);

impl FromStr for Epoch {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        // Read once, here: a recording or snapshot has the number, and repeats the run with it.
        if text == "now" {
            return Ok(Self(vmm_machine::host_date()));
        }
        text.parse().map(Self).map_err(|_| not_an_epoch(text))
    }
}

fn not_an_epoch(what: impl std::fmt::Display) -> TextError {
    let most = u32::MAX;
    format!("{what} is not a date: write seconds since 1970-01-01 00:00 UTC, 0 to {most}, or now")
        .into()
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let told = match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => text.parse(),
            toml::Value::Integer(number) => match number.try_into() {
                Ok(seconds) => Ok(Self(seconds)),
                Err(_) => Err(not_an_epoch(number)),
            },
            other => Err(not_an_epoch(other)),
        };
        told.map_err(de::Error::custom)
    }
}

/// The way in which time passes in virtual time while the guest idles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Idle {
    /// As the host's does while someone may still type at a guest that reads its console.
    #[default]
    Auto,
    /// At once.
    Skip,
    /// As the host's does while there is standard input.
    Wait,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_and_addresses_are_told_as_such() {
        assert_eq!("4".parse(), Ok(Cpus(4)));
        for (text, words) in [
            ("many", "is not a number of CPUs"),
            ("-1", "1 to 4 CPUs, not -1"),
            ("99999999999", "1 to 4 CPUs, not 99999999999"),
            ("99999999999999999999", "is not a number of CPUs"),
        ] {
            let error = text.parse::<Cpus>().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!("0x80000000".parse(), Ok(Address(ByteSize(2 << 30))));
        assert_eq!("2G".parse(), Ok(Address(ByteSize(2 << 30))));
        let error = "foo".parse::<Address>().unwrap_err().to_string();
        assert!(error.starts_with("\"foo\" is not an address"), "{error}");
    }

    #[test]
    fn a_word_that_is_not_known_is_named() {
        assert_eq!(word("iommu"), Ok(Trace::Iommu));
        let error = word::<Trace>("foo").unwrap_err().to_string();
        assert_eq!(error, "\"foo\" is not known: use iommu");
    }

    #[test]
    fn times_are_positive_and_finite() {
        assert_eq!("1.5".parse::<Seconds>().unwrap().ns(), 1_500_000_000);
        for text in ["0", "-1", "nan", "inf", "1e10", "x", ""] {
            assert!(text.parse::<Seconds>().is_err(), "{text}");
        }
    }

    #[test]
    fn dates_are_numbers_or_now() {
        assert_eq!("5".parse(), Ok(Epoch(5)));
        assert!("now".parse::<Epoch>().unwrap().0 > 1_700_000_000);
        for text in ["-5", "1e9", "4294967296", "today", ""] {
            let why = text.parse::<Epoch>().unwrap_err().to_string();
            assert!(why.contains("is not a date"), "{why}");
        }
    }
}
