//! A hostile back end of a vhost-user device, and a VMM in front of it: the VMM comes to no harm
//! and to an end, and as long as the back end keeps to the protocol, what it was told is what the
//! device's endpoint meets.

#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers of pages are small"
)]

use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::AsFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use viommu::{Attachment, DmaListener, DomainId, Mapping};
use viommu_vhost_user::frontend::{BackendChannel, Frontend, Listener, MemoryRegion, Translations};
use viommu_vhost_user::wire::{Connection, IotlbKind, IotlbMessage, Message};
use vm_memory::Permissions;

use super::rest::Rest;

/// Steps of one case.
const STEPS: usize = 96;
const PAGE: u64 = 0x1000;
/// Pages of IOVAs, and of memory.
const PAGES: u64 = 8;
const MEMORY: u64 = 5;
/// A back end that answers does so before it is asked, so this is how long silence takes.
const TIMEOUT: Duration = Duration::from_millis(2);
/// `VIRTIO_F_VERSION_1` and `VIRTIO_F_ACCESS_PLATFORM`.
const FEATURES: u64 = 1 << 32 | 1 << 33;

/// A step.
#[derive(Arbitrary, Debug)]
enum Step {
    Map {
        iova: u8,
        page: u8,
        pages: u8,
        write: bool,
    },
    Unmap {
        iova: u8,
        pages: u8,
    },
    Attach(u8),
    Settle,
    Miss {
        iova: u8,
        write: bool,
        acknowledged: bool,
    },
    Failed(u8),
    Queue(u8),
    Config {
        offset: u16,
        size: u8,
        writes: bool,
    },
    Memory,
    Reset,
    Reconnect,
    /// From here on the back end does not keep to the protocol.
    Reply {
        request: u8,
        flags: u8,
        payload: Vec<u8>,
    },
    Bytes(Vec<u8>),
    Upstream {
        request: u8,
        flags: u8,
        payload: Vec<u8>,
    },
    UpstreamBytes(Vec<u8>),
    Silence,
    Close,
}

/// What a page of IOVAs leads to.
type Pages = [Option<(u64, Permissions)>; PAGES as usize];

/// The back end.
struct BackEnd {
    connection: Connection,
    /// Its own channel, once it has it.
    upstream: Option<Connection>,
    honest: bool,
    told: Pages,
}

impl BackEnd {
    /// Puts the answer to a request where it will be looked for.
    fn answer(&mut self, request: u32, number: u64) {
        if self.honest {
            let reply = Message::reply(request).with(&number);
            let _ = self.connection.send(&reply, &[], None);
        }
    }

    /// Reads what it was sent, and acknowledges what is about the IOTLB.
    fn listen(&mut self) {
        while let Ok(Some(mut message)) = self.connection.try_receive() {
            if message.request == 21
                && let Ok(fd) = message.take_fd()
            {
                self.upstream = Some(Connection::new(UnixStream::from(fd)));
            }
            if message.request != 22 {
                continue;
            }
            let about = IotlbMessage::from_frontend(&message).expect("it is one");
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
            self.answer(22, 0);
        }
    }
}

struct Vmm {
    frontend: Frontend,
    listener: Box<Listener>,
    channel: Option<BackendChannel>,
    region: MemoryRegion,
    back_end: BackEnd,
    /// What is mapped: first, last and page of memory.
    mapped: Vec<Mapping>,
    to: Attachment,
}

fn back_end(stream: UnixStream, honest: bool) -> BackEnd {
    BackEnd {
        connection: Connection::new(stream),
        upstream: None,
        honest,
        told: Pages::default(),
    }
}

impl Vmm {
    fn new() -> Self {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memfd = memfd_create("guest", flags).expect("there are memfds");
        ftruncate(&memfd, MEMORY * PAGE).expect("it grows");
        fcntl_add_seals(&memfd, SealFlags::SHRINK).expect("it is sealed");
        let (ours, theirs) = UnixStream::pair().expect("there are sockets");
        let frontend = Frontend::new(ours, TIMEOUT, Translations::Told);
        let mut this = Self {
            listener: frontend.listener(),
            frontend,
            channel: None,
            region: MemoryRegion {
                guest_address: 0,
                size: MEMORY * PAGE,
                file: Arc::new(File::from(memfd)),
                offset: 0,
            },
            back_end: back_end(theirs, true),
            mapped: Vec::new(),
            to: Attachment::Blocked,
        };
        this.set_up();
        this
    }

