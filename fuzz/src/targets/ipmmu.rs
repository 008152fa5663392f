//! An IPMMU under any accesses to its registers, any writes to RAM, and any DMA in between. What is
//! flushed is translated as a walk by the registers says.

#![expect(
    clippy::cast_possible_truncation,
    reason = "addresses and numbers are small"
)]

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use viommu::Access;
use viommu::ipmmu::spec::ContextRegister as Register;
use viommu::ipmmu::{
    ContextState, InstanceState, Ipmmu, IpmmuConfig, IpmmuState, NoInterrupt, Observers, UtlbState,
};
use viommu::walk::{GuestTables, Level, Regime, Region, Security, walk};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::iommu::{self, RAM, RAM_SIZE, Reader};

const MMUEN: u32 = 1;
const FLUSH: u32 = 2;
/// IMCTR.AFE.
const AFE: u32 = 1 << 16;
/// Long descriptors, and the first level as each generation names it.
const LONG: u32 = 0x8000_0090;

struct Machine {
    ram: Arc<GuestMemoryMmap<()>>,
    ipmmu: Ipmmu,
    /// The instance that devices are on.
    leaf: usize,
}

impl Machine {
    fn new(gen3: bool) -> Self {
        Self::with(iommu::ram(), gen3)
    }

    fn with(ram: Arc<GuestMemoryMmap<()>>, gen3: bool) -> Self {
        let mut config = if gen3 {
            IpmmuConfig::gen3("mm", ["ds"])
        } else {
            IpmmuConfig::gen2("mmu")
        };
        // Small, so that entries are displaced.
        config.cache.entries = 16;
        let observers = Observers {
            registers: Some(Arc::new(Reader)),
            ..Observers::default()
        };
        let memory = Arc::clone(&ram);
        let ipmmu = Ipmmu::new(memory, &config, Box::new(NoInterrupt), observers)
            .expect("there are such IPMMUs");
        let leaf = config.instances.len() - 1;
        Self { ram, ipmmu, leaf }
    }

    fn write(&self, instance: usize, register: u64, value: u32) {
        let offset = self.ipmmu.features().bank + register;
        let instance = self.ipmmu.instance(instance).expect("it is there");
        instance.write(offset, &value.to_le_bytes());
    }

    fn read(&self, instance: usize, register: u64) -> u32 {
        let mut word = [0; 4];
        let offset = self.ipmmu.features().bank + register;
        let instance = self.ipmmu.instance(instance).expect("it is there");
        instance.read(offset, &mut word);
        u32::from_le_bytes(word)
    }

    /// Puts a context and a uTLB into a useful state.
    fn set_up(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let context = u.int_in_range(0..=3u64)?;
        let table = RAM + (u64::from(u.arbitrary::<u16>()?) & !0x1f);
        self.write(0, context * 0x40 + Register::Imttlbr0 as u64, table as u32);
        self.write(0, context * 0x40 + Register::Imttubr0 as u64, 0);
        self.write(0, context * 0x40 + Register::Imttbcr as u64, LONG);
        self.write(self.leaf, context * 0x40 + Register::Imctr as u64, MMUEN);
        self.write(0, context * 0x40 + Register::Imctr as u64, MMUEN | FLUSH);
        let utlb = u.int_in_range(0..=31u64)?;
        self.write(self.leaf, 0x300 + utlb * 16, (context as u32) << 4 | MMUEN);
        Ok(())
    }

    /// Writes a descriptor that leads on within RAM, or anything at all.
    fn poke(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let place = u64::from(u.arbitrary::<u16>()?) & !7;
        let word: u64 = u.arbitrary()?;
        let word = if u.ratio(3, 4)? {
            word & 0x7100_0000_0000_0f9d
                | RAM
                | word >> 32 & 0xf000
                | 1 << 63
                | 0x60
                | 1
                | if u.ratio(3, 4)? { 2 } else { 0 }
        } else {
            word
        };
        let copies = u.int_in_range(1..=64u64)?;
        for copy in 0..copies {
            let at = RAM + (place + copy * 8) % RAM_SIZE;
            self.ram
                .write_obj(word.to_le(), GuestAddress(at))
                .expect("it is RAM");
        }
        Ok(())
    }

    /// Returns the regime of a context, as its registers have it, if it is of the usual kind.
    fn regime(&self, context: u64) -> Option<Regime> {
        let read = |register| self.read(0, context * 0x40 + register);
        if read(Register::Imttbcr as u64) & !0x3f00_3f00
            != LONG & if self.leaf == 0 { !0x80 } else { !0x10 }
        {
            return None;
        }
        let base = u64::from(read(Register::Imttubr0 as u64)) << 32
            | u64::from(read(Register::Imttlbr0 as u64));
        Some(Regime {
            access_flag_faults: read(Register::Imctr as u64) & AFE != 0,
            security: Security::NonSecureRequired,
            ..Regime::new(Region::new(base, 0, Level::First))
        })
    }

