//! One TCP connection (RFC 9293), as the side that was connected to, and as plain data.
//!
//! The network loses nothing between the peer and the guest's memory, so there is no congestion
//! control: as much is under way as the guest's window allows. What the guest itself drops, or a
//! fault plan does, is sent again from the first octet that is missing.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};

use super::service::Service;
use crate::folder::Folder;
use crate::frame::{self, Host};
use crate::spec::MTU;

/// Octets of the headers of a segment without options.
const HEADERS: u16 = 40;
/// The most octets of data in a segment.
const MAX_SEGMENT: u16 = MTU - HEADERS;
/// The least, whatever a guest asks for: each segment is work.
const MIN_SEGMENT: u16 = 64;
/// The size of a segment that every host takes (RFC 9293, 3.7.1).
const DEFAULT_SEGMENT: u16 = 536;
/// The most octets under way.
const MAX_UNDER_WAY: u64 = 256 << 10;
/// Nanoseconds after which a segment is sent again the first time; twice as many each further time.
const RETRY_NS: u64 = 200_000_000;
/// Times that it is sent again before the guest is taken to be gone.
const MAX_TRIES: u8 = 8;
/// The largest shift of a window (RFC 7323, 2.3).
const MAX_SCALE: u8 = 14;
/// Acknowledgements of the same octet after which the next one is taken to be lost (RFC 5681, 3.2).
const DUPLICATES: u8 = 3;

/// A connection. Octets of the sequence space that we send are counted from 0, which is the SYN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    mac: [u8; 6],
    ip: Ipv4Addr,
    guest_port: u16,
    port: u16,
    /// The sequence number of octet 0.
    initial: u32,
    /// The first octet that the guest has not acknowledged.
    unacknowledged: u64,
    /// The next octet to be sent.
    next: u64,
    /// The octet behind the last that was ever sent.
    sent: u64,
    /// Octets that the guest has room for.
    window: u32,
    /// The shift of later windows, if both sides use it.
    scale: Option<u8>,
    /// The most octets of a segment.
    segment: u16,
    /// The sequence number that the guest sends next.
    expected: u32,
    /// Whether the guest has sent its FIN.
    guest_closed: bool,
    /// Whether the guest is to be told what has come.
    owes: bool,
    duplicates: u8,
    /// When octets are sent again.
    due_ns: Option<u64>,
    tries: u8,
    service: Service,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on.
    Open,
    /// It is over.
    Over,
}

impl Connection {
    /// Creates the connection that a SYN from `host` asks for.
    pub(super) fn new(now_ns: u64, host: Host, syn: &TcpRepr<'_>, service: Service) -> Self {
        // A clock of 4 microseconds, as RFC 9293, 3.4.1, has it; different for each port.
        #[expect(clippy::cast_possible_truncation, reason = "the clock wraps")]
        let initial = (now_ns / 4000) as u32 ^ u32::from(syn.src_port) << 16;
        Self {
            mac: host.mac,
            ip: host.ip,
            guest_port: syn.src_port,
            port: syn.dst_port,
            initial,
            unacknowledged: 0,
            next: 0,
            sent: 0,
            // The window of a SYN is never shifted.
            window: syn.window_len.into(),
            scale: syn.window_scale.map(|scale| scale.min(MAX_SCALE)),
            segment: syn
                .max_seg_size
                .unwrap_or(DEFAULT_SEGMENT)
                .clamp(MIN_SEGMENT, MAX_SEGMENT),
            expected: number(syn.seq_number).wrapping_add(1),
            guest_closed: false,
            owes: false,
            duplicates: 0,
            due_ns: None,
            tries: 0,
            service,
        }
    }

    pub(super) fn host(&self) -> Host {
        Host {
            mac: self.mac,
            ip: self.ip,
        }
    }

    /// Returns whether segments from `ip` with these ports belong to it.
    pub(super) fn is_of(&self, ip: Ipv4Addr, guest_port: u16, port: u16) -> bool {
        (self.ip, self.guest_port, self.port) == (ip, guest_port, port)
    }

