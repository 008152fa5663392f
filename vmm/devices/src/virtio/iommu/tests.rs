//! The virtio-iommu on its transport, without a machine.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]

use std::sync::{Arc, Mutex};

use crate::ram::{DmaSpace, GuestRam};
use viommu::virtio::spec::{Status, config, feature, request_type};
use viommu::virtio::{EndpointConfig, Observers, VirtioIommu, VirtioIommuConfig};
use virtio_bindings::virtio_mmio::*;
use vm_memory::{Bytes, GuestAddress};

use super::super::deferred_work::DeferredWork;
use super::super::iommu::{DriverEvent, DriverObserver, Iommu};
use super::super::testing::{Driver, Line, RAM, ram, readable, writable};
use super::super::*;

const FEATURES: u64 = feature::MAP_UNMAP | feature::PROBE | feature::BYPASS_CONFIG;

#[derive(Default)]
struct Seen(Mutex<Vec<DriverEvent>>);

impl DriverObserver for Seen {
    fn event(&self, event: DriverEvent) {
        self.0.lock().unwrap().push(event);
    }
}

/// A machine of RAM and a virtio-iommu with endpoint 7.
struct World {
    driver: Driver,
    iommu: Arc<Mutex<VirtioIommu<GuestRam>>>,
    deferred_work: Arc<DeferredWork>,
    seen: Arc<Seen>,
}

impl World {
    fn new() -> Self {
        let memory = ram();
        let deferred_work = Arc::new(DeferredWork::default());
        let waiting = Arc::clone(&deferred_work);
        let iommu = VirtioIommu::new(
            Arc::clone(&memory),
            VirtioIommuConfig::new([EndpointConfig::new(7)]),
            Box::new(move || waiting.announce()),
            Observers::default(),
        );
        let iommu = Arc::new(Mutex::new(iommu.unwrap()));
        let seen = Arc::new(Seen::default());
        let device = Iommu::new(
            Arc::clone(&iommu),
            Arc::clone(&deferred_work),
            seen.clone(),
            true,
        );
        let line = Arc::new(Line::default());
        let mem = DmaSpace::pass_through(memory);
        Self {
            driver: Driver::with(Box::new(device), mem, line.clone(), line),
            iommu,
            deferred_work,
            seen,
        }
    }

    fn started() -> Self {
        let mut world = Self::new();
        world.driver.start(FEATURES);
        world
    }

    /// Makes a request available; `words` follow its head.
    fn offer(&mut self, kind: u8, words: &[u32]) {
        let buffer = self.driver.buffer(0);
        let bytes = [u32::from(kind)].into_iter().chain(words.iter().copied());
        let bytes: Vec<u8> = bytes.flat_map(u32::to_le_bytes).collect();
        self.driver.write(buffer, &bytes);
        self.driver.write(buffer + 256, &[0xff; 4]);
        let parts = [
            readable(buffer, bytes.len() as u32),
            writable(buffer + 256, 4),
        ];
        self.driver.offer(0, &parts);
    }

    fn notify(&mut self) {
        self.driver.set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    }

    fn status(&self) -> u8 {
        self.driver.read(self.driver.buffer(0) + 256, 1)[0]
    }

    fn request(&mut self, kind: u8, words: &[u32]) -> u8 {
        self.offer(kind, words);
        self.notify();
        self.status()
    }

    /// Attaches endpoint 7 to domain 1 and maps its first page to the start of RAM.
    fn map_a_page(&mut self) {
        let fine = Status::Ok as u8;
        assert_eq!(self.request(request_type::ATTACH, &[1, 7, 0, 0]), fine);
        // Domain, first and last IOVA, physical address, and the flags for reading and writing.
        let map = [1, 0, 0, 0xfff, 0, RAM as u32, 0, 3];
        assert_eq!(self.request(request_type::MAP, &map), fine);
    }

    /// Asks for that page to be unmapped.
    fn unmap_it(&mut self) -> u8 {
        self.request(request_type::UNMAP, &[1, 0, 0, 0xfff, 0, 0])
    }

    fn dma(&self) -> DmaSpace {
        self.iommu.lock().unwrap().space(7).unwrap()
    }

    /// Maps a page, and asks for it to be unmapped while a device is at work in it, until
    /// `meanwhile` is over.
    fn unmap_during_an_access<T>(&mut self, meanwhile: impl FnOnce(&mut Self) -> T) -> T {
        self.map_a_page();
        let dma = self.dma();
        let _pin = dma.pin();
        assert_eq!(self.unmap_it(), 0xff, "not answered yet");
        meanwhile(self)
    }
}

