//! Frames that a guest sends: good ones of every service, and almost good ones.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "fields of packets wrap"
)]

use arbitrary::{Arbitrary, Result, Unstructured};
use vmm_net::spec::{
    DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DNS_PORT, ECHO_PORT, GUEST_IP, HTTP_PORT, MAX_FRAME,
    PEER_IP, PEER_MAC, TFTP_PORT,
};

pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Ports of the guest's TCP connections.
pub const CONNECTIONS: usize = 4;
const FIRST_PORT: u16 = 40_000;
/// Flags of a segment (RFC 9293, 3.1).
const FIN: u8 = 1;
const SYN: u8 = 2;
const ACK: u8 = 0x10;

/// Names of files, of which the peer has the first two.
const NAMES: [&str; 4] = ["a", "sub/large", "../a", ""];

/// Octets that the input has itself.
#[derive(Debug)]
pub struct Octets(pub Vec<u8>);

impl<'a> Arbitrary<'a> for Octets {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let len = usize::from(u.arbitrary::<u8>()? % 96).min(u.len());
        Ok(Self(u.bytes(len)?.to_vec()))
    }
}

/// What a packet carries.
#[derive(Arbitrary, Debug)]
pub enum Data {
    None,
    Octets(Octets),
    Fill(u8, u16),
    /// A request of HTTP, with a part of it only.
    Http(u8, u8, u8),
    TftpRead(u8, u8),
    /// Of a block, to one of the ports that files are sent from.
    TftpAck(u16),
    /// A question about a name and a type.
    Dns(u8, u8, u16),
    /// A message of this type, with the address that is asked for.
    Dhcp(u8, Option<u8>, bool),
}

impl Data {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Octets(octets) => octets.0.clone(),
            Self::Fill(byte, len) => vec![*byte; usize::from(len % 1500)],
            Self::Http(method, name, cut) => {
                let method = ["GET", "HEAD", "PUT", ""][usize::from(method % 4)];
                let name = NAMES[usize::from(name % 4)];
                let text = format!("{method} /{name} HTTP/1.1\r\nHost: peer\r\n\r\n");
                let len = text.len() - usize::from(cut % 16).min(text.len());
                text.as_bytes()[..len].to_vec()
            }
            Self::TftpRead(op, name) => {
                let name = NAMES[usize::from(name % 4)];
                [&[0, op % 6][..], name.as_bytes(), b"\0octet\0"].concat()
            }
            Self::TftpAck(block) => [[0, 4], (block & 0xf).to_be_bytes()].concat(),
            Self::Dns(name, flags, kind) => {
                // The last one points to itself (RFC 1035, 4.1.4).
                let names: [&[u8]; 4] = [b"\x04peer\0", b"\x05guest\0", b"\x01x\0", b"\xc0\x0c"];
                let name = names[usize::from(name % 4)];
                let header = [0, 7, *flags, 0, 0, 1, 0, 0, 0, 0, 0, 0];
                [&header[..], name, &(kind % 32).to_be_bytes(), &[0, 1]].concat()
            }
            Self::Dhcp(kind, asked, server) => dhcp(*kind, *asked, *server),
        }
    }
}

/// Returns a message of a DHCP client (RFC 2131, 2).
fn dhcp(kind: u8, asked: Option<u8>, server: bool) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[28..34].copy_from_slice(&MAC);
    bytes.extend([0x63, 0x82, 0x53, 0x63, 53, 1, kind % 10]);
    if let Some(last) = asked {
        bytes.extend([50, 4, 10, 0, 2, last]);
    }
    if server {
        bytes.extend([54, 4]);
        bytes.extend(PEER_IP.octets());
    }
    bytes.push(255);
    bytes
}

/// A frame.
#[derive(Arbitrary, Debug)]
pub enum Frame {
    Octets(Octets),
    Arp(u8, u8),
    Ping(u8, Data),
    /// A datagram to a port of the peer.
    Udp(u8, u16, Data),
    /// A datagram that fits its service.
    Asks(Data),
    /// A segment of a connection: which, its service, flags, how far its numbers are from those
    /// that are due, its window, and whether it has options.
    Tcp(u8, bool, u8, i8, i8, u16, bool, Data),
    /// The same, as a good guest sends it.
    Opens(u8, bool),
    Says(u8, Data),
    Closes(u8),
    /// A frame of which an octet is another.
    Damaged(Box<Frame>, u16, u8),
}

/// A connection as the guest knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    port: u16,
    next: u32,
    expected: u32,
}

/// The guest's side.
#[derive(Clone, Debug, Default)]
pub struct Guest {
    known: [Known; CONNECTIONS],
}

