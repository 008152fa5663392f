//! The state of KVM's GICv3 (Linux, Documentation/virt/kvm/devices/arm-vgic-v3.rst; registers: Arm IHI 0069, 12.2).

use kvm_bindings::{
    KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS, KVM_DEV_ARM_VGIC_GRP_DIST_REGS,
    KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO, KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, kvm_device_attr,
};
use kvm_ioctls::DeviceFd;

use super::super::accel::KvmError;
use super::super::saved::GicRegister;
use super::spec::encoding;
use super::vm::failed;
use crate::machine::layout::{IRQS, SPI_BASE};

/// Registers of one bit for each interrupt: groups, enables, latched requests, active ones.
const BITS: [u64; 4] = [0x80, 0x100, 0x200, 0x300];
/// GICD_IPRIORITYR: eight bits for each.
const PRIORITIES: u64 = 0x400;
/// GICD_ICFGR: two bits for each.
const TRIGGERS: u64 = 0xc00;
/// GICD_IROUTER: 64 bits for each.
const ROUTES: u64 = 0x6000;
/// The second frame of a redistributor, whose registers are those of the distributor for a core's own interrupts.
const SGI_FRAME: u64 = 0x1_0000;

/// ICC_SRE_EL1, ICC_CTLR_EL1, ICC_IGRPEN0_EL1, ICC_IGRPEN1_EL1, ICC_PMR_EL1, ICC_BPR0_EL1, ICC_BPR1_EL1, and the active
/// priorities ICC_AP0R0_EL1 and ICC_AP1R0_EL1: KVM gives guests five bits of priority on all processors named in the manual
/// of ours, for which one register each does.
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

/// All registers with state, in an order in which they can be restored.
fn registers(cores: u64) -> Vec<(u32, u64)> {
    let (shared, all) = (u64::from(SPI_BASE), u64::from(IRQS));
    let mut list = vec![(KVM_DEV_ARM_VGIC_GRP_DIST_REGS, 0)];
    let part = |from: u64, to: u64, base: u64| {
        let bits = BITS
            .into_iter()
            .flat_map(move |register| (from / 32..to / 32).map(move |n| base + register + 4 * n));
        let priorities = (from / 4..to / 4).map(move |n| base + PRIORITIES + 4 * n);
        let triggers = (from / 16..to / 16).map(move |n| base + TRIGGERS + 4 * n);
        triggers.chain(priorities).chain(bits)
    };
    list.extend(part(shared, all, 0).map(|at| (KVM_DEV_ARM_VGIC_GRP_DIST_REGS, at)));
    list.extend((2 * shared..2 * all).map(|n| (KVM_DEV_ARM_VGIC_GRP_DIST_REGS, ROUTES + 4 * n)));
    for core in (0..cores).map(|core| core << 32) {
        let own = part(0, shared, core | SGI_FRAME);
        list.extend(own.map(|at| (KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, at)));
        let interface = INTERFACE.map(|at| (KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS, core | at));
        list.extend(interface);
        // The levels of lines: a core's own 32, and once those that all share.
        let last = if core == 0 { all } else { shared };
        let levels = (0..last).step_by(32);
        list.extend(levels.map(|irq| (KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO, core | irq)));
    }
    list
}

/// Reads it; the cores stand still.
pub(super) fn save(gic: &DeviceFd, cores: u64) -> Result<Vec<GicRegister>, KvmError> {
    let read = |(group, attr)| {
        let mut value = 0_u64;
        let mut request = kvm_device_attr {
            flags: 0,
            group,
            attr,
            addr: std::ptr::from_mut(&mut value) as u64,
        };
        // SAFETY: KVM writes four or eight bytes, and there are eight.
        unsafe { gic.get_device_attr(&mut request) }
            .map_err(failed("read its interrupt controller"))?;
        Ok(GicRegister { group, attr, value })
    };
    registers(cores).into_iter().map(read).collect()
}

/// Writes it; the cores have not run.
pub(super) fn restore(gic: &DeviceFd, cores: u64, saved: &[GicRegister]) -> Result<(), KvmError> {
    let known = registers(cores);
    let given = saved.iter().map(|register| (register.group, register.attr));
    if !known.iter().copied().eq(given) {
        return Err(KvmError::Saved(
            "it has other registers of an interrupt controller",
        ));
    }
    for GicRegister { group, attr, value } in saved {
        let request = kvm_device_attr {
            flags: 0,
            group: *group,
            attr: *attr,
            addr: std::ptr::from_ref(value) as u64,
        };
        gic.set_device_attr(&request)
            .map_err(failed("set up its interrupt controller"))?;
    }
    Ok(())
}
