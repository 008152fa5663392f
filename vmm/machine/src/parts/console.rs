//! The console: a 16550A, a PL011, or a SCIF.

use std::sync::Arc;

use viommu::SourceId;
use vm_device::DeviceMmio;
use vm_fdt::FdtWriter;
use vmm_devices::uart::{self, Console, RegisterFile, SerialPort, ns16550a, pl011, scif};

use super::{Part, Placed};
use crate::entry::{Entry, Irq, Role};
use crate::error::Error;
use crate::fdt;
use crate::layout::Range;
use crate::wiring::Wiring;

/// Returns a 16550A at `window` that is the console.
pub(crate) fn ns16550a(window: Range, irq: Irq) -> Placed {
    Placed::new(entry(window, irq), Ns16550a)
}

/// Returns a PL011 at `window` that is the console.
pub(crate) fn pl011(window: Range, irq: Irq) -> Placed {
    Placed::new(entry(window, irq), Pl011)
}

/// Returns a SCIF at `window` that is the console.
pub(crate) fn scif(window: Range, irq: Irq) -> Placed {
    Placed::new(entry(window, irq), Scif)
}

fn entry(window: Range, irq: Irq) -> Entry {
    let mut entry = Entry::new("uart", "serial", &[window], irq);
    entry.role = Some(Role::Console);
    entry
}

/// Makes a UART with these registers.
fn make<R>(entry: &Entry, wiring: &mut Wiring<'_>) -> Result<(), Error>
where
    R: RegisterFile + 'static,
    SerialPort<R>: Console + DeviceMmio,
{
    let control = wiring.control();
    let uart = Arc::new(SerialPort::<R>::new(
        wiring.line(entry)?,
        wiring.take_console(),
        // Only a request: the sink is called in the middle of an instruction of the guest.
        Box::new(move || control.console_stop()),
    ));
    wiring.set_console(uart.clone());
    wiring.attach(entry, 0, uart)
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
        make::<ns16550a::Registers>(entry, wiring)
    }
}

#[derive(Debug)]
struct Pl011;

impl Part for Pl011 {
    fn describe(&self, _entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        let compatible = ["arm,pl011", "arm,primecell"].map(Into::into);
        node.property_string_list("compatible", compatible.into())?;
        let clock = fdt::PHANDLE_APB_CLOCK;
        node.property_array_u32("clocks", &[clock, clock])?;
        let names = ["uartclk", "apb_pclk"].map(Into::into);
        node.property_string_list("clock-names", names.into())
    }

    fn make(&self, entry: &Entry, _source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        make::<pl011::Registers>(entry, wiring)
    }
}

#[derive(Debug)]
struct Scif;

impl Part for Scif {
    /// Boards that have one do not generate their device tree.
    fn describe(&self, _entry: &Entry, _node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        Ok(())
    }

    fn make(&self, entry: &Entry, _source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        make::<scif::Registers>(entry, wiring)
    }
}
