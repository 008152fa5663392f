//! The device tree that is generated from the description of a board.

use vm_fdt::{Error, FdtWriter};

use crate::board::{Board, Entry, Role};
use crate::config::Port;
use crate::fdt::{self, Chosen};
use crate::parts::Part;

/// The properties of the board at the root of a device tree.
pub(super) struct Identity {
    /// `compatible`.
    pub compatible: &'static str,
    /// `model`.
    pub model: &'static str,
}

/// Returns the flattened device tree of `board`: what all boards have, what `own` writes, and the
/// devices.
///
/// # Errors
/// When a string holds a NUL; validation has excluded that.
pub(super) fn generate(
    board: &Board,
    chosen: &Chosen<'_>,
    identity: &Identity,
    own: impl Fn(&mut FdtWriter) -> Result<(), Error>,
) -> Result<Vec<u8>, Error> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string("compatible", identity.compatible)?;
    fdt.property_string("model", identity.model)?;
    // Two cells each, as `fdt::reg` writes addresses and sizes of 64 bits.
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    // All nodes below inherit it, so that none has to name its controller.
    fdt.property_u32("interrupt-parent", fdt::PHANDLE_GIC)?;
    aliases(&mut fdt, board)?;
    fdt::chosen(&mut fdt, chosen)?;
    let memory = fdt.begin_node(&format!("memory@{:x}", board.ram.base))?;
    // By this Linux finds RAM, whatever the node's name (drivers/of/fdt.c,
    // `early_init_dt_scan_memory`).
    fdt.property_string("device_type", "memory")?;
    fdt::reg(&mut fdt, &[board.ram])?;
    fdt.end_node(memory)?;
    fdt::cpus(&mut fdt, board.cpus, board.platform)?;
    own(&mut fdt)?;
    let is_described = |entry: &Entry| match entry.role {
        Some(Role::Iommu(model, _)) => model.facts().described,
        _ => true,
    };
    for (entry, part) in board.parts().filter(|(entry, _)| is_described(entry)) {
        device(&mut fdt, board, entry, part)?;
    }
    let is_clock = |entry: &Entry| matches!(entry.role, Some(Role::ClockGenerator(_)));
    if board.devices.iter().any(is_clock) {
        let (hz, phandle) = (fdt::OSCILLATOR_HZ, fdt::PHANDLE_OSCILLATOR);
        fdt::fixed_clock(&mut fdt, ("oscillator", "oscillator"), hz, phandle)?;
    }
    fdt.end_node(root)?;
    fdt.finish()
}

fn aliases(fdt: &mut FdtWriter, board: &Board) -> Result<(), Error> {
    let node = fdt.begin_node("aliases")?;
    let mut devices = board.devices.iter();
    if let Some(uart) = devices.find(|entry| entry.role == Some(Role::Console)) {
        // The property `stdout-path` of /chosen names the console by this alias.
        fdt.property_string("serial0", &format!("/{}", uart.node_name()))?;
    }
    fdt.end_node(node)
}

fn device(fdt: &mut FdtWriter, board: &Board, entry: &Entry, part: &dyn Part) -> Result<(), Error> {
    let node = fdt.begin_node(&entry.node_name())?;
    part.describe(entry, fdt)?;
    let described = |port: &Port| board.iommu_model(port.iommu).facts().described;
    let ports: Vec<Port> = entry.ports().filter(described).collect();
    if !ports.is_empty() {
        // No `dma-coherent` here unless a user wants to see what becomes of it: Linux's allocator
        // of coherent memory behind an ARM32 IOMMU mistakes one page pointer for an array then, and
        // maps garbage from the second page on (arch/arm/mm/dma-mapping.c, __iommu_alloc_simple).
        let specifier = |port: &Port| {
            let cells = [fdt::phandle_iommu(port.iommu), port.utlb];
            let named = 1 + board.iommu_model(port.iommu).facts().cells as usize;
            cells.into_iter().take(named)
        };
        let cells: Vec<u32> = ports.iter().flat_map(specifier).collect();
        fdt.property_array_u32("iommus", &cells)?;
    }
    if entry.coherent {
        fdt.property_null("dma-coherent")?;
    }
    if !entry.clocks.is_empty() {
        let clocks = entry.clocks.iter().copied();
        let phandles: Vec<u32> = clocks.map(fdt::phandle_clkgen).collect();
        fdt.property_array_u32("assigned-clocks", &phandles)?;
        // Without a rate, or a parent, Linux does not ask for the clock (drivers/clk/clk-conf.c).
        let rates = vec![fdt::OSCILLATOR_HZ; entry.clocks.len()];
        fdt.property_array_u32("assigned-clock-rates", &rates)?;
    }
    fdt::reg(fdt, &entry.ranges)?;
    if !entry.irqs.is_empty() {
        let irqs = entry.irqs.iter();
        let irqs = irqs.flat_map(|irq| std::iter::repeat_n(irq, entry.outputs));
        let cells = irqs.flat_map(|irq| [fdt::GIC_SPI, irq.spi, fdt::LEVEL_HIGH]);
        fdt.property_array_u32("interrupts", &cells.collect::<Vec<_>>())?;
    }
    fdt.end_node(node)
}
