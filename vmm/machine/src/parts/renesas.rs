//! What an R-Car Gen2 SoC consists of.

use std::sync::Arc;

use viommu::SourceId;
use vm_fdt::FdtWriter;
use vmm_devices::renesas::blocks::{Block, Kind};
use vmm_devices::renesas::dmac::{CHANNEL_STRIDE, COMMON_BYTES, ChannelWindow, CommonWindow, Dmac};

use super::{Part, Placed};
use crate::config::Port;
use crate::entry::{Entry, Irq};
use crate::error::Error;
use crate::layout::Range;
use crate::wiring::Wiring;

/// Returns a block of the SoC's control from `base` on.
pub(crate) fn block(name: &str, node: &'static str, base: u64, kind: Kind) -> Placed {
    let window = Range::new(base, kind.bytes() as u64);
    Placed::new(Entry::new(name, node, &[window], None), BlockPart(kind))
}

/// A DMA controller in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DmacPlace {
    /// Its name; channels are called by it and their number.
    pub name: &'static str,
    /// Physical address of its registers.
    pub base: u64,
    /// Their bytes.
    pub size: u64,
    /// The interrupt for address errors.
    pub error: u32,
    /// The interrupts of its channels.
    pub channels: &'static [u32],
}

/// Returns a DMA controller, and its channels: bus masters of their own, each behind the port that
/// `port` says.
pub(crate) fn dmac(place: &DmacPlace, port: impl Fn(u32) -> Option<Port>) -> Vec<Placed> {
    let node = "dma-controller";
    let common = Range::new(place.base, COMMON_BYTES);
    let irq = Irq { spi: place.error };
    let entry = Entry::new(place.name, node, &[common], irq);
    let mut devices = vec![Placed::new(entry, Common)];
    let mut base = common.end();
    for (channel, spi) in (0_u32..).zip(place.channels) {
        let window = Range::new(base, CHANNEL_STRIDE);
        let name = format!("{}-ch{channel}", place.name);
        let mut entry = Entry::new(&name, node, &[window], Irq { spi: *spi });
        (entry.master, entry.iommu) = (true, port(channel));
        entry.part_of = Some(place.base);
        devices.push(Placed::new(entry, Channel(channel as usize)));
        base = window.end();
    }
    // Behind the channels there is memory for descriptors, which no driver of Linux uses.
    let rest = Range::new(base, place.base + place.size - base);
    let name = format!("{}-descriptors", place.name);
    devices.push(super::unmodelled::zeros(&name, node, rest));
    devices
}

#[derive(Debug)]
struct BlockPart(Kind);

impl Part for BlockPart {
    /// Boards that have such devices do not generate their device tree.
    fn describe(&self, _entry: &Entry, _node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        Ok(())
    }

    fn make(&self, entry: &Entry, _source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        let block = Arc::new(Block::new(self.0));
        wiring.devices.blocks.push(Arc::clone(&block));
        wiring.attach(entry, 0, block)
    }
}

/// What all channels of a DMA controller share.
#[derive(Debug)]
struct Common;

impl Part for Common {
    /// As above.
    fn describe(&self, _entry: &Entry, _node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        Ok(())
    }

    fn make(&self, entry: &Entry, _source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        let control = wiring.control();
        let dmac = Arc::new(Dmac::new(
            wiring.clock(),
            wiring.device_line(entry)?,
            // What the guest starts may be due before the slice that is under way ends.
            Box::new(move || control.recheck()),
        ));
        wiring.devices.dmacs.push(Arc::clone(&dmac));
        wiring.attach(entry, 0, Arc::new(CommonWindow(dmac)))
    }
}

/// A channel, by its number, of the DMA controller that was made last.
#[derive(Debug)]
struct Channel(usize);

impl Part for Channel {
    /// As above.
    fn describe(&self, _entry: &Entry, _node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        Ok(())
    }

    fn make(&self, entry: &Entry, source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        let dmac = wiring.devices.dmacs.last().cloned();
        let dmac = dmac.ok_or_else(|| Error::Host {
            what: "make a channel without its DMA controller",
            source: "a board has the controller first".into(),
        })?;
        let (space, line) = (
            wiring.master_space(entry, source),
            wiring.device_line(entry)?,
        );
        dmac.add_channel(space, line);
        wiring.attach(entry, 0, Arc::new(ChannelWindow(dmac, self.0)))
    }
}
