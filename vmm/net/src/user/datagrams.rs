//! Datagrams of the guest's, from sockets of the host's.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::frame::{self, Host};
use crate::spec::{DNS_PORT, MTU, PEER_IP};

/// The most ports of the guest's that have sockets; another one takes the place of the one that was
/// used least recently.
const MAX_PORTS: usize = 256;
/// The time after which a socket that nothing came through is closed (RFC 4787, 4.3: at least two
/// minutes).
const IDLE: Duration = Duration::from_secs(120);
/// Most octets of a datagram in one packet.
const MAX_DATAGRAM: usize = MTU as usize - 28;
/// Most datagrams of one socket between two looks at others.
const BURST: usize = 16;

struct Port {
    guest: Host,
    port: u16,
    /// Whether what it sends goes to the host's name server.
    dns: bool,
    socket: UdpSocket,
    used: Instant,
}

/// The ports of the guest's that send datagrams.
pub(super) struct Datagrams {
    ports: Vec<Port>,
    /// The host's name server.
    name_server: Option<SocketAddrV4>,
}

impl Datagrams {
    pub const fn new(name_server: Option<SocketAddrV4>) -> Self {
        Self {
            ports: Vec::new(),
            name_server,
        }
    }

    /// Sends a datagram of the guest's, from its port `src`. What cannot be sent is lost.
    pub fn send(&mut self, guest: Host, src: u16, to: SocketAddrV4, data: &[u8]) {
        let dns = *to.ip() == PEER_IP && to.port() == DNS_PORT;
        let Some(to) = (if dns {
            self.name_server
        } else {
            Some(outside(to))
        }) else {
            return;
        };
        let same = |port: &Port| (port.guest.ip, port.port, port.dns) == (guest.ip, src, dns);
        let index = match self.ports.iter().position(same) {
            Some(index) => index,
            None => {
                let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else {
                    tracing::warn!("network: the host has no socket left for a datagram");
                    return;
                };
                if socket.set_nonblocking(true).is_err() {
                    return;
                }
                self.make_room();
                self.ports.push(Port {
                    guest,
                    port: src,
                    dns,
                    socket,
                    used: Instant::now(),
                });
                self.ports.len() - 1
            }
        };
        let port = &mut self.ports[index];
        port.used = Instant::now();
        // As on any network, a datagram may be lost.
        let _ = port.socket.send_to(data, to);
    }

    fn make_room(&mut self) {
        if self.ports.len() >= MAX_PORTS {
            let ages = self.ports.iter().enumerate();
            if let Some((oldest, _)) = ages.min_by_key(|(_, port)| port.used) {
                self.ports.swap_remove(oldest);
            }
        }
    }

    /// Closes sockets that are not used any more.
    pub fn tidy(&mut self) {
        self.ports.retain(|port| port.used.elapsed() < IDLE);
    }

    /// Returns what there is to wait for.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.ports.iter().map(|port| port.socket.as_fd())
    }

    /// Returns the frames of datagrams that have come.
    pub fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut data = [0; MAX_DATAGRAM + 1];
        for port in &mut self.ports {
            for _ in 0..BURST {
                // An error is one that an earlier datagram met, which nobody is told of.
                let Ok((len, SocketAddr::V4(from))) = port.socket.recv_from(&mut data) else {
                    break;
                };
                port.used = Instant::now();
                if len > MAX_DATAGRAM {
                    continue;
                }
                let from = match port.dns {
                    true => SocketAddrV4::new(PEER_IP, DNS_PORT),
                    false => inside(from),
                };
                let data = &data[..len];
                let (guest, dst) = (port.guest, port.port);
                frames.push(frame::udp_from(*from.ip(), guest, from.port(), dst, data));
            }
        }
        frames
    }
}

/// Returns where the host reaches what the guest calls `address`.
pub(super) fn outside(address: SocketAddrV4) -> SocketAddrV4 {
    match *address.ip() {
        PEER_IP => SocketAddrV4::new(Ipv4Addr::LOCALHOST, address.port()),
        _ => address,
    }
}

/// Returns what the guest calls an address of the host's.
fn inside(address: SocketAddrV4) -> SocketAddrV4 {
    match address.ip().is_loopback() {
        true => SocketAddrV4::new(PEER_IP, address.port()),
        false => address,
    }
}
