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
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::AsFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use viommu::{Attachment, DmaSpace, DomainId, Mapping};
use viommu_vhost_user::frontend::{
    BackendChannel, Frontend, FrontendError, MemoryRegion, Notice, Offer, Patience, Ring,
};
use viommu_vhost_user::wire::{IotlbKind, IotlbMessage, Message};
use vm_memory::{GuestAddress, GuestMemoryMmap, Permissions};

use super::rest::Rest;
use back_end::{BackEnd, Pages};
use iommu::Iommu;

mod back_end;
#[path = "../../../../viommu/vhost-user/examples/rng/iommu.rs"]
mod iommu;

/// Steps of one case.
const STEPS: usize = 96;
const PAGE: u64 = 0x1000;
/// Pages of IOVAs, and of memory.
const PAGES: u64 = 8;
const MEMORY: u64 = 5;
/// A back end that answers does so while it is waited for, and one that does not is given up then.
const NEVER: Duration = Duration::from_secs(3600);
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

struct Vmm {
    frontend: Frontend,
    offer: Offer,
    iommu: Iommu,
    space: DmaSpace,
    channel: Option<BackendChannel>,
    region: MemoryRegion,
    file: File,
    back_end: Arc<Mutex<BackEnd>>,
    /// What is mapped.
    mapped: Vec<Mapping>,
    to: Attachment,
}

/// Returns a front end, and its back end, which is honest yet.
fn connect() -> (Frontend, Arc<Mutex<BackEnd>>) {
    let (ours, theirs) = UnixStream::pair().expect("there are sockets");
    let back_end = Arc::new(Mutex::new(BackEnd::new(theirs, true)));
    let waited_for = Arc::clone(&back_end);
    let give_up = move || !waited_for.lock().expect("nothing panicked").listen();
    let patience = Patience {
        limit: NEVER,
        give_up: Arc::new(give_up),
    };
    let frontend = Frontend::new(ours, patience);
    (frontend.expect("there are descriptors"), back_end)
}

impl Vmm {
    fn new() -> Self {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memfd = memfd_create("guest", flags).expect("there are memfds");
        ftruncate(&memfd, MEMORY * PAGE).expect("it grows");
        fcntl_add_seals(&memfd, SealFlags::SHRINK).expect("it is sealed");
        let range = (GuestAddress(0), (MEMORY * PAGE) as usize);
        let memory = GuestMemoryMmap::from_ranges(&[range]).expect("there is memory");
        let iommu = Iommu::new(memory);
        let (frontend, back_end) = connect();
        let mut this = Self {
            offer: frontend.begin().expect("it is honest"),
            frontend,
            space: iommu.space(),
            iommu,
            channel: None,
            region: MemoryRegion {
                address: 0,
                size: MEMORY * PAGE,
                offset: 0,
            },
            file: File::from(memfd),
            back_end,
            mapped: Vec::new(),
            to: Attachment::Blocked,
        };
        this.iommu.attach(this.to);
        this.set_up();
        this
    }

