//! A hostile front end of a vhost-user device: messages of all kinds, whole and broken, with file
//! descriptors of all kinds. As long as it keeps to the protocol, what the device reaches is
//! compared with an array of pages.

#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers of pages are small"
)]

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vhost::vhost_user::VhostUserProtocolFeatures;
use vhost::vhost_user::message::{
    VhostUserMemory, VhostUserMemoryRegion, VhostUserSingleMemoryRegion,
};
use viommu::DmaSpace;
use viommu_vhost_user::backend::{DaemonConfig, VhostUserDaemon};
use viommu_vhost_user::wire::{Connection, IotlbMessage, Message};
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

use super::rest::Rest;
use super::vhost_user_device::Device;

/// Steps of one case.
const STEPS: usize = 64;
const PAGE: u64 = 0x1000;
/// Pages of guest memory, in two regions with a hole between, and of IOVAs.
const PAGES: u64 = 8;
/// The front end's addresses are these away from the guest's.
const USER: u64 = 0x7000_0000;
/// Longer than an answer takes.
const HANG: Duration = Duration::from_secs(60);
/// `VIRTIO_F_VERSION_1`, `VIRTIO_F_ACCESS_PLATFORM` and `VHOST_USER_F_PROTOCOL_FEATURES`.
const FEATURES: u64 = 1 << 32 | 1 << 33 | 1 << 30;

/// A file descriptor.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Fd {
    Memory,
    Event,
    Socket,
    Null,
}

/// A step.
#[derive(Arbitrary, Debug)]
enum Step {
    /// IOVAs from a page on lead to memory from a page on.
    Update {
        iova: u8,
        page: u8,
        pages: u8,
        permissions: u8,
    },
    Invalidate {
        iova: u8,
        pages: u8,
    },
    /// Adds or removes the second region.
    Memory(bool),
    Translated(bool),
    /// A request about a queue, with two words.
    Ring {
        request: u8,
        index: u8,
        word: u16,
    },
    Addresses {
        index: u8,
        descriptors: u16,
        available: u16,
        used: u16,
    },
    Event {
        request: u8,
        index: u8,
        fd: Option<Fd>,
    },
    Config {
        writes: bool,
        offset: u8,
        size: u8,
        more: u8,
    },
    Channel(Vec<u8>),
    Kick,
    Numbers(u8),
    /// From here on nothing is known.
    Any {
        request: u8,
        flags: u8,
        payload: Vec<u8>,
        fds: Vec<Fd>,
    },
    Bytes(Vec<u8>),
}

/// What the device is to reach.
struct Model {
    /// For each page of IOVAs, the page of memory and what is allowed.
    pages: [Option<(u64, Permissions)>; PAGES as usize],
    second: bool,
    translated: bool,
}

/// Returns whether there is memory at a page of the guest.
fn is_memory(page: u64, second: bool) -> bool {
    page < 3 || (second && (4..PAGES).contains(&page))
}

struct FrontEnd {
    connection: Connection,
    space: DmaSpace,
    memory: OwnedFd,
    kick: OwnedFd,
    /// Nothing, when the front end has done what it may not.
    model: Option<Model>,
}

impl FrontEnd {
    fn new(stream: UnixStream, space: DmaSpace) -> Self {
        let memory = memfd_create("guest", MemfdFlags::CLOEXEC).expect("there are memfds");
        ftruncate(&memory, PAGES * PAGE).expect("it grows");
        Self {
            connection: Connection::new(stream),
            space,
            memory,
            kick: eventfd(0, EventfdFlags::CLOEXEC).expect("there are eventfds"),
            model: Some(Model {
                pages: [None; PAGES as usize],
                second: false,
                translated: false,
            }),
        }
    }

    fn region(first: u64, pages: u64) -> VhostUserMemoryRegion {
        let address = first * PAGE;
        VhostUserMemoryRegion::new(address, pages * PAGE, USER + address, address)
    }

    fn fd(&self, fd: Fd) -> Option<OwnedFd> {
        match fd {
            Fd::Memory => self.memory.try_clone().ok(),
            Fd::Event => self.kick.try_clone().ok(),
            Fd::Socket => UnixStream::pair().ok().map(|(one, _)| one.into()),
            Fd::Null => File::open("/dev/null").ok().map(OwnedFd::from),
        }
    }

    /// Sends what may be refused; returns the answer's number, if the connection is still there.
    fn ask(&mut self, message: Message, fds: &[OwnedFd]) -> Option<Message> {
        let deadline = Some(Instant::now() + HANG);
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let message = message.with_reply_wanted();
        let sent = self.connection.send(&message, &fds, deadline);
        let answer = sent.and_then(|()| self.connection.receive(deadline));
        let timed_out = matches!(answer, Err(viommu_vhost_user::wire::WireError::TimedOut));
        assert!(!timed_out, "the back end does not answer");
        let answer = answer.ok();
        if let (Some(_), Some(answer)) = (&self.model, &answer) {
            assert!(answer.is_reply && answer.request == message.request);
        }
        answer
    }

