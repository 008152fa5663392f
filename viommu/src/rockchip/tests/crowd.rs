//! Several vCPUs and devices at once.

use vm_memory::GuestMemoryMmap;

use super::harness::{DISABLE_PAGING, Machine, RAM, STATUS, ZAP_ONE_LINE};
use super::linux::Domain;
use crate::dma::DmaSpace;
use crate::rockchip::{Format, RockchipConfig};
use crate::test_support::RegisterMachine as _;
use crate::testing::{DEVICES, Driver, IOVA, IOVAS, VISITOR, all_at_once, wait_until};

const TABLES: u64 = RAM + 0x10_0000;
/// STATUS.IDLE.
const IDLE: u32 = 8;

const _: () = assert!(DEVICES == VISITOR);

/// The driver's one domain, on two IOMMUs over one RAM: that of the devices and that of the
/// visitor. Entries are words of their own, so several vCPUs may change them.
struct Shared<'a> {
    devices: &'a Machine,
    visitor: &'a Machine,
    domains: [Domain<'a>; 2],
    /// The address of each page's entry.
    entries: Vec<u64>,
}

impl Shared<'_> {
    fn put(&self, iova: u64, entry: u32) {
        let at = self.entries[((iova - IOVA) >> 12) as usize];
        self.devices.poke(at, entry);
    }

    /// Zaps as the driver does, on every IOMMU of the domain. The driver takes a zap for complete
    /// when its write is; what is promised is that it is when the IOMMU is idle.
    fn zap(&self, iova: u64) {
        for machine in [self.devices, self.visitor] {
            machine.write(ZAP_ONE_LINE, iova as u32);
            wait_until(|| machine.read(STATUS) & IDLE != 0);
        }
    }
}

impl Driver for Shared<'_> {
    fn ram(&self) -> &GuestMemoryMmap<()> {
        &self.devices.ram
    }

    fn space(&self, device: u64) -> DmaSpace {
        if device == VISITOR {
            self.visitor.dma()
        } else {
            self.devices.dma()
        }
    }

    fn map(&self, iova: u64, frame: u64) {
        self.put(iova, self.frame(frame) as u32 | 7);
    }

    fn unmap(&self, iova: u64) {
        self.put(iova, 0);
        self.zap(iova);
    }

    fn remap(&self, iova: u64, frame: u64) {
        self.map(iova, frame);
        self.zap(iova);
    }

    fn detach(&self, device: u64) {
        assert_eq!(device, VISITOR);
        self.visitor.command(DISABLE_PAGING);
        wait_until(|| self.visitor.read(STATUS) & IDLE != 0);
    }

    fn attach(&self, device: u64) {
        assert_eq!(device, VISITOR);
        self.domains[1].enable().unwrap();
    }

    fn fuss(&self) {
        self.zap(IOVA);
        for (domain, machine) in self.domains.iter().zip([self.devices, self.visitor]) {
            domain.handle_interrupt();
            machine.log.take();
        }
    }
}

#[test]
fn nothing_lands_through_what_was_zapped_while_many_zap() {
    let config = RockchipConfig::new("mmu", Format::Bits32);
    let devices = Machine::new(&config);
    let visitor = Machine::with(devices.ram.clone(), &config);
    let mut domain = Domain::new(&devices, TABLES);
    // All tables are made here: later each thread writes only entries of its own pages.
    let entries = (0..IOVAS).map(|page| domain.entry(IOVA + page * 0x1000));
    let entries = entries.collect();
    let other = Domain::at(&visitor, TABLES);
    domain.enable().unwrap();
    other.enable().unwrap();
    all_at_once(&Shared {
        devices: &devices,
        visitor: &visitor,
        domains: [domain, other],
        entries,
    });
}
