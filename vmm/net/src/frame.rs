//! Frames, packets and segments, as the peer writes them.

use std::net::Ipv4Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr,
    TcpSeqNumber, UdpPacket, UdpRepr,
};

use crate::spec::{ETHERNET_HEADER, PEER_IP, PEER_MAC};

/// Octets of an IPv4 header without options.
const IP_HEADER: usize = 20;
/// The usual number of hops that a packet may take (RFC 1700).
const HOP_LIMIT: u8 = 64;

/// The addresses of a host that a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// Of its interface.
    pub mac: [u8; 6],
    /// Of the host.
    pub ip: Ipv4Addr,
}

/// Returns a frame with room for `len` octets of payload.
fn ethernet(mac: [u8; 6], kind: EthernetProtocol, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; ETHERNET_HEADER + len];
    let header = EthernetRepr {
        src_addr: EthernetAddress(PEER_MAC),
        dst_addr: EthernetAddress(mac),
        ethertype: kind,
    };
    header.emit(&mut EthernetFrame::new_unchecked(&mut bytes[..]));
    bytes
}

/// Returns the frame of an ARP packet for `mac`.
pub(crate) fn arp(mac: [u8; 6], packet: &ArpRepr) -> Vec<u8> {
    let mut bytes = ethernet(mac, EthernetProtocol::Arp, packet.buffer_len());
    packet.emit(&mut ArpPacket::new_unchecked(&mut bytes[ETHERNET_HEADER..]));
    bytes
}

/// Returns a frame with an IPv4 packet from `from`, whose payload of `len` octets `write` writes.
fn ipv4(
    from: Ipv4Addr,
    to: Host,
    protocol: IpProtocol,
    len: usize,
    write: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let mut bytes = ethernet(to.mac, EthernetProtocol::Ipv4, IP_HEADER + len);
    let header = Ipv4Repr {
        src_addr: from,
        dst_addr: to.ip,
        next_header: protocol,
        payload_len: len,
        hop_limit: HOP_LIMIT,
    };
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[ETHERNET_HEADER..]);
    header.emit(&mut packet, &ChecksumCapabilities::default());
    write(&mut bytes[ETHERNET_HEADER + IP_HEADER..]);
    bytes
}

/// Returns the frame of an ICMP message from the peer.
pub(crate) fn icmp(to: Host, message: &Icmpv4Repr<'_>) -> Vec<u8> {
    ipv4(
        PEER_IP,
        to,
        IpProtocol::Icmp,
        message.buffer_len(),
        |room| {
            let mut packet = Icmpv4Packet::new_unchecked(room);
            message.emit(&mut packet, &ChecksumCapabilities::default());
        },
    )
}

/// Returns the frame of an IP packet for `mac`.
pub(crate) fn of(mac: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let mut bytes = ethernet(mac, EthernetProtocol::Ipv4, packet.len());
    bytes[ETHERNET_HEADER..].copy_from_slice(packet);
    bytes
}

/// Returns the frame of a datagram from port `src` of the peer to port `dst`.
pub(crate) fn udp(to: Host, src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    udp_from(PEER_IP, to, src, dst, payload)
}

/// Returns the frame of a datagram from port `src` of `from` to port `dst`.
pub(crate) fn udp_from(from: Ipv4Addr, to: Host, src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let header = UdpRepr {
        src_port: src,
        dst_port: dst,
    };
    let len = header.header_len() + payload.len();
    ipv4(from, to, IpProtocol::Udp, len, |room| {
        header.emit(
            &mut UdpPacket::new_unchecked(room),
            &from.into(),
            &to.ip.into(),
            payload.len(),
            |data| data.copy_from_slice(payload),
            &ChecksumCapabilities::default(),
        );
    })
}

/// Returns the frame of a TCP segment from `from`.
pub(crate) fn tcp(from: Ipv4Addr, to: Host, segment: &TcpRepr<'_>) -> Vec<u8> {
    ipv4(from, to, IpProtocol::Tcp, segment.buffer_len(), |room| {
        segment.emit(
            &mut TcpPacket::new_unchecked(room),
            &from.into(),
            &to.ip.into(),
            &ChecksumCapabilities::default(),
        );
    })
}

/// Returns the reset that answers a segment of no connection (RFC 9293, 3.10.7.1), unless it is one
/// itself.
pub(crate) fn reset(segment: &TcpRepr<'_>) -> Option<TcpRepr<'static>> {
    if segment.control == TcpControl::Rst {
        return None;
    }
    let behind = segment.seq_number + segment.segment_len();
    Some(TcpRepr {
        control: TcpControl::Rst,
        seq_number: segment.ack_number.unwrap_or(TcpSeqNumber(0)),
        ack_number: match segment.ack_number {
            Some(_) => None,
            None => Some(behind),
        },
        ..empty(segment.dst_port, segment.src_port)
    })
}

/// Returns a segment from one port to another that says nothing.
pub fn empty<'a>(from: u16, to: u16) -> TcpRepr<'a> {
    TcpRepr {
        src_port: from,
        dst_port: to,
        control: TcpControl::None,
        seq_number: TcpSeqNumber(0),
        ack_number: None,
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    }
}
