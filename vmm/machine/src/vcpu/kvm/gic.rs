//! KVM's interrupt controller (Linux, Documentation/virt/kvm/devices/arm-vgic.rst and
//! arm-vgic-v3.rst).

use kvm_bindings::{
    KVM_DEV_ARM_VGIC_CTRL_INIT, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_DEV_ARM_VGIC_GRP_CTRL,
    KVM_DEV_ARM_VGIC_GRP_NR_IRQS, KVM_VGIC_V2_ADDR_TYPE_CPU, KVM_VGIC_V2_ADDR_TYPE_DIST,
    KVM_VGIC_V3_ADDR_TYPE_DIST, KVM_VGIC_V3_ADDR_TYPE_REDIST, kvm_create_device,
    kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V2, kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
};
use kvm_ioctls::{DeviceFd, VmFd};

use super::super::accel::{GicMap, Irqchip, KvmError};
use super::call::set;

/// Makes the controller of a machine that has no cores yet: a GICv3, else a GICv2, whichever the
/// host has (a GICv3 may be able to serve as the older one, too). That it cannot be asked for
/// without making it is `kvm-ioctls`' way.
pub(super) fn create(vm: &VmFd) -> Option<(Irqchip, DeviceFd)> {
    [Irqchip::GicV3, Irqchip::GicV2]
        .into_iter()
        .find_map(|kind| Some((kind, vm.create_device(&mut request(kind)).ok()?)))
}

fn request(kind: Irqchip) -> kvm_create_device {
    kvm_create_device {
        type_: match kind {
            Irqchip::GicV2 => kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V2,
            Irqchip::GicV3 => kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
        },
        fd: 0,
        flags: 0,
    }
}

/// Puts the controller in its place, once the machine has its cores.
///
/// # Errors
/// When KVM refuses.
pub(super) fn set_up(gic: &DeviceFd, kind: Irqchip, map: &GicMap) -> Result<(), KvmError> {
    let places = match kind {
        Irqchip::GicV2 => [KVM_VGIC_V2_ADDR_TYPE_DIST, KVM_VGIC_V2_ADDR_TYPE_CPU],
        Irqchip::GicV3 => [KVM_VGIC_V3_ADDR_TYPE_DIST, KVM_VGIC_V3_ADDR_TYPE_REDIST],
    };
    for (part, window) in places.into_iter().zip(map.windows) {
        set(gic, KVM_DEV_ARM_VGIC_GRP_ADDR, part, &window.base)?;
    }
    set(gic, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0_u64, &map.irqs)?;
    // Last, after all cores were created (Linux, Documentation/virt/kvm/devices/arm-vgic-v3.rst,
    // KVM_DEV_ARM_VGIC_CTRL_INIT).
    set(
        gic,
        KVM_DEV_ARM_VGIC_GRP_CTRL,
        KVM_DEV_ARM_VGIC_CTRL_INIT,
        &0_u64,
    )
}