    /// Does what follows a connection.
    fn set_up(&mut self) {
        let back_end = &mut self.back_end;
        back_end.answer(1, FEATURES | 1 << 30);
        // All features of the protocol that there are, and some that there are not.
        back_end.answer(15, u64::MAX);
        back_end.answer(3, 0);
        back_end.answer(17, 1);
        let begun = self.frontend.begin();
        assert_eq!(begun.is_ok(), self.back_end.honest);
        self.back_end.answer(21, 0);
        self.channel = self.frontend.open_backend_channel().ok();
        self.back_end.answer(2, 0);
        let _ = self.frontend.set_features(FEATURES);
        self.share();
    }

    fn share(&mut self) {
        self.back_end.answer(5, 0);
        let shared = self.frontend.set_memory(std::slice::from_ref(&self.region));
        assert!(shared.is_ok() || !self.back_end.honest);
        self.back_end.listen();
    }

    /// Asserts that the back end was told what there is.
    fn check(&mut self) {
        self.back_end.listen();
        if !self.back_end.honest {
            return;
        }
        let mut expected = Pages::default();
        for mapping in &self.mapped {
            for page in mapping.first / PAGE..=mapping.last / PAGE {
                let to = (mapping.address + (page * PAGE - mapping.first)) / PAGE;
                expected[page as usize] = (to < MEMORY).then_some((to, mapping.permissions));
            }
        }
        if self.to == Attachment::Bypass {
            for page in 0..MEMORY {
                expected[page as usize] = Some((page, Permissions::ReadWrite));
            }
        }
        assert_eq!(self.back_end.told, expected);
        self.settle();
        assert!(self.frontend.is_alive());
    }

    /// Polls until all is settled, which has an end.
    fn settle(&mut self) {
        self.listener.commit();
        while !self.listener.is_settled() {
            self.back_end.listen();
        }
    }

    fn map(&mut self, iova: u8, page: u8, pages: u8, write: bool) {
        let iova = u64::from(iova) % PAGES;
        let pages = 1 + u64::from(pages) % (PAGES - iova);
        let mapping = Mapping {
            first: iova * PAGE,
            last: (iova + pages) * PAGE - 1,
            address: u64::from(page) % PAGES * PAGE,
            permissions: if write {
                Permissions::ReadWrite
            } else {
                Permissions::Read
            },
        };
        let apart = |one: &Mapping| one.last < mapping.first || mapping.last < one.first;
        let in_domain = matches!(self.to, Attachment::Domain(_));
        if in_domain && self.mapped.iter().all(apart) {
            self.listener.map(&mapping).expect("it refuses nothing");
            self.mapped.push(mapping);
        }
    }

    fn miss(&mut self, iova: u8, write: bool, acknowledged: bool) {
        let iova = u64::from(iova) * (PAGE / 8);
        let wanted = if write {
            Permissions::Write
        } else {
            Permissions::Read
        };
        let page = self
            .back_end
            .told
            .get((iova / PAGE) as usize)
            .copied()
            .flatten();
        let known = page.is_some_and(|(_, allowed)| allowed & wanted == wanted);
        let miss = IotlbMessage::about_access(IotlbKind::Miss, iova, wanted);
        let mut message = miss.to_frontend();
        message.needs_reply = acknowledged;
        let (Some(upstream), Some(channel)) = (&mut self.back_end.upstream, &mut self.channel)
        else {
            return;
        };
        let _ = upstream.send(&message, &[], None);
        let event = channel.serve();
        if self.back_end.honest && acknowledged {
            let reply = upstream
                .try_receive()
                .expect("it is there")
                .expect("in full");
            assert_eq!(reply.number().expect("a number") == 0, known);
            assert!(event.is_ok());
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Map {
                iova,
                page,
                pages,
                write,
            } => self.map(*iova, *page, *pages, *write),
            Step::Unmap { iova, pages } => {
                let first = u64::from(*iova) % PAGES * PAGE;
                let last = first + (1 + u64::from(*pages) % PAGES) * PAGE - 1;
                let cut = |one: &Mapping| {
                    let inside = one.first >= first && one.last <= last;
                    !inside && one.first <= last && first <= one.last
                };
                if !self.mapped.iter().any(cut) {
                    self.listener.unmap(first, last);
                    self.mapped
                        .retain(|one| one.last < first || last < one.first);
                }
            }
            Step::Attach(to) => {
                let domain = Attachment::Domain(DomainId(0));
                self.to = [domain, Attachment::Bypass, Attachment::Blocked][usize::from(to % 3)];
                self.mapped.clear();
                self.listener.attach(self.to).expect("it refuses nothing");
            }
            Step::Settle => self.settle(),
            Step::Miss {
                iova,
                write,
                acknowledged,
            } => self.miss(*iova, *write, *acknowledged),
            Step::Memory => self.share(),
            _ => self.other(step),
        }
        self.check();
    }

