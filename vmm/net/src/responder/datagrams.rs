//! What is answered to datagrams: DHCP, DNS, echo and TFTP.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, DnsFlags, DnsOpcode, DnsPacket,
    DnsQueryType, DnsQuestion, DnsRcode, UdpPacket, UdpRepr,
};

use super::{Responder, is_host};
use crate::frame::{self, Host};
use crate::spec::{
    DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DNS_PORT, ECHO_PORT, GUEST_IP, LEASE_S, MAX_TRANSFERS,
    NETMASK, PEER_IP, TFTP_PORT,
};

/// Option "domain name server" (RFC 2132, 3.8).
const DHCP_DNS: u8 = 6;
/// Octets of a DNS header (RFC 1035, 4.1.1).
const DNS_HEADER: u8 = 12;
/// Seconds for which an answer about a name may be kept.
const DNS_TTL_S: u32 = 60;

/// Octets of a block (RFC 1350, 2).
const BLOCK: usize = 512;
/// The first of the ports from which files are sent, and how many there are.
const TRANSFER_PORTS: (u16, u16) = (10_000, 1_000);
const OP_READ: u16 = 1;
const OP_WRITE: u16 = 2;
const OP_DATA: u16 = 3;
const OP_ACK: u16 = 4;
const OP_ERROR: u16 = 5;
const ERROR_NOT_FOUND: u16 = 1;
const ERROR_ACCESS: u16 = 2;

/// A file that is sent by TFTP. Which block comes next, the guest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    ip: Ipv4Addr,
    guest_port: u16,
    port: u16,
    file: usize,
    /// The number of the last block that was sent, counted from 1.
    block: u64,
}

impl Transfer {
    /// Returns the number of the file.
    pub(super) const fn file(&self) -> usize {
        self.file
    }
}

impl Responder {
    pub(super) fn take_datagram(&mut self, from: Host, to: Ipv4Addr, payload: &[u8]) -> Option<()> {
        let packet = UdpPacket::new_checked(payload).ok()?;
        let caps = ChecksumCapabilities::default();
        let header = UdpRepr::parse(&packet, &from.ip.into(), &to.into(), &caps).ok()?;
        let (src, dst, data) = (header.src_port, header.dst_port, packet.payload());
        if dst == DHCP_SERVER_PORT && src == DHCP_CLIENT_PORT {
            return self.take_dhcp(from, data);
        }
        if to != PEER_IP || !is_host(from.ip) {
            return None;
        }
        let answer = match dst {
            // Never to another echo service: the two would go on for ever.
            ECHO_PORT if src != ECHO_PORT => Some(data.to_vec()),
            DNS_PORT => dns(data),
            TFTP_PORT => return self.begin_transfer(from, src, data),
            _ => return self.go_on_with_transfer(from, src, dst, data),
        };
        self.send(frame::udp(from, dst, src, &answer?));
        Some(())
    }

