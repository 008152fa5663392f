//! SATA controllers: AHCI with one port.

use std::sync::{Arc, Mutex};

use viommu::SourceId;
use vm_fdt::FdtWriter;
use vmm_devices::ahci::Ahci;

use super::{Part, Placed};
use crate::entry::{Entry, Irq, Role};
use crate::error::Error;
use crate::layout::Range;
use crate::wiring::Wiring;

/// The disk at the port.
const INDEX: usize = 0;

/// Returns a controller at `window`, with the first disk of the configuration at its port if there
/// `is` one.
pub(crate) fn controller(window: Range, irq: Irq, is: bool) -> Placed {
    let mut entry = Entry::new("sata", "sata", &[window], irq);
    entry.master = true;
    entry.role = is.then_some(Role::Disk(INDEX));
    Placed::new(entry, Controller)
}

#[derive(Debug)]
struct Controller;

impl Part for Controller {
    /// Boards that have one do not generate their device tree.
    fn describe(&self, _entry: &Entry, _node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        Ok(())
    }

    fn make(&self, entry: &Entry, source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        let disk = wiring.next_disk(INDEX).map(|(disk, _)| disk);
        let dma = wiring.master_space(entry, source);
        let line = wiring.device_line(entry)?;
        // A guest can tell its disks apart by this, on whatever board.
        let mut ahci = Ahci::new(disk, &format!("viommu-disk{INDEX}"), dma, line);
        ahci.set_schedule(wiring.schedule());
        if entry.role.is_some() {
            wiring.count_disk(ahci.counters());
        }
        let ahci = Arc::new(Mutex::new(ahci));
        wiring.devices.ahci = Some(Arc::clone(&ahci));
        wiring.attach(entry, 0, ahci)
    }
}
