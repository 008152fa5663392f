//! Devices behind a translation that the driver takes away from them.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]

use std::io::Write;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, OnceLock};

use tempfile::NamedTempFile;
use viommu::{
    Attachment, DomainId, EndpointId, Fault, FaultReason, Mapping, Miss, Model, Requester,
    TranslationUnit, UnitConfig,
};
use virtio_bindings::virtio_blk::{VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT};
use virtio_bindings::virtio_config::VIRTIO_CONFIG_S_NEEDS_RESET;
use virtio_bindings::virtio_mmio::{
    VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_QUEUE_NOTIFY,
    VIRTIO_MMIO_STATUS,
};
use vm_memory::Permissions;
use vmm_base::Interrupt;

use super::VirtioDevice;
use super::block::Block;
use super::rng::Rng;
use super::testing::{Driver, Line, ram, readable, rings, writable};
use crate::disk::{Access, Disk};
use crate::ram::GuestRam;

const PAGE: u64 = 4096;

/// Maps every page to itself, but for a hole.
struct Identity {
    hole: Mutex<Option<RangeInclusive<u64>>>,
    faults: Mutex<Vec<u64>>,
}

impl Model for Identity {
    fn translate(
        &self,
        _requester: Requester,
        _domain: DomainId,
        iova: u64,
        _wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        let hole = self.hole.lock().unwrap().clone();
        if hole.is_some_and(|hole| hole.contains(&iova)) {
            return Err(Miss {
                reason: FaultReason::Translation,
                level: Some(3),
            });
        }
        let first = iova & !(PAGE - 1);
        Ok(Mapping {
            first,
            last: first + PAGE - 1,
            address: first,
            permissions: Permissions::ReadWrite,
        })
    }

    fn fault(&self, fault: &Fault) {
        self.faults.lock().unwrap().push(fault.iova);
    }
}

/// A line that looks, when it is raised, whether an invalidation could end now.
struct Watching {
    line: Arc<Line>,
    unit: OnceLock<Arc<TranslationUnit<GuestRam>>>,
    pinned: Mutex<bool>,
}

impl Interrupt for Watching {
    fn set(&self, level: bool) {
        if level && let Some(unit) = self.unit.get() {
            *self.pinned.lock().unwrap() |= !unit.begin_grace_period().is_over();
        }
        self.line.set(level);
    }
}

struct Setup {
    driver: Driver,
    model: Arc<Identity>,
    unit: Arc<TranslationUnit<GuestRam>>,
    watching: Arc<Watching>,
}

impl Setup {
    fn new(device: Box<dyn VirtioDevice>) -> Self {
        let model = Arc::new(Identity {
            hole: Mutex::new(None),
            faults: Mutex::default(),
        });
        let config = UnitConfig::new(1, 1).with_initial(Attachment::Domain(DomainId(0)));
        let unit = TranslationUnit::new(ram(), model.clone(), &config, None);
        let line = Arc::new(Line::default());
        let watching = Arc::new(Watching {
            line: line.clone(),
            unit: OnceLock::from(Arc::clone(&unit)),
            pinned: Mutex::new(false),
        });
        let space = unit.space(EndpointId(0));
        let mut driver = Driver::with(device, space, watching.clone(), line);
        driver.start(0);
        Self {
            driver,
            model,
            unit,
            watching,
        }
    }

    /// Has the driver unmap a range, or nothing, and map all else.
    fn unmap(&self, range: impl Into<Option<RangeInclusive<u64>>>) {
        *self.model.hole.lock().unwrap() = range.into();
        self.unit.invalidate_domain(DomainId(0));
        assert!(self.unit.begin_grace_period().is_over());
    }

    fn faults(&self) -> Vec<u64> {
        std::mem::take(&mut self.model.faults.lock().unwrap())
    }
}

fn disk() -> (NamedTempFile, Setup) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&[7; 64 << 10]).unwrap();
    let disk = Disk::open(file.path(), Access::Write).unwrap();
    (file, Setup::new(Box::new(Block::new(disk, "disk", 1))))
}

/// Sends a request with its header in buffer 0, three pages of data in buffer 1 and its status in
/// buffer 3.
fn request(driver: &mut Driver, kind: u32) -> (u8, u32) {
    let (header, data, status) = (driver.buffer(0), driver.buffer(1), driver.buffer(3));
    driver.write(header, &[&kind.to_le_bytes(), &[0; 12][..]].concat());
    driver.write(status, &[0xff]);
    let data = match kind {
        VIRTIO_BLK_T_IN => writable(data, 3 * PAGE as u32),
        _ => readable(data, 3 * PAGE as u32),
    };
    let used = driver.request(0, &[readable(header, 16), data, writable(status, 1)]);
    (driver.read(status, 1)[0], used)
}

#[test]
fn interrupts_are_raised_with_no_pin_held() {
    let (_file, mut setup) = disk();
    assert_eq!(
        request(&mut setup.driver, VIRTIO_BLK_T_IN),
        (0, 3 * 4096 + 1)
    );
    assert!(setup.driver.line.level());
    assert!(!*setup.watching.pinned.lock().unwrap());
}

#[test]
fn data_out_of_reach_is_an_error_of_its_request() {
    let (_file, mut setup) = disk();
    assert_eq!(request(&mut setup.driver, VIRTIO_BLK_T_OUT), (0, 1));
    let second = setup.driver.buffer(1) + PAGE;
    for kind in [VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT] {
        setup.unmap(second..=second + PAGE - 1);
        assert_eq!(
            request(&mut setup.driver, kind),
            (1, u32::from(kind == VIRTIO_BLK_T_OUT))
        );
        assert_eq!(setup.faults(), [second]);
        setup.unmap(None);
        assert_eq!(request(&mut setup.driver, kind).0, 0);
    }
}

#[test]
fn a_status_byte_out_of_reach_gives_the_buffer_back() {
    let (_file, mut setup) = disk();
    let (header, status) = (setup.driver.buffer(0), setup.driver.buffer(3));
    setup.driver.write(
        header,
        &[&VIRTIO_BLK_T_OUT.to_le_bytes(), &[0; 12][..]].concat(),
    );
    setup.unmap(status..=status);
    let used = setup
        .driver
        .request(0, &[readable(header, 16), writable(status, 1)]);
    assert_eq!((used, setup.faults()), (0, vec![status]));
}

#[test]
fn rings_out_of_reach_need_a_reset() {
    let mut setup = Setup::new(Box::new(Rng::new(1)));
    let buffer = setup.driver.buffer(0);
    assert_eq!(setup.driver.request(0, &[writable(buffer, 8)]), 8);
    let [_, avail, _] = rings(0);
    setup.driver.offer(0, &[writable(buffer, 8)]);
    setup.unmap(avail..=avail + PAGE - 1);
    setup.driver.set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    let status = setup.driver.reg(VIRTIO_MMIO_STATUS);
    assert_eq!(status, 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
    let reasons = setup.driver.reg(VIRTIO_MMIO_INTERRUPT_STATUS);
    assert_ne!(reasons & VIRTIO_MMIO_INT_CONFIG, 0);
    assert!(
        setup
            .faults()
            .iter()
            .all(|iova| (avail..avail + PAGE).contains(iova))
    );
    assert!(!*setup.watching.pinned.lock().unwrap());
    setup.unmap(None);
    setup.driver.start(0);
    assert_eq!(setup.driver.request(0, &[writable(buffer, 8)]), 8);
}
