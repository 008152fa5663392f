//! `smoltcp`'s stack as the other end of all connections of the guest's, by IP packets.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};

use crate::spec::{MTU, PEER_IP};

/// The most packets that wait for the guest in the stack.
const MAX_PACKETS: usize = 256;

/// Packets on their way from and to the stack.
#[derive(Default)]
pub(super) struct Packets {
    pub incoming: VecDeque<Vec<u8>>,
    pub outgoing: VecDeque<Vec<u8>>,
    /// Whether the guest takes no more for now.
    pub full: bool,
}

pub(super) struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub(super) struct Sent<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Packets {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sent<'_>)> {
        let packet = self.incoming.pop_front()?;
        Some((Received(packet), Sent(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sent<'_>> {
        let room = !self.full && self.outgoing.len() < MAX_PACKETS;
        room.then_some(Sent(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU.into();
        capabilities
    }
}

/// Returns a stack that takes packets for every address.
pub(super) fn interface(packets: &mut Packets, seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    // Of the numbers of connections that lead to the guest.
    config.random_seed = seed;
    let mut interface = Interface::new(config, packets, Instant::ZERO);
    interface.update_ip_addrs(|addresses| {
        // It has room for one.
        let _ = addresses.push(IpCidr::new(PEER_IP.into(), 24));
    });
    interface.set_any_ip(true);
    // Packets for other addresses are taken if the way there leads through one of its own.
    let _ = interface.routes_mut().add_default_ipv4_route(PEER_IP);
    interface
}
