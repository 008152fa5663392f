//! The thread of a user-mode network.

use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smoltcp::iface::{Interface, SocketSet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpPacket, EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv4Repr,
    TcpControl, TcpPacket, TcpRepr, UdpPacket, UdpRepr,
};

use super::datagrams::Datagrams;
use super::forward::Listening;
use super::link::Link;
use super::stack::{self, Packets};
use super::tcp::{Flow, Outcome};
use crate::frame::{self, Host};
use crate::peer::Peer;
use crate::responder::Responder;
use crate::spec::{DHCP_SERVER_PORT, PEER_IP, PEER_MAC};

/// The most connections at a time; further ones are refused.
const MAX_FLOWS: usize = 256;
/// Frames of the guest's that are looked at between two looks at sockets.
const BURST: usize = 64;
/// The longest wait.
const TICK: Duration = Duration::from_secs(1);
/// Connections that are accepted at one port between two looks at others.
const ACCEPTS: usize = 16;

/// The network.
pub(super) struct Nat {
    link: Arc<Link>,
    /// Answers what concerns the guest's own network.
    local: Responder,
    packets: Packets,
    interface: Interface,
    sockets: SocketSet<'static>,
    flows: Vec<Flow>,
    datagrams: Datagrams,
    forwards: Vec<Listening>,
    /// The guest's address on the cable, once it has sent something.
    guest_mac: [u8; 6],
    /// Connections that were made to the guest.
    accepted: u16,
    start: Instant,
}

impl Nat {
    pub fn new(
        link: Arc<Link>,
        name_server: Option<SocketAddrV4>,
        forwards: Vec<Listening>,
    ) -> Self {
        let mut packets = Packets::default();
        let interface = stack::interface(&mut packets, u64::from(std::process::id()));
        Self {
            link,
            local: Responder::new(Arc::default()),
            packets,
            interface,
            sockets: SocketSet::new(Vec::new()),
            flows: Vec::new(),
            datagrams: Datagrams::new(name_server),
            forwards,
            guest_mac: EthernetAddress::BROADCAST.0,
            accepted: 0,
            start: Instant::now(),
        }
    }

    /// Works until the link is stopped.
    pub fn run(mut self) {
        while !self.link.is_stopped() {
            self.work();
            if let Err(error) = self.wait() {
                tracing::error!("the network cannot wait for sockets: {error}");
                return;
            }
        }
    }

