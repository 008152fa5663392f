//! Virtual to physical addresses: the VMSA of ARMv7-A, both descriptor formats (ARM ARM DDI 0406C
//! chapter B3).
//!
//! [`translate`] is a pure function of the system registers and of memory: it caches nothing and
//! changes nothing.

mod attributes;
pub mod fsr;
mod long;
mod permissions;
mod short;
mod spec;
#[cfg(test)]
pub(crate) mod testing;

pub use spec::{
    Access, Attributes, Fault, FaultKind, MemoryType, Perms, Shareability, Translation,
};

use crate::bus::{Bus, Size};
use crate::cp15::{Cp15, sctlr, ttbcr};
use crate::mem::read_phys;
use crate::state::CpuState;

/// Physical addresses have 40 bits.
const PA_MASK: u64 = (1 << 40) - 1;

/// What a walk found, before permissions are applied to one access.
struct Walked {
    translation: Translation,
    /// Level of the leaf descriptor; 0 with the MMU off.
    level: u8,
    /// The domain allows no access at all.
    no_access: bool,
}

/// Translates `va` for `access` at PL1 (`privileged`) or PL0.
///
/// Alignment is the caller's to check, for only it knows the size of the access: against SCTLR.A
/// before translating, and against [`Translation::unaligned_ok`] after. Caches have no effect, so
/// cacheability decides nothing.
///
/// # Errors
/// The [`Fault`] that the access takes.
pub fn translate(
    state: &CpuState,
    bus: &dyn Bus,
    va: u32,
    access: Access,
    privileged: bool,
) -> Result<Translation, Fault> {
    let cp15 = &state.cp15;
    let walked = if cp15.sctlr & sctlr::M == 0 {
        flat(cp15.sctlr, va, access)
    } else {
        Walk::new(cp15, bus, va, access).run(cp15)?
    };
    let t = walked.translation;
    // A domain that allows nothing is told of first, whatever the permissions.
    let kind = if walked.no_access {
        FaultKind::Domain
    } else if t.perms(privileged).allows(access) {
        return Ok(t);
    } else {
        FaultKind::Permission
    };
    Err(Fault {
        kind,
        level: walked.level,
        domain: t.domain.unwrap_or(0),
        va,
        access,
    })
}

/// Returns the physical address of `va` in RAM as a debugger sees it: whatever the permissions,
/// domains and access flags, without touching any device or register. `None` when nothing is
/// mapped.
pub fn look(cp15: &Cp15, bus: &dyn Bus, va: u32) -> Option<u64> {
    if cp15.sctlr & sctlr::M == 0 {
        return Some(va.into());
    }
    let walk = Walk {
        look: true,
        ..Walk::new(cp15, bus, va, Access::Read)
    };
    walk.run(cp15).ok().map(|walked| walked.translation.pa)
}

/// Returns the translation with the MMU off (B3.2.1): data is strongly-ordered, instructions are
/// Normal memory, write-through with the instruction cache on.
fn flat(control: u32, va: u32, access: Access) -> Walked {
    let attributes = match access {
        Access::Read | Access::Write => attributes::STRONGLY_ORDERED,
        Access::Execute => Attributes {
            memory: MemoryType::Normal,
            mair: if control & sctlr::I != 0 { 0xaa } else { 0x44 },
            shareability: Shareability::Outer,
        },
    };
    let translation = Translation {
        pa: va.into(),
        size_log2: 12,
        domain: None,
        global: true,
        attributes,
        user: Perms::ALL,
        privileged: Perms::ALL,
    };
    Walked {
        translation,
        level: 0,
        no_access: false,
    }
}

/// One access on its way through the tables.
#[derive(Clone, Copy)]
struct Walk<'a> {
    bus: &'a dyn Bus,
    /// SCTLR.EE: descriptors are big-endian.
    big_endian: bool,
    va: u32,
    access: Access,
    /// Nothing shall notice: no device is read, and access flags do not matter.
    look: bool,
}

impl<'a> Walk<'a> {
    const fn new(cp15: &Cp15, bus: &'a dyn Bus, va: u32, access: Access) -> Self {
        Self {
            bus,
            big_endian: cp15.sctlr & sctlr::EE != 0,
            va,
            access,
            look: false,
        }
    }

    /// Walks the tables in the format that TTBCR chooses.
    fn run(&self, cp15: &Cp15) -> Result<Walked, Fault> {
        if cp15.ttbcr & ttbcr::EAE != 0 {
            long::walk(cp15, self)
        } else {
            short::walk(cp15, self)
        }
    }

    /// Creates a fault of this access at `level`.
    const fn fault(&self, kind: FaultKind, level: u8, domain: u8) -> Fault {
        Fault {
            kind,
            level,
            domain,
            va: self.va,
            access: self.access,
        }
    }

