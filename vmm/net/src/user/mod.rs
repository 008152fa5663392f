//! The user-mode network: connections and datagrams of the guest's become sockets of this process,
//! which needs no privileges for that.
//!
//! | the guest's | becomes |
//! |---|---|
//! | ARP, ping of the gateway, DHCP | answered as by the [responder](crate::responder) |
//! | a TCP connection | a connection of the host's, once that is made; a refusal is a reset |
//! | a datagram | one from a socket that the host has for that port of the guest's |
//! | a datagram to the name server | one to the host's |
//! | a connection to the gateway | one to the host itself (127.0.0.1) |
//!
//! TCP towards the guest is `smoltcp`'s. A thread does all of that; between it and the network
//! device are two bounded queues of frames.

mod datagrams;
mod forward;
mod link;
mod nat;
mod stack;
mod tcp;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::thread::JoinHandle;

pub use forward::{Forward, Listening};
use link::Link;
use nat::Nat;

use crate::peer::{Notify, Peer, PeerState, WrongPeer};

/// Where the host's name server is said (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The most bytes of that file.
const MAX_RESOLV_CONF: u64 = 64 << 10;

/// The end of the cable in front of a user-mode network; it ends when it is dropped.
pub struct User {
    link: Arc<Link>,
    thread: Option<JoinHandle<()>>,
}

impl User {
    /// Starts a network in which the host's ports of `forwards` lead to the guest.
    ///
    /// # Errors
    /// The host has no threads or file descriptors left.
    pub fn start(forwards: Vec<Listening>) -> io::Result<Self> {
        let link = Arc::new(Link::new()?);
        let nat = Nat::new(Arc::clone(&link), name_server(), forwards);
        let thread = vmm_base::thread::spawn("network", move || nat.run())?;
        Ok(Self {
            link,
            thread: Some(thread),
        })
    }
}

impl Peer for User {
    fn take(&mut self, _now_ns: u64, frame: &[u8]) {
        self.link.send(frame);
    }

    fn give(&mut self, _now_ns: u64) -> Option<Vec<u8>> {
        self.link.receive()
    }

    fn next_ns(&self) -> Option<u64> {
        None
    }

    fn set_notify(&mut self, notify: Notify) {
        self.link.set_notify(notify);
    }

    fn save(&self) -> PeerState {
        PeerState::User
    }

    fn restore(&mut self, saved: &PeerState) -> Result<(), WrongPeer> {
        // Connections of the host cannot be saved: the guest's are reset when it uses them.
        match saved {
            PeerState::User => Ok(()),
            PeerState::Responder(_) => Err(WrongPeer::Kind),
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.link.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by itself, and a drop cannot return it.
            let _ = thread.join();
        }
    }
}

/// Returns the host's name server, if it has one by IPv4.
fn name_server() -> Option<SocketAddrV4> {
    use std::io::Read;
    let mut text = String::new();
    let file = vmm_files::input::open_file(RESOLV_CONF.as_ref()).ok()?;
    file.take(MAX_RESOLV_CONF).read_to_string(&mut text).ok()?;
    first_server(&text).map(|ip| SocketAddrV4::new(ip, crate::spec::DNS_PORT))
}

/// Returns the first name server by IPv4 in a `resolv.conf`.
fn first_server(text: &str) -> Option<Ipv4Addr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()
    });
    servers.filter_map(|server| server.parse().ok()).next()
}
