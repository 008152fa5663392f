//! Devices in other processes, by the vhost-user protocol.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_ids::*;
use vmm_base::TextError;

use super::{Config, ConfigError, PortConfig, TimeMode};

/// The most queues that a vhost-user device may have.
pub const MAX_VHOST_QUEUES: u16 = 8;
/// The least and the most entries of its queues.
pub const VHOST_QUEUE_SIZES: (u16, u16) = (2, 1024);

/// A kind of virtio device that another process may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VhostUserKind {
    /// A disk.
    Blk,
    /// A network interface, without a control queue.
    Net,
    /// An entropy device.
    Rng,
    /// A console of one port.
    Console,
    /// A SCSI host adapter.
    Scsi,
    /// A socket device.
    Vsock,
    /// An I2C adapter.
    I2c,
    /// A GPIO controller.
    Gpio,
}

/// The facts of a kind of device (virtio 1.2, chapter 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VhostUserFacts {
    /// Its name on the command line and in files.
    pub name: &'static str,
    /// Its device identifier.
    pub id: u32,
    /// The queues that it has unless a configuration says otherwise.
    pub queues: u16,
    /// Whether a configuration may say otherwise.
    pub any_queues: bool,
    /// Bytes of its configuration space that are asked of its process.
    pub config_bytes: usize,
}

impl VhostUserKind {
    /// All kinds, in the order in which they are listed.
    pub const ALL: [Self; 8] = [
        Self::Blk,
        Self::Net,
        Self::Rng,
        Self::Console,
        Self::Scsi,
        Self::Vsock,
        Self::I2c,
        Self::Gpio,
    ];

    /// Returns what is to be known of it.
    pub const fn facts(self) -> VhostUserFacts {
        // Name, identifier, queues, whether another number is fine, bytes of configuration.
        let (name, id, queues, any_queues, config_bytes) = match self {
            // Up to `num_queues` and the fields for discard and zeroes (5.2.4).
            Self::Blk => ("blk", VIRTIO_ID_BLOCK, 1, true, 60),
            // The machine's own: front ends keep it (5.1.4).
            Self::Net => ("net", VIRTIO_ID_NET, 2, false, 0),
            Self::Rng => ("rng", VIRTIO_ID_RNG, 1, false, 0),
            Self::Console => ("console", VIRTIO_ID_CONSOLE, 2, false, 12),
            Self::Scsi => ("scsi", VIRTIO_ID_SCSI, 3, true, 36),
            Self::Vsock => ("vsock", VIRTIO_ID_VSOCK, 3, false, 8),
            Self::I2c => ("i2c", VIRTIO_ID_I2C_ADAPTER, 1, false, 0),
            Self::Gpio => ("gpio", VIRTIO_ID_GPIO, 2, false, 8),
        };
        VhostUserFacts {
            name,
            id,
            queues,
            any_queues,
            config_bytes,
        }
    }

    /// Returns the names of all kinds.
    pub fn names() -> String {
        Self::ALL.map(|kind| kind.facts().name).join(", ")
    }
}

impl FromStr for VhostUserKind {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.facts().name == text).ok_or_else(|| {
            format!(
                "{text:?} is not a type of vhost-user device: use one of {}",
                Self::names()
            )
            .into()
        })
    }
}

/// A device that another process is, which listens at a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VhostUserConfig {
    /// The Unix socket at which its process listens.
    pub socket: PathBuf,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: VhostUserKind,
    /// Where it stands; see [`Config::ports`] for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iommu: Option<PortConfig>,
    /// Number of queues, if not the kind's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u16>,
    /// Entries of each queue, a power of two.
    #[serde(default = "queue_size")]
    pub queue_size: u16,
}

const fn queue_size() -> u16 {
    128
}

impl VhostUserConfig {
    /// Creates a device of a kind with its default queues, behind the first IOMMU if there is one.
    pub fn new(socket: impl Into<PathBuf>, kind: VhostUserKind) -> Self {
        Self {
            socket: socket.into(),
            kind,
            iommu: None,
            queues: None,
            queue_size: queue_size(),
        }
    }

    /// Returns how many queues it has.
    pub fn queue_count(&self) -> u16 {
        self.queues.unwrap_or(self.kind.facts().queues)
    }
}

