//! What the targets of IOMMU models have in common: RAM, devices, registers, and an observer.

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use viommu::ipmmu::{IpmmuEvent, IpmmuObserver};
use viommu::{DmaSpace, Observers, RegisterEvent, RegisterObserver};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Sixteen pages of RAM, outside the IOVAs of which most accesses are.
pub const RAM: u64 = 0xc000_0000;
pub const RAM_SIZE: u64 = 0x1_0000;

/// Returns RAM of zeros.
#[expect(clippy::cast_possible_truncation, reason = "it is sixteen pages")]
pub fn ram() -> Arc<GuestMemoryMmap<()>> {
    let ranges = [(GuestAddress(RAM), RAM_SIZE as usize)];
    Arc::new(GuestMemoryMmap::from_ranges(&ranges).expect("16 pages can be had"))
}

/// Has a device read or write at `iova`, which is to meet what is at `physical`, if anything.
pub fn meets(
    ram: &GuestMemoryMmap<()>,
    dma: &DmaSpace,
    (iova, physical): (u64, Option<u64>),
    writes: bool,
) {
    let expected: Option<u64> =
        physical.and_then(|address| ram.read_obj(GuestAddress(address)).ok());
    let at = GuestAddress(iova);
    let found = if writes {
        // What stands there already, so that tables stay as they are.
        let old = expected.unwrap_or(0);
        dma.write_obj(old, at).ok().map(|()| old)
    } else {
        dma.read_obj(at).ok()
    };
    assert_eq!(found, expected, "{iova:#x}");
}

/// Makes an access of a device at `iova`, of any length.
pub fn access(dma: &DmaSpace, iova: u64, u: &mut Unstructured<'_>) -> Result<()> {
    let mut bytes = [0x5a; 9000];
    let length = u.int_in_range(0..=bytes.len())?;
    if u.arbitrary()? {
        let _ = dma.write_slice(&bytes[..length], GuestAddress(iova));
    } else {
        let _ = dma.read_slice(&mut bytes[..length], GuestAddress(iova));
    }
    Ok(())
}

/// Reads or writes registers, most of the time a word, by the bytes that were chosen for it.
pub fn touch(
    mut bytes: [u8; 8],
    u: &mut Unstructured<'_>,
    read: impl FnOnce(&mut [u8]),
    write: impl FnOnce(&[u8]),
) -> Result<()> {
    let length = u.int_in_range(0..=8)?;
    if u.arbitrary()? {
        read(&mut bytes[..length]);
    } else if u.ratio(1, 8)? {
        write(&bytes[..length]);
    } else {
        write(&bytes[..4]);
    }
    Ok(())
}

/// Returns observers of which [`Reader`] sees the registers.
pub fn observers() -> Observers {
    Observers {
        registers: Some(Arc::new(Reader)),
        ..Observers::default()
    }
}

/// Asks each event for what counts, traces and timelines show of it.
pub struct Reader;

fn tell(event: &dyn RegisterEvent) {
    assert!(!event.to_string().is_empty());
    assert!(!event.trace().name.is_empty());
    let change = event.register();
    assert!(change.is_none_or(|change| !change.register.is_empty()));
    let _ = event.effect();
}

impl IpmmuObserver for Reader {
    fn event(&self, _instance: &str, event: &IpmmuEvent) {
        tell(event);
    }
}

impl RegisterObserver for Reader {
    fn event(&self, event: &dyn RegisterEvent) {
        tell(event);
    }
}

/// Uses a machine of any IOMMU model with registers, after its state was restored.
macro_rules! use_restored {
    ($machine:expr, $u:expr) => {
        for _ in 0..20 {
            match $u.int_in_range(0..=4)? {
                0 => $machine.touch($u)?,
                1 => $machine.poke($u)?,
                2 => $machine.access($u)?,
                _ => $machine.check($u)?,
            }
        }
    };
}
pub(super) use use_restored;
