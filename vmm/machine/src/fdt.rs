//! The device tree, generated from the description of the machine.

use vm_fdt::{Error, FdtWriter};
use vmm_devices::uart;

use crate::board::{Board, Device, Entry, IommuPart};
use crate::config::IommuModel;
use crate::iommu::models;
use crate::layout::{self, Range};
use crate::vcpu::{Irqchip, Platform, Width};

const PHANDLE_GIC: u32 = 1;
const PHANDLE_CLOCK: u32 = 2;
/// What the IOMMUs of a model share.
const PHANDLE_IOMMU_SHARED: u32 = 3;
const PHANDLE_OSCILLATOR: u32 = 4;
/// Clock generator `n` has this plus `n`.
const PHANDLE_CLKGEN: u32 = 8;
/// What a clock generator is fed, in Hz. It is asked for the same, so that its dividers stay as they are.
const OSCILLATOR_HZ: u32 = 100_000_000;
/// IOMMU `n` has this plus `n`.
const PHANDLE_IOMMU: u32 = 16;
/// First cell of an interrupt: shared or private (Linux, bindings/interrupt-controller/arm,gic.yaml).
const GIC_SPI: u32 = 0;
const GIC_PPI: u32 = 1;
/// Third cell of an interrupt.
const LEVEL_HIGH: u32 = 4;
/// Bytes of randomness handed to the kernel.
pub const SEED_BYTES: usize = 64;

/// What the bootloader tells the kernel.
#[derive(Clone, Debug)]
pub struct Chosen<'a> {
    /// Command line.
    pub cmdline: &'a str,
    /// Where the initrd is.
    pub initrd: Option<Range>,
    /// Randomness for the kernel's pool.
    pub rng_seed: &'a [u8; SEED_BYTES],
}

/// The flattened device tree of `board`.
///
/// # Errors
/// When a string holds a NUL; validation has excluded that.
pub fn generate(board: &Board, chosen: &Chosen<'_>) -> Result<Vec<u8>, Error> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string("compatible", "linux,dummy-virt")?;
    fdt.property_string("model", "viommu virtual machine")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_u32("interrupt-parent", PHANDLE_GIC)?;
    aliases(&mut fdt, board)?;
    write_chosen(&mut fdt, chosen)?;
    let memory = fdt.begin_node(&format!("memory@{:x}", board.ram.base))?;
    fdt.property_string("device_type", "memory")?;
    reg(&mut fdt, &[board.ram])?;
    fdt.end_node(memory)?;
    cpus(&mut fdt, board)?;
    private_devices(&mut fdt, board)?;
    for entry in &board.devices {
        device(&mut fdt, board.platform, entry)?;
    }
    let is_clock = |entry: &Entry| matches!(entry.device, Device::ClockGenerator(_));
    if board.devices.iter().any(is_clock) {
        oscillator(&mut fdt)?;
    }
    fdt.end_node(root)?;
    fdt.finish()
}

fn reg(fdt: &mut FdtWriter, ranges: &[Range]) -> Result<(), Error> {
    let cells: Vec<u64> = ranges
        .iter()
        .flat_map(|range| [range.base, range.size])
        .collect();
    fdt.property_array_u64("reg", &cells)
}

fn aliases(fdt: &mut FdtWriter, board: &Board) -> Result<(), Error> {
    let node = fdt.begin_node("aliases")?;
    if let Some(uart) = board.devices.iter().find(|e| e.device == Device::Uart) {
        fdt.property_string("serial0", &format!("/{}", uart.node_name()))?;
    }
    fdt.end_node(node)
}

/// No `kaslr-seed`: 32-bit ARM kernels do not move themselves, and others shall not.
fn write_chosen(fdt: &mut FdtWriter, chosen: &Chosen<'_>) -> Result<(), Error> {
    let node = fdt.begin_node("chosen")?;
    fdt.property_string("bootargs", chosen.cmdline)?;
    fdt.property_string("stdout-path", "serial0:115200n8")?;
    fdt.property("rng-seed", chosen.rng_seed)?;
    if let Some(initrd) = chosen.initrd {
        fdt.property_u64("linux,initrd-start", initrd.base)?;
        fdt.property_u64("linux,initrd-end", initrd.end())?;
    }
    fdt.end_node(node)
}

