//! Memory and rings: what a device is told before it runs, and how it is stopped.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use vhost::vhost_user::message::{
    FrontendReq, MAX_ATTACHED_FD_ENTRIES, VhostUserMemory, VhostUserMemoryRegion,
    VhostUserVirtioFeatures, VhostUserVringAddr, VhostUserVringAddrFlags, VhostUserVringState,
};

use super::{Frontend, FrontendError, Offer};
use viommu_vhost_user::wire::Message;

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

/// A ring, as its driver has set it up.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a> {
    /// Entries.
    pub size: u16,
    /// The index in the available ring from which the device goes on.
    pub base: u16,
    /// Address of the descriptor table: an IOVA behind an IOMMU.
    pub descriptors: u64,
    /// Address of the available ring, likewise.
    pub available: u64,
    /// Address of the used ring, likewise.
    pub used: u64,
    /// The event by which the driver notifies the device.
    pub kick: BorrowedFd<'a>,
    /// The event by which the device notifies the driver.
    pub call: BorrowedFd<'a>,
}

impl Frontend {
    /// Tells the features that the driver has accepted, and the guest's memory with the files that
    /// it is in.
    ///
    /// # Errors
    /// The back end refuses, or does not answer.
    pub fn set_up(
        &self,
        offer: &Offer,
        features: u64,
        memory: &[(MemoryRegion, &File)],
    ) -> Result<(), FrontendError> {
        let request = FrontendReq::SET_MEM_TABLE;
        if memory.is_empty() || memory.len() > MAX_ATTACHED_FD_ENTRIES {
            return Err(FrontendError::Nonsense(request));
        }
        let protocol = match offer.enables {
            true => VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits(),
            false => 0,
        };
        let message = Message::request(FrontendReq::SET_FEATURES);
        self.set(message.with(&(features | protocol)), &[])?;
        #[expect(clippy::cast_possible_truncation, reason = "it was checked")]
        let head = VhostUserMemory::new(memory.len() as u32);
        let regions = memory.iter().map(|(region, _)| {
            let MemoryRegion {
                address,
                size,
                offset,
            } = *region;
            VhostUserMemoryRegion::new(address, size, address, offset)
        });
        let message = regions.fold(Message::request(request).with(&head), |message, region| {
            message.with(&region)
        });
        let fds: Vec<_> = memory.iter().map(|(_, file)| file.as_fd()).collect();
        self.set(message, &fds)
    }

    /// Has the back end serve a ring from now on.
    ///
    /// # Errors
    /// The back end refuses, or does not answer.
    pub fn start_ring(
        &self,
        offer: &Offer,
        index: u8,
        ring: &Ring<'_>,
    ) -> Result<(), FrontendError> {
        let Ring {
            size,
            base,
            descriptors,
            available,
            used,
            kick,
            call,
        } = *ring;
        let number = u32::from(index);
        let state =
            |request, num| Message::request(request).with(&VhostUserVringState::new(number, num));
        self.set(state(FrontendReq::SET_VRING_NUM, size.into()), &[])?;
        self.set(state(FrontendReq::SET_VRING_BASE, base.into()), &[])?;
        let flags = VhostUserVringAddrFlags::empty();
        let address = VhostUserVringAddr::new(number, flags, descriptors, used, available, 0);
        self.set(
            Message::request(FrontendReq::SET_VRING_ADDR).with(&address),
            &[],
        )?;
        // The call first: whoever is kicked may be done at once.
        for (request, fd) in [
            (FrontendReq::SET_VRING_CALL, call),
            (FrontendReq::SET_VRING_KICK, kick),
        ] {
            // The low byte is the index; bit 8 would say that there is no descriptor.
            self.set(Message::request(request).with(&u64::from(index)), &[fd])?;
        }
        if offer.enables {
            self.set(state(FrontendReq::SET_VRING_ENABLE, 1), &[])?;
        }
        Ok(())
    }

    /// Stops a ring: when this returns the device does not access its buffers any more. Returns the
    /// index in the available ring at which it would go on.
    ///
    /// # Errors
    /// The back end does not answer, or nonsense. Then it has to be taken for running.
    pub fn stop_ring(&self, offer: &Offer, index: u8) -> Result<u16, FrontendError> {
        let number = u32::from(index);
        let state =
            |request, num| Message::request(request).with(&VhostUserVringState::new(number, num));
        if offer.enables {
            self.set(state(FrontendReq::SET_VRING_ENABLE, 0), &[])?;
        }
        let request = FrontendReq::GET_VRING_BASE;
        let reply = self.ask(&state(request, 0))?;
        let found = reply.body::<VhostUserVringState>();
        let found = found.map_err(|error| self.broken(error.into()))?;
        match u16::try_from(found.num) {
            Ok(base) if { found.index } == number => Ok(base),
            _ => Err(self.broken(FrontendError::Nonsense(request))),
        }
    }
}