    /// Not to be held while the front end waits.
    fn back_end(&self) -> MutexGuard<'_, BackEnd> {
        self.back_end.lock().expect("nothing panicked")
    }

    fn is_honest(&self) -> bool {
        self.back_end().honest
    }

    /// Does what follows the beginning of a connection.
    fn set_up(&mut self) {
        let channel = self.frontend.open_channel();
        self.channel = Some(channel.expect("it is honest"));
        self.share();
    }

    fn share(&self) {
        let memory = [(self.region, &self.file)];
        let shared = self.frontend.set_up(&self.offer, FEATURES, &memory);
        assert!(shared.is_ok() || !self.is_honest());
        self.tell_all();
    }

    fn tell_all(&self) {
        self.iommu.backend.set(Some(&self.frontend));
        self.back_end().listen();
    }

    /// Adds memory that nothing leads to, and removes it, twice.
    fn add_and_remove(&self) {
        let mut region = self.region;
        region.address = 2 * PAGES * PAGE;
        let added = self.frontend.add_memory(&self.offer, region, &self.file);
        self.tell_all();
        let removed = self.frontend.remove_memory(&self.offer, region);
        self.tell_all();
        assert!(added.is_ok() && removed.is_ok() || !self.is_honest());
        // It is not there any more, which is a refusal and no more.
        let removed = self.frontend.remove_memory(&self.offer, region);
        let refused = matches!(removed, Err(FrontendError::Refused(_)));
        assert!(refused || !self.is_honest());
        self.tell_all();
    }

    /// Asserts that the back end was told what there is.
    fn check(&mut self) {
        if !self.back_end().listen() {
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
        assert_eq!(self.back_end().told, expected);
        self.settle();
        assert!(self.frontend.is_flushed() && !self.frontend.has_ended());
        assert!(self.frontend.is_alive());
    }

    /// Polls until all is settled. Whoever says nothing is given up in the end.
    fn settle(&mut self) {
        while !self.iommu.is_settled() || self.frontend.replies_due() > 0 {
            // As the VMM's thread does.
            let _ = self.frontend.receive();
            if !self.back_end().listen() {
                self.frontend.end();
            }
        }
        assert_eq!(self.frontend.unacknowledged(), 0);
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
            self.iommu.map(mapping);
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
        let mut back_end = self.back_end.lock().expect("nothing panicked");
        let told = back_end.told.get((iova / PAGE) as usize).copied();
        let known = told
            .flatten()
            .is_some_and(|(_, allowed)| allowed & wanted == wanted);
        let miss = IotlbMessage::about_access(IotlbKind::Miss, iova, wanted);
        let mut message = miss.to_frontend();
        message.needs_reply = acknowledged;
        let honest = back_end.honest;
        let (Some(upstream), Some(channel)) = (&mut back_end.upstream, &mut self.channel) else {
            return;
        };
        let _ = upstream.send(&message, &[], None);
        let notice = channel.serve(Some(&self.space));
        if !honest {
            return;
        }
        let expected = match known {
            true => Notice::Answered { iova },
            false => Notice::Fault { iova, wanted },
        };
        assert_eq!(notice.expect("it is honest"), Some(expected));
        let reply = upstream.try_receive().expect("it is there");
        let done = reply.map(|reply| reply.number().expect("a number") == 0);
        assert_eq!(done, acknowledged.then_some(known));
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
                let in_domain = matches!(self.to, Attachment::Domain(_));
                if in_domain && !self.mapped.iter().any(cut) {
                    self.iommu.unmap(first, last);
                    self.mapped
                        .retain(|one| one.last < first || last < one.first);
                }
            }
            Step::Attach(to) => {
                let domain = Attachment::Domain(DomainId(0));
                self.to = [domain, Attachment::Bypass, Attachment::Blocked][usize::from(to % 3)];
                self.mapped.clear();
                self.iommu.attach(self.to);
            }
            Step::Settle => self.settle(),
            Step::Miss {
                iova,
                write,
                acknowledged,
            } => self.miss(*iova, *write, *acknowledged),
            Step::Memory => {
                self.share();
                self.add_and_remove();
            }
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
            Step::Queue(index) => self.queue(*index),
            Step::Config {
                offset,
                size,
                writes,
            } => {
                let mut bytes = vec![0; usize::from(*size)];
                let fits = *size > 0 && u32::from(*offset) + u32::from(*size) <= 0xf00;
                let offset = (*offset).into();
                let done = match writes {
                    true => self.frontend.write_config(offset, &bytes),
                    false => self.frontend.read_config(offset, &mut bytes),
                };
                if self.is_honest() {
                    assert_eq!(done.is_ok(), fits);
                    assert!(*writes || !fits || bytes.iter().all(|byte| *byte == 7));
                }
            }
            Step::Reset => {
                let done = self.frontend.reset_device(&self.offer);
                assert!(done.is_ok() || !self.is_honest());
                self.share();
            }
            Step::Reconnect => {
                self.frontend.end();
                (self.frontend, self.back_end) = connect();
                self.offer = self.frontend.begin().expect("it is honest");
                self.set_up();
            }
            _ => self.lie(step),
        }
    }

    fn queue(&self, index: u8) {
        let events = eventfd(0, EventfdFlags::CLOEXEC).expect("there are eventfds");
        let ring = Ring {
            size: 16,
            base: 0,
            descriptors: 0,
            available: 0x100,
            used: 0x200,
            kick: events.as_fd(),
            call: events.as_fd(),
        };
        let started = self.frontend.start_ring(&self.offer, index, &ring);
        let stopped = self.frontend.stop_ring(&self.offer, index);
        if self.is_honest() {
            assert!(started.is_ok());
            assert!(stopped.is_ok_and(|next| next == 3));
        }
    }

    fn upstream(&mut self, message: &Message) {
        if let Some(upstream) = &mut self.back_end().upstream {
            let _ = upstream.send(message, &[], None);
        }
        self.serve();
    }

    /// Serves what the back end asks, as a VMM does.
    fn serve(&mut self) {
        if let Some(channel) = &mut self.channel {
            while let Ok(Some(_)) = channel.serve(Some(&self.space)) {}
        }
    }

    fn lie(&mut self, step: &Step) {
        self.back_end().honest = false;
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
                let _ = self.back_end().connection.send(&message, &[], None);
            }
            Step::Bytes(bytes) => {
                let _ = self.back_end().connection.stream().write_all(bytes);
            }
            Step::Upstream {
                request,
                flags,
                payload,
            } => {
                self.upstream(&lie(*request % 12, *flags ^ 1, payload));
            }
            Step::UpstreamBytes(bytes) => {
                if let Some(upstream) = &self.back_end().upstream {
                    let _ = upstream.stream().write_all(bytes);
                }
                self.serve();
            }
            Step::Close => {
                let (stream, _) = UnixStream::pair().expect("there are sockets");
                *self.back_end() = BackEnd::new(stream, false);
            }
            _ => {}
        }
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
    vmm.frontend.end();
    assert!(!vmm.frontend.is_alive() && vmm.iommu.is_settled());
}
