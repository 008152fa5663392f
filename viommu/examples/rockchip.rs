//! A virtio queue behind a Rockchip IOMMU.
//!
//! `cargo run -p viommu --example rockchip`

mod queue;

use std::error::Error;

use queue::{ANSWER, TABLES};
use viommu::rockchip::{Format, NoInterrupt, Observers, RockchipConfig, RockchipIommu};
use vm_memory::{Bytes, GuestAddress};

/// Registers.
const DTE_ADDR: u64 = 0x00;
const COMMAND: u64 = 0x08;
const PAGE_FAULT_ADDR: u64 = 0x0c;
const ZAP_ONE_LINE: u64 = 0x10;
const INT_RAWSTAT: u64 = 0x14;
/// Commands.
const ENABLE_PAGING: u32 = 0;
const ZAP_CACHE: u32 = 4;
/// A page that may be read and written.
const PAGE_RW: u64 = 7;

fn read(iommu: &RockchipIommu, register: u64) -> u32 {
    let mut word = [0; 4];
    iommu.read(register, &mut word);
    u32::from_le_bytes(word)
}

fn main() -> Result<(), Box<dyn Error>> {
    let ram = queue::ram()?;
    let config = RockchipConfig::new("mmu", Format::Bits32);
    // A VMM passes its interrupt line, and the guest's accesses to the window of registers.
    let interrupt = Box::new(NoInterrupt);
    let iommu = RockchipIommu::new(ram.clone(), &config, interrupt, Observers::default());
    let write = |register, value: u32| iommu.write(register, &value.to_le_bytes());

    // The guest's driver writes tables: a directory, of which an entry leads to a page table.
    let page_table = TABLES + 0x1000;
    let directory_entry = |iova: u64| GuestAddress(TABLES + (iova >> 22) * 4);
    let page_entry = |iova: u64| GuestAddress(page_table + (iova >> 12 & 0x3ff) * 4);
    for (iova, page) in queue::pages() {
        ram.write_obj(u32::try_from(page_table | 1)?, directory_entry(iova))?;
        ram.write_obj(u32::try_from(page | PAGE_RW)?, page_entry(iova))?;
    }
    // It enables the IOMMU.
    write(DTE_ADDR, u32::try_from(TABLES)?);
    write(COMMAND, ZAP_CACHE);
    write(COMMAND, ENABLE_PAGING);

    // A device needs to know nothing of that.
    let dma = iommu.space();
    queue::exchange(&dma)?;

    // The driver unmaps a page. What is zapped is not used by accesses that begin after the write.
    ram.write_obj(0u32, page_entry(ANSWER))?;
    write(ZAP_ONE_LINE, u32::try_from(ANSWER)?);
    queue::check_unmapped(&dma)?;
    let (status, address) = (read(&iommu, INT_RAWSTAT), read(&iommu, PAGE_FAULT_ADDR));
    println!("the guest is told: interrupts {status:#x}, page fault at {address:#x}");
    if (status, u64::from(address)) == (1, ANSWER) {
        Ok(())
    } else {
        Err("that is not the fault".into())
    }
}
