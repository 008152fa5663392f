//! TCP: which segment belongs to which connection.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{TcpControl, TcpPacket, TcpRepr};

use super::Responder;
use super::connection::{Connection, Fate};
use super::service::Service;
use crate::frame::{self, Host};
use crate::spec::{MAX_CONNECTIONS, PEER_IP};

impl Responder {
    pub(super) fn take_segment(&mut self, now_ns: u64, from: Host, payload: &[u8]) -> Option<()> {
        let packet = TcpPacket::new_checked(payload).ok()?;
        let caps = ChecksumCapabilities::default();
        let segment = TcpRepr::parse(&packet, &from.ip.into(), &PEER_IP.into(), &caps).ok()?;
        let (guest_port, port) = (segment.src_port, segment.dst_port);
        let connections = &mut self.state.connections;
        let known = connections
            .iter()
            .position(|c| c.is_of(from.ip, guest_port, port));
        if let Some(index) = known {
            let fate = connections[index].take(now_ns, &segment, &self.folder);
            if fate == Fate::Over {
                connections.remove(index);
            }
            return Some(());
        }
        let opens = segment.control == TcpControl::Syn && segment.ack_number.is_none();
        match Service::at(port).filter(|_| opens && self.make_room()) {
            Some(service) => {
                let connection = Connection::new(now_ns, from, &segment, service);
                self.state.connections.push(connection);
            }
            None => self.refuse(from, &segment),
        }
        Some(())
    }

    /// Returns whether there is room for a connection. One that only the guest keeps open gives
    /// way.
    fn make_room(&mut self) -> bool {
        let connections = &mut self.state.connections;
        if connections.len() < MAX_CONNECTIONS {
            return true;
        }
        match connections.iter().position(Connection::is_done) {
            Some(index) => {
                connections.remove(index);
                true
            }
            None => false,
        }
    }

    /// Answers a segment of no connection with a reset.
    fn refuse(&mut self, from: Host, segment: &TcpRepr<'_>) {
        if let Some(reset) = frame::reset(segment) {
            self.send(frame::tcp(PEER_IP, from, &reset));
        }
    }

    /// Returns the next segment of a connection, each of which is the first to be asked in turn.
    pub(super) fn next_segment(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        let connections = &mut self.state.connections;
        connections.retain_mut(|connection| connection.pass_time(now_ns) == Fate::Open);
        let count = connections.len();
        // A saved number may be any.
        let first = self.state.turn.checked_rem(count)?;
        for index in (first..count).chain(0..first) {
            let host = connections[index].host();
            let Some(segment) = connections[index].give(now_ns, &self.folder) else {
                continue;
            };
            let frame = frame::tcp(PEER_IP, host, &segment);
            self.state.turn = index + 1;
            if connections[index].is_over() {
                connections.remove(index);
            }
            return Some(frame);
        }
        None
    }
}
