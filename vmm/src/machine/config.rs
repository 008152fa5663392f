//! What a user may say about a machine.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::layout::{MAX_DISKS, RAM_ALIGN, RAM_BASE_MIN, RAM_END_MAX};

/// The most cores a machine may have: GICv2 serves eight, the CPU cluster four.
pub const MAX_CPUS: u8 = 4;
/// The least memory a machine may have: less holds no kernel and its decompressor.
pub const MIN_MEMORY: u64 = 16 << 20;
/// The most request queues one disk may have; more than one a core has no use.
pub const MAX_DISK_QUEUES: u16 = 8;
/// The longest kernel command line: ARM Linux truncates at 1024 bytes (`COMMAND_LINE_SIZE`), with the final NUL.
pub const MAX_CMDLINE: usize = 1024;

/// A machine, as its user describes it; the keys of a `machine.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The kernel: a zImage or a raw Image.
    pub kernel: PathBuf,
    /// What the kernel file is.
    pub kernel_format: KernelFormat,
    /// The initial RAM file system, if any.
    pub initrd: Option<PathBuf>,
    /// The kernel command line.
    pub cmdline: String,
    /// Size of RAM.
    pub memory: ByteSize,
    /// Physical address of the first byte of RAM.
    pub memory_base: ByteSize,
    /// Number of cores, 1 to [`MAX_CPUS`].
    pub cpus: u8,
    /// Disks, in the order of their device nodes.
    pub disks: Vec<DiskConfig>,
    /// Whether there is a virtio entropy device (seeded: it repeats).
    pub rng: bool,
    /// Which clock the guest sees.
    pub time: TimeMode,
    /// Seed of everything that looks random to the guest.
    pub seed: u64,
    /// What the real-time clock shows at power-on in virtual time, in seconds since 1970-01-01 00:00 UTC.
    pub epoch: u32,
    /// Whether virtio devices offer VIRTIO_F_ACCESS_PLATFORM, which makes a guest use its DMA API for them.
    pub access_platform: bool,
    /// Where the console goes. The machine does not open it: its caller hands it a sink.
    pub console: ConsoleConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kernel: PathBuf::new(),
            kernel_format: KernelFormat::default(),
            initrd: None,
            cmdline: String::new(),
            memory: ByteSize(256 << 20),
            memory_base: ByteSize(0x4000_0000),
            cpus: 1,
            disks: Vec::new(),
            rng: true,
            time: TimeMode::default(),
            seed: 0,
            epoch: 1_577_836_800, // 2020-01-01 00:00 UTC
            access_platform: false,
            console: ConsoleConfig::default(),
        }
    }
}

impl Config {
    /// Checks everything that can be checked without opening a file.
    ///
    /// # Errors
    /// The first thing that is wrong, as a sentence.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.kernel.as_os_str().is_empty() {
            return Err(ConfigError::NoKernel);
        }
        if self.cpus == 0 || self.cpus > MAX_CPUS {
            return Err(ConfigError::Cpus(self.cpus));
        }
        let (base, size) = (self.memory_base.0, self.memory.0);
        if !base.is_multiple_of(RAM_ALIGN) {
            return Err(ConfigError::MemoryBaseAlign(self.memory_base));
        }
        if !size.is_multiple_of(RAM_ALIGN) {
            return Err(ConfigError::MemoryAlign(self.memory));
        }
        if size < MIN_MEMORY {
            return Err(ConfigError::MemorySmall(self.memory));
        }
        if base < RAM_BASE_MIN {
            return Err(ConfigError::MemoryBaseLow(self.memory_base));
        }
        if base.checked_add(size).is_none_or(|end| end > RAM_END_MAX) {
            return Err(ConfigError::MemoryLarge {
                base: self.memory_base,
                size: self.memory,
            });
        }
        if self.cmdline.len() >= MAX_CMDLINE {
            return Err(ConfigError::CmdlineLong(self.cmdline.len()));
        }
        if !self.cmdline.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(ConfigError::CmdlineCharacter);
        }
        if self.disks.len() > MAX_DISKS {
            return Err(ConfigError::TooManyDisks(self.disks.len()));
        }
        for disk in &self.disks {
            if disk.queues == 0 || disk.queues > MAX_DISK_QUEUES {
                return Err(ConfigError::DiskQueues(disk.path.clone(), disk.queues));
            }
        }
        Ok(())
    }
}

