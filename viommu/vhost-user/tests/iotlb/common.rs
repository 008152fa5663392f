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
use viommu::{DmaSpace, Mapping};
use viommu_vhost_user::backend::{DaemonConfig, DaemonError, VhostUserBackend, VhostUserDaemon};
use viommu_vhost_user::frontend::{Frontend, MemoryRegion, Offer, Patience};
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

#[path = "../../examples/rng/iommu.rs"]
mod iommu;
pub use iommu::Iommu;

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
    pub file: Arc<File>,
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
                address: RAM,
                size: SIZE,
                offset: 0,
            },
            file,
        }
    }

    /// Agrees on what a back end offers, and tells it of memory and of mappings.
    pub fn set_up(&self, frontend: &Frontend, iommu: &Iommu, features: u64) -> Offer {
        let offer = frontend.begin().unwrap();
        assert_eq!(offer.features & TRANSLATED, TRANSLATED);
        let memory = [(self.region, &*self.file)];
        frontend.set_up(&offer, features, &memory).unwrap();
        iommu.backend.set(Some(frontend));
        offer
    }
}

/// All of it: a device that a front end has set up with `features`, attached to a domain.
pub struct Machine {
    pub guest: Guest,
    pub frontend: Frontend,
    pub offer: Offer,
    pub iommu: Iommu,
    pub space: DmaSpace,
    pub back_end: BackEnd,
    pub served: JoinHandle<Result<(), DaemonError>>,
}

impl Machine {
    pub fn new(features: u64) -> Self {
        Self::with_timeouts(features, HANG, HANG)
    }

    pub fn with_timeouts(features: u64, miss: Duration, answer: Duration) -> Self {
        let (guest, back_end) = (Guest::new(), BackEnd::new(miss));
        let (stream, space, served) = back_end.connect();
        let frontend = Frontend::new(stream, Patience::new(answer)).unwrap();
        let iommu = Iommu::new(guest.memory.clone());
        Self {
            offer: guest.set_up(&frontend, &iommu, features),
            guest,
            frontend,
            iommu,
            space,
            back_end,
            served,
        }
    }

    /// Maps a page.
    pub fn map(&mut self, iova: u64, address: u64, permissions: Permissions) {
        self.iommu.map(page(iova, address, permissions));
        self.settle();
    }

    /// Unmaps a page, and returns when that is acknowledged.
    pub fn unmap(&mut self, iova: u64) {
        self.iommu.unmap(iova, iova + PAGE - 1);
        self.settle();
    }

    /// Waits until all that the back end was told is acknowledged.
    pub fn settle(&mut self) {
        settle(&mut self.iommu, &self.frontend);
    }

    /// Answers misses of a device that sees `space`, and takes in acknowledgements, until `done`.
    pub fn serve_misses(&self, space: &DmaSpace, done: impl Fn() -> bool) {
        let mut channel = self.frontend.open_channel().unwrap();
        wait_until(|| {
            while channel.serve(Some(space)).unwrap().is_some() {}
            self.frontend.receive().unwrap();
            done()
        });
    }
}

/// Waits until all that a back end was told is acknowledged.
pub fn settle(iommu: &mut Iommu, frontend: &Frontend) {
    wait_until(|| iommu.is_settled() && frontend.replies_due() == 0);
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
