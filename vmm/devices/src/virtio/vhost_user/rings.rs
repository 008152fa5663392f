//! The rings of a device that is another process: started, stopped, and had by the next process.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use viommu_vhost_user::frontend::{Frontend, FrontendError, Offer, Ring};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, Permissions};
use vmm_base::warn_guest;

use super::{Shared, VhostUser, told};

/// What a driver has set up.
#[derive(Clone, Debug)]
pub(super) struct Active {
    /// The features that it accepted.
    features: u64,
    /// Its rings: those that are ready.
    rings: Vec<Option<SetUp>>,
    /// Whether the process has them.
    pub running: bool,
    /// Whether the driver is to reset the device before it is of use again.
    pub lost: bool,
}

/// A ring that is ready.
#[derive(Clone, Copy, Debug)]
struct SetUp {
    size: u16,
    descriptors: u64,
    available: u64,
    used: u64,
}

impl Active {
    pub fn new(features: u64, queues: &[Queue]) -> Self {
        let set_up = |queue: &Queue| {
            queue.ready().then(|| SetUp {
                size: queue.size(),
                descriptors: queue.desc_table(),
                available: queue.avail_ring(),
                used: queue.used_ring(),
            })
        };
        Self {
            features,
            rings: queues.iter().map(set_up).collect(),
            running: false,
            lost: false,
        }
    }

    fn rings(&self) -> impl Iterator<Item = (u8, &SetUp)> {
        (0..)
            .zip(&self.rings)
            .filter_map(|(index, ring)| Some((index, ring.as_ref()?)))
    }
}

impl VhostUser {
    /// Gives the process the rings, if it is there: each from the index in its available ring that
    /// `base` says, or none if that cannot be known.
    pub(super) fn bring_up(&mut self, base: impl Fn(&Shared, (u64, u64)) -> Option<u16>) {
        let shared = &*self.shared;
        let (Some(active), Some((frontend, offer))) = (&mut self.active, shared.frontend()) else {
            return;
        };
        // Whatever becomes of it: the process may have begun with some of them.
        active.running = true;
        shared.watch(active.rings().map(|(_, ring)| ring.used));
        if let Err(why) = start(shared, active, (&frontend, &offer), base) {
            // The thread finds the connection ended, and looks for another.
            warn_guest!("vhost-user: the rings cannot be started: {why}");
            frontend.end();
            shared.wake.tell();
        }
    }

    /// Takes the rings back from the process.
    pub(super) fn take_down(&mut self) {
        let Some(active) = self.active.as_mut().filter(|active| active.running) else {
            return;
        };
        active.running = false;
        self.shared.watch([]);
        if let Some((frontend, offer)) = self.shared.frontend() {
            for (index, _) in active.rings() {
                if let Err(why) = frontend.stop_ring(&offer, index) {
                    warn_guest!("vhost-user: ring {index} cannot be stopped: {why}");
                    frontend.end();
                    self.shared.wake.tell();
                    break;
                }
            }
        }
        // What was not heard of is of a driver that wants to hear of nothing any more.
        for event in self.shared.calls.iter().chain(&self.shared.kicks) {
            event.take();
        }
    }

    /// Notes that the process has gone. Returns whether requests of the driver are lost by that.
    pub(super) fn process_gone(&mut self) -> bool {
        let shared = &*self.shared;
        shared.disconnect();
        let Some(active) = self.active.as_mut().filter(|active| active.running) else {
            return false;
        };
        active.running = false;
        // Where buffers are used in their order, those that are not used yet are the last ones.
        let all_known = |(_, ring): (u8, &SetUp)| {
            let (available, used) = (index(shared, ring.available), index(shared, ring.used));
            used.is_some() && (shared.description.in_order || available == used)
        };
        let lost = !active.rings().all(all_known);
        active.lost = lost;
        lost
    }

    /// Goes on with another process.
    pub(super) fn process_come(&mut self) {
        if self.active.as_ref().is_some_and(|active| !active.lost) {
            self.bring_up(|shared, (_, used)| index(shared, used));
        }
    }
}

/// Returns the index in the available or used ring at `ring` (2.7.6, 2.7.8). Nobody is told if it
/// is out of reach: it is this machine that looks, and not the device.
pub(super) fn index(shared: &Shared, ring: u64) -> Option<u16> {
    let pin = shared.space.pin();
    let found = pin
        .translate(ring.checked_add(2)?, Permissions::Read)
        .ok()?;
    let at = GuestAddress(found.address);
    let index = shared.memory.load::<u16>(at, Ordering::Acquire);
    index.ok().map(u16::from_le)
}

fn start(
    shared: &Shared,
    active: &Active,
    (frontend, offer): (&Frontend, &Offer),
    base: impl Fn(&Shared, (u64, u64)) -> Option<u16>,
) -> Result<(), FrontendError> {
    let features = told(active.features, shared.translated) & offer.features;
    frontend.set_up(offer, features, &shared.files())?;
    if shared.translated {
        // Not before it knows the memory that mappings lead to.
        shared.current.set(Some(frontend));
    }
    let events = shared.kicks.iter().zip(&shared.calls);
    for ((index, ring), (kick, call)) in active.rings.iter().enumerate().zip(events) {
        let (Some(ring), Ok(index)) = (ring, u8::try_from(index)) else {
            continue;
        };
        let base = base(shared, (ring.available, ring.used)).ok_or(FrontendError::Ended)?;
        frontend.start_ring(
            offer,
            index,
            &Ring {
                size: ring.size,
                base,
                descriptors: ring.descriptors,
                available: ring.available,
                used: ring.used,
                kick: kick.as_fd(),
                call: call.as_fd(),
            },
        )?;
        // A driver may have notified before the process was there.
        kick.tell();
    }
    Ok(())
}
