//! The responder: one host that is the whole network of a guest, and a function of the guest's
//! frames and of the machine's clock.
//!
//! | service | |
//! |---|---|
//! | ARP, ICMP echo | of its own address |
//! | DHCP | gives the guest its one address |
//! | DNS | knows `peer` and `guest`, and no other name |
//! | echo by UDP and TCP, HTTP, TFTP | HTTP and TFTP read the files of a folder |
//!
//! No frame is lost on the way: the network device takes one when the guest has made room for it.

mod connection;
mod datagrams;
mod http;
mod service;
mod tcp;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr,
};

use crate::folder::Folder;
use crate::frame::{self, Host};
use crate::peer::{Peer, PeerState, WrongPeer};
use crate::spec::{
    ETHERNET_HEADER, MAX_CONNECTIONS, MAX_FRAME, MAX_TRANSFERS, MAX_WAITING, PEER_IP, PEER_MAC,
};

pub use connection::Connection;
pub use datagrams::Transfer;
pub use service::Service;

/// The state of a responder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResponderState {
    /// Frames for the guest, the oldest first.
    waiting: VecDeque<Vec<u8>>,
    /// TCP connections, the oldest first.
    connections: Vec<Connection>,
    /// The connection that is asked first for the next frame.
    turn: usize,
    /// TFTP transfers, the oldest first.
    transfers: Vec<Transfer>,
    /// The number of TFTP transfers that were begun, by which their ports are chosen.
    begun: u16,
}

/// The built-in peer.
pub struct Responder {
    folder: Arc<Folder>,
    state: ResponderState,
}

impl Responder {
    /// Creates a peer that serves `folder`, as at power-on.
    pub fn new(folder: Arc<Folder>) -> Self {
        Self {
            folder,
            state: ResponderState::default(),
        }
    }

    /// Has a frame wait for the guest, unless too many do: then it is lost, as in a switch.
    fn send(&mut self, frame: Vec<u8>) {
        if self.state.waiting.len() < MAX_WAITING {
            self.state.waiting.push_back(frame);
        }
    }

    fn take_arp(&mut self, payload: &[u8]) -> Option<()> {
        let packet = ArpPacket::new_checked(payload).ok()?;
        let ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr: PEER_IP,
            ..
        } = ArpRepr::parse(&packet).ok()?
        else {
            return None;
        };
        let answer = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(PEER_MAC),
            source_protocol_addr: PEER_IP,
            target_hardware_addr: source_hardware_addr,
            target_protocol_addr: source_protocol_addr,
        };
        self.send(frame::arp(source_hardware_addr.0, &answer));
        Some(())
    }

    fn take_ipv4(&mut self, now_ns: u64, mac: [u8; 6], payload: &[u8]) -> Option<()> {
        let packet = Ipv4Packet::new_checked(payload).ok()?;
        let header = Ipv4Repr::parse(&packet, &ChecksumCapabilities::default()).ok()?;
        // No service needs a packet that is larger than a frame.
        if packet.more_frags() || packet.frag_offset() != 0 {
            return None;
        }
        let from = Host {
            mac,
            ip: header.src_addr,
        };
        match header.next_header {
            IpProtocol::Udp => self.take_datagram(from, header.dst_addr, packet.payload()),
            _ if header.dst_addr != PEER_IP || !is_host(header.src_addr) => None,
            IpProtocol::Icmp => self.take_icmp(from, packet.payload()),
            IpProtocol::Tcp => self.take_segment(now_ns, from, packet.payload()),
            _ => None,
        }
    }

    fn take_icmp(&mut self, from: Host, payload: &[u8]) -> Option<()> {
        let packet = Icmpv4Packet::new_checked(payload).ok()?;
        let message = Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default()).ok()?;
        let Icmpv4Repr::EchoRequest {
            ident,
            seq_no,
            data,
        } = message
        else {
            return None;
        };
        let answer = Icmpv4Repr::EchoReply {
            ident,
            seq_no,
            data,
        };
        self.send(frame::icmp(from, &answer));
        Some(())
    }
}

/// Returns whether an address is one that a host may have, and can be answered.
fn is_host(ip: Ipv4Addr) -> bool {
    !(ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast())
}

impl Peer for Responder {
    fn take(&mut self, now_ns: u64, frame: &[u8]) {
        let Ok(frame) = EthernetFrame::new_checked(frame) else {
            return;
        };
        let to = frame.dst_addr();
        // An interface takes frames for itself and for groups.
        if to != EthernetAddress(PEER_MAC) && !to.is_broadcast() && !to.is_multicast() {
            return;
        }
        let mac = frame.src_addr().0;
        // What makes no sense has no answer, as on any network.
        let _ = match frame.ethertype() {
            EthernetProtocol::Arp => self.take_arp(frame.payload()),
            EthernetProtocol::Ipv4 => self.take_ipv4(now_ns, mac, frame.payload()),
            _ => None,
        };
    }

    fn give(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        let waiting = self.state.waiting.pop_front();
        waiting.or_else(|| self.next_segment(now_ns))
    }

    fn next_ns(&self) -> Option<u64> {
        let times = self.state.connections.iter().filter_map(Connection::due_ns);
        times.min()
    }

    fn save(&self) -> PeerState {
        PeerState::Responder(Box::new(self.state.clone()))
    }

    fn restore(&mut self, saved: &PeerState) -> Result<(), WrongPeer> {
        let PeerState::Responder(saved) = saved else {
            return Err(WrongPeer::Kind);
        };
        saved.check(&self.folder)?;
        self.state = (**saved).clone();
        Ok(())
    }
}

impl ResponderState {
    /// Checks that a responder that serves `folder` can be in this state.
    fn check(&self, folder: &Folder) -> Result<(), WrongPeer> {
        let frame = |frame: &Vec<u8>| (ETHERNET_HEADER..=MAX_FRAME).contains(&frame.len());
        if self.waiting.len() > MAX_WAITING || !self.waiting.iter().all(frame) {
            return Err(WrongPeer::Impossible("frames"));
        }
        let connections = &self.connections;
        if connections.len() > MAX_CONNECTIONS || !connections.iter().all(|c| c.is_possible(folder))
        {
            return Err(WrongPeer::Impossible("connections"));
        }
        let file = |transfer: &Transfer| folder.file(transfer.file()).is_some();
        if self.transfers.len() > MAX_TRANSFERS || !self.transfers.iter().all(file) {
            return Err(WrongPeer::Impossible("transfers"));
        }
        Ok(())
    }
}