/// Returns the Internet checksum (RFC 1071).
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        let second = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], second]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Returns a frame to the peer with a packet of `protocol`, whose checksum is at `at`.
fn packet(protocol: u8, at: usize, mut payload: Vec<u8>) -> Vec<u8> {
    payload.truncate(MAX_FRAME - 34);
    let size = payload.len() as u16;
    let mut sum = Vec::new();
    if protocol != 1 {
        sum.extend(GUEST_IP.octets());
        sum.extend(PEER_IP.octets());
        sum.extend([0, protocol]);
        sum.extend(size.to_be_bytes());
    }
    // The length of a datagram is also in its own header.
    if protocol == 17 {
        payload[4..6].copy_from_slice(&size.to_be_bytes());
    }
    sum.extend(&payload);
    payload[at..at + 2].copy_from_slice(&checksum(&sum).to_be_bytes());
    let mut ip = vec![0x45, 0];
    ip.extend((20 + size).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    ip.extend(GUEST_IP.octets());
    ip.extend(PEER_IP.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [&PEER_MAC[..], &MAC, &[8, 0], &ip, &payload].concat()
}

fn udp(from: u16, to: u16, data: &Data) -> Vec<u8> {
    let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
    packet(17, 6, [&ports[..], &[0; 4], &data.bytes()].concat())
}

impl Guest {
    /// Returns the octets of a frame, and counts what it sends.
    pub fn frame(&mut self, frame: &Frame) -> Vec<u8> {
        match frame {
            Frame::Octets(octets) => octets.0.clone(),
            Frame::Arp(operation, target) => {
                let mut bytes = [&[0xff; 6][..], &MAC, &[8, 6, 0, 1, 8, 0, 6, 4]].concat();
                bytes.extend([0, operation % 3]);
                bytes.extend(MAC);
                bytes.extend(GUEST_IP.octets());
                bytes.extend([0, 0, 0, 0, 0, 0, 10, 0, 2, target % 4]);
                bytes
            }
            Frame::Ping(kind, data) => {
                let kind = [8, *kind][usize::from(*kind & 1)];
                packet(
                    1,
                    2,
                    [&[kind, 0, 0, 0, 0, 1, 0, 2][..], &data.bytes()].concat(),
                )
            }
            Frame::Udp(which, port, data) => {
                // The ports of services, and those that files are sent from.
                let to = match which % 6 {
                    0 => ECHO_PORT,
                    1 => DNS_PORT,
                    2 => TFTP_PORT,
                    3 => 10_000 + u16::from(which >> 4),
                    4 => DHCP_SERVER_PORT,
                    _ => *port,
                };
                udp(FIRST_PORT + port % 4, to, data)
            }
            Frame::Asks(data) => {
                let to = match data {
                    Data::TftpRead(..) => TFTP_PORT,
                    Data::TftpAck(block) => 10_000 + (block >> 12),
                    Data::Dns(..) => DNS_PORT,
                    Data::Dhcp(..) => return udp(DHCP_CLIENT_PORT, DHCP_SERVER_PORT, data),
                    _ => ECHO_PORT,
                };
                udp(FIRST_PORT, to, data)
            }
            Frame::Tcp(number, echo, flags, before, behind, window, options, data) => {
                let number = usize::from(*number) % CONNECTIONS;
                self.known[number].port = if *echo { ECHO_PORT } else { HTTP_PORT };
                let deltas = (i32::from(*before), i32::from(*behind));
                self.segment(number, *flags, deltas, *window, *options, data)
            }
            Frame::Opens(number, echo) => {
                let number = usize::from(*number) % CONNECTIONS;
                self.known[number].port = if *echo { ECHO_PORT } else { HTTP_PORT };
                self.segment(number, SYN, (0, 0), u16::MAX, true, &Data::None)
            }
            Frame::Says(number, data) => {
                let number = usize::from(*number) % CONNECTIONS;
                self.segment(number, ACK, (0, 0), u16::MAX, false, data)
            }
            Frame::Closes(number) => {
                let number = usize::from(*number) % CONNECTIONS;
                self.segment(number, ACK | FIN, (0, 0), u16::MAX, false, &Data::None)
            }
            Frame::Damaged(frame, at, byte) => {
                let mut bytes = self.frame(frame);
                let at = usize::from(*at) % bytes.len().max(1);
                if let Some(octet) = bytes.get_mut(at) {
                    *octet = *byte;
                }
                bytes
            }
        }
    }

    fn segment(
        &mut self,
        number: usize,
        flags: u8,
        (before, behind): (i32, i32),
        window: u16,
        options: bool,
        data: &Data,
    ) -> Vec<u8> {
        let known = &mut self.known[number];
        let mut bytes = Vec::new();
        bytes.extend((FIRST_PORT + number as u16).to_be_bytes());
        bytes.extend(known.port.to_be_bytes());
        bytes.extend(known.next.wrapping_add(before as u32).to_be_bytes());
        bytes.extend(known.expected.wrapping_add(behind as u32).to_be_bytes());
        let words = if options { 7 } else { 5 };
        bytes.extend([words << 4, flags & 0x3f]);
        bytes.extend(window.to_be_bytes());
        bytes.extend([0; 4]);
        if options {
            // The largest segment, and the shift of windows (RFC 7323, 2.2).
            bytes.extend([2, 4, 5, 180, 1, 3, 3, 7]);
        }
        let data = data.bytes();
        bytes.extend(&data);
        if before == 0 {
            let ends = flags & (SYN | FIN) != 0;
            let octets = data.len() as u32 + u32::from(ends);
            known.next = known.next.wrapping_add(octets);
        }
        packet(6, 16, bytes)
    }

    /// Takes a frame of the peer's, whose numbers later segments acknowledge.
    pub fn take(&mut self, frame: &[u8]) {
        let Some(segment) = frame.get(34..).filter(|s| s.len() >= 20 && frame[23] == 6) else {
            return;
        };
        let word = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
        let number = usize::from(word(2).wrapping_sub(FIRST_PORT));
        let Some(known) = self.known.get_mut(number) else {
            return;
        };
        let start = u32::from(word(4)) << 16 | u32::from(word(6));
        let data = segment
            .len()
            .saturating_sub(usize::from(segment[12] >> 4) * 4);
        let ends = segment[13] & (SYN | FIN) != 0;
        known.expected = start.wrapping_add(data as u32 + u32::from(ends));
    }
}
