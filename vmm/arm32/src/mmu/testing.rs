//! A physical memory of descriptors for tests.

#![expect(unsafe_code, reason = "a bus of tests promises what the bus asks for")]

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::bus::{Bus, BusFault, RamPage, Size};
use crate::cp15::sctlr;
use crate::state::CpuState;
use vmm_base::CodePages;

/// Nothing answers from here on.
pub(crate) const END: u64 = 0x10_0000_0000;

/// Memory that is zero where nothing was written, up to [`END`].
#[derive(Default)]
pub(crate) struct TestBus(Mutex<BTreeMap<u64, u8>>, CodePages);

impl TestBus {
    /// Puts a 32-bit descriptor.
    pub fn word(&self, pa: u64, value: u32) {
        self.write(pa, Size::Word, value.into()).unwrap();
    }

    /// Puts a 64-bit descriptor.
    pub fn double(&self, pa: u64, value: u64) {
        self.write(pa, Size::Double, value).unwrap();
    }
}

// SAFETY: `ram` never returns a page, so nothing is promised.
unsafe impl Bus for TestBus {
    fn read(&self, pa: u64, size: Size) -> Result<u64, BusFault> {
        let bytes = self.0.lock().unwrap();
        if pa >= END {
            return Err(BusFault);
        }
        let byte = |i| u64::from(*bytes.get(&(pa + i)).unwrap_or(&0)) << (8 * i);
        Ok((0..u64::from(size.bytes())).map(byte).sum())
    }

    fn write(&self, pa: u64, size: Size, value: u64) -> Result<(), BusFault> {
        let mut bytes = self.0.lock().unwrap();
        if pa >= END {
            return Err(BusFault);
        }
        for (i, byte) in (0..u64::from(size.bytes())).zip(value.to_le_bytes()) {
            bytes.insert(pa + i, byte);
        }
        Ok(())
    }

    fn ram(&self, _pa: u64) -> Option<RamPage> {
        None
    }

    fn code_pages(&self) -> &CodePages {
        &self.1
    }
}

/// Returns a core with the MMU on and nothing else set up.
pub(crate) fn state() -> CpuState {
    let mut state = CpuState::reset(0);
    state.cp15.sctlr |= sctlr::M;
    state
}