    /// Sends what is acknowledged; returns whether it was done.
    fn tell(&mut self, message: Message, fds: &[OwnedFd]) -> bool {
        match self.ask(message, fds) {
            Some(answer) => answer.number().is_ok_and(|refused| refused == 0),
            None => {
                // Only what may not be asked for ends a connection.
                assert!(self.model.is_none(), "the connection ended");
                false
            }
        }
    }

    fn begin(&mut self) {
        // SET_PROTOCOL_FEATURES is not acknowledged, as that is agreed on with it.
        let agreed = VhostUserProtocolFeatures::REPLY_ACK | VhostUserProtocolFeatures::CONFIG;
        let message = Message::request(16u32).with(&agreed.bits());
        let _ = self.connection.send(&message, &[], None);
        let memory = Message::request(5u32).with(&VhostUserMemory::new(1));
        let memory = memory.with(&Self::region(0, 3));
        let fd = self.memory.try_clone().expect("there are descriptors");
        assert!(self.tell(memory, &[fd]));
    }

    /// Asserts that the device reaches what it is to reach.
    fn check(&self) {
        let Some(model) = &self.model else {
            return;
        };
        for iova in 0..PAGES {
            let expected = match model.translated {
                true => model.pages[iova as usize],
                false => is_memory(iova, model.second).then_some((iova, Permissions::ReadWrite)),
            };
            let address = GuestAddress(iova * PAGE + 8);
            for (wanted, allowed) in [(Permissions::Read, 1), (Permissions::Write, 2)] {
                let bits = expected.map_or(0, |(_, permissions)| match permissions {
                    Permissions::No => 0,
                    Permissions::Read => 1,
                    Permissions::Write => 2,
                    Permissions::ReadWrite => 3,
                });
                let reached = self.space.pin().check_range(address, 1, wanted);
                assert_eq!(
                    reached,
                    bits & allowed != 0,
                    "{iova} {wanted:?} {expected:?}"
                );
            }
            if let Some((page, Permissions::ReadWrite)) = expected {
                let value = page as u8 ^ 0x5a;
                self.space.write_obj(value, address).expect("it is reached");
                let mut found = [0];
                let read = rustix::io::pread(&self.memory, &mut found, page * PAGE + 8);
                assert_eq!((read, found), (Ok(1), [value]), "where it leads");
            }
        }
    }

    fn update(&mut self, iova: u8, page: u8, pages: u8, permissions: u8) {
        let (iova, page) = (u64::from(iova) % PAGES, u64::from(page) % PAGES);
        let pages = 1 + u64::from(pages) % (PAGES - iova);
        let all = [
            Permissions::Read,
            Permissions::Write,
            Permissions::ReadWrite,
        ];
        let permissions = all[usize::from(permissions) % 3];
        let user = USER + page * PAGE;
        let message = IotlbMessage::update(iova * PAGE, pages * PAGE, user, permissions);
        let done = self.tell(message.to_backend(), &[]);
        let Some(model) = &mut self.model else {
            return;
        };
        let in_one_region = (0..pages).all(|one| is_memory(page + one, model.second))
            && (page < 3) == (page + pages - 1 < 3);
        assert_eq!(done, in_one_region, "memory that there is, in one region");
        for one in (0..pages).filter(|_| done) {
            model.pages[(iova + one) as usize] = Some((page + one, permissions));
        }
    }

