//! A call of one of the functions that are watched, and what its arguments are.

use vmm_introspect::memory::Memory;
use vmm_introspect::probe::Moment;
use vmm_machine::vcpu::Core;

use super::spec::{self, Function, Wide};

/// `TTBCR.EAE` (Arm Architecture Reference Manual ARMv7-A, B4.1.153): the long format of page
/// tables. Linux on ARM uses it with `CONFIG_ARM_LPAE` only.
const EAE: u32 = 1 << 31;

/// A call of a function.
pub struct ApiCall<'a, 'm, 'c> {
    pub function: &'a Function,
    pub moment: &'a Moment<'m, 'c>,
    wide: Wide,
}

impl<'a, 'm, 'c> ApiCall<'a, 'm, 'c> {
    /// Returns a call; `None` on a 64-bit core. `wide`: whether a `dma_addr_t` has 64 bits. Where
    /// that is not known it is taken to have as many as a `phys_addr_t`, which is what the kernel
    /// does unless a platform wants more.
    pub fn new(
        function: &'a Function,
        moment: &'a Moment<'m, 'c>,
        wide: Option<bool>,
    ) -> Option<Self> {
        let physical = match &moment.core {
            Core::Aarch32(core) => core.ttbcr() & EAE != 0,
            Core::Aarch64(_) => return None,
        };
        let dma = wide.unwrap_or(physical);
        Some(Self {
            function,
            moment,
            wide: Wide { dma, physical },
        })
    }

    /// Returns argument `n`.
    pub fn argument(&self, n: usize) -> Option<u64> {
        let (word, two) = spec::words(self.function, n, self.wide)?;
        let low = self.moment.argument(word)?;
        match two {
            true => Some(low | self.moment.argument(word + 1)? << 32),
            false => Some(low),
        }
    }

    /// Returns the address that the function has returned; `None` where mapping has failed, for
    /// which it is all ones (`DMA_MAPPING_ERROR` of include/linux/dma-mapping.h).
    pub fn returned_address(&self) -> Option<u64> {
        let low = self.returned();
        let (value, error) = match self.wide.dma {
            true => (low | self.moment.core.reg(1) << 32, u64::MAX),
            false => (low, u32::MAX.into()),
        };
        (value != error).then_some(value)
    }

    /// Returns the word that the function has returned.
    pub fn returned(&self) -> u64 {
        self.moment.core.reg(0)
    }

    /// Reads a `dma_addr_t` at virtual address `at`.
    pub fn read_address(&self, at: u64) -> Option<u64> {
        let word = |at: u64| self.moment.word(at).ok().map(u64::from);
        match self.wide.dma {
            true => Some(word(at)? | word(at.checked_add(4)?)? << 32),
            false => word(at),
        }
    }
}
