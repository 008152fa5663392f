//! Disks: virtio-blk.

use std::sync::Arc;

use viommu::SourceId;
use vm_fdt::FdtWriter;
use vmm_devices::virtio::block::Block;

use super::Device;
use crate::entry::{Entry, Role};
use crate::error::Error;
use crate::parts::Part;
use crate::wiring::Wiring;

/// Returns disk `index` of the configuration, whose node is compatible with `besides`, too.
pub(super) fn device(index: usize, besides: Option<&'static str>) -> Device {
    Device {
        name: format!("disk{index}"),
        role: Some(Role::Disk(index)),
        part: Arc::new(Disk { index, besides }),
    }
}

#[derive(Debug)]
struct Disk {
    index: usize,
    besides: Option<&'static str>,
}

impl Part for Disk {
    fn describe(&self, _entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        super::describe(node, self.besides)
    }

    fn make(&self, entry: &Entry, source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        // The board has them in the order of the configuration.
        let Some((disk, config)) = wiring.next_disk(self.index) else {
            return Ok(());
        };
        // A guest can tell its disks apart by this, in whatever order its driver finds them.
        let serial = format!("viommu-disk{}", self.index);
        let mut block = Block::new(disk, &serial, config.queues);
        if let Some(faults) = wiring.faults(entry) {
            block.set_faults(faults);
        }
        wiring.count_disk(block.counters());
        let slot = wiring.transport(entry, source, Box::new(block))?;
        if config.broken {
            // No other thread has it yet.
            slot.lock().unwrap_or_else(|e| e.into_inner()).set_broken();
        }
        Ok(())
    }
}