/// `SOCKET,type=KIND`, with `iommu=PORT`, `queues=N` and `queue-size=N` in any order.
impl FromStr for VhostUserConfig {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        // A socket whose name has a comma can be named in a `machine.toml` only.
        let mut parts = text.split(',');
        let socket = parts.next().unwrap_or_default();
        if socket.is_empty() || socket.starts_with("type=") {
            return Err("a vhost-user device needs the name of its socket: SOCKET,type=blk".into());
        }
        let (mut kind, mut said) = (None, Vec::new());
        let mut device = Self::new(socket, VhostUserKind::Blk);
        for option in parts {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            if said.contains(&key) {
                return Err(format!("{text:?} says {key} twice").into());
            }
            said.push(key);
            let number = || {
                let not = || format!("{value:?} is not a number of {key}: write one such as 2");
                value.parse().map_err(|_| TextError::from(not()))
            };
            match key {
                "type" => kind = Some(value.parse()?),
                "iommu" => device.iommu = Some(value.parse()?),
                // Their ranges are checked with the rest of the configuration.
                "queues" => device.queues = Some(number()?),
                "queue-size" => device.queue_size = number()?,
                _ => {
                    return Err(format!(
                        "{option:?} is not an option of a vhost-user device: use type=TYPE, iommu=NAME:N, queues=N or \
                         queue-size=N"
                    )
                    .into());
                }
            }
        }
        device.kind = kind.ok_or_else(|| {
            format!(
                "{text:?} does not say what the device is: add ,type= and one of {}",
                VhostUserKind::names()
            )
        })?;
        Ok(device)
    }
}

impl Config {
    /// Checks the devices in other processes, apart from their sockets.
    pub(crate) fn validate_vhost_user(&self) -> Result<(), ConfigError> {
        if !self.vhost_user.is_empty() && self.time == TimeMode::Virtual {
            return Err(ConfigError::VhostUserVirtualTime);
        }
        for device in &self.vhost_user {
            let socket = || device.socket.clone();
            if device.socket.as_os_str().is_empty() {
                return Err(ConfigError::VhostUserUnnamed);
            }
            let (facts, queues) = (device.kind.facts(), device.queue_count());
            let fits = match facts.any_queues {
                // Those of a kind with others besides its request queues come on top.
                true => (facts.queues..=MAX_VHOST_QUEUES).contains(&queues),
                false => queues == facts.queues,
            };
            if !fits {
                let most = if facts.any_queues {
                    MAX_VHOST_QUEUES
                } else {
                    facts.queues
                };
                return Err(ConfigError::VhostUserQueues {
                    socket: socket(),
                    kind: facts.name,
                    range: (facts.queues, most),
                    found: queues,
                });
            }
            let (least, most) = VHOST_QUEUE_SIZES;
            let size = device.queue_size;
            if !size.is_power_of_two() || !(least..=most).contains(&size) {
                return Err(ConfigError::VhostUserQueueSize(socket(), size));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_parse() {
        let device = VhostUserConfig::new("a.sock", VhostUserKind::Blk);
        assert_eq!("a.sock,type=blk".parse(), Ok(device.clone()));
        let full = VhostUserConfig {
            kind: VhostUserKind::Rng,
            iommu: Some(PortConfig::None),
            queues: Some(1),
            queue_size: 64,
            ..device
        };
        let text = "a.sock,queue-size=64,iommu=none,type=rng,queues=1";
        assert_eq!(text.parse(), Ok(full));
    }

    #[test]
    fn each_mistake_has_its_sentence() {
        for (text, words) in [
            ("", "needs the name of its socket"),
            ("type=blk", "needs the name of its socket"),
            ("a", "does not say what the device is"),
            ("a,type=floppy", "use one of blk, net, rng"),
            ("a,type=blk,type=blk", "says type twice"),
            ("a,type=blk,ro", "is not an option of a vhost-user device"),
            ("a,type=blk,queues=x", "is not a number of queues"),
        ] {
            let error = text.parse::<VhostUserConfig>().unwrap_err().to_string();
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        }
        let config = |device: &str, time| Config {
            kernel: "k".into(),
            time,
            vhost_user: vec![device.parse().unwrap()],
            ..Config::default()
        };
        config("a,type=blk,queues=8", TimeMode::Host)
            .validate()
            .unwrap();
        for (text, time, words) in [
            ("a,type=blk", TimeMode::Virtual, "say --time host"),
            (
                "a,type=blk,queues=9",
                TimeMode::Host,
                "has 1 to 8 queues, not 9",
            ),
            ("a,type=rng,queues=2", TimeMode::Host, "has 1 queues, not 2"),
            (
                "a,type=blk,queue-size=3",
                TimeMode::Host,
                "a power of two from 2 to 1024",
            ),
        ] {
            let error = config(text, time).validate().unwrap_err().to_string();
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        }
    }

    #[test]
    fn a_file_says_the_same_as_the_command_line() {
        for text in [
            "a,type=blk,queues=2",
            "b,type=vsock,queue-size=8,iommu=none",
        ] {
            let device: VhostUserConfig = text.parse().unwrap();
            let file = toml::to_string(&device).unwrap();
            assert_eq!(
                toml::from_str::<VhostUserConfig>(&file).unwrap(),
                device,
                "{file}"
            );
        }
    }
}