fn cpus(fdt: &mut FdtWriter, board: &Board) -> Result<(), Error> {
    let cpus = fdt.begin_node("cpus")?;
    fdt.property_u32("#address-cells", 1)?;
    fdt.property_u32("#size-cells", 0)?;
    for index in 0..board.cpus {
        let cpu = fdt.begin_node(&format!("cpu@{index}"))?;
        fdt.property_string("device_type", "cpu")?;
        // A kernel finds out from the processor itself which one it is.
        let compatible = match board.platform.width {
            Width::Bits32 => "arm,cortex-a15",
            Width::Bits64 => "arm,armv8",
        };
        fdt.property_string("compatible", compatible)?;
        fdt.property_u32("reg", u32::from(index))?;
        fdt.property_string("enable-method", "psci")?;
        if board.platform.width == Width::Bits32 {
            // Linux's topology code complains about a Cortex-A15 without. In virtual time this is what it has.
            fdt.property_u32("clock-frequency", 1_000_000_000)?;
        }
        fdt.end_node(cpu)?;
    }
    fdt.end_node(cpus)
}

/// Firmware, timers, performance monitors and the peripherals' clock: what is not on the bus.
fn private_devices(fdt: &mut FdtWriter, board: &Board) -> Result<(), Error> {
    let psci = fdt.begin_node("psci")?;
    fdt.property_string_list(
        "compatible",
        vec!["arm,psci-1.0".into(), "arm,psci-0.2".into()],
    )?;
    fdt.property_string("method", "hvc")?;
    fdt.end_node(psci)?;

    // The third cell of a GICv2's private interrupt holds the cores it goes to, from bit 8 on.
    let cores = match board.platform.irqchip {
        Irqchip::GicV2 => ((1 << board.cpus) - 1) << 8,
        Irqchip::GicV3 => 0,
    };
    let flags = LEVEL_HIGH | cores;
    let ppi = |id: u32| [GIC_PPI, id - 16, flags];
    let timer = fdt.begin_node("timer")?;
    let compatible = match board.platform.width {
        Width::Bits32 => "arm,armv7-timer",
        Width::Bits64 => "arm,armv8-timer",
    };
    fdt.property_string("compatible", compatible)?;
    let irqs = [
        layout::SECURE_TIMER_IRQ,
        layout::PHYSICAL_TIMER_IRQ,
        layout::VIRTUAL_TIMER_IRQ,
        layout::HYP_TIMER_IRQ,
    ];
    fdt.property_array_u32("interrupts", &irqs.map(ppi).concat())?;
    fdt.property_null("always-on")?;
    fdt.end_node(timer)?;

    if !board.platform.accelerated {
        let pmu = fdt.begin_node("pmu")?;
        fdt.property_string("compatible", "arm,cortex-a15-pmu")?;
        fdt.property_array_u32("interrupts", &ppi(layout::PMU_IRQ))?;
        fdt.end_node(pmu)?;
    }

    let clock = fdt.begin_node("apb-pclk")?;
    fdt.property_string("compatible", "fixed-clock")?;
    fdt.property_u32("#clock-cells", 0)?;
    fdt.property_u32("clock-frequency", 24_000_000)?;
    fdt.property_string("clock-output-names", "clk24mhz")?;
    fdt.property_phandle(PHANDLE_CLOCK)?;
    fdt.end_node(clock)
}

fn device(fdt: &mut FdtWriter, platform: Platform, entry: &Entry) -> Result<(), Error> {
    let node = fdt.begin_node(&entry.node_name())?;
    match entry.device {
        Device::Gic => {
            let compatible = match platform.irqchip {
                Irqchip::GicV2 => "arm,cortex-a15-gic",
                Irqchip::GicV3 => "arm,gic-v3",
            };
            fdt.property_string("compatible", compatible)?;
            fdt.property_null("interrupt-controller")?;
            fdt.property_u32("#interrupt-cells", 3)?;
            fdt.property_phandle(PHANDLE_GIC)?;
        }
        Device::Uart => {
            fdt.property_string("compatible", "ns16550a")?;
            fdt.property_u32("clock-frequency", uart::CLOCK_HZ)?;
            fdt.property_u32("reg-shift", uart::REG_SHIFT)?;
            fdt.property_u32("reg-io-width", 1)?;
        }
        Device::Rtc => {
            fdt.property_string_list(
                "compatible",
                vec!["arm,pl031".into(), "arm,primecell".into()],
            )?;
            fdt.property_u32("clocks", PHANDLE_CLOCK)?;
            fdt.property_string("clock-names", "apb_pclk")?;
        }
        Device::ClockGenerator(index) => clock_generator(fdt, &entry.name, index)?,
        Device::Disk(_) | Device::Rng => fdt.property_string("compatible", "virtio,mmio")?,
        Device::Iommu(model, part) => iommu(fdt, model, part)?,
    }
    if let Some(port) = entry.iommu {
        // No `dma-coherent` here unless a user wants to see what becomes of it: Linux's allocator
        // of coherent memory behind an ARM32 IOMMU mistakes one page pointer for an array then, and
        // maps garbage from the second page on (arch/arm/mm/dma-mapping.c, __iommu_alloc_simple).
        fdt.property_array_u32("iommus", &[phandle_iommu(port.iommu), port.utlb])?;
    }
    // What this machine's devices do is coherent with the host's caches; arm64 kernels have no trouble to be told so.
    if entry.coherent || entry.is_virtio() && platform.width == Width::Bits64 {
        fdt.property_null("dma-coherent")?;
    }
    if !entry.clocks.is_empty() {
        let phandles: Vec<u32> = entry.clocks.iter().copied().map(phandle_clkgen).collect();
        fdt.property_array_u32("assigned-clocks", &phandles)?;
        // Without a rate, or a parent, Linux does not ask for the clock (drivers/clk/clk-conf.c).
        let rates = vec![OSCILLATOR_HZ; entry.clocks.len()];
        fdt.property_array_u32("assigned-clock-rates", &rates)?;
    }
    reg(fdt, &entry.ranges)?;
    if let Some(irq) = entry.irq {
        fdt.property_array_u32("interrupts", &[GIC_SPI, irq.spi, LEVEL_HIGH])?;
    }
    fdt.end_node(node)
}

