//! What device trees of boards are written from: phandles, cells, and the nodes that boards have in
//! common.

mod given;
mod parse;

use vm_fdt::{Error, FdtWriter};

pub use given::{MAX_BYTES, TreeError, check, complete};
pub use parse::parse;

use crate::layout::{self, Range};
use crate::vcpu::{Irqchip, Platform, Width};

/// The interrupt controller.
pub(crate) const PHANDLE_GIC: u32 = 1;
/// The clock of the peripherals' registers.
pub(crate) const PHANDLE_APB_CLOCK: u32 = 2;
/// What the IOMMUs of a model share.
pub(crate) const PHANDLE_IOMMU_SHARED: u32 = 3;
/// What feeds the clock generators.
pub(crate) const PHANDLE_OSCILLATOR: u32 = 4;
/// Clock generator `n` has this plus `n`.
const PHANDLE_CLKGEN: u32 = 8;
/// IOMMU `n` has this plus `n`.
const PHANDLE_IOMMU: u32 = 16;
/// What a clock generator is fed, in Hz. It is asked for the same, so that its dividers stay as
/// they are.
pub(crate) const OSCILLATOR_HZ: u32 = 100_000_000;
/// First cell of an interrupt that cores share (Linux, bindings/interrupt-controller/arm,gic.yaml).
pub(crate) const GIC_SPI: u32 = 0;
/// First cell of an interrupt of each core.
pub(crate) const GIC_PPI: u32 = 1;
/// Third cell of an interrupt.
pub(crate) const LEVEL_HIGH: u32 = 4;
/// Bytes of randomness handed to the kernel.
pub const SEED_BYTES: usize = 64;

/// The facts that the bootloader tells the kernel.
#[derive(Clone, Debug)]
pub struct Chosen<'a> {
    /// Command line.
    pub cmdline: &'a str,
    /// Where the initrd is.
    pub initrd: Option<Range>,
    /// Randomness for the kernel's pool.
    pub rng_seed: &'a [u8; SEED_BYTES],
}

/// Returns the phandle of IOMMU `index`, of which there are at most `MAX_IOMMUS`.
#[expect(clippy::cast_possible_truncation, reason = "it is below MAX_IOMMUS")]
pub(crate) const fn phandle_iommu(index: usize) -> u32 {
    PHANDLE_IOMMU + index as u32
}

/// Returns the phandle of clock generator `index`, of which there are at most `MAX_CLOCKS`.
#[expect(clippy::cast_possible_truncation, reason = "it is below MAX_CLOCKS")]
pub(crate) const fn phandle_clkgen(index: usize) -> u32 {
    PHANDLE_CLKGEN + index as u32
}

/// Writes where registers are.
pub(crate) fn reg(fdt: &mut FdtWriter, ranges: &[Range]) -> Result<(), Error> {
    let cells = ranges.iter().flat_map(|range| [range.base, range.size]);
    fdt.property_array_u64("reg", &cells.collect::<Vec<_>>())
}

/// Writes `/chosen`. No `kaslr-seed`: 32-bit ARM kernels do not move themselves, and others shall
/// not.
pub(crate) fn chosen(fdt: &mut FdtWriter, chosen: &Chosen<'_>) -> Result<(), Error> {
    let node = fdt.begin_node("chosen")?;
    fdt.property_string("bootargs", chosen.cmdline)?;
    // The kernel's console, unless the command line names one.
    fdt.property_string("stdout-path", "serial0:115200n8")?;
    fdt.property("rng-seed", chosen.rng_seed)?;
    if let Some(initrd) = chosen.initrd {
        // Linux takes as many cells as there are (drivers/of/fdt.c,
        // `early_init_dt_check_for_initrd`).
        fdt.property_u64("linux,initrd-start", initrd.base)?;
        fdt.property_u64("linux,initrd-end", initrd.end())?;
    }
    fdt.end_node(node)
}

