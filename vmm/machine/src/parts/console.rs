//! The console: a 16550A.

use std::sync::Arc;

use viommu::SourceId;
use vm_fdt::FdtWriter;
use vmm_devices::uart::{self, Uart};

use super::{Part, Placed};
use crate::entry::{Entry, Irq, Role};
use crate::error::Error;
use crate::layout::Range;
use crate::wiring::Wiring;

/// Returns a 16550A at `window` that is the console.
pub(crate) fn ns16550a(window: Range, irq: Irq) -> Placed {
    let mut entry = Entry::new("uart", "serial", &[window], irq);
    entry.role = Some(Role::Console);
    Placed::new(entry, Ns16550a)
}

#[derive(Debug)]
struct Ns16550a;

impl Part for Ns16550a {
    fn describe(&self, _entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        node.property_string("compatible", "ns16550a")?;
        // Without it the driver looks for a clock, and fails as there is none
        // (drivers/tty/serial/8250/8250_of.c).
        node.property_u32("clock-frequency", uart::CLOCK_HZ)?;
        node.property_u32("reg-shift", uart::REG_SHIFT)?;
        node.property_u32("reg-io-width", 1)
    }

    fn make(&self, entry: &Entry, _source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        let control = wiring.control();
        let uart = Arc::new(Uart::new(
            wiring.line(entry)?,
            wiring.take_console(),
            // Only a request: the sink is called in the middle of an instruction of the guest.
            Box::new(move || control.console_stop()),
        ));
        wiring.set_console(Arc::clone(&uart));
        wiring.attach(entry, 0, uart)
    }
}
