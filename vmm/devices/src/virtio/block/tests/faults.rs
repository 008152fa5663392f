//! What a plan makes of requests, and of what the driver is told.

use std::sync::Arc;

use virtio_bindings::virtio_config::VIRTIO_CONFIG_S_NEEDS_RESET;
use virtio_bindings::virtio_mmio::{
    VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_QUEUE_NOTIFY,
    VIRTIO_MMIO_STATUS,
};

use vm_memory::GuestAddress;
use vmm_faults::testing::armed;
use vmm_faults::{DelayedAction, DeviceFaults, Injection};

use super::*;

struct World {
    driver: Driver,
    file: NamedTempFile,
    injection: Arc<Injection>,
}

/// Returns a driver of a disk at which `fault` happens.
fn disk_with(fault: &str) -> World {
    disk_on(image(), fault)
}

fn disk_on(file: NamedTempFile, fault: &str) -> World {
    let injection = armed(fault);
    let disk = Disk::open(file.path(), Access::Write).unwrap();
    let mut block = Block::new(disk, "a disk", 2);
    block.set_faults(DeviceFaults::new(&injection, "disk0"));
    let mut driver = Driver::new(Box::new(block));
    driver
        .mmio
        .set_faults(DeviceFaults::new(&injection, "disk0"));
    driver.start(0);
    World {
        driver,
        file,
        injection,
    }
}

impl World {
    /// Returns a buffer of 1024 bytes, each of which is `byte`.
    fn filled_buffer(&self, byte: u8) -> u64 {
        let data = self.driver.buffer(1);
        self.driver.write(data, &[byte; 1024]);
        data
    }

    /// Reads sectors 2 and 3: the status, the used length, and what came.
    fn read(&mut self) -> (u8, u32, Vec<u8>) {
        let data = self.filled_buffer(0xee);
        let chain = [writable(data, 1024)];
        let (status, used) = send(&mut self.driver, VIRTIO_BLK_T_IN, 2, &chain);
        (status, used, self.driver.read(data, 1024))
    }

    /// Writes 0xaa to sectors 8 and 9: the status, and what then is on the disk.
    fn write(&mut self) -> (u8, Vec<u8>) {
        let chain = [readable(self.filled_buffer(0xaa), 1024)];
        let (status, _) = send(&mut self.driver, VIRTIO_BLK_T_OUT, 8, &chain);
        let bytes = std::fs::read(self.file.path()).unwrap();
        (status, bytes[8 * 512..10 * 512].to_vec())
    }
}

fn right() -> Vec<u8> {
    [[2; 512], [3; 512]].concat()
}

fn differing(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a != b).count()
}

#[test]
fn without_a_rule_that_strikes_nothing_changes() {
    let mut world = disk_with("where = \"disk\"\nwhat = \"io-error\"\nwhen = { nth = 99 }");
    assert_eq!(world.read(), (0, 1025, right()));
    assert_eq!(world.write(), (0, vec![0xaa; 1024]));
    let account = world.injection.account();
    assert_eq!((account.faults, account.seen), (0, vec![2]));
}

#[test]
fn requests_fail_or_are_not_supported() {
    let mut world = disk_with("where = \"disk\"\nwhat = \"io-error\"");
    assert_eq!(world.read(), (1, 0, vec![0xee; 1024]));
    assert_eq!(world.read(), (0, 1025, right()), "once");
    let mut world = disk_with("where = \"disk\"\nwhat = \"unsupported\"");
    assert_eq!(world.write().0, 2);
}

#[test]
fn half_of_a_request_is_done_and_said_to_be_all() {
    let mut world = disk_with("where = \"disk\"\nwhat = \"short\"\nwhen = { every = 1 }");
    let half = [[2; 512], [0xee; 512]].concat();
    assert_eq!(world.read(), (0, 512, half));
    let half = [[0xaa; 512], [9; 512]].concat();
    assert_eq!(world.write(), (0, half));
}

#[test]
fn a_byte_is_changed_on_its_way() {
    let mut world = disk_with("where = \"disk\"\nwhat = \"flip\"\nmask = 1\nwhen = { every = 1 }");
    let (status, used, data) = world.read();
    assert_eq!((status, used, differing(&data, &right())), (0, 1025, 1));
    let (status, data) = world.write();
    assert_eq!((status, differing(&data, &[0xaa; 1024])), (0, 1));
}

#[test]
fn data_comes_after_the_request_is_over() {
    let mut world = disk_with("where = \"disk\"\nwhat = \"late-data\"\ndelay = \"7us\"");
    assert_eq!(world.read(), (0, 1025, vec![0xee; 1024]));
    assert_eq!(world.injection.next_alarm(), Some(7_000));
    let data = GuestAddress(world.driver.buffer(1));
    let alarm = DelayedAction::Dma {
        device: "disk0".into(),
        writes: vec![(data, right())],
        reads: Vec::new(),
    };
    assert_eq!(world.injection.all_alarms(), [alarm]);
}

