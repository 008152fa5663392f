//! Addresses of the guest's network, and limits.

use std::net::Ipv4Addr;

/// Octets of an Ethernet header: two addresses and a type (IEEE 802.3, 3.2).
pub const ETHERNET_HEADER: usize = 14;
/// The most octets of an IPv4 packet on the network (RFC 894).
pub const MTU: u16 = 1500;
/// The most octets of a frame, without its check sequence.
pub const MAX_FRAME: usize = ETHERNET_HEADER + MTU as usize;

/// The other end: gateway, name server and host of all services.
pub const PEER_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The address that the guest gets by DHCP.
pub const GUEST_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The mask of the network.
pub const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// The Ethernet address of the other end: of the range for local use (IEEE 802, the second bit).
pub const PEER_MAC: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];
/// Seconds for which the guest may keep its address.
pub const LEASE_S: u32 = 86_400;

/// Port of the echo service (RFC 862), by UDP and TCP.
pub const ECHO_PORT: u16 = 7;
/// Port of the name server (RFC 1035).
pub const DNS_PORT: u16 = 53;
/// Port of the DHCP server (RFC 2131).
pub const DHCP_SERVER_PORT: u16 = 67;
/// Port of a DHCP client (RFC 2131).
pub const DHCP_CLIENT_PORT: u16 = 68;
/// Port of the TFTP server (RFC 1350).
pub const TFTP_PORT: u16 = 69;
/// Port of the HTTP server.
pub const HTTP_PORT: u16 = 80;

/// The most frames that wait for the guest to make room; further ones are dropped.
pub const MAX_WAITING: usize = 256;
/// The most TCP connections at a time; further ones are refused.
pub const MAX_CONNECTIONS: usize = 64;
/// The most TFTP transfers at a time; a further one takes the place of the oldest.
pub const MAX_TRANSFERS: usize = 16;
