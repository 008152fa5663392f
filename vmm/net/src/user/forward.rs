//! Ports of the host that lead to the guest.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vmm_base::TextError;

use crate::spec::GUEST_IP;

/// A TCP port of the host at which connections to the guest are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Forward {
    /// Where the host listens.
    pub host: SocketAddrV4,
    /// The guest's port.
    pub guest: u16,
}

/// `tcp:[ADDRESS]:PORT-[10.0.2.15]:PORT`, as QEMU writes it.
impl FromStr for Forward {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let parsed = || {
            let (host, guest) = text.strip_prefix("tcp:")?.split_once('-')?;
            let (address, port) = host.rsplit_once(':')?;
            let address = match address {
                // Not every interface of the host, unless that is asked for.
                "" => Ipv4Addr::LOCALHOST,
                address => address.parse().ok()?,
            };
            let (to, guest) = guest.rsplit_once(':')?;
            let known = to.is_empty() || to.parse() == Ok(GUEST_IP);
            let guest = guest.parse().ok().filter(|port| *port != 0 && known)?;
            Some(Self {
                host: SocketAddrV4::new(address, port.parse().ok()?),
                guest,
            })
        };
        parsed().ok_or_else(|| {
            format!(
                "{text:?} forwards no port: write tcp:[ADDRESS]:PORT-:PORT, such as tcp::2222-:22"
            )
            .into()
        })
    }
}

impl TryFrom<String> for Forward {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

impl From<Forward> for String {
    fn from(forward: Forward) -> Self {
        forward.to_string()
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp:{}-:{}", self.host, self.guest)
    }
}

/// A port of the host at which is listened.
#[derive(Debug)]
pub struct Listening {
    pub(super) listener: TcpListener,
    pub(super) guest: u16,
}

impl Listening {
    /// Listens at the port that `forward` says.
    ///
    /// # Errors
    /// The host refuses.
    pub fn at(forward: Forward) -> io::Result<Self> {
        let listener = TcpListener::bind(forward.host)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            guest: forward.guest,
        })
    }

    /// Returns where it listens: the port that was chosen, if none was said.
    ///
    /// # Errors
    /// The host does not tell.
    pub fn address(&self) -> io::Result<std::net::SocketAddr> {
        self.listener.local_addr()
    }
}
