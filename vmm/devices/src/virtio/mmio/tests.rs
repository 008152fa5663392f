use proptest::prelude::*;

use super::super::kick::Pending;
use super::super::rng::Rng;
use super::super::testing::{Driver, Line, readable, rings, writable};
use super::*;

/// Asserts that the first queue is served.
fn assert_serves(driver: &mut Driver) {
    let buffer = driver.buffer(0);
    assert_eq!(driver.request(0, &[writable(buffer, 8)]), 8);
}

/// Returns a driver that has set the device up without asking for a feature.
fn started() -> Driver {
    let mut driver = driver();
    driver.start(0);
    driver
}

fn driver() -> Driver {
    Driver::new(Box::new(Rng::new(1)))
}

#[test]
fn it_identifies_itself() {
    let driver = driver();
    assert_eq!(driver.reg(VIRTIO_MMIO_MAGIC_VALUE), 0x7472_6976);
    assert_eq!(driver.reg(VIRTIO_MMIO_VERSION), 2);
    assert_eq!(driver.reg(VIRTIO_MMIO_DEVICE_ID), 4);
    assert_eq!(driver.reg(VIRTIO_MMIO_QUEUE_NUM_MAX), 8);
    assert_eq!(driver.reg(VIRTIO_MMIO_SHM_LEN_LOW), u32::MAX);
}

