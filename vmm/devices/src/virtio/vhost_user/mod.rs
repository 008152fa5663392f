//! A device that is another process: the transport's half of it (vhost-user).
//!
//! The other process has the guest's memory and serves the rings; this half negotiates for it,
//! starts and stops its rings, and brings notifications to it and interrupts from it
//! ([`VhostUserThread`]). It is a device of host time only, and is neither saved nor recorded.
//!
//! The process is not trusted: each of its replies is checked, and waits for it end, with
//! [`Stop`], when the run is to end. When it goes, its rings stop. If requests of the driver are
//! lost by that the device asks for a reset (2.1.2); when something listens at its socket again, it
//! gets the rings back.

mod connect;
mod event;
mod rings;
#[cfg(test)]
mod tests;
mod thread;
mod writes;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use viommu_vhost_user::frontend::{
    CurrentBackend, Frontend, FrontendError, Listener, MemoryRegion, Offer,
};
use virtio_bindings::virtio_config::{VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::Queue;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
use vmm_base::{Control, warn_guest};

use super::{DeviceState, Progress, QueueService, ServeError, VirtioDevice, WrongState};
use crate::ram::{DmaSpace, GuestRam};
use connect::Connection;
use event::Event;
use rings::Active;
pub use thread::VhostUserThread;
use writes::Watched;
pub use writes::Writes;

/// Feature bits of the transport that a back end decides on: what its rings can do.
const RING_FEATURES: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC | 1 << VIRTIO_RING_F_EVENT_IDX;
/// Feature bits of devices themselves (2.2).
const DEVICE_FEATURES: u64 = (1 << 24) - 1;

/// What is expected of the other process.
#[derive(Clone, Debug)]
pub struct Description {
    /// The Unix socket that it listens at.
    pub socket: PathBuf,
    /// The device identifier (chapter 5).
    pub id: u32,
    /// Number of queues.
    pub queues: u16,
    /// Entries of each.
    pub queue_size: u16,
    /// Feature bits 0 to 23 that the driver may see if the process offers them.
    pub features: u64,
    /// Feature bits 0 to 23 that this machine offers of its own.
    pub own_features: u64,
    /// The configuration space: what the process is not asked for, or as long as it is.
    pub config: Vec<u8>,
    /// Whether the process is asked for the configuration space, and whether it must have one.
    pub asks: Option<Needs>,
    /// What is put in the configuration space: at which byte, and what.
    pub patch: Option<(usize, [u8; 2])>,
    /// Whether buffers are used in the order in which they were made available, so that a process
    /// that comes again can go on where another one ended.
    pub in_order: bool,
}

/// Whether a device can do without its process' configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// It cannot.
    Config,
    /// It can.
    Nothing,
}

/// Ends waits for a process: asked every few milliseconds.
#[derive(Clone)]
pub struct Stop {
    control: Arc<Control>,
    over: Arc<AtomicBool>,
}

impl Stop {
    /// Creates what ends waits when `control` wants the run to end.
    pub fn new(control: Arc<Control>) -> Self {
        Self {
            control,
            over: Arc::default(),
        }
    }

    fn is_wanted(&self) -> bool {
        self.over.load(Ordering::Acquire) || self.control.pending() || self.control.is_late()
    }
}

