//! An SMMUv2 under any accesses to its registers, any writes to RAM, any DMA in between, and any
//! saved state. After an invalidation a stream meets what the registers and the tables in RAM say.

#![expect(
    clippy::cast_possible_truncation,
    reason = "addresses and numbers are small"
)]

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use viommu::Access;
use viommu::smmu_v2::spec::{BankRegister, GlobalRegister, group_offset};
use viommu::smmu_v2::{BankState, GroupState, NoInterrupt, SmmuV2, SmmuV2Config, SmmuV2State};
use viommu::walk::{GuestTables, Level, Regime, Region, Security, ShortRegime, walk, walk_short};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::iommu::{self, RAM, RAM_SIZE};

/// The streams, groups and banks that inputs speak of, of those that there are.
const FEW: u64 = 4;

/// Offsets in page 0, in page 1 and in the page of a bank at which there is something.
const GLOBAL: [u64; 16] = [
    0x00, 0x20, 0x24, 0x28, 0x40, 0x48, 0x50, 0x54, 0x64, 0x68, 0x6c, 0x70, 0x74, 0x800, 0xc00,
    0x7c,
];
const BANK: [u64; 26] = [
    0x00, 0x08, 0x10, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x38, 0x3c, 0x50, 0x58, 0x60, 0x68,
    0x600, 0x608, 0x610, 0x618, 0x620, 0x628, 0x7f0, 0x7f4, 0x800, 0x818, 0x8f0,
];

/// Offset of page 1, which says what banks are.
const BANKS: u64 = 0x1000;

/// Returns the offset of a register of a bank, of eight.
const fn cb(bank: u64, register: u64) -> u64 {
    0x8000 + bank * 0x1000 + register
}

struct Machine {
    ram: Arc<GuestMemoryMmap<()>>,
    smmu: SmmuV2,
}

impl Machine {
    fn new() -> Self {
        Self::with(iommu::ram())
    }

    fn with(ram: Arc<GuestMemoryMmap<()>>) -> Self {
        let mut config = SmmuV2Config::new("smmu");
        // Small, so that entries are displaced.
        config.cache.entries = 16;
        let memory = Arc::clone(&ram);
        let smmu = SmmuV2::new(memory, &config, Box::new(NoInterrupt), iommu::observers());
        Self { ram, smmu }
    }

    fn write(&self, register: u64, value: u32) {
        self.smmu.write(register, &value.to_le_bytes());
    }

    fn read(&self, register: u64) -> u32 {
        let mut word = [0; 4];
        self.smmu.read(register, &mut word);
        u32::from_le_bytes(word)
    }

    fn read_long(&self, register: u64) -> u64 {
        let mut long = [0; 8];
        self.smmu.read(register, &mut long);
        u64::from_le_bytes(long)
    }

    /// Returns where the registers and tables lead an access of a stream; `None` if it is refused.
    fn expected(&self, stream: u32, iova: u64, access: Access) -> Option<u64> {
        let control = self.read(GlobalRegister::Cr0 as u64);
        if control & 1 != 0 {
            return Some(iova);
        }
        let of = |group: &u64| {
            let smr = self.read(group_offset::SMR + group * 4);
            smr >> 31 == 1 && (smr ^ stream) & !(smr >> 16) & 0x7fff == 0
        };
        let matching: Vec<u64> = (0..16).filter(of).collect();
        let s2cr = match matching[..] {
            [] => return (control & 0x400 == 0).then_some(iova),
            [group] => self.read(group_offset::S2CR + group * 4),
            _ => return (control & 0x20_0000 == 0).then_some(iova),
        };
        let bank = u64::from(s2cr & 0xff);
        match s2cr >> 16 & 3 {
            0 if bank < 8 && self.read(BANKS + bank * 4) >> 16 & 3 == 1 => {}
            1 => return Some(iova),
            _ => return None,
        }
        if self.read(cb(bank, BankRegister::Sctlr as u64)) & 1 == 0 {
            return Some(iova);
        }
        self.translated(bank, iova, access)
    }