#[test]
fn features_are_negotiated_in_halves() {
    let mut driver = driver();
    assert_eq!(driver.reg(VIRTIO_MMIO_DEVICE_FEATURES), 3 << 28);
    driver.set(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    assert_eq!(driver.reg(VIRTIO_MMIO_DEVICE_FEATURES), 1 | 1 << 8);
    driver.set(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
    assert_eq!(driver.reg(VIRTIO_MMIO_DEVICE_FEATURES), 0);
}

#[test]
fn a_driver_without_version_1_or_with_strange_features_is_refused() {
    // Without VERSION_1 (bit 32); and with bits that are not offered, ACCESS_PLATFORM (33) the
    // last.
    for (low, high) in [(0, 0), (1 << 20, 1), (0, 1 | 1 << 30), (0, 1 | 1 << 1)] {
        let mut driver = driver();
        for status in [1, 3] {
            driver.set(VIRTIO_MMIO_STATUS, status);
        }
        for (select, word) in [(0, low), (1, high)] {
            driver.set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, select);
            driver.set(VIRTIO_MMIO_DRIVER_FEATURES, word);
        }
        driver.set(VIRTIO_MMIO_STATUS, 11);
        assert_eq!(driver.reg(VIRTIO_MMIO_STATUS), 3, "{low:#x} {high:#x}");
    }
}

#[test]
fn access_platform_is_offered_and_required_when_configured() {
    let mem = driver().mem;
    let mut mmio = VirtioMmio::new(Box::new(Rng::new(1)), mem, Arc::new(Line::default()), true);
    assert_ne!(mmio.offered() & bit(VIRTIO_F_ACCESS_PLATFORM), 0);
    for (high, status) in [(1, 3), (3, 11)] {
        for (register, value) in [
            (0x70, 0),
            (0x70, 1),
            (0x70, 3),
            (0x24, 1),
            (0x20, high),
            (0x70, 11),
        ] {
            mmio.write(register, 4, value);
        }
        assert_eq!(mmio.read(0x70, 4), status);
    }
}

#[test]
fn status_bits_come_in_order_and_stay() {
    let mut driver = driver();
    driver.set(VIRTIO_MMIO_STATUS, 2);
    assert_eq!(driver.reg(VIRTIO_MMIO_STATUS), 0);
    driver.set(VIRTIO_MMIO_STATUS, 0x10);
    assert_eq!(driver.reg(VIRTIO_MMIO_STATUS), 0);
    driver.start(0);
    driver.set(VIRTIO_MMIO_STATUS, 1);
    assert_eq!(driver.reg(VIRTIO_MMIO_STATUS), 15);
    driver.set(VIRTIO_MMIO_STATUS, 15 | VIRTIO_CONFIG_S_FAILED);
    assert_eq!(driver.reg(VIRTIO_MMIO_STATUS), 15 | VIRTIO_CONFIG_S_FAILED);
    driver.set(VIRTIO_MMIO_STATUS, 0);
    assert_eq!(driver.mmio.registers(), Registers::default());
}

#[test]
fn interrupts_are_raised_and_acknowledged() {
    let mut driver = started();
    let buffer = driver.buffer(0);
    driver.request(0, &[writable(buffer, 8)]);
    assert!(driver.line.level());
    assert_eq!(
        driver.reg(VIRTIO_MMIO_INTERRUPT_STATUS),
        VIRTIO_MMIO_INT_VRING
    );
    driver.set(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
    assert!(driver.line.level());
    driver.set(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
    assert!(!driver.line.level());
}

#[test]
fn event_idx_suppresses_interrupts() {
    let mut driver = driver();
    driver.start(bit(VIRTIO_RING_F_EVENT_IDX));
    let buffer = driver.buffer(0);
    // used_event lies behind the available ring: ask for the interrupt of the second buffer only.
    driver.write(rings(0)[1] + 4 + 2 * 8, &1_u16.to_le_bytes());
    driver.request(0, &[writable(buffer, 8)]);
    assert!(!driver.line.level());
    driver.request(0, &[writable(buffer, 8)]);
    assert!(driver.line.level());
}

#[test]
fn a_broken_ring_needs_a_reset_and_gets_over_it() {
    let mut driver = started();
    // More entries than the ring has.
    driver.write(rings(0)[1] + 2, &1000_u16.to_le_bytes());
    driver.set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    assert_eq!(
        driver.reg(VIRTIO_MMIO_STATUS),
        15 | VIRTIO_CONFIG_S_NEEDS_RESET
    );
    assert_eq!(
        driver.reg(VIRTIO_MMIO_INTERRUPT_STATUS),
        VIRTIO_MMIO_INT_CONFIG
    );
    driver.start(0);
    assert!(!driver.line.level());
    assert_serves(&mut driver);
}

#[test]
fn a_queue_can_be_reset_alone_when_negotiated() {
    let mut driver = started();
    driver.set(VIRTIO_MMIO_QUEUE_RESET, 1);
    assert_eq!(driver.reg(VIRTIO_MMIO_QUEUE_READY), 1);
    driver.start(bit(VIRTIO_F_RING_RESET));
    driver.set(VIRTIO_MMIO_QUEUE_RESET, 1);
    assert_eq!(
        (
            driver.reg(VIRTIO_MMIO_QUEUE_READY),
            driver.reg(VIRTIO_MMIO_QUEUE_RESET)
        ),
        (0, 0)
    );
    driver.set_up_queue(0);
    assert_serves(&mut driver);
}

#[test]
fn a_live_queue_keeps_its_addresses_and_size() {
    let mut driver = started();
    driver.set(VIRTIO_MMIO_QUEUE_NUM, 2);
    driver.set(VIRTIO_MMIO_QUEUE_DESC_LOW, 0);
    assert_serves(&mut driver);
}

#[test]
fn deferred_queues_are_served_by_whoever_holds_the_kick() {
    let mut driver = driver();
    let kicks = driver
        .mmio
        .defer(&Pending::default(), &Arc::default())
        .unwrap();
    driver.start(0);
    let buffer = driver.buffer(0);
    driver.offer(0, &[writable(buffer, 8)]);
    driver.set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    assert_eq!(driver.used_index(0), 0);
    let taken = kicks[0].take().unwrap();
    driver.mmio.process_queue(0);
    drop(taken);
    assert_eq!((driver.used_index(0), driver.used_len(0, 0)), (1, 8));
}

#[test]
fn odd_accesses_read_zero_and_change_nothing() {
    let mut driver = started();
    let before = driver.mmio.registers();
    for (offset, size) in [
        (0x70, 1),
        (0x71, 4),
        (0x70, 8),
        (0x200, 4),
        (u64::MAX, 4),
        (0x70, 2),
    ] {
        driver.mmio.write(offset, size, 0);
    }
    assert_eq!(driver.mmio.registers(), before);
    assert_eq!(driver.mmio.read(0, 2), 0);
    assert_eq!(driver.mmio.read(u64::MAX, 8), 0);
    let buffer = driver.buffer(0);
    assert_eq!(
        driver.request(0, &[writable(buffer, 8), readable(buffer, 8)]),
        0
    );
}

proptest! {
    /// Checks that whatever a driver writes, there is no panic, and a reset makes the device work
    /// again.
    #[test]
    fn hostile_drivers_do_not_break_it(
        writes in proptest::collection::vec((0_u64..0x120, any::<u32>(), prop::bool::ANY), 0..200),
        ram in proptest::collection::vec(any::<u8>(), 4096),
    ) {
        let mut driver = driver();
        driver.start(0);
        for ring in rings(0) {
            driver.write(ring, &ram[..1024]);
        }
        for (offset, value, small) in writes {
            let value = if small { value % 16 } else { value };
            driver.mmio.write(offset & !3, 4, u64::from(value));
            driver.mmio.read(offset, 4);
        }
        driver.start(0);
        let buffer = driver.buffer(0);
        prop_assert_eq!(driver.request(0, &[writable(buffer, 8)]), 8);
    }
}