    /// Returns when it does something by itself.
    pub(super) const fn due_ns(&self) -> Option<u64> {
        self.due_ns
    }

    /// Returns whether it waits for nothing but the guest's FIN.
    pub(super) fn is_done(&self) -> bool {
        self.service.is_complete() && self.unacknowledged == self.end()
    }

    /// Returns the octet behind the last that is there to be sent, with the FIN if that is known.
    fn end(&self) -> u64 {
        let data = self.service.total().saturating_add(1);
        data.saturating_add(self.service.is_complete().into())
    }

    /// Takes a segment of the guest's.
    pub(super) fn take(&mut self, now_ns: u64, segment: &TcpRepr<'_>, folder: &Folder) -> Fate {
        let start = number(segment.seq_number);
        if segment.control == TcpControl::Rst {
            // Any other number may be from another connection (RFC 5961, 3.2).
            return match start == self.expected {
                true => Fate::Over,
                false => Fate::Open,
            };
        }
        if segment.control == TcpControl::Syn {
            // Ours was lost if the guest repeats its own; otherwise it is told where we are.
            match self.unacknowledged == 0 && start.wrapping_add(1) == self.expected {
                true => self.next = 0,
                false => self.owes = true,
            }
            return Fate::Open;
        }
        let Some(acknowledged) = segment.ack_number.map(number) else {
            return Fate::Open;
        };
        if !self.take_acknowledgement(now_ns, acknowledged, segment) {
            return Fate::Open;
        }
        self.take_data(start, segment, folder);
        let over = self.guest_closed && self.is_done() && !self.owes;
        if over { Fate::Over } else { Fate::Open }
    }

    /// Returns whether the rest of the segment counts.
    fn take_acknowledgement(&mut self, now_ns: u64, number: u32, segment: &TcpRepr<'_>) -> bool {
        let more = number.wrapping_sub(self.sequence(self.unacknowledged));
        if u64::from(more) > self.sent - self.unacknowledged {
            // What was never sent, unless it is an old segment.
            self.owes = true;
            return more >= 1 << 31 && self.unacknowledged > 0;
        }
        let window = u32::from(segment.window_len) << self.scale.unwrap_or(0);
        let same = more == 0 && segment.payload.is_empty() && window == self.window;
        if same && segment.control != TcpControl::Fin && self.unacknowledged < self.sent {
            self.duplicates = self.duplicates.saturating_add(1);
            if self.duplicates == DUPLICATES {
                self.next = self.unacknowledged;
            }
        }
        if more > 0 {
            self.duplicates = 0;
            self.tries = 0;
            self.unacknowledged += u64::from(more);
            self.next = self.next.max(self.unacknowledged);
            self.service.acknowledged(self.unacknowledged - 1);
            self.due_ns = (self.unacknowledged < self.sent).then(|| self.retry(now_ns));
        }
        self.window = window;
        // A guest without room tells when it has some, and that may be lost.
        if window == 0 && self.unacknowledged < self.end() && self.due_ns.is_none() {
            self.due_ns = Some(self.retry(now_ns));
        }
        self.unacknowledged > 0
    }

    fn take_data(&mut self, start: u32, segment: &TcpRepr<'_>, folder: &Folder) {
        let fin = segment.control == TcpControl::Fin;
        if segment.payload.is_empty() && !fin {
            // A guest that asks whether we are there repeats an octet without sending it.
            self.owes |= start != self.expected;
            return;
        }
        self.owes = true;
        let old = self.expected.wrapping_sub(start) as usize;
        // What is before its turn is sent again; no guest has reason to send so.
        let Some(new) = segment.payload.get(old..).filter(|_| !self.guest_closed) else {
            return;
        };
        let taken = self.service.take(new, folder);
        #[expect(clippy::cast_possible_truncation, reason = "a segment is short")]
        let taken_octets = taken as u32;
        self.expected = self.expected.wrapping_add(taken_octets);
        if fin && taken == new.len() {
            self.expected = self.expected.wrapping_add(1);
            self.guest_closed = true;
            self.service.close();
        }
    }

