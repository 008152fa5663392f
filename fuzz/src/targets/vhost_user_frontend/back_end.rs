//! The back end of a case: it keeps to the protocol as long as it is honest.

use std::os::unix::net::UnixStream;

use viommu_vhost_user::wire::{Connection, IotlbKind, IotlbMessage, Message};
use vm_memory::Permissions;

use super::{FEATURES, PAGE, PAGES};

/// What a page of IOVAs leads to.
pub type Pages = [Option<(u64, Permissions)>; PAGES as usize];

/// The back end.
pub struct BackEnd {
    pub connection: Connection,
    /// Its own channel, once it has it.
    pub upstream: Option<Connection>,
    pub honest: bool,
    pub told: Pages,
    /// How many regions of memory were added.
    slots: u8,
}

impl BackEnd {
    pub const fn new(stream: UnixStream, honest: bool) -> Self {
        Self {
            connection: Connection::new(stream),
            upstream: None,
            honest,
            told: [None; PAGES as usize],
            slots: 0,
        }
    }

    /// Reads what it was sent, and answers if it is honest. Returns whether it is.
    pub fn listen(&mut self) -> bool {
        while let Ok(Some(mut message)) = self.connection.try_receive() {
            match message.request {
                // SET_MEM_TABLE and REM_MEM_REG: what led to memory is forgotten.
                5 | 38 => self.told = Pages::default(),
                21 => {
                    let fd = message.take_fd().expect("it is one");
                    self.upstream = Some(Connection::new(UnixStream::from(fd)));
                }
                22 => self.about_iotlb(&message),
                _ => {}
            }
            if self.honest {
                self.answer(&message);
            }
        }
        self.honest
    }

    fn about_iotlb(&mut self, message: &Message) {
        let about = IotlbMessage::from_frontend(message).expect("it is one");
        let update = about.kind == IotlbKind::Update;
        let first = about.iova / PAGE;
        let last = about.last().expect("it has a last") / PAGE;
        for (page, number) in self.told.iter_mut().zip(0..) {
            if (first..=last).contains(&number) {
                let to = about.user_address / PAGE + (number - first);
                *page = update.then_some((to, about.permissions));
            }
        }
        assert!(message.needs_reply);
    }

    fn answer(&mut self, message: &Message) {
        let mut reply = Message::reply(message.request);
        match message.request {
            1 => reply = reply.with(&(FEATURES | 1 << 30)),
            // All features of the protocol that there are, and some that there are not.
            15 => reply = reply.with(&u64::MAX),
            17 => reply = reply.with(&1u64),
            // The state of a ring: its index, and where it stopped.
            11 => {
                reply.payload = message.payload.clone();
                reply.payload[4..].copy_from_slice(&3u32.to_ne_bytes());
            }
            24 => {
                reply.payload = message.payload.clone();
                reply.payload[12..].fill(7);
            }
            37 => {
                self.slots += 1;
                reply = reply.with(&0u64);
            }
            // A region that is not there cannot be removed.
            38 => {
                let refused = self.slots == 0;
                self.slots -= u8::from(!refused);
                reply = reply.with(&u64::from(refused));
            }
            _ if message.needs_reply => reply = reply.with(&0u64),
            _ => return,
        }
        let _ = self.connection.post(&reply);
    }
}
