//! What the tests of models have in common: the events of an IOMMU as text, and pages that can be
//! told apart.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde::de::DeserializeOwned;
use vm_memory::{ByteValued, Bytes, GuestAddress, GuestMemoryMmap};

use crate::dma::DmaSpace;
use crate::event::{Event, Observer};
use crate::interrupt::InterruptLine;
use crate::model::Extent;
use crate::register_event::{Observers, RegisterEvent, RegisterObserver};

/// RAM lies outside the IOVAs that tests use, so that stray IOVAs are bus errors.
pub(crate) const RAM: u64 = 0xc000_0000;
pub(crate) const RAM_SIZE: u64 = 4 << 20;

/// Returns RAM of zeros.
#[expect(clippy::cast_possible_truncation, reason = "it is 4 MiB")]
pub(crate) fn ram() -> Arc<GuestMemoryMmap> {
    let ranges = [(GuestAddress(RAM), RAM_SIZE as usize)];
    Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap())
}

/// Returns the marker of the page that an IOVA leads to; `None` if the access is refused.
pub(crate) fn page_at(dma: &DmaSpace, iova: u64) -> Option<u64> {
    dma.read_obj(GuestAddress((iova & !0xfff) + 8)).ok()
}

/// Returns all that is mapped for a bus master: first and last IOVA, and where the first leads.
pub(crate) fn listed(dma: &DmaSpace) -> Vec<(u64, u64, u64)> {
    let (mut listed, mut iova) = (Vec::new(), 0_u64);
    for _ in 0..1 << 20 {
        let last = match dma.extent(iova).expect("it is attached") {
            Extent::Mapped(mapping) => {
                listed.push((mapping.first, mapping.last, mapping.address));
                mapping.last
            }
            Extent::Hole { last } => last,
        };
        match last.checked_add(1) {
            Some(next) => iova = next,
            None => return listed,
        }
    }
    panic!("there is no end");
}

/// A machine of RAM and one IOMMU that has registers.
pub(crate) trait RegisterMachine {
    /// A descriptor of its tables.
    type Descriptor: ByteValued;

    fn ram(&self) -> &GuestMemoryMmap;

    fn read_bytes(&self, offset: u64, data: &mut [u8]);

    fn write_bytes(&self, offset: u64, data: &[u8]);

    fn read(&self, register: u64) -> u32 {
        // Not 0, to notice bytes that the read leaves out.
        let mut word = [0xaa; 4];
        self.read_bytes(register, &mut word);
        u32::from_le_bytes(word)
    }

    fn write(&self, register: u64, value: u32) {
        self.write_bytes(register, &value.to_le_bytes());
    }

    /// Writes a descriptor.
    fn poke(&self, address: u64, descriptor: Self::Descriptor) {
        self.ram()
            .write_obj(descriptor, GuestAddress(address))
            .unwrap();
    }

    fn peek(&self, address: u64) -> Self::Descriptor {
        self.ram().read_obj(GuestAddress(address)).unwrap()
    }

    /// Puts a marker of its own in each page of RAM, to know where a read came from.
    fn mark_pages(&self) {
        for page in (RAM..RAM + RAM_SIZE).step_by(0x1000) {
            self.ram().write_obj(page, GuestAddress(page + 8)).unwrap();
        }
    }
}

/// What observers of an IOMMU are told, as text, and its interrupt's levels.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<String>>);

impl Log {
    /// Returns an interrupt line whose levels are added to it.
    pub(crate) fn interrupt(self: &Arc<Self>) -> Box<dyn InterruptLine> {
        let log = Arc::clone(self);
        Box::new(move |level: bool| {
            log.push(format!("interrupt {}", if level { "high" } else { "low" }));
        })
    }

    /// Returns observers whose events are added to it.
    pub(crate) fn observers(self: &Arc<Self>) -> Observers {
        Observers {
            registers: Some(Arc::clone(self) as Arc<dyn RegisterObserver>),
            translation: Some(Arc::clone(self) as Arc<dyn Observer>),
        }
    }

    /// Adds a line.
    pub(crate) fn push(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// Returns what happened since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl RegisterObserver for Log {
    fn event(&self, event: &dyn RegisterEvent) {
        self.push(event.to_string());
    }
}

impl Observer for Log {
    fn event(&self, event: &Event) {
        match event {
            Event::BusError { address, .. } => self.push(format!("no memory at {address:#x}")),
            Event::StaleHit(hit) => self.push(format!("stale hit of {:#x}", hit.iova)),
            _ => {}
        }
    }
}

/// Asserts that a saved state goes through JSON, and returns what comes back.
pub(crate) fn through_json<S>(saved: &S) -> S
where
    S: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let json = serde_json::to_string(saved).unwrap();
    let back = serde_json::from_str(&json).unwrap();
    assert_eq!(&back, saved);
    back
}