    /// Begins anew at the first octet that is missing if its time has come.
    pub(super) fn pass_time(&mut self, now_ns: u64) -> Fate {
        if self.due_ns.is_none_or(|due| due > now_ns) {
            return Fate::Open;
        }
        // A guest without room is there, however long it has none.
        if self.window > 0 {
            if self.tries >= MAX_TRIES {
                return Fate::Over;
            }
            self.tries += 1;
        }
        self.next = self.unacknowledged;
        // One octet, to be told the window.
        self.window = self.window.max(1);
        self.due_ns = Some(self.retry(now_ns));
        Fate::Open
    }

    /// Returns the next segment to be sent, if there is one now.
    pub(super) fn give<'a>(&'a mut self, now_ns: u64, folder: &'a Folder) -> Option<TcpRepr<'a>> {
        let mut segment = TcpRepr {
            seq_number: TcpSeqNumber(self.sequence(self.next).cast_signed()),
            ack_number: Some(TcpSeqNumber(self.expected.cast_signed())),
            #[expect(clippy::cast_possible_truncation, reason = "services have less room")]
            window_len: self.service.room() as u16,
            ..frame::empty(self.port, self.guest_port)
        };
        let mut octets = 0;
        if self.next == 0 {
            segment.control = TcpControl::Syn;
            segment.max_seg_size = Some(MAX_SEGMENT);
            // That we take the guest's shift; ours is none.
            segment.window_scale = self.scale.map(|_| 0);
            octets = 1;
        } else if self.unacknowledged > 0 {
            let limit = u64::from(self.window).min(MAX_UNDER_WAY);
            let room = (self.unacknowledged + limit).saturating_sub(self.next);
            let at = self.next - 1;
            let len = usize::try_from(room.min(self.segment.into())).unwrap_or(0);
            segment.payload = self.service.data(at, len, folder);
            octets = segment.payload.len() as u64;
            if octets > 0 {
                segment.control = TcpControl::Psh;
            } else if self.service.is_complete() && self.next + 1 == self.end() {
                segment.control = TcpControl::Fin;
                octets = 1;
            }
        }
        if octets == 0 && !self.owes {
            return None;
        }
        self.owes = false;
        self.next += octets;
        self.sent = self.sent.max(self.next);
        if octets > 0 && self.due_ns.is_none() {
            self.due_ns = Some(now_ns.saturating_add(RETRY_NS << self.tries.min(MAX_TRIES)));
        }
        Some(segment)
    }

    /// Returns whether nothing will happen on it any more.
    pub(super) fn is_over(&self) -> bool {
        self.guest_closed && self.is_done() && !self.owes
    }

    /// Returns whether a peer that serves `folder` can have it.
    pub(super) fn is_possible(&self, folder: &Folder) -> bool {
        let octets = [self.unacknowledged, self.next, self.sent, self.end()];
        let data = self.unacknowledged.saturating_sub(1);
        let data = data.min(self.service.total());
        octets.is_sorted()
            // Sums with a window stay far below the limit of the type.
            && self.end() < 1 << 62
            && self.sent - self.unacknowledged <= 1 << 30
            && (MIN_SEGMENT..=MAX_SEGMENT).contains(&self.segment)
            && self.scale.is_none_or(|scale| scale <= MAX_SCALE)
            && self.tries <= MAX_TRIES
            && self.service.is_possible(self.port, data, folder)
    }

    fn retry(&self, now_ns: u64) -> u64 {
        now_ns.saturating_add(RETRY_NS << self.tries.min(MAX_TRIES))
    }

    /// Returns the sequence number of an octet.
    #[expect(clippy::cast_possible_truncation, reason = "the numbers wrap")]
    fn sequence(&self, octet: u64) -> u32 {
        self.initial.wrapping_add(octet as u32)
    }
}

/// Returns a sequence number without a sign.
const fn number(number: TcpSeqNumber) -> u32 {
    number.0.cast_unsigned()
}
