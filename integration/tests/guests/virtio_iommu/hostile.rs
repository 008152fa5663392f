//! A guest that programs nonsense harms itself at most.

use integration::{Run, disk};

use super::{device, guest};
use crate::iommu::hostile::{assert_survived, refused};

/// The first virtio-iommu's registers (virtio 1.2, 4.2.2).
const REGISTERS: u32 = 0x0980_0000;
const QUEUE_SEL: u32 = 0x030;
const QUEUE_NUM: u32 = 0x038;
const QUEUE_READY: u32 = 0x044;
const QUEUE_NOTIFY: u32 = 0x050;
const STATUS: u32 = 0x070;
const QUEUE_DESC_LOW: u32 = 0x080;
const QUEUE_DRIVER_LOW: u32 = 0x090;
const QUEUE_DEVICE_LOW: u32 = 0x0a0;
/// The field `bypass`.
const BYPASS: u32 = 0x100 + 36;

fn write(register: u32, value: u32) -> String {
    format!("devmem {:#x} 32 {value:#x}; ", REGISTERS + register)
}

/// Boots a guest that does `nonsense`, then has its devices work, and goes on. The kernel's driver
/// spins for ever, with interrupts off, once its queue is gone: only what does not ask it comes
/// after.
fn survives(nonsense: &str) -> Run {
    let disk = disk::noise(1 << 20, 91);
    let run = guest("virtio")
        .disk(&disk)
        .run(&format!("sha256sum /dev/vda; {nonsense}"))
        .run("echo still alive")
        .boot();
    assert_survived(&run, (&disk, 91), 2);
    run
}

#[test]
fn rings_among_the_devices_and_beyond_memory() {
    for place in [0x0900_0000, REGISTERS, 0xffff_f000, 0] {
        let mut nonsense = write(STATUS, 0);
        for status in [1, 3] {
            nonsense += &write(STATUS, status);
        }
        nonsense += &(write(0x24, 1) + &write(0x20, 1) + &write(STATUS, 11));
        for queue in [0, 1] {
            nonsense += &(write(QUEUE_SEL, queue) + &write(QUEUE_NUM, 64));
            for register in [QUEUE_DESC_LOW, QUEUE_DRIVER_LOW, QUEUE_DEVICE_LOW] {
                nonsense += &write(register, place);
            }
            nonsense += &write(QUEUE_READY, 1);
        }
        nonsense += &(write(STATUS, 15) + &write(QUEUE_NOTIFY, 0) + &write(QUEUE_NOTIFY, 1));
        nonsense += &(write(QUEUE_NOTIFY, 0xffff_ffff) + &write(BYPASS, 0xffff_ffff));
        let run = survives(&nonsense);
        assert_eq!(device(&run).domains, 0, "{place:#x}");
    }
}

#[test]
fn a_reset_detaches_what_is_in_use() {
    // The field bypass is 1: what the entropy device still holds of IOVAs are then addresses where
    // no memory is.
    let run = survives(&write(STATUS, 0));
    let device = device(&run);
    assert_eq!((device.domains, device.resets), (0, 2), "{device:?}");
    assert_eq!(run.summary.iommus[0].mappings, 0);
    assert_eq!(refused(&run).0, 0, "{:?}", run.summary.iommus);
}

#[test]
fn the_configuration_takes_only_what_is_negotiated() {
    let nonsense: String = (0..16)
        .map(|word| write(0x100 + 4 * word, 0xffff_fffe))
        .collect();
    let show = |at: u32| format!("devmem {:#x} 32; ", REGISTERS + 0x100 + at);
    let run = survives(&(nonsense + &show(0) + &show(36)));
    let output = run.output(1);
    let lines: Vec<&str> = output.lines().skip(1).collect();
    assert_eq!(lines, ["0xFFFFF000", "0x00000001"], "{output}");
    assert_eq!(device(&run).refused, 0);
}