/// What is wrong with a [`Config`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No kernel was named.
    #[error("no kernel is named: say which one to boot")]
    NoKernel,
    /// Number of cores out of range.
    #[error("a machine has 1 to {MAX_CPUS} CPUs, not {0}")]
    Cpus(u8),
    /// RAM base not aligned.
    #[error("the memory base {0:#} is not a multiple of 2M")]
    MemoryBaseAlign(ByteSize),
    /// RAM size not aligned.
    #[error("the memory size {0} is not a multiple of 2M")]
    MemoryAlign(ByteSize),
    /// Too little RAM.
    #[error("{0} of memory is too little: a kernel needs at least {min}", min = ByteSize(MIN_MEMORY))]
    MemorySmall(ByteSize),
    /// RAM would lie over the devices.
    #[error("the memory base {0:#} is too low: devices lie below {min:#}", min = ByteSize(RAM_BASE_MIN))]
    MemoryBaseLow(ByteSize),
    /// RAM would leave the 32-bit physical address space.
    #[error(
        "{size} of memory at {base:#} ends above {max:#}: use less memory or a lower base",
        max = ByteSize(RAM_END_MAX)
    )]
    MemoryLarge {
        /// RAM base.
        base: ByteSize,
        /// RAM size.
        size: ByteSize,
    },
    /// Command line too long.
    #[error("the kernel command line has {0} bytes, and ARM Linux takes at most {max}", max = MAX_CMDLINE - 1)]
    CmdlineLong(usize),
    /// Command line with a control or non-ASCII character.
    #[error("the kernel command line holds a character that is not printable ASCII")]
    CmdlineCharacter,
    /// Too many disks.
    #[error("a machine takes at most {MAX_DISKS} disks, not {0}")]
    TooManyDisks(usize),
    /// Number of queues of a disk out of range.
    #[error("the disk {path} may have 1 to {MAX_DISK_QUEUES} queues, not {1}", path = .0.display())]
    DiskQueues(PathBuf, u16),
}

/// What a kernel file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelFormat {
    /// Found out from the file.
    #[default]
    Auto,
    /// A compressed, self-extracting zImage.
    Zimage,
    /// A raw ARM Image, which has no magic number.
    Image,
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DiskConfig {
    /// The file with the raw contents.
    pub path: PathBuf,
    /// Whether the guest may not write it.
    #[serde(default)]
    pub read_only: bool,
    /// Number of request queues, 1 to [`MAX_DISK_QUEUES`].
    #[serde(default = "one")]
    pub queues: u16,
}

const fn one() -> u16 {
    1
}

impl DiskConfig {
    /// A writable disk with one queue.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            read_only: false,
            queues: 1,
        }
    }
}

/// `FILE`, `FILE,ro`, `FILE,queues=N`, in any combination.
impl FromStr for DiskConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let path = parts.next().unwrap_or_default();
        if path.is_empty() {
            return Err("a disk needs a file name".into());
        }
        let mut disk = Self::new(path);
        for option in parts {
            match option.split_once('=') {
                None if option == "ro" => disk.read_only = true,
                Some(("queues", n)) => {
                    disk.queues = n
                        .parse()
                        .map_err(|_| format!("{n:?} is not a number of queues"))?;
                }
                _ => {
                    return Err(format!(
                        "{option:?} is not a disk option: use ro or queues=N"
                    ));
                }
            }
        }
        Ok(disk)
    }
}

