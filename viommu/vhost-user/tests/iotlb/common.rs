//! A guest, a front end and a back end whose device the test is.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags};
use vhost_user_backend::VringRwLock;
use viommu::{Attachment, DmaListener, DmaSpace, DomainId, Mapping};
use viommu_vhost_user::backend::{DaemonConfig, DaemonError, VhostUserBackend, VhostUserDaemon};
use viommu_vhost_user::frontend::{Frontend, Listener, MemoryRegion, Translations};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, Permissions};
use vmm_sys_util::epoll::EventSet;

pub const RAM: u64 = 0x4000_0000;
pub const SIZE: u64 = 0x10_0000;
pub const PAGE: u64 = 0x1000;
/// `VIRTIO_F_VERSION_1`, and with `VIRTIO_F_ACCESS_PLATFORM`.
pub const PLAIN: u64 = 1 << 32;
pub const TRANSLATED: u64 = PLAIN | 1 << 33;
/// Longer than anything takes; a test that waits so long has failed.
pub const HANG: Duration = Duration::from_secs(60);

/// A device that gives its space to the test.
struct Probe(Mutex<Sender<DmaSpace>>);

impl VhostUserBackend for Probe {
    type Vring = VringRwLock<DmaSpace>;

    fn num_queues(&self) -> usize {
        1
    }

    fn max_queue_size(&self) -> usize {
        16
    }

    fn features(&self) -> u64 {
        PLAIN
    }

    fn set_event_idx(&self, _: bool) {}

    fn update_memory(&self, memory: DmaSpace) -> io::Result<()> {
        // A test that has ended takes no more spaces.
        let _ = self.0.lock().unwrap().send(memory);
        Ok(())
    }

    fn handle_event(&self, _: u16, _: EventSet, _: &[Self::Vring], _: usize) -> io::Result<()> {
        Ok(())
    }
}

/// A back end in a thread.
pub struct BackEnd {
    daemon: Arc<VhostUserDaemon<Probe>>,
    spaces: Receiver<DmaSpace>,
}

impl BackEnd {
    pub fn new(miss_timeout: Duration) -> Self {
        let (sender, spaces) = channel();
        let config = DaemonConfig::default().with_miss_timeout(miss_timeout);
        let probe = Arc::new(Probe(Mutex::new(sender)));
        Self {
            daemon: Arc::new(VhostUserDaemon::new(probe, config)),
            spaces,
        }
    }

    /// Serves one connection; returns its other end, the device's space, and what comes of it.
    pub fn connect(&self) -> (UnixStream, DmaSpace, JoinHandle<Result<(), DaemonError>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let daemon = Arc::clone(&self.daemon);
        let served = thread::spawn(move || daemon.serve_stream(theirs));
        (ours, self.spaces.recv_timeout(HANG).unwrap(), served)
    }
}

/// The guest's memory.
pub struct Guest {
    pub memory: GuestMemoryMmap<()>,
    pub region: MemoryRegion,
}

impl Guest {
    pub fn new() -> Self {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memfd = rustix::fs::memfd_create("guest", flags).unwrap();
        rustix::fs::ftruncate(&memfd, SIZE).unwrap();
        rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK).unwrap();
        let file = Arc::new(File::from(memfd));
        let offset = FileOffset::from_arc(Arc::clone(&file), 0);
        let range = (GuestAddress(RAM), SIZE.try_into().unwrap(), Some(offset));
        Self {
            memory: GuestMemoryMmap::from_ranges_with_files([range]).unwrap(),
            region: MemoryRegion {
                guest_address: RAM,
                size: SIZE,
                file,
                offset: 0,
            },
        }
    }
}

/// All of it: a device that a front end has set up with `features`, attached to a domain.
pub struct Machine {
    pub guest: Guest,
    pub frontend: Frontend,
    pub listener: Box<Listener>,
    pub space: DmaSpace,
    pub back_end: BackEnd,
    pub served: JoinHandle<Result<(), DaemonError>>,
}

impl Machine {
    pub fn new(features: u64, translations: Translations) -> Self {
        Self::with_timeouts(features, translations, HANG, HANG)
    }

    pub fn with_timeouts(
        features: u64,
        translations: Translations,
        miss: Duration,
        answer: Duration,
    ) -> Self {
        let (guest, back_end) = (Guest::new(), BackEnd::new(miss));
        let (stream, space, served) = back_end.connect();
        let frontend = Frontend::new(stream, answer, translations);
        let mut listener = frontend.listener();
        listener.attach(Attachment::Domain(DomainId(0))).unwrap();
        let machine = Self {
            guest,
            frontend,
            listener,
            space,
            back_end,
            served,
        };
        machine.set_up(features);
        machine
    }

    /// Does what follows a connection.
    pub fn set_up(&self, features: u64) {
        let offer = self.frontend.begin().unwrap();
        assert_eq!(offer.features & TRANSLATED, TRANSLATED);
        self.frontend.set_features(features).unwrap();
        let region = self.guest.region.clone();
        self.frontend.set_memory(&[region]).unwrap();
    }

    /// Maps a page.
    pub fn map(&mut self, iova: u64, address: u64, permissions: Permissions) {
        let mapping = page(iova, address, permissions);
        self.listener.map(&mapping).unwrap();
        self.settle();
    }

    /// Unmaps a page, and returns when that is acknowledged.
    pub fn unmap(&mut self, iova: u64) {
        self.listener.unmap(iova, iova + PAGE - 1);
        self.settle();
    }

    pub fn settle(&mut self) {
        self.listener.commit();
        wait_until(|| self.listener.is_settled());
    }

    /// Answers misses until `done`.
    pub fn serve_misses(&self, done: impl Fn() -> bool) {
        let mut channel = self.frontend.open_backend_channel().unwrap();
        wait_until(|| {
            while channel.serve().unwrap().is_some() {}
            done()
        });
    }
}

pub fn page(iova: u64, address: u64, permissions: Permissions) -> Mapping {
    Mapping {
        first: iova,
        last: iova + PAGE - 1,
        address,
        permissions,
    }
}

/// Waits until `done`.
pub fn wait_until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < HANG, "it does not come to be");
        thread::yield_now();
    }
}
