//! Where a kernel's first instruction is, and where a 64-bit one turns out to be mapped.

use vmm_base::Width;

use super::kernel::Kernel;
use super::outcome::ProbeError;

/// Where 32-bit ARM kernels begin, from the base of RAM: TEXT_OFFSET of arch/arm/Makefile, the usual one first.
const NARROW: [u64; 2] = [0x8000, 0x0020_8000];
/// Where 64-bit ones do: TEXT_OFFSET of arch/arm64/Makefile, 0 since Linux 5.8.
const AARCH64: [u64; 2] = [0, 0x0008_0000];

/// What a 64-bit kernel executes first at its own virtual addresses, when it has relocated itself and never will again
/// (arch/arm64/kernel/head.S), and the first thing of it that is not of one architecture.
const SETTLED: [&str; 2] = ["__primary_switched", "start_kernel"];

/// Addresses of the first instruction, virtual and physical: the memory management unit is off there.
pub(super) fn entries(width: Width, ram_base: u64) -> impl Iterator<Item = u64> + use<> {
    let offsets = match width {
        Width::Bits32 => NARROW,
        Width::Bits64 => AARCH64,
    };
    offsets
        .into_iter()
        .filter_map(move |offset| ram_base.checked_add(offset))
}

/// A 64-bit kernel that has not come to its virtual addresses yet.
pub(super) struct Unplaced {
    kernel: Kernel,
    /// Physical address of its first byte.
    load: u64,
    /// From there to what it executes when it has.
    offset: u64,
}

impl Unplaced {
    /// The kernel whose first byte lies at physical address `load`.
    ///
    /// # Errors
    /// Its symbols do not tell where it begins.
    pub fn new(kernel: Kernel, load: u64) -> Result<Self, ProbeError> {
        let mut offsets = SETTLED
            .iter()
            .filter_map(|name| kernel.symbols.offset(name));
        match offsets.next() {
            Some(offset) => Ok(Self {
                offset,
                kernel,
                load,
            }),
            None => Err(ProbeError::NoBeginning),
        }
    }

    /// Physical address of the instruction at which a core has come to the kernel's virtual addresses.
    pub const fn settles_at(&self) -> u64 {
        self.load.wrapping_add(self.offset)
    }

    /// Where it is now, by virtual and by physical address: both are physical.
    pub const fn image(&self) -> (u64, u64) {
        (self.load, self.load)
    }

    /// The kernel at its place, where it executes that instruction at virtual address `pc`, and
    /// where its first byte is, by virtual and by physical address.
    ///
    /// # Errors
    /// It would not fit there.
    pub fn place(mut self, pc: u64) -> Result<(Kernel, (u64, u64)), ProbeError> {
        let text = pc.wrapping_sub(self.offset);
        if self.kernel.symbols.place(text) {
            Ok((self.kernel, (text, self.load)))
        } else {
            Err(ProbeError::NoBeginning)
        }
    }
}
