//! Where a kernel's first instruction is, and where a 64-bit one turns out to be mapped.

use vmm_base::Width;

use super::kernel::Kernel;
use super::outcome::ProbeError;

/// The offsets at which 32-bit ARM kernels begin, from the base of RAM: TEXT_OFFSET of
/// arch/arm/Makefile, the usual one first.
const NARROW: [u64; 2] = [0x8000, 0x0020_8000];
/// The offsets at which 64-bit ARM kernels begin: TEXT_OFFSET of arch/arm64/Makefile, 0 since Linux
/// 5.8.
const AARCH64: [u64; 2] = [0, 0x0008_0000];

/// The functions that a 64-bit kernel executes first at its own virtual addresses, when it has
/// relocated itself and never will again (arch/arm64/kernel/head.S), and the first thing of it that
/// is not of one architecture.
const SETTLED: [&str; 2] = ["__primary_switched", "start_kernel"];

/// Returns the addresses of the first instruction, which are virtual and physical ones: the memory
/// management unit is off there.
pub(super) fn entries(width: Width, ram_base: u64) -> impl Iterator<Item = u64> + use<> {
    let offsets = match width {
        Width::Bits32 => NARROW,
        Width::Bits64 => AARCH64,
    };
    offsets
        .into_iter()
        // RAM may begin so close to the end of the address space that there is no such place.
        .filter_map(move |offset| ram_base.checked_add(offset))
}

/// A 64-bit kernel that has not come to its virtual addresses yet.
pub(super) struct Unplaced {
    kernel: Kernel,
    /// Physical address of its first byte.
    load: u64,
    /// The offset from there of the instruction that it executes when it has.
    offset: u64,
}

impl Unplaced {
    /// Takes the kernel whose first byte is at physical address `load`.
    ///
    /// # Errors
    /// Its symbols do not tell where it begins.
    pub fn new(kernel: Kernel, load: u64) -> Result<Self, ProbeError> {
        // The first of them that has a symbol: the earlier the kernel is placed, the more of it can
        // be probed.
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

    /// Returns the physical address of the instruction at which a core has come to the kernel's
    /// virtual addresses.
    pub const fn settles_at(&self) -> u64 {
        self.load.wrapping_add(self.offset)
    }

    /// Returns where the image is now, by virtual and by physical address, which are still the
    /// same.
    pub const fn image(&self) -> (u64, u64) {
        (self.load, self.load)
    }

    /// Moves the kernel to where it executes that instruction at virtual address `pc`. Returns it,
    /// and where its first byte is, by virtual and by physical address.
    ///
    /// # Errors
    /// It would not fit there.
    pub fn place(mut self, pc: u64) -> Result<(Kernel, (u64, u64)), ProbeError> {
        // May wrap, if something else runs there: `Symbols::place` refuses what does not fit.
        let text = pc.wrapping_sub(self.offset);
        if self.kernel.symbols.place(text) {
            Ok((self.kernel, (text, self.load)))
        } else {
            Err(ProbeError::NoBeginning)
        }
    }
}
