//! Memory and endpoints that come and go: what that costs, and what a translated read costs beside
//! it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use viommu::DmaSpace;
use viommu::virtio::{EndpointConfig, VirtioIommu};
use vm_memory::mmap::MmapRegion;
use vm_memory::{
    GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryMmap,
    GuestRegionMmap,
};

use super::hits::read;
use super::threads::{LEAST, iovas, physical, reading};
use super::{BATCH, Contenders};
use crate::translation::peers::Peer;
use crate::translation::rounds::Case;
use crate::translation::virtio::Driver;
use crate::translation::world::Order;

/// Bytes of the region that comes and goes.
const REGION: usize = 2 << 20;
/// The endpoint that comes and goes.
const PLUGGED: u32 = 9;
/// Time between two changes: often for a guest, and some in each turn.
const PAUSE: Duration = Duration::from_millis(1);

const MEMORY: &str = "add, remove a region of memory";
const ENDPOINT: &str = "add, remove an endpoint";
const QUIET: &str = "read 64 B, virtio-iommu";
const BESIDE_MEMORY: &str = "read 64 B, memory comes and goes";
const BESIDE_ENDPOINTS: &str = "read 64 B, endpoints come and go";

/// What the cases tell together: its name, the case with changes, the case without.
pub const COMPARED: [(&str, &str, &str); 2] = [
    (
        "a read beside memory that comes and goes",
        BESIDE_MEMORY,
        QUIET,
    ),
    ("a read beside endpoints that do", BESIDE_ENDPOINTS, QUIET),
];

/// Returns all of them. Each has a virtio-iommu of its own, as only that gets and loses endpoints.
pub fn cases<'c>(contenders: &'c Contenders<'_>) -> Vec<Case<'c>> {
    let fresh = || Driver::new(contenders.world, true);
    let plain = || Plain::new(&contenders.world.memory);
    let (memory, mut endpoints) = (Memory::new(contenders), fresh().iommu);
    let (mut iommu, own) = (fresh().iommu, plain());
    let changes = vec![
        Case::new(MEMORY)
            .with(Peer::Viommu, move |count| {
                timed(count, || memory.add_and_remove(&mut iommu, || ()))
            })
            .with(Peer::Mmap, {
                let memory = Memory::new(contenders);
                move |count| timed(count, || memory.add_and_remove_plain(&own, || ()))
            }),
        Case::new(ENDPOINT).with(Peer::Viommu, move |count| {
            timed(count, || add_and_remove_endpoint(&mut endpoints))
        }),
    ];
    changes.into_iter().chain(reads(contenders)).collect()
}

/// Returns the cases of a reader, alone and beside a thread that makes changes.
fn reads<'c>(contenders: &'c Contenders<'_>) -> Vec<Case<'c>> {
    let fresh = || Driver::new(contenders.world, true);
    let case = |name| Case::new(name).at_least(LEAST);
    let (quiet, beside_memory, beside_endpoints) = (fresh(), fresh(), fresh());
    let (alone, changed) = (
        Plain::new(&contenders.world.memory),
        Plain::new(&contenders.world.memory),
    );
    let readers = [&quiet, &beside_memory, &beside_endpoints].map(|driver| {
        driver.viommu().warm_up(contenders.world);
        reading_of(driver.device.clone())
    });
    let [by_quiet, by_memory, by_endpoints] = readers;
    let plug_memory = {
        let (memory, mut iommu) = (Memory::new(contenders), beside_memory.iommu);
        move || {
            memory.add_and_remove(&mut iommu, pause);
            pause();
        }
    };
    let plug_endpoint = {
        let mut iommu = beside_endpoints.iommu;
        move || {
            add_and_remove_endpoint(&mut iommu);
            pause();
        }
    };
    let plug_plain = {
        let (memory, changed) = (Memory::new(contenders), changed.clone());
        move || {
            memory.add_and_remove_plain(&changed, pause);
            pause();
        }
    };
    let (alone, beside) = (alone.reading(), changed.reading());
    vec![
        case(QUIET)
            .with(Peer::Viommu, reading(1, iovas(contenders), by_quiet, || {}))
            .with(Peer::Mmap, reading(1, physical(contenders), alone, || {})),
        case(BESIDE_MEMORY)
            .with(
                Peer::Viommu,
                reading(1, iovas(contenders), by_memory, plug_memory),
            )
            .with(
                Peer::Mmap,
                reading(1, physical(contenders), beside, plug_plain),
            ),
        case(BESIDE_ENDPOINTS).with(
            Peer::Viommu,
            reading(1, iovas(contenders), by_endpoints, plug_endpoint),
        ),
    ]
}