    fn other(&mut self, step: &Step) {
        match step {
            Step::Failed(iova) => {
                let iova = u64::from(*iova);
                let kind = IotlbKind::AccessFail;
                let message = IotlbMessage::about_access(kind, iova, Permissions::Read);
                self.upstream(&message.to_frontend());
            }
            Step::Queue(index) => self.queue((*index).into()),
            Step::Config {
                offset,
                size,
                writes,
            } => {
                let mut bytes = vec![0; usize::from(*size)];
                let fits = *size > 0 && u32::from(*offset) + u32::from(*size) <= 0xf00;
                if *writes {
                    if fits {
                        self.back_end.answer(25, 0);
                    }
                    let _ = self.frontend.write_config((*offset).into(), &bytes);
                } else if fits && self.back_end.honest {
                    let mut reply = Message::reply(24u32);
                    reply.payload = vec![7; 12 + bytes.len()];
                    let _ = self.back_end.connection.send(&reply, &[], None);
                    let read = self.frontend.read_config((*offset).into(), &mut bytes);
                    assert!(read.is_ok() && bytes.iter().all(|byte| *byte == 7));
                }
            }
            Step::Reset => {
                self.back_end.answer(34, 0);
                let _ = self.frontend.reset_device();
                self.share();
            }
            Step::Reconnect => {
                let (ours, theirs) = UnixStream::pair().expect("there are sockets");
                self.frontend.reconnect(ours);
                self.back_end = back_end(theirs, true);
                self.set_up();
            }
            _ => self.lie(step),
        }
    }

    fn queue(&mut self, index: u32) {
        for request in [8, 10, 9, 13, 12, 18] {
            self.back_end.answer(request, 0);
        }
        let events = eventfd(0, EventfdFlags::CLOEXEC).expect("there are eventfds");
        let set = self.frontend.set_queue(index, 16, (0, 0x100, 0x200), 0);
        let number = (index & 0xff) as u8;
        let given = self
            .frontend
            .set_queue_events(number, events.as_fd(), events.as_fd());
        let enabled = self.frontend.enable_queue(index, true);
        let all = set.is_ok() && given.is_ok() && enabled.is_ok();
        assert!(all || !self.back_end.honest);
        self.back_end.answer(11, u64::from(index) | 3 << 32);
        let stopped = self.frontend.stop_queue(index);
        assert!(stopped.is_ok_and(|next| next == 3) || !self.back_end.honest);
    }

    fn upstream(&mut self, message: &Message) {
        if let Some(upstream) = &mut self.back_end.upstream {
            let _ = upstream.send(message, &[], None);
        }
        self.serve();
    }

    /// Serves what the back end asks, as a VMM does.
    fn serve(&mut self) {
        if let Some(channel) = &mut self.channel {
            while let Ok(Some(_)) = channel.serve() {}
        }
    }

    fn lie(&mut self, step: &Step) {
        self.back_end.honest = false;
        let lie = |request: u8, flags: u8, payload: &[u8]| Message {
            request: u32::from(request) % 50,
            is_reply: flags & 1 == 0,
            needs_reply: flags & 2 != 0,
            payload: payload.to_vec(),
            ..Message::default()
        };
        match step {
            Step::Reply {
                request,
                flags,
                payload,
            } => {
                let message = lie(*request, *flags, payload);
                let _ = self.back_end.connection.send(&message, &[], None);
            }
            Step::Bytes(bytes) => {
                let _ = self.back_end.connection.stream().write_all(bytes);
            }
            Step::Upstream {
                request,
                flags,
                payload,
            } => {
                self.upstream(&lie(*request % 12, *flags ^ 1, payload));
            }
            Step::UpstreamBytes(bytes) => {
                if let Some(upstream) = &self.back_end.upstream {
                    let _ = upstream.stream().write_all(bytes);
                }
                self.serve();
            }
            Step::Close => self.back_end = back_end(self.back_end_stream(), false),
            _ => {}
        }
    }

    /// Returns one end of a socket that nobody listens on.
    fn back_end_stream(&self) -> UnixStream {
        let _ = self
            .back_end
            .connection
            .stream()
            .shutdown(std::net::Shutdown::Both);
        UnixStream::pair().expect("there are sockets").0
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let Ok(steps) = Rest::<Step>::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let mut vmm = Vmm::new();
    for step in steps.0.iter().take(STEPS) {
        vmm.step(step);
    }
    vmm.settle();
    vmm.frontend.shut_down();
    assert!(!vmm.frontend.is_alive() && vmm.listener.is_settled());
}
