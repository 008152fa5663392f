//! A virtio queue behind an IPMMU-VMSA of R-Car Gen2.
//!
//! `cargo run -p viommu --example ipmmu`

mod long_tables;
mod queue;

use std::error::Error;

use queue::{ANSWER, TABLES};
use viommu::ipmmu::{Ipmmu, IpmmuConfig, NoInterrupt, Observers};
use vm_memory::Bytes;

/// Registers of context 0, and IMUCTR of uTLB 3.
const IMCTR: u64 = 0x800;
const IMTTBCR: u64 = 0x808;
const IMTTLBR0: u64 = 0x810;
const IMTTUBR0: u64 = 0x814;
const IMSTR: u64 = 0x820;
const IMELAR: u64 = 0x830;
const IMUCTR3: u64 = 0xb30;
/// Bits of IMCTR: INTEN, FLUSH and MMUEN.
const ENABLE: u32 = 7;
const FLUSH: u32 = 2;
/// A table, and a page that may be read and written, as the Linux driver has them.
const TABLE: u64 = 0x8080_0000_0000_0003;
const PAGE_RW: u64 = 0xe63;

fn main() -> Result<(), Box<dyn Error>> {
    let ram = queue::ram()?;
    let config = IpmmuConfig::gen2("ipmmu0");
    // A VMM passes its interrupt line, and the guest's accesses to the window of registers.
    let interrupt = Box::new(NoInterrupt);
    let ipmmu = Ipmmu::new(ram.clone(), &config, interrupt, Observers::default())?;
    let instance = ipmmu.instance(0).ok_or("there is one")?;
    let write = |register, value: u32| instance.write(register, &value.to_le_bytes());
    let read = |register| {
        let mut word = [0; 4];
        instance.read(register, &mut word);
        u32::from_le_bytes(word)
    };

    // The guest's driver writes tables of three levels.
    let page_entry = long_tables::write(&ram, TABLES, (TABLE, PAGE_RW))?;
    // It programs a context, and has the device's uTLB use it.
    write(IMTTLBR0, u32::try_from(TABLES)?);
    write(IMTTUBR0, 0);
    write(IMTTBCR, 0x8000_3510);
    write(IMCTR, ENABLE);
    write(IMUCTR3, 1);

    // A device needs to know nothing of that.
    let dma = instance.space(3).ok_or("there are 32 uTLBs")?;
    queue::exchange(&dma)?;

    // The driver unmaps a page, flushes, and waits until the flush is complete.
    ram.write_obj(0u64, page_entry(ANSWER))?;
    write(IMCTR, ENABLE);
    while read(IMCTR) & FLUSH != 0 {
        std::thread::yield_now();
    }
    queue::check_unmapped(&dma)?;
    let (status, address) = (read(IMSTR), read(IMELAR));
    println!("the guest is told: status {status:#x}, iova {address:#x}");
    if (status, u64::from(address)) == (0x3001, ANSWER) {
        Ok(())
    } else {
        Err("that is not the fault".into())
    }
}