fn iommu(fdt: &mut FdtWriter, model: IommuModel, part: IommuPart) -> Result<(), Error> {
    let Some(model) = models::model(model) else {
        return Ok(());
    };
    let compatible = model.compatible().iter().map(|name| (*name).into());
    fdt.property_string_list("compatible", compatible.collect())?;
    fdt.property_u32("#iommu-cells", 1)?;
    fdt.property_phandle(match part {
        IommuPart::Instance(index) => phandle_iommu(index),
        IommuPart::Shared => PHANDLE_IOMMU_SHARED,
    })?;
    model.describe(part, PHANDLE_IOMMU_SHARED, fdt)
}

const fn phandle_iommu(index: usize) -> u32 {
    // There are at most MAX_IOMMUS.
    PHANDLE_IOMMU + index as u32
}

const fn phandle_clkgen(index: usize) -> u32 {
    // There are at most MAX_CLOCKS.
    PHANDLE_CLKGEN + index as u32
}

/// What feeds the clock generators.
fn oscillator(fdt: &mut FdtWriter) -> Result<(), Error> {
    let node = fdt.begin_node("oscillator")?;
    fdt.property_string("compatible", "fixed-clock")?;
    fdt.property_u32("#clock-cells", 0)?;
    fdt.property_u32("clock-frequency", OSCILLATOR_HZ)?;
    fdt.property_string("clock-output-names", "oscillator")?;
    fdt.property_phandle(PHANDLE_OSCILLATOR)?;
    fdt.end_node(node)
}

/// A clock generator (Linux, bindings/clock/adi,axi-clkgen.yaml).
fn clock_generator(fdt: &mut FdtWriter, name: &str, index: usize) -> Result<(), Error> {
    fdt.property_string("compatible", "adi,axi-clkgen-2.00.a")?;
    fdt.property_u32("#clock-cells", 0)?;
    fdt.property_array_u32("clocks", &[PHANDLE_OSCILLATOR, PHANDLE_OSCILLATOR])?;
    fdt.property_string_list("clock-names", vec!["clkin1".into(), "s_axi_aclk".into()])?;
    fdt.property_string("clock-output-names", name)?;
    fdt.property_phandle(phandle_clkgen(index))
}

#[cfg(test)]
mod tests {
    use fdt::Fdt;

    use super::*;
    use crate::{ByteSize, Config, DiskConfig, IommuConfig, IommuModel, MAX_IOMMUS};

    fn blob(config: &Config, initrd: Option<Range>) -> Vec<u8> {
        let chosen = Chosen {
            cmdline: "console=ttyS0 quiet",
            initrd,
            rng_seed: &[7; SEED_BYTES],
        };
        generate(&Board::new(config), &chosen).unwrap()
    }