#[test]
fn buffers_are_accessed_again() {
    let mut world =
        disk_with("where = \"disk\"\nwhat = \"again\"\ndelay = \"7us\"\nwhen = { every = 1 }");
    assert_eq!(
        world.read(),
        (0, 1025, right()),
        "the request itself is well"
    );
    assert_eq!(world.write(), (0, vec![0xaa; 1024]));
    let data = GuestAddress(world.driver.buffer(1));
    let alarms = world.injection.all_alarms();
    let [
        DelayedAction::Dma { writes, .. },
        DelayedAction::Dma { reads, .. },
    ] = alarms.as_slice()
    else {
        panic!("{alarms:?}");
    };
    assert_eq!((writes[0].0, writes[0].1.len()), (data, 1024));
    assert_eq!(*reads, [(data, 1024)]);
}

#[test]
fn descriptors_are_read_wrongly() {
    // Bit 30 leads out of memory, whichever of the three buffers it is that the seed chose.
    let mut world = disk_with("where = \"chain\"\nwhat = \"flip-address\"\nmask = 0x40000000");
    assert_ne!(world.read(), (0, 1025, right()));
    assert_eq!(world.read(), (0, 1025, right()));
    let mut world = disk_with("where = \"chain\"\nwhat = \"flip-length\"\nmask = 0x100");
    assert_ne!(world.read(), (0, 1025, right()));
}

#[test]
fn notifications_are_lost_or_late() {
    for (what, alarm) in [
        ("what = \"lost\"", None),
        ("what = \"late\"\ndelay = \"3us\"", Some(3_000)),
    ] {
        let mut world = disk_with(&format!("where = \"queue\"\n{what}"));
        let status = world.driver.buffer(3);
        world.driver.offer(
            1,
            &[readable(world.driver.buffer(0), 16), writable(status, 1)],
        );
        world.driver.set(VIRTIO_MMIO_QUEUE_NOTIFY, 1);
        assert_eq!(world.driver.used_index(1), 0);
        assert_eq!(world.injection.next_alarm(), alarm);
        world.driver.mmio.process_queue(1);
        assert_eq!(
            world.driver.used_index(1),
            1,
            "nothing but the notification was lost"
        );
    }
}

#[test]
fn a_device_asks_for_a_reset_or_forgets_everything() {
    let mut world = disk_with("where = \"queue\"\nwhat = \"needs-reset\"");
    world.driver.set(VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    let status = world.driver.reg(VIRTIO_MMIO_STATUS);
    assert_ne!(status & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    assert_eq!(world.driver.reg(VIRTIO_MMIO_INTERRUPT_STATUS), 2);
    let mut world = disk_with("where = \"queue\"\nwhat = \"reset\"");
    world.driver.set(VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    assert_eq!(world.driver.reg(VIRTIO_MMIO_STATUS), 0);
    world.driver.start(0);
    assert_eq!(world.read(), (0, 1025, right()), "it can be started again");
}

#[test]
fn registers_of_a_slot_read_and_take_something_else() {
    let fault = |keys: &str| disk_with(&format!("where = \"register-{keys}"));
    let world =
        fault("read\"\nwhat = \"flip\"\nmask = 6\nregister = \"Status\"\nwhen = { nth = 3 }");
    let status: Vec<u32> = (0..4)
        .map(|_| world.driver.reg(VIRTIO_MMIO_STATUS))
        .collect();
    let right = status[3];
    assert!(status.contains(&(right ^ 6)), "{status:x?}");
    assert_eq!(world.injection.account().faults, 1);
    let mut world = fault("write\"\nwhat = \"lost\"\nregister = \"InterruptACK\"");
    assert_eq!(world.read(), (0, 1025, self::right()));
    world.driver.set(VIRTIO_MMIO_INTERRUPT_ACK, 1);
    assert_eq!(world.driver.reg(VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    world.driver.set(VIRTIO_MMIO_INTERRUPT_ACK, 1);
    assert_eq!(world.driver.reg(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    let told = &world.injection.account().told[0].text;
    assert_eq!(told, "register-write of disk0: lost (InterruptACK, 0x1)");
}

#[test]
fn a_request_that_goes_wrong_is_done_in_turns_like_any_other() {
    for (fault, turns) in [
        ("flip\"\nmask = 1", 3),
        ("again\"\ndelay = \"1us\"", 3),
        ("short\"", 2),
    ] {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(80 << 20).unwrap();
        let rule = format!("where = \"disk\"\nwhat = \"{fault}\nwhen = {{ every = 1 }}");
        let World {
            mut driver,
            injection,
            ..
        } = disk_on(file, &rule);
        let [header, data, status] = [0, 1, 2].map(|n| driver.buffer(n));
        driver.write(header, &[0; 16]);
        driver.write(status, &[0xff]);
        let mut chain = vec![readable(header, 16)];
        // 80 MiB are three turns of 32 MiB, and half of it is two.
        chain.extend(vec![writable(data, 1 << 20); 80]);
        chain.push(writable(status, 1));
        driver.offer(0, &chain);
        driver.set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
        for turn in 1..turns {
            assert_eq!(driver.used_index(0), 0, "{fault}: turn {turn}");
            assert!(injection.all_alarms().is_empty());
            assert!(driver.mmio.go_on(0));
        }
        assert_eq!((driver.used_index(0), driver.read(status, 1)[0]), (1, 0));
        let differing = differing(&driver.read(data, 1 << 20), &vec![0; 1 << 20]);
        assert_eq!(differing, usize::from(fault.starts_with("flip")), "{fault}");
        let alarms = injection.all_alarms().len();
        assert_eq!(alarms, usize::from(fault.starts_with("again")), "{fault}");
    }
}
