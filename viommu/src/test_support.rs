//! What the tests of models have in common: the events of an IOMMU as text, and pages that can be told apart.

use std::sync::{Arc, Mutex};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::dma::DmaSpace;
use crate::event::{Event, Observer};
use crate::interrupt::InterruptLine;
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

/// Puts a marker of its own in each page of RAM, to know where a read came from.
pub(crate) fn mark_pages(ram: &GuestMemoryMmap) {
    for page in (RAM..RAM + RAM_SIZE).step_by(0x1000) {
        ram.write_obj(page, GuestAddress(page + 8)).unwrap();
    }
}

/// Returns the marker of the page that an IOVA leads to; `None` if the access is refused.
pub(crate) fn page_at(dma: &DmaSpace, iova: u64) -> Option<u64> {
    dma.read_obj(GuestAddress((iova & !0xfff) + 8)).ok()
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
        if let Event::BusError { address, .. } = event {
            self.push(format!("no memory at {address:#x}"));
        }
    }
}
