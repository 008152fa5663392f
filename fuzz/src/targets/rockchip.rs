//! A Rockchip IOMMU of either format under any accesses to its registers, any writes to RAM, any
//! DMA in between, and any saved state. What is zapped is translated as the tables in RAM say.

#![expect(
    clippy::cast_possible_truncation,
    reason = "addresses and numbers are small"
)]

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use viommu::rockchip::spec::Command;
use viommu::rockchip::{
    Format, NoInterrupt, Register, RockchipConfig, RockchipIommu, RockchipState,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::iommu::{self, RAM, RAM_SIZE};

/// Bits of an entry: there is one, it may be read, it may be written.
const VALID: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;

struct Machine {
    ram: Arc<GuestMemoryMmap<()>>,
    iommu: RockchipIommu,
    format: Format,
}

impl Machine {
    fn new(format: Format) -> Self {
        Self::with(iommu::ram(), format)
    }

    fn with(ram: Arc<GuestMemoryMmap<()>>, format: Format) -> Self {
        let mut config = RockchipConfig::new("mmu", format);
        // Small, so that entries are displaced.
        config.cache.entries = 16;
        let memory = Arc::clone(&ram);
        let interrupt = Box::new(NoInterrupt);
        let iommu = RockchipIommu::new(memory, &config, interrupt, iommu::observers());
        Self { ram, iommu, format }
    }

    fn write(&self, register: u64, value: u32) {
        self.iommu.write(register, &value.to_le_bytes());
    }

    fn read(&self, register: u64) -> u32 {
        let mut word = [0; 4];
        self.iommu.read(register, &mut word);
        u32::from_le_bytes(word)
    }

    /// Returns the address that an entry, or DTE_ADDR, has in it.
    fn address(&self, entry: u32) -> u64 {
        let entry = u64::from(entry);
        let high = match self.format {
            Format::Bits32 => 0,
            Format::Bits40 => entry >> 8 & 15 | (entry >> 4 & 15) << 4,
        };
        high << 32 | entry & 0xffff_f000
    }

    /// Returns where the tables lead a device that wants `wanted` at an IOVA.
    fn walk(&self, iova: u32, wanted: u32) -> Option<u64> {
        let entry = |table: u64, index: u32| {
            let at = GuestAddress(table + u64::from(index) * 4);
            self.ram.read_obj::<u32>(at).ok()
        };
        let outer = entry(
            self.address(self.read(Register::DteAddr as u64)),
            iova >> 22,
        )?;
        if outer & VALID == 0 {
            return None;
        }
        let inner = entry(self.address(outer), iova >> 12 & 0x3ff)?;
        let wanted = wanted | VALID;
        (inner & wanted == wanted).then(|| self.address(inner) | u64::from(iova & 0xfff))
    }

    /// Puts the IOMMU into a useful state.
    fn set_up(&self, u: &mut Unstructured<'_>) -> Result<()> {
        self.write(
            Register::DteAddr as u64,
            RAM as u32 | u.int_in_range(0..=15u32)? << 12,
        );
        self.write(Register::IntMask as u64, 3);
        self.write(Register::Command as u64, Command::EnablePaging as u32);
        Ok(())
    }

    /// Writes entries that lead on within RAM, or anything at all.
    fn poke(&self, u: &mut Unstructured<'_>) -> Result<()> {
        // Few indices, so that IOVAs meet them.
        let page = u64::from(u.arbitrary::<u8>()? >> 4);
        let place = page * 0x1000 + u64::from(u.int_in_range(0..=7u8)?) * 4;
        let entry = if u.ratio(7, 8)? {
            RAM as u32 | u.int_in_range(0..=15u32)? << 12 | u.int_in_range(0..=7u32)?
        } else {
            u.arbitrary()?
        };
        let copies = u.int_in_range(1..=16u64)?;
        for copy in 0..copies {
            let at = GuestAddress(RAM + (place + copy * 4) % RAM_SIZE);
            self.ram.write_obj(entry.to_le(), at).expect("it is RAM");
        }
        Ok(())
    }

    /// Returns an IOVA at which the tables are likely to have an entry.
    fn iova(u: &mut Unstructured<'_>) -> Result<u32> {
        let (directory, table) = (u.int_in_range(0..=7u32)?, u.int_in_range(0..=15u32)?);
        Ok(directory << 22 | table << 12 | u.int_in_range(0..=511u32)? << 3)
    }

    /// Zaps, and has a device read or write what the tables then say must be there.
    fn check(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let (iova, writes): (u32, bool) = (Self::iova(u)?, u.arbitrary()?);
        self.write(Register::Command as u64, Command::ZapCache as u32);
        let wanted = if writes { WRITE } else { READ };
        let physical = match self.read(Register::Status as u64) & 1 {
            0 => Some(u64::from(iova)),
            _ => self.walk(iova, wanted),
        };
        let dma = self.iommu.space();
        iommu::meets(&self.ram, &dma, (iova.into(), physical), writes);
        Ok(())
    }

    /// Makes any access of a device: of any length, anywhere.
    fn access(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let dma = self.iommu.space();
        let iova = if u.arbitrary()? {
            u.arbitrary()?
        } else {
            u64::from(Self::iova(u)?)
        };
        iommu::access(&dma, iova, u)
    }

    /// Makes any access to the registers, most of them to those that there are.
    fn touch(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let offset = if u.ratio(7, 8)? {
            u.int_in_range(0..=10u64)? * 4
        } else {
            u64::from(u.arbitrary::<u16>()? & 0x1ff)
        };
        let bytes: [u8; 8] = u.arbitrary()?;
        if offset == Register::Command as u64 && u.ratio(7, 8)? {
            self.write(Register::Command as u64, u.int_in_range(0..=7u32)?);
            return Ok(());
        }
        let iommu = &self.iommu;
        let read = |data: &mut [u8]| iommu.read(offset, data);
        iommu::touch(bytes, u, read, |data| iommu.write(offset, data))
    }

    /// Has another machine of the same kind carry on, with the same RAM, or with any state of its
    /// own.
    fn carry_on(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let mut saved = self.iommu.save();
        let any = u.arbitrary()?;
        if any {
            saved = RockchipState {
                version: if u.ratio(7, 8)? {
                    RockchipState::VERSION
                } else {
                    u.arbitrary()?
                },
                dte_addr: u.arbitrary()?,
                status: u.arbitrary()?,
                stalling: u.arbitrary()?,
                page_fault_addr: u.arbitrary()?,
                int_rawstat: u.arbitrary()?,
                int_mask: u.arbitrary()?,
                auto_gating: u.arbitrary()?,
                unimplemented: u.arbitrary()?,
            };
        }
        let next = Self::with(Arc::clone(&self.ram), self.format);
        match next.iommu.restore(&saved) {
            // What no register can hold is left out of a state that is not its own.
            Ok(()) => assert!(any || next.iommu.save() == saved),
            Err(_) => {
                assert!(any, "its own state is restored");
                return Ok(());
            }
        }
        *self = next;
        Ok(())
    }
}

/// Restores states of any kind, and uses what there is then.
pub(super) fn restored(u: &mut Unstructured<'_>) -> Result<()> {
    let mut machine = Machine::new(*u.choose(&[Format::Bits32, Format::Bits40])?);
    machine.carry_on(u)?;
    iommu::use_restored!(machine, u);
    Ok(())
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let mut machine = Machine::new(if u.arbitrary()? {
        Format::Bits40
    } else {
        Format::Bits32
    });
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
    machine.iommu.show_status(u32::MAX);
    // Whatever the tables hold, this comes to an end.
    machine.iommu.mappings();
    Ok(())
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    // Input may end anywhere.
    let _ = run(&mut Unstructured::new(data));
}