fn pause() {
    thread::sleep(PAUSE);
}

fn timed(count: u64, mut operation: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        operation();
    }
    start.elapsed()
}

/// Reads with a pin for a batch.
fn reading_of(space: DmaSpace) -> impl Fn(usize, &mut Order<'_>, u64) + Sync {
    move |_, order, count| {
        order.batches(count, BATCH, |batch| {
            let pinned = space.pin();
            for iova in batch {
                read(&pinned, GuestAddress(*iova));
            }
        });
    }
}

/// Plain memory that may be replaced, as VMMs without an IOMMU have it.
#[derive(Clone)]
struct Plain(GuestMemoryAtomic<GuestMemoryMmap<()>>);

impl Plain {
    fn new(memory: &Arc<GuestMemoryMmap<()>>) -> Self {
        Self(GuestMemoryAtomic::from(Arc::clone(memory)))
    }

    /// Reads with a guard for a batch.
    fn reading(self) -> impl Fn(usize, &mut Order<'_>, u64) + Sync {
        move |_, order, count| {
            order.batches(count, BATCH, |batch| {
                let memory = self.0.memory();
                for address in batch {
                    read(&*memory, GuestAddress(*address));
                }
            });
        }
    }
}

/// Guest memory, and a region that comes and goes.
struct Memory {
    without: Arc<GuestMemoryMmap<()>>,
    region: Arc<GuestRegionMmap<()>>,
}

impl Memory {
    fn new(contenders: &Contenders<'_>) -> Self {
        let without = Arc::clone(&contenders.world.memory);
        let start = GuestAddress(without.last_addr().0 + 1);
        let region = MmapRegion::new(REGION).expect("the host has memory for the guest");
        let region = GuestRegionMmap::new(region, start).expect("it ends below 2^64");
        Self {
            without,
            region: Arc::new(region),
        }
    }

    /// Returns the memory with the region. The region itself is there already, as what the host
    /// takes for it has nothing to do with the IOMMU.
    fn with(&self) -> GuestMemoryMmap<()> {
        self.without
            .insert_region(Arc::clone(&self.region))
            .expect("it lies behind the others")
    }

    /// Adds the region to what `iommu` leads to, and removes it when `between` returns; each until
    /// nobody uses what was before.
    fn add_and_remove(&self, iommu: &mut VirtioIommu, between: impl Fn()) {
        replace(iommu, Arc::new(self.with()));
        between();
        replace(iommu, Arc::clone(&self.without));
    }

    /// Does the same to plain memory.
    fn add_and_remove_plain(&self, Plain(memory): &Plain, between: impl Fn()) {
        let replace = |next| memory.lock().expect("nobody panics").replace(next);
        replace(self.with());
        between();
        replace(GuestMemoryMmap::clone(&self.without));
    }
}

/// Has the guest's memory be `memory`, and waits until nobody uses what it was.
fn replace(iommu: &mut VirtioIommu, memory: Arc<GuestMemoryMmap<()>>) {
    let mut change = iommu.set_memory(memory).expect("nothing is reserved");
    while !change.is_over() {
        // Readers pin for some microseconds.
        thread::yield_now();
    }
}

/// Adds an endpoint, makes its device's handle, drops that, and removes the endpoint.
fn add_and_remove_endpoint(iommu: &mut VirtioIommu) {
    let endpoint = EndpointConfig::new(PLUGGED);
    iommu.add_endpoint(endpoint).expect("there is a place");
    // The place is free again only without handles on it.
    drop(iommu.space(PLUGGED));
    let mut grace = iommu.remove_endpoint(PLUGGED).expect("it was added");
    while !grace.is_over() {
        thread::yield_now();
    }
}