    fn memory(&mut self, adds: bool) {
        let address = 4 * PAGE;
        let size = (PAGES - 4) * PAGE;
        let body = VhostUserSingleMemoryRegion::new(address, size, USER + address, address);
        let request = if adds { 37u32 } else { 38 };
        let fds: Vec<_> = adds
            .then(|| self.memory.try_clone())
            .into_iter()
            .flatten()
            .collect();
        let done = self.tell(Message::request(request).with(&body), &fds);
        if let Some(model) = &mut self.model {
            assert_eq!(done, model.second != adds);
            model.second = adds;
            if done && !adds {
                model.pages = [None; PAGES as usize];
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Update {
                iova,
                page,
                pages,
                permissions,
            } => {
                self.update(*iova, *page, *pages, *permissions);
            }
            Step::Invalidate { iova, pages } => {
                let iova = u64::from(*iova) % PAGES;
                let pages = 1 + u64::from(*pages) % (PAGES - iova);
                let message = IotlbMessage::invalidate(iova * PAGE, pages * PAGE);
                let done = self.tell(message.to_backend(), &[]);
                if let Some(model) = &mut self.model {
                    assert!(done);
                    model.pages[iova as usize..(iova + pages) as usize].fill(None);
                }
            }
            Step::Memory(adds) => self.memory(*adds),
            Step::Translated(translated) => {
                let features = if *translated {
                    FEATURES
                } else {
                    FEATURES & !(1 << 33)
                };
                let done = self.tell(Message::request(2u32).with(&features), &[]);
                if let Some(model) = &mut self.model {
                    assert!(done);
                    model.translated = *translated;
                }
            }
            _ => self.other(step),
        }
    }

    fn other(&mut self, step: &Step) {
        match step {
            Step::Ring {
                request,
                index,
                word,
            } => {
                // SET_VRING_NUM, _BASE, _ENABLE, GET_VRING_BASE, RESET_DEVICE.
                let request = [8u32, 10, 18, 11, 34][usize::from(request % 5)];
                let body = u64::from(index % 3) | u64::from(*word) << 32;
                // A stop that is refused cannot be answered.
                self.unknown_if(request == 11 && index % 3 == 2);
                self.ask(Message::request(request).with(&body), &[]);
            }
            Step::Addresses {
                index,
                descriptors,
                available,
                used,
            } => {
                let mut message = Message::request(9u32).with(&u64::from(index % 3));
                let base = self
                    .model
                    .as_ref()
                    .map_or(USER, |model| match model.translated {
                        true => 0,
                        false => USER,
                    });
                for address in [descriptors, used, available] {
                    message = message.with(&(base + u64::from(*address)));
                }
                self.tell(message.with(&0u64), &[]);
            }
            Step::Event { request, index, fd } => {
                let request = 12 + u32::from(request % 3);
                let body = u64::from(index % 3) | u64::from(fd.is_none()) << 8;
                let fds: Vec<_> = fd.and_then(|fd| self.fd(fd)).into_iter().collect();
                self.tell(Message::request(request).with(&body), &fds);
            }
            Step::Config {
                writes,
                offset,
                size,
                more,
            } => {
                let request = if *writes { 25u32 } else { 24 };
                let mut message = Message::request(request);
                for word in [u32::from(*offset), u32::from(*size), 0] {
                    message = message.with(&word);
                }
                message
                    .payload
                    .resize(12 + usize::from(*size) + usize::from(more % 2), 0);
                self.unknown_if(*size == 0 || more % 2 != 0);
                self.ask(message, &[]);
            }
            _ => self.event_or_any(step),
        }
    }

    fn event_or_any(&mut self, step: &Step) {
        match step {
            Step::Channel(bytes) => {
                let Ok((mut ours, theirs)) = UnixStream::pair() else {
                    return;
                };
                let _ = ours.write_all(bytes);
                self.tell(Message::request(21u32), &[theirs.into()]);
                // It may answer a miss with success, and a miss is then waited for in vain.
            }
            Step::Kick => {
                let _ = rustix::io::write(&self.kick, &1u64.to_ne_bytes());
            }
            Step::Numbers(request) => {
                let request = [1u32, 15, 17, 36][usize::from(request % 4)];
                let answer = self.ask(Message::request(request), &[]);
                let known = self.model.is_none();
                assert!(known || answer.is_some_and(|answer| answer.number().is_ok()));
            }
            Step::Any {
                request,
                flags,
                payload,
                fds,
            } => {
                self.model = None;
                let fds: Vec<_> = fds.iter().take(40).filter_map(|fd| self.fd(*fd)).collect();
                let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                let message = Message {
                    request: u32::from(*request) % 50,
                    is_reply: flags & 1 != 0,
                    needs_reply: flags & 2 != 0,
                    payload: payload.clone(),
                    ..Message::default()
                };
                let _ = self
                    .connection
                    .send(&message, &fds, Some(Instant::now() + HANG));
                while let Ok(Some(_)) = self.connection.try_receive() {}
            }
            Step::Bytes(bytes) => {
                self.model = None;
                let _ = self.connection.stream().write_all(bytes);
            }
            _ => {}
        }
    }

    fn unknown_if(&mut self, unknown: bool) {
        if unknown {
            self.model = None;
        }
    }
}

fn serve(device: &Arc<Device>, spaces: &Receiver<DmaSpace>, steps: &[Step]) {
    let config = DaemonConfig::default().with_miss_timeout(Duration::from_millis(1));
    let daemon = VhostUserDaemon::new(Arc::clone(device), config);
    let (ours, theirs) = UnixStream::pair().expect("there are sockets");
    let served = thread::spawn(move || daemon.serve_stream(theirs));
    let space = spaces.recv().expect("the device is given its memory");
    let mut front_end = FrontEnd::new(ours, space.clone());
    front_end.begin();
    for step in steps.iter().take(STEPS) {
        let known = front_end.model.is_some();
        front_end.step(step);
        front_end.check();
        if !known && front_end.connection.try_receive().is_err() {
            break;
        }
    }
    drop(front_end);
    // However it ended.
    let _ = served.join().expect("the daemon does not panic");
    for page in 0..PAGES {
        let read = space.read_obj::<u8>(GuestAddress(page * PAGE));
        assert!(read.is_err(), "the memory of a front end that has gone");
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let u = Unstructured::new(data);
    let Ok(steps) = Rest::<Step>::arbitrary_take_rest(u) else {
        return;
    };
    let (sender, spaces) = channel();
    let device = Arc::new(Device::new(sender));
    serve(&device, &spaces, &steps.0);
}