/// Which clock the guest sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeMode {
    /// One instruction takes one nanosecond and idling takes none of the host's: runs repeat exactly.
    #[default]
    Virtual,
    /// The host's monotonic clock.
    Host,
}

/// Where the console goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleConfig {
    /// The terminal that started the machine.
    #[default]
    Stdio,
    /// A file; the guest gets no input.
    File(PathBuf),
    /// Nowhere.
    None,
}

/// A number of bytes: `4096`, `64K`, `256M`, `2G`, `0x4000_0000`.
///
/// Shown with the largest suffix that divides it, or in hexadecimal with `{:#}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let clean = text.trim().replace('_', "");
        let bad =
            || format!("{text:?} is not a size: write a number of bytes, or one with K, M or G");
        if let Some(hex) = clean
            .strip_prefix("0x")
            .or_else(|| clean.strip_prefix("0X"))
        {
            return u64::from_str_radix(hex, 16).map(Self).map_err(|_| bad());
        }
        let digits = clean.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shift = match clean[digits.len()..].to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kib" => 10,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            _ => return Err(bad()),
        };
        let number: u64 = digits.parse().map_err(|_| bad())?;
        number
            .checked_mul(1 << shift)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is too large"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return write!(f, "{:#x}", self.0);
        }
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
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(d)? {
            Form::Number(n) => Ok(Self(n)),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> Config {
        Config {
            kernel: "zImage".into(),
            ..Config::default()
        }
    }

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
    fn disks_parse() {
        assert_eq!("a.img".parse(), Ok(DiskConfig::new("a.img")));
        let full = DiskConfig {
            path: "a".into(),
            read_only: true,
            queues: 4,
        };
        assert_eq!("a,ro,queues=4".parse(), Ok(full));
        for text in ["", ",ro", "a,rw", "a,queues=x"] {
            assert!(text.parse::<DiskConfig>().is_err(), "{text}");
        }
    }

    #[test]
    fn toml_round_trip_and_unknown_keys() {
        let text = "kernel = 'k'\nmemory = '1G'\nmemory-base = 0x80000000\ntime = 'host'\n\
                    console = { file = 'log' }\n[[disks]]\npath = 'd'\nread-only = true\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.memory, ByteSize(1 << 30));
        assert_eq!(config.memory_base, ByteSize(0x8000_0000));
        assert_eq!(
            config.disks,
            [DiskConfig {
                path: "d".into(),
                read_only: true,
                queues: 1
            }]
        );
        assert_eq!(config.console, ConsoleConfig::File("log".into()));
        config.validate().unwrap();
        let again: Config = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        assert!(toml::from_str::<Config>("kernel = 'k'\nmemroy = '1G'").is_err());
    }

    #[test]
    fn each_mistake_has_its_sentence() {
        valid().validate().unwrap();
        type Mistake = (fn(&mut Config), &'static str);
        let mistakes: [Mistake; 11] = [
            (|c| c.kernel = PathBuf::new(), "no kernel"),
            (|c| c.cpus = 0, "not 0"),
            (|c| c.cpus = 5, "not 5"),
            (|c| c.memory = ByteSize(8 << 20), "too little"),
            (|c| c.memory = ByteSize((64 << 20) + 4096), "multiple"),
            (|c| c.memory_base = ByteSize(0x4000_1000), "multiple"),
            (|c| c.memory_base = ByteSize(0), "too low"),
            (|c| c.memory = ByteSize(!(RAM_ALIGN - 1)), "ends above"),
            (|c| c.cmdline = "x".repeat(MAX_CMDLINE), "at most 1023"),
            (|c| c.cmdline = "a\nb".into(), "printable"),
            (
                |c| {
                    c.disks = vec![DiskConfig {
                        queues: 0,
                        ..DiskConfig::new("d")
                    }]
                },
                "queues",
            ),
        ];
        for (spoil, word) in mistakes {
            let mut config = valid();
            spoil(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(word), "{error:?} lacks {word:?}");
        }
    }
}