    fn now(&self) -> smoltcp::time::Instant {
        let micros = self.start.elapsed().as_micros();
        smoltcp::time::Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// Does what there is to do now.
    fn work(&mut self) {
        for _ in 0..BURST {
            let Some(frame) = self.link.taken() else {
                break;
            };
            self.take(&frame);
        }
        self.accept();
        let datagrams = self.datagrams.receive();
        self.link.give(datagrams.into_iter());
        self.datagrams.tidy();
        self.move_data();
        self.poll_stack();
    }

    /// Lets the stack send and receive.
    fn poll_stack(&mut self) {
        self.packets.full = !self.link.has_room();
        let now = self.now();
        self.interface
            .poll(now, &mut self.packets, &mut self.sockets);
        let mac = self.guest_mac;
        let packets = self.packets.outgoing.drain(..);
        self.link
            .give(packets.map(|packet| frame::of(mac, &packet)));
    }

    /// Waits until there is something to do.
    fn wait(&mut self) -> rustix::io::Result<()> {
        let now = self.now();
        let delay = self.interface.poll_delay(now, &self.sockets);
        let mut delay = delay.map_or(TICK, |d| Duration::from_micros(d.total_micros()));
        // The link wakes the thread when there is room.
        if self.packets.full {
            delay = TICK;
        }
        let delay = delay.min(TICK);
        let event = self.link.event();
        let mut fds = vec![PollFd::new(event, PollFlags::IN)];
        fds.extend(
            self.datagrams
                .descriptors()
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
        );
        // Not while there is no room for more of them.
        let room = self.flows.len() < MAX_FLOWS;
        fds.extend(
            self.forwards
                .iter()
                .filter(|_| room)
                .map(|forward| PollFd::from_borrowed_fd(forward.listener.as_fd(), PollFlags::IN)),
        );
        let interests = self
            .flows
            .iter()
            .filter_map(|flow| flow.interest(&self.sockets));
        fds.extend(interests.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        let time = Timespec {
            tv_sec: delay.as_secs().try_into().unwrap_or(1),
            tv_nsec: delay.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        self.link.woken();
        Ok(())
    }

    /// Takes a frame of the guest's.
    fn take(&mut self, bytes: &[u8]) {
        let Ok(frame) = EthernetFrame::new_checked(bytes) else {
            return;
        };
        let own = frame.dst_addr() == EthernetAddress(PEER_MAC);
        if !own && !frame.dst_addr().is_broadcast() {
            return;
        }
        match frame.ethertype() {
            EthernetProtocol::Arp if ArpPacket::new_checked(frame.payload()).is_ok() => {
                self.take_local(bytes);
            }
            EthernetProtocol::Ipv4 => {
                let _ = self.take_ipv4(frame.src_addr().0, own, frame.payload(), bytes);
            }
            _ => {}
        }
    }

    fn take_local(&mut self, bytes: &[u8]) {
        self.local.take(0, bytes);
        let answers = std::iter::from_fn(|| self.local.give(0));
        self.link.give(answers);
    }

    fn take_ipv4(&mut self, mac: [u8; 6], own: bool, payload: &[u8], bytes: &[u8]) -> Option<()> {
        let packet = Ipv4Packet::new_checked(payload).ok()?;
        let header = Ipv4Repr::parse(&packet, &ChecksumCapabilities::default()).ok()?;
        if packet.more_frags() || packet.frag_offset() != 0 {
            return None;
        }
        self.guest_mac = mac;
        let guest = Host {
            mac,
            ip: header.src_addr,
        };
        let to = header.dst_addr;
        match header.next_header {
            IpProtocol::Icmp => self.take_local(bytes),
            IpProtocol::Udp => {
                let packet = UdpPacket::new_checked(packet.payload()).ok()?;
                let caps = ChecksumCapabilities::default();
                let parsed = UdpRepr::parse(&packet, &guest.ip.into(), &to.into(), &caps);
                let ports = parsed.ok()?;
                if ports.dst_port == DHCP_SERVER_PORT {
                    self.take_local(bytes);
                } else if own && is_outside(to) {
                    let to = SocketAddrV4::new(to, ports.dst_port);
                    let data = packet.payload();
                    self.datagrams.send(guest, ports.src_port, to, data);
                }
            }
            IpProtocol::Tcp if own && is_outside(to) => {
                self.take_segment(guest, to, payload, packet.payload())?;
            }
            _ => {}
        }
        Some(())
    }

    fn take_segment(
        &mut self,
        guest: Host,
        to: std::net::Ipv4Addr,
        packet: &[u8],
        segment: &[u8],
    ) -> Option<()> {
        let parsed = TcpPacket::new_checked(segment).ok()?;
        let caps = ChecksumCapabilities::default();
        let segment = TcpRepr::parse(&parsed, &guest.ip.into(), &to.into(), &caps).ok()?;
        let remote = SocketAddrV4::new(to, segment.dst_port);
        let known = |flow: &&Flow| flow.is_of(guest.ip, segment.src_port, remote);
        if let Some(flow) = self.flows.iter().find(known) {
            // A SYN that is repeated while the host's connection is made has its answer then.
            if flow.is_open() {
                self.packets.incoming.push_back(packet.to_vec());
                self.poll_stack();
            }
            return Some(());
        }
        let opens = segment.control == TcpControl::Syn && segment.ack_number.is_none();
        if opens && self.flows.len() < MAX_FLOWS {
            let flow = Flow::connect(guest, segment.src_port, remote, packet.to_vec());
            if let Ok(flow) = flow {
                self.flows.push(flow);
                return Some(());
            }
        }
        self.refuse(guest, to, &segment);
        Some(())
    }

    /// Answers a segment with a reset.
    fn refuse(&self, guest: Host, to: std::net::Ipv4Addr, segment: &TcpRepr<'_>) {
        if let Some(reset) = frame::reset(segment) {
            let frame = frame::tcp(to, guest, &reset);
            self.link.give(std::iter::once(frame));
        }
    }

    /// Takes connections that were made to ports of the host.
    fn accept(&mut self) {
        for index in 0..self.forwards.len() {
            for _ in 0..ACCEPTS {
                if self.flows.len() >= MAX_FLOWS {
                    return;
                }
                let Ok((stream, _)) = self.forwards[index].listener.accept() else {
                    break;
                };
                self.accepted = self.accepted.wrapping_add(1);
                let (interface, sockets) = (&mut self.interface, &mut self.sockets);
                let port = self.forwards[index].guest;
                let flow = Flow::accepted(stream, port, self.accepted, interface, sockets);
                self.flows.extend(flow);
            }
        }
    }

    /// Moves what came from the guest to the host, and back.
    fn move_data(&mut self) {
        let mut index = 0;
        while index < self.flows.len() {
            match self.flows[index].go_on(&mut self.sockets) {
                Outcome::Goes => index += 1,
                Outcome::Over => self.flows.remove(index).remove(&mut self.sockets),
                Outcome::Refused(syn) => {
                    let flow = self.flows.remove(index);
                    // It was parsed before.
                    let _ = self.refuse_packet(&flow, &syn);
                }
                Outcome::Made(syn) => {
                    if self.flows[index].listen(&mut self.sockets) {
                        // At once: no other connection to the same place may take its turn.
                        self.packets.incoming.push_back(syn);
                        self.poll_stack();
                    }
                    index += 1;
                }
            }
        }
    }

    /// Tells the guest that a connection cannot be made.
    fn refuse_packet(&self, flow: &Flow, syn: &[u8]) -> Option<()> {
        let (guest, to) = (flow.guest, *flow.remote.ip());
        let packet = Ipv4Packet::new_checked(syn).ok()?;
        let packet = TcpPacket::new_checked(packet.payload()).ok()?;
        let caps = ChecksumCapabilities::ignored();
        let segment = TcpRepr::parse(&packet, &guest.ip.into(), &to.into(), &caps).ok()?;
        self.refuse(guest, to, &segment);
        Some(())
    }
}

/// Returns whether a packet of the guest's for this address leaves its network, or is for the host.
fn is_outside(ip: std::net::Ipv4Addr) -> bool {
    let special = ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() || ip.is_loopback();
    let near = ip.octets()[..3] == PEER_IP.octets()[..3];
    !special && (!near || ip == PEER_IP)
}
