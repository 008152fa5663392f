//! The registers of a GICv3 (Arm IHI 0069, 12.2; Linux,
//! Documentation/virt/kvm/devices/arm-vgic-v3.rst).

use kvm_bindings::{
    KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS, KVM_DEV_ARM_VGIC_GRP_DIST_REGS,
    KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO, KVM_DEV_ARM_VGIC_GRP_REDIST_REGS,
};

use super::super::spec::encoding;
use super::{CONTROL, IDENTITY, OWN, common, of_core};
use crate::layout::SPI_BASE;

/// GICD_IROUTER: 64 bits for each interrupt, which KVM gives by halves.
const ROUTES: u64 = 0x6000;
/// The second frame of a redistributor, whose registers are those of the distributor for a core's
/// own interrupts.
const SGI_FRAME: u64 = 0x1_0000;

/// ICC_SRE_EL1, ICC_CTLR_EL1, ICC_IGRPEN0_EL1, ICC_IGRPEN1_EL1, ICC_PMR_EL1, ICC_BPR0_EL1,
/// ICC_BPR1_EL1, and the active priorities ICC_AP0R0_EL1 and ICC_AP1R0_EL1: KVM gives guests five
/// bits of priority on all processors named in the manual of ours, for which one register each
/// does.
const INTERFACE: [u64; 9] = [
    encoding(3, 0, 12, 12, 5),
    encoding(3, 0, 12, 12, 4),
    encoding(3, 0, 12, 12, 6),
    encoding(3, 0, 12, 12, 7),
    encoding(3, 0, 4, 6, 0),
    encoding(3, 0, 12, 8, 3),
    encoding(3, 0, 12, 12, 3),
    encoding(3, 0, 12, 8, 4),
    encoding(3, 0, 12, 9, 0),
];

/// Returns all registers with state.
pub(super) fn registers(cores: u64, irqs: u64) -> Vec<(u32, u64)> {
    let (shared, all) = (u64::from(SPI_BASE), irqs);
    let routes = (2 * shared..2 * all).map(|n| ROUTES + 4 * n);
    let distributor = [IDENTITY, CONTROL].into_iter();
    let distributor = distributor.chain(common((shared, all))).chain(routes);
    let mut list: Vec<_> = distributor
        .map(|register| (KVM_DEV_ARM_VGIC_GRP_DIST_REGS, register))
        .collect();
    for core in 0..cores {
        let mut add = |group, register| list.push((group, of_core(core, register)));
        for register in common(OWN) {
            add(KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, SGI_FRAME + register);
        }
        for register in INTERFACE {
            add(KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS, register);
        }
        // The levels of lines: a core's own 32, and once those that all share.
        let last = if core == 0 { all } else { shared };
        for irq in (0..last).step_by(32) {
            add(KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO, irq);
        }
    }
    list
}
