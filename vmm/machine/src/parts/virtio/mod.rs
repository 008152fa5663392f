//! Devices on the virtio-mmio transport.

mod disk;
pub(crate) mod net;
mod rng;
mod vhost_user;

use std::sync::Arc;

use vm_fdt::FdtWriter;

use super::{Part, Placed};
use crate::config::Config;
use crate::entry::{Entry, Irq, Role};
use crate::layout::Range;

/// A virtio device that stands in no slot yet.
struct Device {
    name: String,
    role: Option<Role>,
    part: Arc<dyn Part>,
}

/// Writes what is the same of all of them (Linux, bindings/virtio/mmio.yaml), and what one is
/// compatible with besides.
fn describe(node: &mut FdtWriter, besides: Option<&str>) -> Result<(), vm_fdt::Error> {
    let compatible = std::iter::once("virtio,mmio").chain(besides);
    node.property_string_list("compatible", compatible.map(Into::into).collect())
}

/// Returns the devices of `config`, in the order of [`Config::ports`]. Disks are compatible with
/// `disks_are` besides.
fn devices(config: &Config, disks_are: Option<&'static str>) -> Vec<Device> {
    let disks = (0..config.disks.len()).map(|index| disk::device(index, disks_are));
    let rng = config.rng.then(rng::device);
    let others = (0..config.vhost_user.len()).map(vhost_user::device);
    let nets = (0..config.nets.len()).map(net::device);
    disks.chain(others).chain(nets).chain(rng).collect()
}

/// Returns the virtio devices of the valid `config` in the slots that there are: their windows and
/// interrupts. Linux takes disks for `disks_are`, too, if there is that.
pub(crate) fn in_slots(
    config: &Config,
    slots: impl Iterator<Item = (Range, Irq)>,
    disks_are: Option<&'static str>,
) -> Vec<Placed> {
    let clocks = config.clock_list();
    // A configuration whose ports do not exist is not valid.
    let mut ports = config.ports().unwrap_or_default().into_iter();
    // No device is left without a slot: `validate_disks` has seen to it.
    let placed = devices(config, disks_are).into_iter().zip(slots);
    let placed = placed.map(|(device, (window, irq))| {
        let mut entry = Entry::new(&device.name, "virtio_mmio", &[window], irq);
        (entry.virtio, entry.master, entry.role) = (true, true, device.role);
        entry.iommu = ports.next().flatten();
        if let Some(disk) = entry.disk_index().and_then(|index| config.disks.get(index)) {
            // Each is in the list, which was made of these names.
            let place = |name: &String| clocks.iter().position(|clock| clock == name);
            entry.clocks = disk.clocks.iter().filter_map(place).collect();
            entry.coherent = disk.coherent;
        }
        Placed {
            entry,
            part: device.part,
        }
    });
    placed.collect()
}
