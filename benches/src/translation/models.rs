//! The complete models before a world's memory, set up and invalidated by their registers as
//! Linux's drivers do it.

use std::sync::Arc;

use clap::ValueEnum;
use viommu::ipmmu::{self, Ipmmu, IpmmuConfig};
use viommu::rockchip::{self, Format, RockchipConfig, RockchipIommu};
use viommu::smmu_v2::{self, SmmuV2, SmmuV2Config};

use super::peers::Viommu;
use super::world::World;

/// What translates for viommu.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModelKind {
    /// The translation unit alone before a long-descriptor table, without registers
    Unit,
    /// The IPMMU of R-Car Gen2: long descriptors
    Ipmmu,
    /// The Arm SMMUv2: long descriptors
    Smmuv2,
    /// The Rockchip IOMMU: a directory and page tables of 32-bit entries
    Rockchip,
}

impl ModelKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unit, Self::Ipmmu, Self::Smmuv2, Self::Rockchip];

    /// Returns its name, as in `--models`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Ipmmu => "ipmmu",
            Self::Smmuv2 => "smmuv2",
            Self::Rockchip => "rockchip",
        }
    }

    /// Creates the model with the mappings of `world`, and nothing in its cache.
    ///
    /// # Panics
    /// If the library refuses a configuration that it documents.
    pub fn with(self, world: &World) -> Viommu {
        match self {
            Self::Unit => Viommu::new(world),
            Self::Ipmmu => ipmmu(world),
            Self::Smmuv2 => smmu_v2(world),
            Self::Rockchip => rockchip(world),
        }
    }
}

/// Reads registers at an offset.
type Read = dyn Fn(u64, &mut [u8]) + Send + Sync;
/// Writes registers at an offset.
type Write = dyn Fn(u64, &[u8]) + Send + Sync;

/// The registers of a model.
pub struct Registers {
    read: Box<Read>,
    write: Box<Write>,
}

impl Registers {
    fn write(&self, offset: u64, value: u32) {
        (self.write)(offset, &value.to_le_bytes());
    }

    fn read(&self, offset: u64) -> u32 {
        let mut word = [0; 4];
        (self.read)(offset, &mut word);
        u32::from_le_bytes(word)
    }

    fn wait_until_clear(&self, offset: u64, bits: u32) {
        while self.read(offset) & bits != 0 {
            // Readers pin for some microseconds.
            std::thread::yield_now();
        }
    }
}

/// The driver of a model, as far as it invalidates.
pub struct Driver {
    registers: Registers,
    page: fn(&Registers, u64),
    all: fn(&Registers),
}

impl Driver {
    /// Sets the model up by `writes` to registers, each an offset and a value.
    fn new(
        registers: Registers,
        writes: &[(u64, u32)],
        page: fn(&Registers, u64),
        all: fn(&Registers),
    ) -> Self {
        for (offset, value) in writes {
            registers.write(*offset, *value);
        }
        Self {
            registers,
            page,
            all,
        }
    }

    /// Invalidates the page at `iova`, and what the model cannot leave out of that.
    pub fn invalidate(&self, iova: u64) {
        (self.page)(&self.registers, iova);
    }

    /// Invalidates everything.
    pub fn flush(&self) {
        (self.all)(&self.registers);
    }
}

/// Returns the lower and the upper word of an address.
#[expect(clippy::cast_possible_truncation, reason = "one half at a time")]
const fn halves(address: u64) -> (u32, u32) {
    (address as u32, (address >> 32) as u32)
}

/// Returns an IPMMU whose uTLB 0 is on context 0 (6.1, `ipmmu_domain_setup_context`,
/// `ipmmu_utlb_enable`).
fn ipmmu(world: &World) -> Viommu {
    /// IMCTR of context 0.
    const IMCTR: u64 = 0x800;
    const FLUSH: u32 = 2;
    // The driver knows of no invalidation of less (6.1, `ipmmu_tlb_invalidate`).
    fn flush(registers: &Registers) {
        registers.write(IMCTR, registers.read(IMCTR) | FLUSH);
        registers.wait_until_clear(IMCTR, FLUSH);
    }
    let memory = Arc::clone(&world.memory);
    let (config, observers) = (IpmmuConfig::gen2("ipmmu"), ipmmu::Observers::default());
    let ipmmu = Ipmmu::new(memory, &config, Box::new(ipmmu::NoInterrupt), observers)
        .expect("Gen2 has one instance");
    let instance = ipmmu.instance(0).expect("the first of one");
    let space = instance.space(0).expect("there are 32");
    let other = instance.clone();
    let registers = Registers {
        read: Box::new(move |offset, data| instance.read(offset, data)),
        write: Box::new(move |offset, data| other.write(offset, data)),
    };
    let (low, high) = halves(world.table.base());
    // IMTTLBR0 and IMTTUBR0, IMTTBCR (EAE, SL0), IMCTR (MMUEN, FLUSH, INTEN), IMUCTR of uTLB 0
    // (MMUEN, FLUSH).
    let writes = [
        (0x810, low),
        (0x814, high),
        (0x808, 0x8000_0010),
        (IMCTR, 7),
        (0xb00, 3),
    ];
    let driver = Driver::new(registers, &writes, |registers, _| flush(registers), flush);
    Viommu::driven(ipmmu.unit(), space, driver)
}

