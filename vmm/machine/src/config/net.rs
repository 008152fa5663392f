//! What a user may say about a network interface.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vmm_base::TextError;
use vmm_net::user::Forward;

use super::{Config, ConfigError, PortConfig, TimeMode};

/// What the cable of a network interface leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetKind {
    /// A host that is built in, and whose answers repeat.
    Peer,
    /// The host's own network, through sockets of this process.
    User,
}

impl NetKind {
    /// All kinds, in the order in which they are listed.
    pub const ALL: [Self; 2] = [Self::Peer, Self::User];

    /// Returns its name on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::User => "user",
        }
    }

    /// Returns the names of all kinds.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl FromStr for NetKind {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.name() == text).ok_or_else(|| {
            let names = Self::names();
            format!("{text:?} is not a network: use {names}").into()
        })
    }
}

/// The Ethernet address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// Returns its octets.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for MacAddress {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        let fine = octets.iter_mut().all(|octet| {
            let digits = parts.next().filter(|part| part.len() == 2);
            let digits = digits.filter(|part| part.bytes().all(|b| b.is_ascii_hexdigit()));
            let value = digits.and_then(|part| u8::from_str_radix(part, 16).ok());
            value.is_some_and(|value| {
                *octet = value;
                true
            })
        });
        // The lowest bit of the first octet is that of groups (IEEE 802).
        if !fine || parts.next().is_some() || octets[0] & 1 != 0 || octets == [0; 6] {
            return Err(format!(
                "{text:?} is not the Ethernet address of an interface: write one such as 52:54:00:12:34:56"
            )
            .into());
        }
        Ok(Self(octets))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NetConfig {
    /// What its cable leads to.
    #[serde(rename = "type")]
    pub kind: NetKind,
    /// The folder whose files the built-in peer serves, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// SHA-256 of names and contents of these files, in hexadecimal digits: other ones are refused.
    /// Snapshots and recordings have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder_sha256: Option<String>,
    /// TCP ports of the host that lead to the guest, with a user-mode network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostfwd: Vec<Forward>,
    /// Its address, if not one that follows from the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// Where it stands; see [`Config::ports`] for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iommu: Option<PortConfig>,
}

impl NetConfig {
    /// Creates an interface behind the first IOMMU, if there is one.
    pub const fn new(kind: NetKind) -> Self {
        Self {
            kind,
            folder: None,
            folder_sha256: None,
            hostfwd: Vec::new(),
            mac: None,
            iommu: None,
        }
    }
}

/// `TYPE`, `TYPE,folder=DIR`, `TYPE,hostfwd=tcp:[ADDRESS]:PORT-:PORT`, `TYPE,mac=ADDRESS`,
/// `TYPE,iommu=PORT`, in any combination.
impl FromStr for NetConfig {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        // A folder whose name has a comma can be named in a `machine.toml` only.
        let mut parts = text.split(',');
        let mut net = Self::new(parts.next().unwrap_or_default().parse()?);
        let mut said = Vec::new();
        for option in parts {
            let key = option.split_once('=').map_or(option, |(key, _)| key);
            // Ports are listed one by one; everything else is said once.
            if key != "hostfwd" && said.contains(&key) {
                return Err(format!("{text:?} says {key} twice").into());
            }
            said.push(key);
            match option.split_once('=') {
                Some(("folder", path)) => net.folder = Some(path.into()),
                Some(("folder-sha256", sha256)) => net.folder_sha256 = Some(sha256.into()),
                Some(("hostfwd", forward)) => net.hostfwd.push(forward.parse()?),
                Some(("mac", mac)) => net.mac = Some(mac.parse()?),
                Some(("iommu", port)) => net.iommu = Some(port.parse()?),
                _ => {
                    return Err(format!(
                        "{option:?} is not an option of a network interface: use folder=DIR, folder-sha256=DIGITS, \
                         hostfwd=tcp::PORT-:PORT, mac=ADDRESS or iommu=NAME:N"
                    )
                    .into());
                }
            }
        }
        Ok(net)
    }
}

impl Config {
    /// Returns whether it has a network through sockets of this process.
    pub fn has_user_network(&self) -> bool {
        self.nets.iter().any(|net| net.kind == NetKind::User)
    }

    pub(crate) fn validate_nets(&self) -> Result<(), ConfigError> {
        for (index, net) in self.nets.iter().enumerate() {
            let fail = |why| Err(ConfigError::Net { index, why });
            if net
                .folder
                .as_ref()
                .is_some_and(|f| f.as_os_str().is_empty())
            {
                return fail("the folder that it serves needs a name");
            }
            match net.kind {
                NetKind::Peer if !net.hostfwd.is_empty() => {
                    return fail("hostfwd is of the user-mode network: say user in place of peer");
                }
                NetKind::User if net.folder.is_some() => {
                    return fail(
                        "a folder is served by the built-in peer: say peer in place of user",
                    );
                }
                NetKind::User if self.time == TimeMode::Virtual => {
                    return fail(
                        "the host's network is in the host's time: say --time host, or peer in place of user",
                    );
                }
                NetKind::Peer | NetKind::User => {}
            }
            if net.folder_sha256.is_some() && net.folder.is_none() {
                return fail("it has the SHA-256 of a folder and serves none: add folder=DIR");
            }
            let digits = |text: &String| {
                text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            };
            if !net.folder_sha256.as_ref().is_none_or(digits) {
                return fail("a SHA-256 has 64 digits of 0 to 9 and a to f");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_parse() {
        assert_eq!("peer".parse(), Ok(NetConfig::new(NetKind::Peer)));
        let user: NetConfig = "user,hostfwd=tcp::2222-:22,hostfwd=tcp::80-:80"
            .parse()
            .unwrap();
        let again: NetConfig = toml::from_str(&toml::to_string(&user).unwrap()).unwrap();
        assert_eq!((again.hostfwd.len(), again), (2, user));
        let text = "peer,folder=a/b,mac=52:54:00:12:34:5f,iommu=none";
        let net: NetConfig = text.parse().unwrap();
        assert_eq!(net.folder, Some("a/b".into()));
        assert_eq!(net.mac.unwrap().to_string(), "52:54:00:12:34:5f");
        assert_eq!(net.iommu, Some(PortConfig::None));
        let again: NetConfig = toml::from_str(&toml::to_string(&net).unwrap()).unwrap();
        assert_eq!(again, net);
        for text in [
            "",
            "slirp",
            "peer,x",
            "peer,mac=1",
            "peer,mac=53:54:00:12:34:56",
            "peer,mac=00:00:00:00:00:00",
            "peer,mac=52:54:00:12:34:+6",
            "peer,mac=52:54:00:12:34:56:78",
            "peer,folder=a,folder=b",
        ] {
            assert!(text.parse::<NetConfig>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_mistake_has_its_sentence() {
        for (text, words) in [
            ("peer,hostfwd=tcp::1-:2", "say user"),
            ("user,folder=a", "say peer"),
            ("user", "--time host"),
            ("peer,folder=", "needs a name"),
            ("peer,folder-sha256=00", "serves none"),
            ("peer,folder=a,folder-sha256=00", "64 digits"),
        ] {
            let config = Config {
                kernel: "k".into(),
                nets: vec![text.parse().unwrap()],
                ..Config::default()
            };
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("net0"), "{error}");
        }
    }
}