    /// Returns where the tables of a bank lead.
    fn translated(&self, bank: u64, iova: u64, access: Access) -> Option<u64> {
        let tcr = self.read(cb(bank, BankRegister::Tcr as u64));
        let tables = GuestTables(&*self.ram);
        if tcr >> 31 == 0 {
            let regime = ShortRegime {
                ttbr0: self.read(cb(bank, BankRegister::Ttbr0Low as u64)),
                ttbr1: self.read(cb(bank, BankRegister::Ttbr1Low as u64)),
                n: (tcr & 7) as u8,
                lower_disabled: tcr >> 4 & 1 == 1,
                upper_disabled: tcr >> 5 & 1 == 1,
                access_flag: self.read(cb(bank, BankRegister::Sctlr as u64)) >> 2 & 1 == 1,
                privileged: false,
            };
            let walked = walk_short(&tables, &regime, iova, access);
            return walked.ok().map(|walked| walked.output);
        }
        let region = |register, shift: u32, disabled: u32| {
            let size = (tcr >> shift & 7) as u8;
            let start = if size < 2 {
                Level::First
            } else {
                Level::Second
            };
            let base = self.read_long(cb(bank, register)) & 0xff_ffff_ffff;
            Region {
                disabled: tcr >> disabled & 1 == 1,
                ..Region::new(base, size, start)
            }
        };
        let regime = Regime {
            ttbr1: (tcr & 0x7_0007 != 0).then(|| region(BankRegister::Ttbr1Low as u64, 16, 23)),
            security: Security::NonSecure,
            ..Regime::new(region(BankRegister::Ttbr0Low as u64, 0, 7))
        };
        let walked = walk(&tables, &regime, iova, access);
        walked.ok().map(|walked| walked.output)
    }

    /// Puts a bank, and a group that leads to it, into a useful state.
    fn set_up(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let (bank, group) = (u.int_in_range(0..=FEW - 1)?, u.int_in_range(0..=FEW - 1)?);
        let stream = u.int_in_range(0..=FEW as u32 - 1)?;
        self.write(BANKS + bank * 4, 0x1_f300 | u.int_in_range(0..=1u32)?);
        self.write(
            cb(bank, BankRegister::Tcr as u64),
            if u.ratio(3, 4)? {
                0x8080_2020
            } else {
                u.arbitrary()?
            },
        );
        for register in [BankRegister::Ttbr0Low as u64, BankRegister::Ttbr1Low as u64] {
            self.write(
                cb(bank, register),
                RAM as u32 | u.int_in_range(0..=15u32)? << 12,
            );
            self.write(cb(bank, register + 4), u.int_in_range(0..=3u32)? << 16);
        }
        self.write(cb(bank, BankRegister::Sctlr as u64), 0x1067);
        self.write(group_offset::SMR + group * 4, 0x8000_0000 | stream);
        self.write(group_offset::S2CR + group * 4, bank as u32);
        self.write(GlobalRegister::Cr0 as u64, 0x20_1c36);
        Ok(())
    }

    /// Writes descriptors that lead on within RAM, or anything at all.
    fn poke(&self, u: &mut Unstructured<'_>) -> Result<()> {
        // Few indices, so that IOVAs meet them.
        let page = u64::from(u.arbitrary::<u8>()? >> 4);
        let place = page * 0x1000 + u.int_in_range(0..=3u64)? * 8;
        let descriptor = if u.ratio(7, 8)? {
            let attributes = if u.ratio(3, 4)? {
                0x443
            } else {
                u.int_in_range(0..=0xfffu64)?
            };
            RAM | u.int_in_range(0..=15u64)? << 12 | attributes
        } else {
            u.arbitrary()?
        };
        let copies = u.int_in_range(1..=16u64)?;
        for copy in 0..copies {
            let at = GuestAddress(RAM + (place + copy * 8) % RAM_SIZE);
            self.ram
                .write_obj(descriptor.to_le(), at)
                .expect("it is RAM");
        }
        Ok(())
    }

    /// Returns an IOVA at which the tables are likely to have an entry.
    fn iova(u: &mut Unstructured<'_>) -> Result<u64> {
        let mut iova = 0;
        for (index, shift) in [(3u64, 30), (3, 21), (15, 12), (511, 3)] {
            iova |= u.int_in_range(0..=index)? << shift;
        }
        Ok(iova)
    }

    /// Invalidates everything, and has a device read or write what must be there then.
    fn check(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let (iova, writes): (u64, bool) = (Self::iova(u)?, u.arbitrary()?);
        let stream = u.int_in_range(0..=FEW as u32 - 1)?;
        self.write(GlobalRegister::TlbiAllNsnh as u64, 0);
        let access = if writes { Access::Write } else { Access::Read };
        let physical = self.expected(stream, iova, access);
        let dma = self.smmu.space(stream);
        iommu::meets(&self.ram, &dma, (iova, physical), writes);
        Ok(())
    }

