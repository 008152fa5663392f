//! A hostile driver: any register accesses, with any rings and requests in memory, on an entropy or a block device.

#![no_main]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use tempfile::NamedTempFile;
use viommu::DmaSpace;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm::devices::virtio::block::{Access, Block, Disk};
use vmm::devices::virtio::rng::Rng;
use vmm::devices::virtio::{VirtioDevice, VirtioMmio};
use vmm::irq::Interrupt;

const RAM: u64 = 0x4000_0000;
const RAM_SIZE: usize = 0x1_0000;
const DISK_SIZE: u64 = 0x1_0000;

struct Nowhere;

impl Interrupt for Nowhere {
    fn set(&self, _level: bool) {}

    fn pulse(&self) {}
}

fn device(choice: u8) -> Box<dyn VirtioDevice> {
    static DISK: OnceLock<NamedTempFile> = OnceLock::new();
    if choice & 1 == 0 {
        return Box::new(Rng::new(choice.into()));
    }
    let file = DISK.get_or_init(|| {
        let file = NamedTempFile::new().expect("a temporary file");
        file.as_file().set_len(DISK_SIZE).expect("room for it");
        file
    });
    let access = if choice & 2 != 0 {
        Access::Read
    } else {
        Access::Write
    };
    let disk = Disk::open(file.path(), access).expect("the file just made");
    Box::new(Block::new(disk, "fuzz", 1 + u16::from(choice >> 2 & 3)))
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, mut rest)) = data.split_first() else {
        return;
    };
    let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(RAM), RAM_SIZE)]).expect("64 KiB");
    let mem = DmaSpace::pass_through(Arc::new(ram));
    let mut mmio = VirtioMmio::new(
        device(*choice),
        mem.clone(),
        Arc::new(Nowhere),
        choice & 0x80 != 0,
    );
    // Each step: what, where, and a value; addresses that look like RAM's are made so, so that rings are found.
    while let Some((step, tail)) = rest.split_first_chunk::<8>() {
        rest = tail;
        let offset = u64::from(u16::from_le_bytes([step[1], step[2]]));
        let value = u32::from_le_bytes([step[4], step[5], step[6], step[7]]);
        match step[0] % 6 {
            0 | 1 => mmio.write(offset & 0x1ff, 4, value.into()),
            2 => mmio.write(offset, 1 << (step[3] & 3), value.into()),
            3 => drop(mmio.read(offset & 0x1ff, 1 << (step[3] & 3))),
            4 => mem
                .write_obj(value, GuestAddress(RAM + offset % (RAM_SIZE as u64 - 4)))
                .expect("RAM"),
            _ => mem
                .write_obj(
                    RAM | u64::from(value & 0xffff),
                    GuestAddress(RAM + offset % (RAM_SIZE as u64 - 8)),
                )
                .expect("RAM"),
        }
    }
});