    fn take_dhcp(&mut self, from: Host, data: &[u8]) -> Option<()> {
        let packet = DhcpPacket::new_checked(data).ok()?;
        let asked = DhcpRepr::parse(&packet).ok()?;
        let message_type = match asked.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request => {
                let other = asked.server_identifier.is_some_and(|ip| ip != PEER_IP);
                // The client took the offer of another server.
                if other {
                    return None;
                }
                match asked.requested_ip.unwrap_or(asked.client_ip) {
                    GUEST_IP => DhcpMessageType::Ack,
                    _ => DhcpMessageType::Nak,
                }
            }
            _ => return None,
        };
        let dns = [DhcpOption {
            kind: DHCP_DNS,
            data: &PEER_IP.octets(),
        }];
        let refused = message_type == DhcpMessageType::Nak;
        let some = |ip| (!refused).then_some(ip);
        let answer = DhcpRepr {
            message_type,
            transaction_id: asked.transaction_id,
            secs: 0,
            client_hardware_address: asked.client_hardware_address,
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: some(GUEST_IP).unwrap_or(Ipv4Addr::UNSPECIFIED),
            server_ip: PEER_IP,
            router: some(PEER_IP),
            subnet_mask: some(NETMASK),
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: asked.broadcast,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(PEER_IP),
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: (!refused).then_some(LEASE_S),
            renew_duration: None,
            rebind_duration: None,
            additional_options: if refused { &[] } else { &dns },
        };
        let mut bytes = vec![0; answer.buffer_len()];
        answer
            .emit(&mut DhcpPacket::new_unchecked(&mut bytes[..]))
            .ok()?;
        // To the client's own Ethernet address, which it takes whatever its IP address is.
        let to = Host {
            mac: from.mac,
            ip: Ipv4Addr::BROADCAST,
        };
        self.send(frame::udp(to, DHCP_SERVER_PORT, DHCP_CLIENT_PORT, &bytes));
        Some(())
    }

    fn begin_transfer(&mut self, from: Host, guest_port: u16, data: &[u8]) -> Option<()> {
        let (op, rest) = data.split_first_chunk::<2>()?;
        let mut words = rest.split(|byte| *byte == 0);
        let name = std::str::from_utf8(words.next()?).ok()?;
        let refuse = |code, why: &str| frame::udp(from, TFTP_PORT, guest_port, &error(code, why));
        let op = u16::from_be_bytes(*op);
        if op == OP_WRITE {
            self.send(refuse(ERROR_ACCESS, "nothing can be written here"));
            return Some(());
        }
        if op != OP_READ {
            return None;
        }
        let Some(file) = self.folder.find(name.trim_start_matches('/')) else {
            self.send(refuse(ERROR_NOT_FOUND, "there is no such file"));
            return Some(());
        };
        let (first, count) = TRANSFER_PORTS;
        let transfer = Transfer {
            ip: from.ip,
            guest_port,
            port: first + self.state.begun % count,
            file,
            block: 1,
        };
        self.state.begun = self.state.begun.wrapping_add(1);
        let transfers = &mut self.state.transfers;
        // One for each of the guest's ports: a request that is repeated begins anew.
        transfers.retain(|other| (other.ip, other.guest_port) != (from.ip, guest_port));
        if transfers.len() >= MAX_TRANSFERS {
            transfers.remove(0);
        }
        transfers.push(transfer);
        self.send_block(from, self.state.transfers.len() - 1)
    }

    fn go_on_with_transfer(&mut self, from: Host, src: u16, dst: u16, data: &[u8]) -> Option<()> {
        let mut all = self.state.transfers.iter();
        let index = all.position(|t| (t.ip, t.guest_port, t.port) == (from.ip, src, dst))?;
        let (op, rest) = data.split_first_chunk::<2>()?;
        if u16::from_be_bytes(*op) != OP_ACK {
            // An error ends the transfer.
            self.state.transfers.remove(index);
            return Some(());
        }
        let (acked, _) = rest.split_first_chunk::<2>()?;
        let transfer = self.state.transfers.get_mut(index)?;
        #[expect(clippy::cast_possible_truncation, reason = "the numbers wrap")]
        let behind = (transfer.block as u16).wrapping_sub(u16::from_be_bytes(*acked));
        match behind {
            0 => {
                let len = self.folder.file(transfer.file)?.data.len() as u64;
                // A block that is not full was the last.
                if transfer.block.saturating_mul(BLOCK as u64) > len {
                    self.state.transfers.remove(index);
                    return Some(());
                }
                transfer.block += 1;
                self.send_block(from, index)
            }
            // The block before is acknowledged once more: the last one was lost.
            1 => self.send_block(from, index),
            _ => None,
        }
    }

    /// Sends the block at which transfer `index` is.
    fn send_block(&mut self, to: Host, index: usize) -> Option<()> {
        let transfer = self.state.transfers.get(index)?;
        let file = self.folder.file(transfer.file)?;
        let start = transfer.block.checked_sub(1)?.checked_mul(BLOCK as u64)?;
        let rest = file.data.get(usize::try_from(start).ok()?..)?;
        let mut packet = OP_DATA.to_be_bytes().to_vec();
        #[expect(clippy::cast_possible_truncation, reason = "the numbers wrap")]
        packet.extend((transfer.block as u16).to_be_bytes());
        packet.extend(&rest[..rest.len().min(BLOCK)]);
        let frame = frame::udp(to, transfer.port, transfer.guest_port, &packet);
        self.send(frame);
        Some(())
    }
}

/// Returns an error of TFTP.
fn error(code: u16, why: &str) -> Vec<u8> {
    let mut packet = [OP_ERROR, code].map(u16::to_be_bytes).concat();
    packet.extend(why.as_bytes());
    packet.push(0);
    packet
}

/// Returns the answer to a question about a name.
fn dns(query: &[u8]) -> Option<Vec<u8>> {
    let packet = DnsPacket::new_checked(query).ok()?;
    if packet.opcode() != DnsOpcode::Query
        || packet.flags().contains(DnsFlags::RESPONSE)
        || packet.question_count() != 1
    {
        return None;
    }
    let (rest, question) = DnsQuestion::parse(packet.payload()).ok()?;
    let asked = packet.payload().len().checked_sub(rest.len())?;
    let mut name = String::new();
    for label in packet.parse_name(question.name) {
        let label = std::str::from_utf8(label.ok()?).ok()?;
        name.push_str(&label.to_ascii_lowercase());
        name.push('.');
    }
    let ip = match name.as_str() {
        "peer." => Some(PEER_IP),
        "guest." => Some(GUEST_IP),
        _ => None,
    };
    // A name that exists has no record of another kind: an answer without records.
    let record = ip.filter(|_| question.type_ == DnsQueryType::A);
    let mut answer = vec![0; DNS_HEADER.into()];
    answer.extend(packet.payload().get(..asked)?);
    let mut header = DnsPacket::new_unchecked(&mut answer[..]);
    header.set_transaction_id(packet.transaction_id());
    header.set_opcode(DnsOpcode::Query);
    let echoed = packet.flags() & DnsFlags::RECURSION_DESIRED;
    let flags = DnsFlags::RESPONSE | DnsFlags::AUTHORITATIVE | DnsFlags::RECURSION_AVAILABLE;
    header.set_flags(flags | echoed);
    header.set_question_count(1);
    header.set_answer_record_count(record.is_some().into());
    if let Some(ip) = record {
        // The name by a pointer to the question (RFC 1035, 4.1.4), type A, class IN.
        answer.extend([0xc0, DNS_HEADER, 0, 1, 0, 1]);
        answer.extend(DNS_TTL_S.to_be_bytes());
        answer.extend([0, 4]);
        answer.extend(ip.octets());
    }
    if ip.is_none() {
        // The code for a name that does not exist, in the low bits of the fourth octet.
        answer[3] = answer[3] & 0xf0 | u8::from(DnsRcode::NXDomain);
    }
    Some(answer)
}