    #[test]
    fn it_reads_back_as_it_was_meant() {
        let disks = vec![DiskConfig::new("a"), DiskConfig::new("b")];
        let memory = ByteSize(512 << 20);
        let config = Config {
            cpus: 4,
            disks,
            memory,
            memory_base: Some(ByteSize(0x8000_0000)),
            ..Config::default()
        };
        let bytes = blob(&config, Some(Range::new(0x8801_0000, 1234)));
        let tree = Fdt::new(&bytes).unwrap();
        assert_eq!(tree.root().compatible().first(), "linux,dummy-virt");
        assert_eq!(tree.cpus().count(), 4);
        let ram = tree.memory().regions().next().unwrap();
        assert_eq!(
            (ram.starting_address as u64, ram.size),
            (0x8000_0000, Some(512 << 20))
        );
        assert_eq!(tree.chosen().bootargs(), Some("console=ttyS0 quiet"));
        let chosen = tree.find_node("/chosen").unwrap();
        let end = chosen.property("linux,initrd-end").unwrap();
        assert_eq!(end.value, (0x8801_0000_u64 + 1234).to_be_bytes());
        assert_eq!(chosen.property("rng-seed").unwrap().value, [7; SEED_BYTES]);
        let uart = tree.find_node("/serial@9000000").unwrap();
        assert_eq!(uart.compatible().unwrap().first(), "ns16550a");
        assert_eq!(tree.find_all_nodes("/virtio_mmio").count(), 3);
        let second = tree.find_node("/virtio_mmio@a001000").unwrap();
        let interrupts = second.property("interrupts").unwrap().value;
        let cells = [GIC_SPI, layout::VIRTIO_SPI + 1, LEVEL_HIGH]
            .map(u32::to_be_bytes)
            .concat();
        assert_eq!(interrupts, cells);
        let timer = tree
            .find_node("/timer")
            .unwrap()
            .property("interrupts")
            .unwrap()
            .value;
        assert_eq!(timer.len(), 48);
        assert_eq!(
            timer[24..36],
            [GIC_PPI, 11, 0xf04].map(u32::to_be_bytes).concat()
        );
    }

    /// Cells of a property.
    fn cells(tree: &Fdt<'_>, node: &str, property: &str) -> Option<Vec<u32>> {
        let value = tree.find_node(node)?.property(property)?.value;
        let cell = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        Some(value.chunks(4).map(cell).collect())
    }

    #[test]
    fn devices_name_their_iommu() {
        for (model, main) in [(IommuModel::Ipmmu, None), (IommuModel::IpmmuGen3, Some(0))] {
            let config = Config {
                disks: vec![
                    "a,iommu=ipmmu1:5".parse().unwrap(),
                    "b,iommu=none".parse().unwrap(),
                ],
                iommus: vec![IommuConfig::new(model); 2],
                ..Config::default()
            };
            let bytes = blob(&config, None);
            let tree = Fdt::new(&bytes).unwrap();
            let phandle =
                |index| cells(&tree, &format!("/iommu@980{index}000"), "phandle").unwrap()[0];
            assert_eq!(
                cells(&tree, "/virtio_mmio@a000000", "iommus"),
                Some(vec![phandle(1), 5])
            );
            assert_eq!(cells(&tree, "/virtio_mmio@a001000", "iommus"), None);
            assert_eq!(
                cells(&tree, "/virtio_mmio@a002000", "iommus"),
                Some(vec![phandle(0), 0])
            );
            assert_eq!(
                cells(&tree, "/iommu@9800000", "#iommu-cells"),
                Some(vec![1])
            );
            let root = cells(&tree, "/iommu@9700000", "phandle");
            assert_eq!(
                cells(&tree, "/iommu@9800000", "renesas,ipmmu-main"),
                main.map(|bit| vec![root.as_ref().unwrap()[0], bit])
            );
            let interrupts = cells(&tree, "/iommu@9801000", "interrupts");
            let own = [GIC_SPI, layout::IPMMU_SPI + 1, LEVEL_HIGH].to_vec();
            assert_eq!(interrupts, main.is_none().then_some(own));
            assert_eq!(cells(&tree, "/virtio_mmio@a000000", "dma-coherent"), None);
        }
    }

    #[test]
    fn the_largest_machine_fits_its_room() {
        let disks = vec![DiskConfig::new("d"); layout::MAX_DISKS];
        let bytes = blob(
            &Config {
                cpus: 4,
                disks,
                iommus: vec![IommuConfig::new(IommuModel::IpmmuGen3); MAX_IOMMUS],
                ..Config::default()
            },
            None,
        );
        assert!(bytes.len() as u64 + 2048 < crate::loader::place::DTB_ROOM);
        let tree = Fdt::new(&bytes).unwrap();
        assert!(
            tree.find_node("/chosen")
                .unwrap()
                .property("linux,initrd-start")
                .is_none()
        );
    }
}
