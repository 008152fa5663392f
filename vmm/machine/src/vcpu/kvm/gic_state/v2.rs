//! The registers of a GICv2 (Arm IHI 0048B, 4.3 and 4.4; Linux,
//! Documentation/virt/kvm/devices/arm-vgic.rst). KVM tells the levels of lines as requests only:
//! lines that are high are raised again by who drives them.

use kvm_bindings::{KVM_DEV_ARM_VGIC_GRP_CPU_REGS, KVM_DEV_ARM_VGIC_GRP_DIST_REGS};

use super::{CONTROL, IDENTITY, OWN, REQUESTS, array, common, of_core};
use crate::layout::SPI_BASE;

/// GICD_ITARGETSR: eight bits for each interrupt. Those of a core's own say which core it is.
const TARGETS: u64 = 0x800;
/// GICD_SPENDSGIR: eight bits for each interrupt that cores send each other, one for each core that
/// sent it.
const SENDERS: u64 = 0xf20;
/// How many of those there are.
const SENT: u64 = 16;

/// GICC_CTLR, GICC_PMR (which KVM gives in a form of its own, and takes so), GICC_BPR, GICC_ABPR,
/// and the active priorities GICC_APR0 to GICC_APR3.
const INTERFACE: [u64; 8] = [0, 4, 8, 0x1c, 0xd0, 0xd4, 0xd8, 0xdc];

/// Returns all registers with state.
pub(super) fn registers(cores: u64, irqs: u64) -> Vec<(u32, u64)> {
    let shared = (u64::from(SPI_BASE), irqs);
    let distributor = [IDENTITY, CONTROL].into_iter();
    let distributor = distributor
        .chain(common(shared))
        .chain(array(TARGETS, 8, shared));
    let mut list: Vec<_> = distributor
        .map(|register| (KVM_DEV_ARM_VGIC_GRP_DIST_REGS, register))
        .collect();
    for core in 0..cores {
        // Registers of a core's own interrupts are banked: the same
        // offsets, by the number of the core.
        let own = common(OWN).chain(array(SENDERS, 8, (0, SENT)));
        list.extend(own.map(|at| (KVM_DEV_ARM_VGIC_GRP_DIST_REGS, of_core(core, at))));
        list.extend(INTERFACE.map(|at| (KVM_DEV_ARM_VGIC_GRP_CPU_REGS, of_core(core, at))));
    }
    list
}

/// Returns what to write to a register that had `value`: by a request for an interrupt of those
/// that cores send each other KVM understands one that the core sent itself. Who did is in
/// [`SENDERS`].
pub(super) fn restored(group: u32, attr: u64, value: u64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the offset of a register is in the low half, the core above it"
    )]
    let is_first = attr as u32 == REQUESTS as u32;
    if group == KVM_DEV_ARM_VGIC_GRP_DIST_REGS && is_first {
        value & !((1 << SENT) - 1)
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_where_the_manual_says() {
        let list = registers(2, 128);
        let distributor = |core, at| (KVM_DEV_ARM_VGIC_GRP_DIST_REGS, of_core(core, at));
        for register in [
            distributor(0, 0xc08),
            distributor(0, 0x420),
            distributor(0, 0x820),
            distributor(0, 0x87c),
            distributor(1, 0xf2c),
            (KVM_DEV_ARM_VGIC_GRP_CPU_REGS, of_core(1, 0x1c)),
        ] {
            assert!(list.contains(&register), "{register:x?}");
        }
        // Read-only ones, and those of interrupts that there are none of.
        for absent in [0x800, 0x880, 0xf30, 0x480] {
            assert!(!list.contains(&distributor(0, absent)), "{absent:#x}");
        }
        assert_eq!(list.len(), 2 + 6 + 24 + 12 + 24 + 2 * (2 + 8 + 4 + 4 + 8));
    }

    #[test]
    fn senders_are_not_taken_for_the_core_itself() {
        let group = KVM_DEV_ARM_VGIC_GRP_DIST_REGS;
        assert_eq!(
            restored(group, of_core(1, REQUESTS), 0x0801_0003),
            0x0801_0000
        );
        assert_eq!(restored(group, REQUESTS + 4, 3), 3);
        assert_eq!(restored(KVM_DEV_ARM_VGIC_GRP_CPU_REGS, 0, 3), 3);
    }
}
