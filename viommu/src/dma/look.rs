//! What a bus master would meet, for who only looks: nothing is translated for it, and nobody is
//! told.

use super::DmaSpace;
use crate::attachment::Attachment;
use crate::fault::DomainId;
use crate::model::{Descriptor, Extent};

impl<M> DmaSpace<M> {
    /// Returns what the bus master is attached to now; `None` where no IOMMU stands in between.
    pub fn attachment(&self) -> Option<Attachment> {
        let port = self.port()?;
        Some(port.unit.attachment(port.endpoint))
    }

    /// Returns the guest's number of the domain that it is attached to, if it is attached to one.
    pub fn domain_number(&self) -> Option<u32> {
        let port = self.port()?;
        port.unit.model.number(self.domain()?)
    }

    /// Returns what the domain that it is attached to has at `iova`; `None` if it is attached to
    /// none. The whole of a domain is listed by asking behind what is answered; that guests can
    /// make it long is the caller's to bound.
    pub fn extent(&self, iova: u64) -> Option<Extent> {
        self.port()?.unit.model.extent(self.domain()?, iova)
    }

    /// Returns the descriptor in guest memory that decides what is at `iova`: the last one that a
    /// walk of the tables of the domain reads. `None` if it is attached to none, if no descriptor
    /// can be read, or if the domain's mappings are not in guest memory.
    pub fn descriptor(&self, iova: u64) -> Option<Descriptor> {
        self.port()?.unit.model.descriptor(self.domain()?, iova)
    }

    fn domain(&self) -> Option<DomainId> {
        match self.attachment()? {
            Attachment::Domain(domain) => Some(domain),
            Attachment::Bypass | Attachment::Blocked => None,
        }
    }
}