/// Returns an SMMU whose stream 5 is on context bank 0 (6.1, `arm_smmu_write_context_bank`).
fn smmu_v2(world: &World) -> Viommu {
    const STREAM: u32 = 5;
    /// Offset of context bank 0, of eight.
    const BANK: u64 = 0x8000;
    const TLBSTATUS: u64 = BANK + 0x7f4;
    fn sync(registers: &Registers) {
        registers.write(BANK + 0x7f0, 0);
        registers.wait_until_clear(TLBSTATUS, 1);
    }
    // TLBIVAL of ASID 0 (6.1, `arm_smmu_tlb_inv_range_s1`).
    #[expect(clippy::cast_possible_truncation, reason = "IOVAs have 32 bits")]
    let page = |registers: &Registers, iova: u64| {
        registers.write(BANK + 0x620, iova as u32);
        sync(registers);
    };
    // TLBIASID (6.1, `arm_smmu_tlb_inv_context_s1`).
    let all = |registers: &Registers| {
        registers.write(BANK + 0x610, 0);
        sync(registers);
    };
    let memory = Arc::clone(&world.memory);
    let (config, observers) = (SmmuV2Config::new("smmu"), smmu_v2::Observers::default());
    let smmu = SmmuV2::new(memory, &config, Box::new(smmu_v2::NoInterrupt), observers);
    let (unit, space) = (Arc::clone(smmu.unit()), smmu.space(STREAM));
    let other = smmu.clone();
    let registers = Registers {
        read: Box::new(move |offset, data| smmu.read(offset, data)),
        write: Box::new(move |offset, data| other.write(offset, data)),
    };
    let (low, high) = halves(world.table.base());
    // sCR0, SMR0, S2CR0 (translate by bank 0), CBAR0 (stage 1); of the bank TTBR0, TCR and SCTLR as
    // Linux has them.
    let writes = [
        (0x000, 0x1c36),
        (0x800, 0x8000_0000 | STREAM),
        (0xc00, 0),
        (0x1000, 0x1_f300),
        (BANK + 0x20, low),
        (BANK + 0x24, high),
        (BANK + 0x30, 0x8080_2020),
        (BANK, 0x1067),
    ];
    Viommu::driven(&unit, space, Driver::new(registers, &writes, page, all))
}

/// Returns a Rockchip IOMMU with paging (6.1, `rk_iommu_enable`).
fn rockchip(world: &World) -> Viommu {
    const COMMAND: u64 = 0x08;
    const ENABLE_PAGING: u32 = 0;
    const ZAP_CACHE: u32 = 4;
    // ZAP_ONE_LINE; the driver does not wait (6.1, `rk_iommu_zap_lines`).
    #[expect(clippy::cast_possible_truncation, reason = "IOVAs have 32 bits")]
    let page = |registers: &Registers, iova: u64| registers.write(0x10, iova as u32);
    let all = |registers: &Registers| registers.write(COMMAND, ZAP_CACHE);
    let memory = Arc::clone(&world.memory);
    let config = RockchipConfig::new("mmu", Format::Bits32);
    let observers = rockchip::Observers::default();
    let iommu = RockchipIommu::new(memory, &config, Box::new(rockchip::NoInterrupt), observers);
    let (unit, space) = (Arc::clone(iommu.unit()), iommu.space());
    let other = iommu.clone();
    let registers = Registers {
        read: Box::new(move |offset, data| iommu.read(offset, data)),
        write: Box::new(move |offset, data| other.write(offset, data)),
    };
    // DTE_ADDR is of 32 bits, as all of this memory's addresses are.
    let (directory, _) = halves(world.directory);
    let writes = [
        (0x00, directory),
        (COMMAND, ZAP_CACHE),
        (COMMAND, ENABLE_PAGING),
    ];
    Viommu::driven(&unit, space, Driver::new(registers, &writes, page, all))
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    #[test]
    fn each_model_leads_where_the_mappings_say_until_it_is_invalidated() {
        for kind in ModelKind::ALL
            .into_iter()
            .filter(|kind| *kind != ModelKind::Unit)
        {
            let world = World::new(64, 1);
            world.label();
            let viommu = kind.with(&world);
            viommu.warm_up(&world);
            world.unmap_all();
            let read = |iova| viommu.space.read_obj::<u64>(GuestAddress(iova));
            // What is cached stands until the driver says otherwise.
            let (first, second) = (world.iova(0), world.iova(1));
            assert!(read(first).is_ok() && read(second).is_ok(), "{kind:?}");
            viommu.invalidate(first);
            assert!(read(first).is_err(), "{kind:?}");
            // The IPMMU can forget everything only.
            assert_eq!(read(second).is_ok(), kind != ModelKind::Ipmmu, "{kind:?}");
            viommu.flush();
            assert!(read(second).is_err(), "{kind:?}");
        }
    }
}