    /// Reads a 32-bit descriptor of `level`.
    #[expect(clippy::cast_possible_truncation, reason = "a word was read")]
    fn word(&self, pa: u64, level: u8, domain: u8) -> Result<u32, Fault> {
        let raw = self.read(pa, Size::Word, level, domain)? as u32;
        Ok(if self.big_endian {
            raw.swap_bytes()
        } else {
            raw
        })
    }

    /// Reads a 64-bit descriptor of `level`.
    fn double(&self, pa: u64, level: u8) -> Result<u64, Fault> {
        let raw = self.read(pa, Size::Double, level, 0)?;
        Ok(if self.big_endian {
            raw.swap_bytes()
        } else {
            raw
        })
    }

    fn read(&self, pa: u64, size: Size, level: u8, domain: u8) -> Result<u64, Fault> {
        if self.look && self.bus.ram(pa & PA_MASK).is_none() {
            return Err(self.fault(FaultKind::ExternalOnWalk, level, domain));
        }
        read_phys(self.bus, pa & PA_MASK, size)
            .map_err(|_| self.fault(FaultKind::ExternalOnWalk, level, domain))
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low word is compared with a virtual address"
)]
mod tests {
    use proptest::prelude::*;

    use super::testing::{TestBus, state};
    use super::*;

    proptest! {
        /// Whatever the tables and registers hold: no panic, the offset survives, and an access
        /// succeeds exactly if the permissions that are reported allow it.
        #[test]
        fn any_tables_are_walked(
            registers in any::<[u32; 6]>(),
            ttbr in any::<[u64; 2]>(),
            tables in prop::collection::vec((0u64..0x800, any::<u64>(), 0u8..4), 1..200),
            vas in any::<[u32; 8]>(),
            low_va in 0u32..0x40_0000,
        ) {
            let (mut s, bus) = (state(), TestBus::default());
            let [control, ttbcr, dacr, prrr, nmrr, _] = registers;
            s.cp15.sctlr = control;
            (s.cp15.ttbcr, s.cp15.dacr) = (ttbcr, dacr);
            (s.cp15.prrr_mair0, s.cp15.nmrr_mair1) = (prrr, nmrr);
            // Tables lie in the first pages, so that walks meet them.
            (s.cp15.ttbr0, s.cp15.ttbr1) = (ttbr[0] & 0x3fff, ttbr[1] & 0x3fff);
            for (slot, value, shape) in tables {
                let low = if shape == 3 { value } else { value & !0xffff_c000 | 1 };
                bus.double(slot * 8, low);
            }
            for va in vas.into_iter().chain([low_va]) {
                for access in [Access::Read, Access::Write, Access::Execute] {
                    let user = translate(&s, &bus, va, access, false);
                    let privileged = translate(&s, &bus, va, access, true);
                    for t in user.iter().chain(&privileged) {
                        prop_assert!(t.pa >> 40 == 0 && (12..=30).contains(&t.size_log2));
                        prop_assert_eq!((t.pa as u32 ^ va) & ((1 << t.size_log2) - 1), 0);
                    }
                    if let Some(t) = user.iter().chain(&privileged).next() {
                        prop_assert_eq!(user.is_ok(), t.user.allows(access));
                        prop_assert_eq!(privileged.is_ok(), t.privileged.allows(access));
                    }
                    for f in user.err().into_iter().chain(privileged.err()) {
                        prop_assert!((1..=3).contains(&f.level) && f.va == va && f.access == access);
                        prop_assert!(fsr::has_address(&f));
                    }
                }
            }
        }
    }

    #[test]
    fn without_the_mmu_addresses_are_physical() {
        let (mut s, bus) = (state(), TestBus::default());
        s.cp15.sctlr &= !sctlr::M;
        for (access, memory, mair) in [
            (Access::Read, MemoryType::StronglyOrdered, 0),
            (Access::Write, MemoryType::StronglyOrdered, 0),
            (Access::Execute, MemoryType::Normal, 0x44),
        ] {
            let t = translate(&s, &bus, 0xffff_f123, access, false).unwrap();
            assert_eq!((t.pa, t.size_log2, t.domain), (0xffff_f123, 12, None));
            assert_eq!((t.attributes.memory, t.attributes.mair), (memory, mair));
            assert_eq!(t.unaligned_ok(), memory == MemoryType::Normal);
            assert_eq!((t.user, t.privileged), (Perms::ALL, Perms::ALL));
        }
        s.cp15.sctlr |= sctlr::I;
        let t = translate(&s, &bus, 0, Access::Execute, true).unwrap();
        assert_eq!(t.attributes.mair, 0xaa);
    }
}
