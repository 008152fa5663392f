//! The state of KVM's interrupt controllers: registers that are read and written through attributes
//! of their device while the cores stand still (Linux, Documentation/virt/kvm/devices/arm-vgic.rst
//! and arm-vgic-v3.rst).

#![expect(
    unsafe_code,
    reason = "KVM writes a register of its interrupt controller to an address"
)]

mod v2;
mod v3;

use kvm_bindings::{
    KVM_DEV_ARM_VGIC_GRP_DIST_REGS, KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, kvm_device_attr,
};
use kvm_ioctls::DeviceFd;

use super::super::accel::{Irqchip, KvmError};
use super::super::saved::GicRegister;
use super::call::{failed, set};
use crate::layout::SPI_BASE;

/// GICD_CTLR.
const CONTROL: u64 = 0;
/// GICD_IIDR, which says what KVM's model does. It comes first: KVM refuses what it cannot be, and
/// where it is not written it takes whoever writes the others for a program that expects the first
/// of its models.
const IDENTITY: u64 = 8;
/// GICD_ISENABLER: one bit for each interrupt, as in the other three.
const ENABLES: u64 = 0x100;
/// GICD_ICENABLER.
const DISABLES: u64 = 0x180;
/// GICD_ISPENDR.
const REQUESTS: u64 = 0x200;
/// GICD_IGROUPR, enables, requests, and GICD_ISACTIVER.
const BITS: [u64; 4] = [0x80, ENABLES, REQUESTS, 0x300];
/// GICD_IPRIORITYR: eight bits for each.
const PRIORITIES: u64 = 0x400;
/// GICD_ICFGR: two bits for each.
const TRIGGERS: u64 = 0xc00;

/// Returns the number of a register of a core: its index is in bits 32 and above.
const fn of_core(core: u64, register: u64) -> u64 {
    core << 32 | register
}

/// Returns the registers of `bits` for each interrupt, from `base` on: those of `irqs`.
fn array(base: u64, bits: u64, irqs: (u64, u64)) -> impl Iterator<Item = u64> {
    let each = 32 / bits;
    (irqs.0 / each..irqs.1 / each).map(move |n| base + 4 * n)
}

/// Returns what both controllers have for each interrupt of `irqs`, in registers at the same
/// places.
fn common(irqs: (u64, u64)) -> impl Iterator<Item = u64> {
    let bits = BITS.into_iter().flat_map(move |base| array(base, 1, irqs));
    array(TRIGGERS, 2, irqs)
        .chain(array(PRIORITIES, 8, irqs))
        .chain(bits)
}

/// The interrupts that each core has for itself.
const OWN: (u64, u64) = (0, SPI_BASE as u64);

/// Numbers of cores and of interrupts.
type Size = (u64, u64);

/// Returns all registers with state, by group and number, in an order in which they can be
/// restored.
fn registers(kind: Irqchip, (cores, irqs): Size) -> Vec<(u32, u64)> {
    match kind {
        Irqchip::GicV2 => v2::registers(cores, irqs),
        Irqchip::GicV3 => v3::registers(cores, irqs),
    }
}

/// Reads it; the cores stand still.
pub(super) fn save(
    gic: &DeviceFd,
    kind: Irqchip,
    size: Size,
) -> Result<Vec<GicRegister>, KvmError> {
    let read = |(group, attr)| {
        // Zero, as KVM fills only the first four bytes for most registers.
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
    registers(kind, size).into_iter().map(read).collect()
}

/// Writes it; the cores have not run.
pub(super) fn restore(
    gic: &DeviceFd,
    kind: Irqchip,
    size: Size,
    saved: &[GicRegister],
) -> Result<(), KvmError> {
    // Before anything is written: a file may name other registers, or these in another order.
    let known = registers(kind, size);
    let given = saved.iter().map(|register| (register.group, register.attr));
    if !known.iter().copied().eq(given) {
        return Err(KvmError::Saved(
            "it has other registers of an interrupt controller",
        ));
    }
    for GicRegister { group, attr, value } in saved {
        if let Some(disable) = disable(*group, *attr) {
            set(gic, *group, disable, &u64::from(u32::MAX))?;
        }
        let value = match kind {
            Irqchip::GicV2 => v2::restored(*group, *attr, *value),
            Irqchip::GicV3 => *value,
        };
        // KVM takes four bytes for most registers: the low ones, as arm64 hosts are little-endian.
        set(gic, *group, *attr, &value)?;
    }
    Ok(())
}

/// Returns the register that clears what this one can only set, if this is one of enables. All
/// others that only set are clear in a new controller, but cores' interrupts to each other are
/// enabled.
fn disable(group: u32, attr: u64) -> Option<u64> {
    let has_enables = matches!(
        group,
        KVM_DEV_ARM_VGIC_GRP_DIST_REGS | KVM_DEV_ARM_VGIC_GRP_REDIST_REGS
    );
    // A register's place in its frame.
    let is_enable = (ENABLES..DISABLES).contains(&(attr & 0xffff));
    (has_enables && is_enable).then_some(attr + (DISABLES - ENABLES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_register_is_there_once_and_the_identity_first() {
        for kind in [Irqchip::GicV2, Irqchip::GicV3] {
            let list = registers(kind, (4, 128));
            assert_eq!(list[0], (KVM_DEV_ARM_VGIC_GRP_DIST_REGS, IDENTITY));
            let mut sorted = list.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), list.len(), "{kind:?}");
        }
    }

    #[test]
    fn enables_alone_are_cleared() {
        let four = registers(Irqchip::GicV2, (4, 128));
        let cleared = four
            .iter()
            .filter_map(|&(group, attr)| disable(group, attr));
        // 96 shared interrupts, and those of four cores.
        let expected = [0x184, 0x188, 0x18c].into_iter();
        let expected = expected.chain((0..4).map(|core| of_core(core, 0x180)));
        assert!(cleared.eq(expected));
        let one = registers(Irqchip::GicV3, (1, 128));
        let cleared = one.iter().filter_map(|&(group, attr)| disable(group, attr));
        assert!(cleared.eq([0x184, 0x188, 0x18c, 0x1_0180]));
    }
}