/// The reason for which a device cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing listens.
    #[error("nothing listens at the socket: start its process first ({0})")]
    Absent(#[source] io::Error),
    /// The process does not follow the protocol.
    #[error("{0}: is it a vhost-user back end?")]
    Protocol(#[from] FrontendError),
    /// The process lacks something.
    #[error("its process does not offer {0}")]
    Lacks(&'static str),
    /// The process has too few queues.
    #[error("its process has {0} queues at most: say so with queues=N")]
    Queues(u64),
    /// The process does not translate.
    #[error(
        "its process does not offer {0}, without which it cannot stand behind an IOMMU: add iommu=none"
    )]
    Untranslated(&'static str),
    /// Guest memory is not in files.
    #[error("the guest's memory is not shared")]
    Memory,
    /// The host refuses something.
    #[error("the host has no descriptors or threads left: {0}")]
    Host(#[from] io::Error),
}

/// What the device, its thread and its listener share.
struct Shared {
    description: Description,
    /// Whether it stands behind an IOMMU.
    translated: bool,
    memory: Arc<GuestRam>,
    regions: Vec<MemoryRegion>,
    space: DmaSpace,
    current: CurrentBackend,
    stop: Stop,
    /// The connection that there is. Locked after a slot's lock, never before.
    connection: Mutex<Option<Connection>>,
    kicks: Vec<Event>,
    calls: Vec<Event>,
    /// Written when the thread is to look around: the configuration has changed.
    notice: Arc<Event>,
    wake: Arc<Event>,
    watched: Watched,
}

impl Shared {
    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        // Poisoned only by a panic that its own thread has reported.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns handles to the connection, if it has not ended.
    fn frontend(&self) -> Option<(Frontend, Offer)> {
        let connection = self.connection();
        let found = connection.as_ref()?;
        (!found.frontend.has_ended()).then(|| (found.frontend.clone(), found.offer))
    }

    /// Returns the features that a driver may accept of what is offered.
    fn features_of(&self, offer: &Offer) -> u64 {
        offer.features & (self.description.features | RING_FEATURES)
    }

    fn files(&self) -> Vec<(MemoryRegion, &File)> {
        let regions = self.regions.iter().copied();
        let files = self.memory.iter().filter_map(|region| region.file_offset());
        regions.zip(files.map(|file| file.file())).collect()
    }
}

/// A device that is another process.
pub struct VhostUser {
    shared: Arc<Shared>,
    /// What was offered to the driver, which stays, whatever process comes later.
    features: u64,
    config: Vec<u8>,
    sizes: Vec<u16>,
    /// What its driver has set up.
    active: Option<Active>,
}

impl VhostUser {
    /// Connects to the process that `description` is about, for a device that sees `space` of the
    /// guest's `memory`: through an IOMMU if it is `translated`.
    ///
    /// # Errors
    /// It is not there, or cannot be used.
    pub fn connect(
        description: Description,
        memory: Arc<GuestRam>,
        space: DmaSpace,
        translated: bool,
        stop: Stop,
    ) -> Result<Self, ConnectError> {
        let regions = regions(&memory).ok_or(ConnectError::Memory)?;
        let events = || {
            let events = (0..description.queues).map(|_| Event::new());
            events.collect::<io::Result<Vec<_>>>()
        };
        let (kicks, calls) = (events()?, events()?);
        let wake = Arc::new(Event::new()?);
        let unsent = Arc::clone(&wake);
        let sizes = vec![description.queue_size; description.queues.into()];
        let shared = Arc::new(Shared {
            translated,
            memory,
            regions,
            space,
            current: CurrentBackend::new(move || unsent.tell()),
            stop,
            connection: Mutex::default(),
            kicks,
            calls,
            notice: Arc::new(Event::new()?),
            wake,
            watched: Watched::default(),
            description,
        });
        let (connection, config) = shared.connect()?;
        let features = shared.features_of(&connection.offer);
        shared.install(connection);
        Ok(Self {
            shared,
            features,
            config,
            sizes,
            active: None,
        })
    }

    /// Returns the listener for its endpoint.
    pub fn listener(&self) -> Listener<GuestRam> {
        let Shared { current, space, .. } = &*self.shared;
        Listener::new(current.clone(), space.clone())
    }

    /// Returns what its thread needs, and who looks at what it writes.
    pub fn shared(&self) -> VhostUserHandle {
        VhostUserHandle(Arc::clone(&self.shared))
    }
}

/// A device as others know it than its driver.
pub struct VhostUserHandle(Arc<Shared>);

/// Returns the regions of memory that are all in files; none if one is not.
fn regions(memory: &GuestRam) -> Option<Vec<MemoryRegion>> {
    let regions = memory.iter().map(|region| {
        Some(MemoryRegion {
            address: region.start_addr().0,
            size: region.len(),
            offset: region.file_offset()?.start(),
        })
    });
    regions.collect()
}

impl VirtioDevice for VhostUser {
    fn id(&self) -> u32 {
        self.shared.description.id
    }

    fn features(&self) -> u64 {
        self.features & DEVICE_FEATURES | self.shared.description.own_features
    }

    fn ring_features(&self) -> u64 {
        self.features & RING_FEATURES
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.sizes
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let at = usize::try_from(offset).ok();
        let end = at.and_then(|at| at.checked_add(data.len()));
        let (Some(at), Some(end), Ok(offset)) = (at, end, u32::try_from(offset)) else {
            return;
        };
        let asks = self.shared.description.asks.is_some();
        let Some(bytes) = self.config.get_mut(at..end).filter(|_| asks) else {
            warn_guest!("vhost-user: write to configuration at {offset:#x}: ignored");
            return;
        };
        let Some((frontend, _)) = self.shared.frontend() else {
            return;
        };
        match frontend.write_config(offset, data) {
            Ok(()) => bytes.copy_from_slice(data),
            Err(why) => warn_guest!("vhost-user: write to configuration at {offset:#x}: {why}"),
        }
    }

    /// The cores notify the process themselves: writing to an event is all there is to do.
    fn may_wait(&self) -> bool {
        false
    }

    fn start(&mut self, features: u64, queues: &[Queue]) {
        self.active = Some(Active::new(features, queues));
        self.bring_up(|_, _| Some(0));
    }

    fn reset(&mut self) {
        self.take_down();
        self.active = None;
    }

    fn process(&mut self, turn: QueueService<'_>) -> Result<Progress, ServeError> {
        if let Some(kick) = self.shared.kicks.get(turn.index) {
            kick.tell();
        }
        Ok(Progress::default())
    }

    fn save(&self) -> DeviceState {
        DeviceState::Elsewhere
    }

    fn restore(&mut self, _: &DeviceState) -> Result<(), WrongState> {
        Err(WrongState::Kind)
    }

    fn as_vhost_user(&mut self) -> Option<&mut VhostUser> {
        Some(self)
    }
}

/// Returns the bits that rings of a driver are told to the process with, of those it accepted.
const fn told(accepted: u64, translated: bool) -> u64 {
    // Without an IOMMU in between its addresses are those of memory, whatever the guest's kernel
    // calls them.
    let hidden = if translated {
        0
    } else {
        1 << VIRTIO_F_ACCESS_PLATFORM
    };
    accepted & !hidden
}

/// The features without which no process can be used.
const REQUIRED: u64 = 1 << VIRTIO_F_VERSION_1;
