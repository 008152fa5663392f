//! `--gdb`: where a debugger may connect.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};
use vmm::gdb::Server;
use vmm::{Machine, TextError};

use super::{UserError, output, text};

/// How long before the event that decides about a run a debugger stops in it, in nanoseconds of the
/// guest's time: as many instructions.
const MOMENT_NS: u64 = 10_000;

/// Returns the guest time, in nanoseconds, at which a debugger stops for an event at `ns`.
pub const fn moment_before(ns: u64) -> u64 {
    ns.saturating_sub(MOMENT_NS)
}

/// An address and a port, or a port of this host's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GdbAddress(SocketAddr);

impl GdbAddress {
    /// Returns the port; 0 is any that is free.
    pub const fn port(self) -> u16 {
        self.0.port()
    }
}

impl FromStr for GdbAddress {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        // gdb itself writes a port of the own host as `:1234`.
        let port = text.strip_prefix(':').unwrap_or(text);
        if let Ok(port) = port.parse() {
            return Ok(Self((IpAddr::V4(Ipv4Addr::LOCALHOST), port).into()));
        }
        let named = text
            .strip_prefix("localhost:")
            .map(|port| format!("127.0.0.1:{port}"));
        named
            .as_deref()
            .unwrap_or(text)
            .parse()
            .map(Self)
            .map_err(|_| {
                format!(
                    "{text:?} is neither a port nor ADDRESS:PORT: say PORT for this host's own debuggers, or \
                     ADDRESS:PORT, such as 0.0.0.0:1234"
                )
                .into()
            })
    }
}

impl<'de> Deserialize<'de> for GdbAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => text,
            // A port alone is a number to TOML.
            other => other.to_string(),
        };
        text.parse().map_err(de::Error::custom)
    }
}

/// Finds out whether a debugger could be waited for there.
pub fn check(at: GdbAddress) -> Result<(), UserError> {
    // Bound and let go at once: whoever takes the address before the run is told of then.
    Server::bind(at.0)
        .map(drop)
        .map_err(|error| refused(at, &error))
}

fn refused(at: GdbAddress, error: &std::io::Error) -> UserError {
    let why = output::reason(error);
    UserError::new(format!("cannot wait for a debugger at {}: {why}", at.0))
}

/// Makes `machine` wait for a debugger, and says so; if it goes somewhere first (`later`), when it
/// is there.
pub fn attach(machine: &mut Machine, at: GdbAddress, later: bool) -> Result<(), UserError> {
    let fail = |error: std::io::Error| refused(at, &error);
    let notice = Box::new(|sentence: &str| text::complain(sentence));
    let server = Server::bind(at.0).map_err(fail)?.noticing(notice);
    // Asked of the socket: for port 0 the host has chosen one by now.
    let address = server.address().map_err(fail)?;
    let waits =
        format!("waiting for a debugger: gdb-multiarch -ex 'target remote {address}' VMLINUX");
    // A debugger that connects before would take the silence for a broken connection.
    let server = match later {
        true => server.ready(Box::new(move || text::complain(&waits))),
        false => {
            text::complain(&waits);
            server
        }
    };
    server.attach(machine).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_this_hosts_own_unless_an_address_says_otherwise() {
        let parse = |text: &str| text.parse::<GdbAddress>().map(|at| at.0.to_string());
        for (text, meant) in [
            ("1234", "127.0.0.1:1234"),
            (":1234", "127.0.0.1:1234"),
            ("localhost:7", "127.0.0.1:7"),
            ("0.0.0.0:1", "0.0.0.0:1"),
            ("[::1]:9", "[::1]:9"),
        ] {
            assert_eq!(parse(text), Ok(meant.to_owned()));
        }
        for text in ["", "65536", "-1", "host:1", "1.2.3.4", "tcp::1234"] {
            assert!(
                parse(text)
                    .unwrap_err()
                    .to_string()
                    .contains("neither a port"),
                "{text}"
            );
        }
    }
}