    /// Makes any access of a device: of any length, anywhere.
    fn access(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let dma = self.smmu.space(u.int_in_range(0..=FEW as u32)?);
        let iova = if u.arbitrary()? {
            u.arbitrary()?
        } else {
            Self::iova(u)?
        };
        iommu::access(&dma, iova, u)
    }

    /// Makes any access to the registers, most of them to those that there are.
    fn touch(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let number = u.int_in_range(0..=FEW - 1)?;
        let offset = match u.int_in_range(0..=7u8)? {
            0 => u64::from(u.arbitrary::<u32>()? & 0x1_ffff),
            1 => BANKS + u.int_in_range(0..=2u64)? * 0x400 + number * 4,
            2 => group_offset::SMR + number * 4,
            3 => group_offset::S2CR + number * 4,
            4 => *u.choose(&GLOBAL)?,
            _ => cb(number, *u.choose(&BANK)?),
        };
        let bytes: [u8; 8] = u.arbitrary()?;
        let smmu = &self.smmu;
        let read = |data: &mut [u8]| smmu.read(offset, data);
        iommu::touch(bytes, u, read, |data| smmu.write(offset, data))
    }

    /// Has another SMMU carry on, with the same RAM, or with any state of its own.
    fn carry_on(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let mut saved = self.smmu.save();
        let any = u.arbitrary()?;
        if any {
            saved = hostile(u)?;
        }
        let next = Self::with(Arc::clone(&self.ram));
        match next.smmu.restore(&saved) {
            // What no register can hold is left out of a state that is not its own.
            Ok(()) => assert!(any || next.smmu.save() == saved),
            Err(_) => {
                assert!(any, "its own state is restored");
                return Ok(());
            }
        }
        *self = next;
        Ok(())
    }
}

/// Returns any saved state, most often one that fits.
fn hostile(u: &mut Unstructured<'_>) -> Result<SmmuV2State> {
    let fits = u.ratio(7, 8)?;
    let bank = BankState {
        cbar: u.arbitrary()?,
        cbfrsynra: u.arbitrary()?,
        sctlr: u.arbitrary()?,
        tcr: u.arbitrary()?,
        tcr2: u.arbitrary()?,
        ttbr0: u.arbitrary()?,
        ttbr1: u.arbitrary()?,
        contextidr: u.arbitrary()?,
        mair0: u.arbitrary()?,
        mair1: u.arbitrary()?,
        par: u.arbitrary()?,
        fsr: u.arbitrary()?,
        far: u.arbitrary()?,
        fsynr0: u.arbitrary()?,
        syncing: u.arbitrary()?,
        largest: u.arbitrary()?,
    };
    let group = GroupState {
        smr: u.arbitrary()?,
        s2cr: u.arbitrary()?,
    };
    let (groups, banks): (u8, u8) = if fits { (16, 8) } else { u.arbitrary()? };
    Ok(SmmuV2State {
        version: if fits {
            SmmuV2State::VERSION
        } else {
            u.arbitrary()?
        },
        cr0: u.arbitrary()?,
        gfsr: u.arbitrary()?,
        gfar: u.arbitrary()?,
        gfsynr0: u.arbitrary()?,
        gfsynr1: u.arbitrary()?,
        syncing: u.arbitrary()?,
        groups: vec![group; usize::from(groups)],
        banks: vec![bank; usize::from(banks)],
        unimplemented: u.arbitrary()?,
    })
}

/// Restores states of any kind, and uses what there is then.
pub(super) fn restored(u: &mut Unstructured<'_>) -> Result<()> {
    let mut machine = Machine::new();
    machine.carry_on(u)?;
    iommu::use_restored!(machine, u);
    Ok(())
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let mut machine = Machine::new();
    for _ in 0..200 {
        match u.int_in_range(0..=8)? {
            0 | 1 => machine.touch(u)?,
            2 => machine.set_up(u)?,
            3 | 4 => machine.poke(u)?,
            5 => machine.access(u)?,
            6 => machine.carry_on(u)?,
            _ => machine.check(u)?,
        }
    }
    // As an injected fault does, in whatever state the registers are.
    machine.smmu.show_status(0, u32::MAX);
    // Whatever the tables hold, this comes to an end.
    machine.smmu.mappings();
    Ok(())
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    // Input may end anywhere.
    let _ = run(&mut Unstructured::new(data));
}
