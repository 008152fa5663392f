//! Rings: how a device is started and stopped.

use std::os::fd::BorrowedFd;

use vhost::vhost_user::message::{
    FrontendReq, VhostUserVringAddr, VhostUserVringAddrFlags, VhostUserVringState,
};

use super::{Frontend, FrontendError, Offer};
use crate::wire::Message;

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
        let state = |request, value| state(request, index, value);
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
        self.enable_ring(offer, index, true)
    }

    /// Enables or disables a ring: the device does not take buffers from one that is disabled.
    /// Without protocol features a ring is always enabled, and nothing is done.
    ///
    /// # Errors
    /// The back end refuses, or does not answer.
    pub fn enable_ring(
        &self,
        offer: &Offer,
        index: u8,
        enabled: bool,
    ) -> Result<(), FrontendError> {
        if !offer.enables {
            return Ok(());
        }
        let request = FrontendReq::SET_VRING_ENABLE;
        self.set(state(request, index, enabled.into()), &[])
    }

    /// Stops a ring: when this returns the device does not access its buffers any more. Returns the
    /// index in the available ring at which it would go on.
    ///
    /// # Errors
    /// The back end does not answer, or nonsense. Then it has to be taken for running.
    pub fn stop_ring(&self, offer: &Offer, index: u8) -> Result<u16, FrontendError> {
        self.enable_ring(offer, index, false)?;
        let request = FrontendReq::GET_VRING_BASE;
        let reply = self.ask(&state(request, index, 0))?;
        let found = reply.body::<VhostUserVringState>();
        let found = found.map_err(|error| self.broken(error.into()))?;
        match u16::try_from(found.num) {
            Ok(base) if { found.index } == u32::from(index) => Ok(base),
            _ => Err(self.broken(FrontendError::Nonsense(request))),
        }
    }
}

/// Returns a message about the state of a ring.
fn state(request: FrontendReq, index: u8, value: u32) -> Message {
    Message::request(request).with(&VhostUserVringState::new(index.into(), value))
}