    /// Flushes, and reads by DMA what a walk then says must be there.
    fn check(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let utlb = u.int_in_range(0..=31u64)?;
        let iova = u64::from(u.arbitrary::<u32>()?) & !7;
        let control = self.read(self.leaf, 0x300 + utlb * 16);
        let context = u64::from(control >> 4 & 15);
        let contexts = self.ipmmu.features().contexts as u64;
        let enabled =
            |instance| self.read(instance, context * 0x40 + Register::Imctr as u64) & MMUEN != 0;
        let translated = control & MMUEN != 0;
        let physical = if !translated {
            Some(iova)
        } else if context >= contexts {
            None
        } else if !enabled(0) || !enabled(self.leaf) {
            Some(iova)
        } else {
            let imctr = self.read(0, context * 0x40 + Register::Imctr as u64);
            self.write(0, context * 0x40 + Register::Imctr as u64, imctr | FLUSH);
            let imctr = self.read(0, context * 0x40 + Register::Imctr as u64);
            assert_eq!(imctr & FLUSH, 0, "nobody is pinned");
            let Some(regime) = self.regime(context) else {
                return Ok(());
            };
            let walked = walk(&GuestTables(&*self.ram), &regime, iova, Access::Read);
            walked.ok().map(|walked| walked.output)
        };
        let expected: Option<u64> =
            physical.and_then(|address| self.ram.read_obj(GuestAddress(address)).ok());
        let instance = self.ipmmu.instance(self.leaf).expect("it is there");
        let dma = instance.space(utlb as usize).expect("there are 32 or more");
        let found: Option<u64> = dma.read_obj(GuestAddress(iova)).ok();
        assert_eq!(found, expected, "{iova:#x} of uTLB {utlb}");
        Ok(())
    }

    /// Makes any access of a device: of any length, anywhere.
    fn access(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let utlb = u.int_in_range(0..=47usize)?;
        let instance = self.ipmmu.instance(self.leaf).expect("it is there");
        let Some(dma) = instance.space(utlb) else {
            return Ok(());
        };
        let iova = if u.arbitrary()? {
            u.arbitrary()?
        } else {
            u64::from(u.arbitrary::<u32>()?)
        };
        iommu::access(&dma, iova, u)
    }

    /// Makes any access to the registers.
    fn touch(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let number = u.int_in_range(0..=self.leaf)?;
        let instance = self.ipmmu.instance(number).expect("it is there");
        let offset = u64::from(u.arbitrary::<u16>()? & 0x1fff);
        let mut bytes: [u8; 8] = u.arbitrary()?;
        let length = u.int_in_range(0..=8)?;
        if u.arbitrary()? {
            instance.read(offset, &mut bytes[..length]);
        } else if u.ratio(1, 8)? {
            instance.write(offset, &bytes[..length]);
        } else {
            instance.write(offset & !3, &bytes[..4]);
        }
        Ok(())
    }
}

/// Returns any saved state, most often one that fits.
fn hostile(u: &mut Unstructured<'_>, own: &IpmmuState) -> Result<IpmmuState> {
    let mut state = own.clone();
    if u.ratio(1, 8)? {
        state.version = u.arbitrary()?;
    }
    for instance in &mut state.instances {
        let contexts: [u32; 13] = u.arbitrary()?;
        let utlb: [u32; 2] = u.arbitrary()?;
        instance.contexts.fill(ContextState {
            imctr: contexts[0],
            imcaar: contexts[1],
            imttbcr: contexts[2],
            imbuscr: contexts[3],
            imttlbr0: contexts[4],
            imttubr0: contexts[5],
            imttlbr1: contexts[6],
            imttubr1: contexts[7],
            imstr: contexts[8],
            immair0: contexts[9],
            immair1: contexts[10],
            imelar: contexts[11],
            imeuar: contexts[12],
        });
        instance.utlbs.fill(UtlbState {
            imuctr: utlb[0],
            imuasid: utlb[1],
        });
        instance.unimplemented = u.arbitrary()?;
        if u.ratio(1, 8)? {
            let length = u.int_in_range(0..=60)?;
            instance.utlbs.resize(length, UtlbState::default());
        }
        if u.ratio(1, 16)? {
            let length = u.int_in_range(0..=60)?;
            instance.contexts.resize(length, ContextState::default());
        }
    }
    if u.ratio(1, 16)? {
        let length = u.int_in_range(0..=60)?;
        state.instances.resize(length, InstanceState::default());
    }
    Ok(state)
}

/// Restores any state, and uses what there is then.
pub(super) fn restored(u: &mut Unstructured<'_>) -> Result<()> {
    let machine = Machine::new(u.arbitrary()?);
    let before = machine.ipmmu.save();
    let state = hostile(u, &before)?;
    if machine.ipmmu.restore(&state).is_err() {
        assert_eq!(machine.ipmmu.save(), before, "nothing changes");
        return Ok(());
    }
    iommu::use_restored!(machine, u);
    Ok(())
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let mut machine = Machine::new(u.arbitrary()?);
    for _ in 0..200 {
        match u.int_in_range(0..=7)? {
            0 | 1 => machine.touch(u)?,
            2 => machine.set_up(u)?,
            3 | 4 => machine.poke(u)?,
            5 => machine.access(u)?,
            6 => {
                // A machine of the same kind carries on, with the same RAM.
                let saved = machine.ipmmu.save();
                let next = Machine::with(Arc::clone(&machine.ram), machine.leaf == 1);
                next.ipmmu.restore(&saved).expect("it is of the same kind");
                assert_eq!(next.ipmmu.save(), saved);
                machine = next;
            }
            _ => machine.check(u)?,
        }
    }
    Ok(())
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    // Input may end anywhere.
    let _ = run(&mut Unstructured::new(data));
}
