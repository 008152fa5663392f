//! A virtio queue behind an Arm SMMUv2.
//!
//! `cargo run -p viommu --example smmu_v2`

mod long_tables;
mod queue;

use std::error::Error;

use queue::{ANSWER, TABLES};
use viommu::smmu_v2::{NoInterrupt, Observers, SmmuV2, SmmuV2Config};
use vm_memory::Bytes;

/// The device's stream.
const STREAM: u32 = 5;
/// Registers of the SMMU: sCR0, and those of group 0 and bank 0.
const CR0: u64 = 0x0;
const SMR0: u64 = 0x800;
const S2CR0: u64 = 0xc00;
const CBAR0: u64 = 0x1000;
/// Registers in the page of bank 0, of eight.
const SCTLR: u64 = 0x8000;
const TCR2: u64 = 0x8010;
const TTBR0: u64 = 0x8020;
const TCR: u64 = 0x8030;
const MAIR0: u64 = 0x8038;
const FSR: u64 = 0x8058;
const FAR: u64 = 0x8060;
const TLBIVAL: u64 = 0x8620;
const TLBSYNC: u64 = 0x87f0;
const TLBSTATUS: u64 = 0x87f4;
/// A table, and a page that may be read and written, as the Linux driver has them.
const TABLE: u64 = 3;
const PAGE_RW: u64 = 0xe47;

fn main() -> Result<(), Box<dyn Error>> {
    let ram = queue::ram()?;
    let config = SmmuV2Config::new("smmu");
    // A VMM passes its interrupt line, and the guest's accesses to the window of registers.
    let interrupt = Box::new(NoInterrupt);
    let smmu = SmmuV2::new(ram.clone(), &config, interrupt, Observers::default());
    let write = |register, value: u32| smmu.write(register, &value.to_le_bytes());
    let read = |register| {
        let mut word = [0; 4];
        smmu.read(register, &mut word);
        u32::from_le_bytes(word)
    };

    // The guest's driver writes tables of three levels.
    let page_entry = long_tables::write(&ram, TABLES, (TABLE, PAGE_RW))?;
    // It programs a context bank, and a group that leads the stream to it.
    for (register, value) in [
        (CBAR0, 0x1_f300),
        (TCR2, 0x3_8002),
        (TCR, 0x8080_2020),
        (TTBR0, u32::try_from(TABLES)?),
        (MAIR0, 0xf404_ff44),
        (SCTLR, 0x1067),
        (SMR0, 1 << 31 | STREAM),
        (S2CR0, 0),
        // Streams that match no group fault.
        (CR0, 0x1c36),
    ] {
        write(register, value);
    }

    // A device needs to know nothing of that.
    let dma = smmu.space(STREAM);
    queue::exchange(&dma)?;

    // The driver unmaps a page, invalidates it, and waits until that is complete.
    ram.write_obj(0u64, page_entry(ANSWER))?;
    write(TLBIVAL, u32::try_from(ANSWER)?);
    write(TLBSYNC, 0);
    while read(TLBSTATUS) & 1 != 0 {
        std::thread::yield_now();
    }
    queue::check_unmapped(&dma)?;
    let (status, address) = (read(FSR), read(FAR));
    println!("the guest is told: FSR {status:#x}, FAR {address:#x}");
    // A translation fault, in the format of long descriptors.
    if (status, u64::from(address)) == (0x202, ANSWER) {
        Ok(())
    } else {
        Err("that is not the fault".into())
    }
}