#[test]
fn requests_are_answered_at_the_notification() {
    let mut world = World::started();
    assert_eq!(world.driver.reg(VIRTIO_MMIO_DEVICE_ID), 23);
    world.map_a_page();
    world.dma().write_obj(5_u32, GuestAddress(0x10)).unwrap();
    assert_eq!(world.driver.read(RAM + 0x10, 1), [5]);
    assert_eq!(world.unmap_it(), Status::Ok as u8);
    assert!(world.dma().read_obj::<u32>(GuestAddress(0x10)).is_err());
}

#[test]
fn the_configuration_changes_with_its_generation() {
    let mut world = World::started();
    let bypass = u64::from(VIRTIO_MMIO_CONFIG) + config::BYPASS as u64;
    let generation = |world: &World| world.driver.reg(VIRTIO_MMIO_CONFIG_GENERATION);
    assert_eq!(
        (world.driver.mmio.read(bypass, 1), generation(&world)),
        (1, 0)
    );
    for (value, shown, times) in [(0, 0, 1), (0, 0, 1), (2, 0, 1), (1, 1, 2)] {
        world.driver.mmio.write(bypass, 1, value);
        assert_eq!(world.driver.mmio.read(bypass, 1), shown);
        assert_eq!(generation(&world), times);
    }
    // A reset neither undoes it nor begins the count anew.
    world.driver.mmio.write(bypass, 1, 0);
    world.driver.set(VIRTIO_MMIO_STATUS, 0);
    assert_eq!(
        (world.driver.mmio.read(bypass, 1), generation(&world)),
        (0, 3)
    );
    let seen = world.seen.0.lock().unwrap().clone();
    let wanted = [
        DriverEvent::Reset,
        DriverEvent::Features(FEATURES),
        DriverEvent::Bypass(false),
        DriverEvent::Bypass(true),
        DriverEvent::Bypass(false),
        DriverEvent::Reset,
    ];
    assert_eq!(seen, wanted);
}

/// Has the deferred work of `world` done, whose driver goes on afterwards.
fn do_deferred_work(world: &mut World) -> bool {
    let line = Arc::new(Line::default());
    let spare = VirtioMmio::new(
        Box::new(rng::Rng::new(1)),
        world.driver.mem.clone(),
        line,
        false,
    );
    // The driver owns its slot, which deferred work shares: it is lent out for the call.
    let slot = Arc::new(Mutex::new(std::mem::replace(&mut world.driver.mmio, spare)));
    let done = world
        .deferred_work
        .run_with(std::iter::once(Arc::clone(&slot)));
    std::mem::swap(&mut world.driver.mmio, &mut slot.lock().unwrap());
    done
}

#[test]
fn a_batch_that_waits_for_a_device_is_a_chore() {
    let mut world = World::started();
    world.unmap_during_an_access(|world| {
        // As long as the device is at work the chore stays.
        assert!(do_deferred_work(world));
        assert_eq!(world.status(), 0xff);
    });
    assert!(do_deferred_work(&mut world));
    assert_eq!(world.status(), Status::Ok as u8);
    assert!(world.driver.line.level());
    assert!(!do_deferred_work(&mut world), "nothing is left");
}

#[test]
fn a_reset_forgets_what_waits() {
    let mut world = World::started();
    world.unmap_during_an_access(|world| world.driver.set(VIRTIO_MMIO_STATUS, 0));
    do_deferred_work(&mut world);
    assert_eq!(world.status(), 0xff);
    assert_eq!(world.iommu.lock().unwrap().mappings(), 0);
    world.driver.start(FEATURES);
    world.map_a_page();
}

#[test]
fn fault_reports_are_a_chore() {
    let mut world = World::started();
    world.map_a_page();
    let buffer = world.driver.buffer(1);
    world.driver.offer(1, &[writable(buffer, 24)]);
    assert!(world.dma().read_obj::<u8>(GuestAddress(0x5000)).is_err());
    assert_eq!(world.driver.used_index(1), 0);
    assert!(do_deferred_work(&mut world));
    assert_eq!(world.driver.used_len(1, 0), 24);
    assert_eq!(world.driver.read(buffer + 8, 1), [7]);
    assert!(world.driver.line.level());
}

#[test]
fn its_state_moves_to_another_slot() {
    let mut world = World::started();
    let saved = world.unmap_during_an_access(|world| world.driver.mmio.save());
    let text = serde_json::to_string(&saved).unwrap();
    let mut other = World::new();
    other
        .driver
        .mmio
        .restore(&serde_json::from_str(&text).unwrap())
        .unwrap();
    assert_eq!(other.driver.mmio.save(), saved);
    assert!(do_deferred_work(&mut other), "the batch still waits");
    assert_eq!(other.iommu.lock().unwrap().domains(), [1]);
    let wrong = Driver::new(Box::new(rng::Rng::new(1))).mmio.save();
    assert!(other.driver.mmio.restore(&wrong).is_err());
}