/// Writes the cores.
pub(crate) fn cpus(fdt: &mut FdtWriter, count: u8, platform: Platform) -> Result<(), Error> {
    let cpus = fdt.begin_node("cpus")?;
    // One cell holds all affinity that there is, for arm64 too: cores differ in Aff0 only.
    fdt.property_u32("#address-cells", 1)?;
    fdt.property_u32("#size-cells", 0)?;
    for index in 0..count {
        let cpu = fdt.begin_node(&format!("cpu@{index}"))?;
        fdt.property_string("device_type", "cpu")?;
        // A kernel finds out from the processor itself which one it is.
        let compatible = match platform.width {
            Width::Bits32 => "arm,cortex-a15",
            Width::Bits64 => "arm,armv8",
        };
        fdt.property_string("compatible", compatible)?;
        // The affinity in the core's MPIDR, by which CPU_ON names it.
        fdt.property_u32("reg", u32::from(index))?;
        fdt.property_string("enable-method", "psci")?;
        if platform.width == Width::Bits32 {
            // Linux's topology code complains about a Cortex-A15 without. In virtual time this is
            // what it has.
            fdt.property_u32("clock-frequency", 1_000_000_000)?;
        }
        fdt.end_node(cpu)?;
    }
    fdt.end_node(cpus)
}

/// Writes the firmware.
pub(crate) fn psci(fdt: &mut FdtWriter) -> Result<(), Error> {
    let psci = fdt.begin_node("psci")?;
    // A kernel that does not know 1.0 makes the calls of 0.2, which have the same numbers.
    let compatible = ["arm,psci-1.0", "arm,psci-0.2"].map(Into::into);
    fdt.property_string_list("compatible", compatible.into())?;
    // The only conduit that `psci::answer` takes, and the one of KVM.
    fdt.property_string("method", "hvc")?;
    fdt.end_node(psci)
}

/// Writes the cores' timers and, of emulated ones, their performance monitors.
pub(crate) fn core_devices(fdt: &mut FdtWriter, cpus: u8, platform: Platform) -> Result<(), Error> {
    // The third cell of a GICv2's private interrupt holds the cores it goes to, from bit 8 on.
    let cores = match platform.irqchip {
        Irqchip::GicV2 => ((1 << cpus) - 1) << 8,
        Irqchip::GicV3 => 0,
    };
    let flags = LEVEL_HIGH | cores;
    // Private peripheral interrupts are identifiers 16 to 31 (GICv2 IHI 0048B 2.2.1); the binding
    // counts them from 0.
    let ppi = |id: u32| [GIC_PPI, id - 16, flags];
    let timer = fdt.begin_node("timer")?;
    let compatible = match platform.width {
        Width::Bits32 => "arm,armv7-timer",
        Width::Bits64 => "arm,armv8-timer",
    };
    fdt.property_string("compatible", compatible)?;
    // The binding's order (bindings/timer/arm,arch_timer.yaml): a kernel knows each by its place.
    let irqs = [
        layout::SECURE_TIMER_IRQ,
        layout::PHYSICAL_TIMER_IRQ,
        layout::VIRTUAL_TIMER_IRQ,
        layout::HYP_TIMER_IRQ,
    ];
    fdt.property_array_u32("interrupts", &irqs.map(ppi).concat())?;
    // The timer goes on while a core sleeps.
    fdt.property_null("always-on")?;
    fdt.end_node(timer)?;

    // KVM's cores are created without one.
    if !platform.accelerated {
        let pmu = fdt.begin_node("pmu")?;
        fdt.property_string("compatible", "arm,cortex-a15-pmu")?;
        fdt.property_array_u32("interrupts", &ppi(layout::PMU_IRQ))?;
        fdt.end_node(pmu)?;
    }
    Ok(())
}

/// Writes a clock of a fixed frequency, in Hz.
pub(crate) fn fixed_clock(
    fdt: &mut FdtWriter,
    (node, output): (&str, &str),
    hz: u32,
    phandle: u32,
) -> Result<(), Error> {
    let node = fdt.begin_node(node)?;
    fdt.property_string("compatible", "fixed-clock")?;
    fdt.property_u32("#clock-cells", 0)?;
    fdt.property_u32("clock-frequency", hz)?;
    fdt.property_string("clock-output-names", output)?;
    fdt.property_phandle(phandle)?;
    fdt.end_node(node)
}
