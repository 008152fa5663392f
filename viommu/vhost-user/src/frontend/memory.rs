//! The guest's memory, as a back end is told of it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{SealFlags, fcntl_get_seals};
use vhost::vhost_user::message::{
    FrontendReq, VhostUserMemory, VhostUserMemoryRegion, VhostUserSingleMemoryRegion,
    VhostUserVirtioFeatures,
};
use virtio_bindings::virtio_config::VIRTIO_F_ACCESS_PLATFORM;

use super::{Frontend, FrontendError, Offer, ProtocolFeatures};
use crate::wire::{MAX_FDS, Message};

/// A region of guest memory.
///
/// Rings and updates of the IOTLB name addresses of the front end's own, which the back end finds
/// in these regions and nowhere else. This front end names guest physical addresses there, so that
/// no back end learns where the VMM has its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Guest physical address of its first byte.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Where it begins in its file.
    pub offset: u64,
}

impl MemoryRegion {
    /// Checks that it can be, and that the back end cannot take the memory from the VMM.
    fn check(&self, file: &File) -> Result<(), FrontendError> {
        let ends = [self.address, self.offset].map(|start| start.checked_add(self.size));
        if self.size == 0 || ends.contains(&None) {
            return Err(FrontendError::Invalid(
                "a region of memory is empty, or reaches the end of the address space",
            ));
        }
        match fcntl_get_seals(file) {
            Ok(seals) if seals.contains(SealFlags::SHRINK) => Ok(()),
            _ => Err(FrontendError::Invalid(
                "guest memory is not in a memfd that is sealed against shrinking",
            )),
        }
    }

    fn single(&self, request: FrontendReq) -> Message {
        let (address, size) = (self.address, self.size);
        let body = VhostUserSingleMemoryRegion::new(address, size, address, self.offset);
        Message::request(request).with(&body)
    }
}

impl Frontend {
    /// Tells the features that the driver has accepted, and the guest's memory with the files that
    /// it is in.
    ///
    /// With VIRTIO_F_ACCESS_PLATFORM the device uses IOVAs, and is told what they lead to once it
    /// is given to a listener: [`CurrentBackend::set`](super::CurrentBackend::set).
    ///
    /// A file has to be a memfd that is sealed against shrinking (`F_SEAL_SHRINK`): a back end
    /// could truncate it otherwise, and the VMM would be killed at its next access.
    ///
    /// # Errors
    /// The memory cannot be, or could be taken from the VMM; the back end cannot acknowledge
    /// invalidations (REPLY_ACK), though the device uses IOVAs; it refuses, or does not answer.
    pub fn set_up(
        &self,
        offer: &Offer,
        features: u64,
        memory: &[(MemoryRegion, &File)],
    ) -> Result<(), FrontendError> {
        let translated = features & 1 << VIRTIO_F_ACCESS_PLATFORM != 0;
        if translated && !offer.protocol.contains(ProtocolFeatures::REPLY_ACK) {
            return Err(FrontendError::Lacks("REPLY_ACK"));
        }
        if memory.is_empty() || memory.len() > MAX_FDS {
            return Err(FrontendError::Invalid(
                "there are none or too many regions of memory",
            ));
        }
        for (region, file) in memory {
            region.check(file)?;
        }
        let protocol = match offer.enables {
            true => VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits(),
            false => 0,
        };
        let message = Message::request(FrontendReq::SET_FEATURES);
        self.set(message.with(&(features | protocol)), &[])?;
        #[expect(clippy::cast_possible_truncation, reason = "it was checked")]
        let head = VhostUserMemory::new(memory.len() as u32);
        let mut message = Message::request(FrontendReq::SET_MEM_TABLE).with(&head);
        for (region, _) in memory {
            let (address, size) = (region.address, region.size);
            let body = VhostUserMemoryRegion::new(address, size, address, region.offset);
            message = message.with(&body);
        }
        let fds: Vec<BorrowedFd<'_>> = memory.iter().map(|(_, file)| file.as_fd()).collect();
        self.set(message, &fds)?;
        let regions = memory.iter().map(|(region, _)| *region).collect();
        self.link.set_memory(regions, translated);
        Ok(())
    }

    /// Adds a region of guest memory. The mappings that lead there are told when the back end is
    /// given to its listener anew: [`CurrentBackend::set`](super::CurrentBackend::set).
    ///
    /// # Errors
    /// As those of [`set_up`](Self::set_up), or the back end has no CONFIGURE_MEM_SLOTS.
    pub fn add_memory(
        &self,
        offer: &Offer,
        region: MemoryRegion,
        file: &File,
    ) -> Result<(), FrontendError> {
        check_slots(offer)?;
        region.check(file)?;
        let message = region.single(FrontendReq::ADD_MEM_REG);
        self.set(message, &[file.as_fd()])?;
        self.link.add_region(region);
        Ok(())
    }

    /// Removes a region of guest memory. As a back end may forget more translations than it must,
    /// those that are left are told when it is given to its listener anew:
    /// [`CurrentBackend::set`](super::CurrentBackend::set).
    ///
    /// # Errors
    /// The back end has no CONFIGURE_MEM_SLOTS, refuses, or does not answer.
    pub fn remove_memory(&self, offer: &Offer, region: MemoryRegion) -> Result<(), FrontendError> {
        check_slots(offer)?;
        // Before it is gone: no miss is answered with it.
        self.link.remove_region(region);
        self.set(region.single(FrontendReq::REM_MEM_REG), &[])
    }
}

/// Checks that single regions can be added and removed.
fn check_slots(offer: &Offer) -> Result<(), FrontendError> {
    match offer
        .protocol
        .contains(ProtocolFeatures::CONFIGURE_MEM_SLOTS)
    {
        true => Ok(()),
        false => Err(FrontendError::Lacks("CONFIGURE_MEM_SLOTS")),
    }
}
