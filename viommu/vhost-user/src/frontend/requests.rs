//! The requests of a VMM, each with what the specification has for it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::fs::{SealFlags, fcntl_get_seals};
use vhost::vhost_user::message::{
    FrontendReq, VhostUserConfig, VhostUserMemory, VhostUserMemoryRegion,
    VhostUserProtocolFeatures as Protocol, VhostUserSingleMemoryRegion, VhostUserU64,
    VhostUserVirtioFeatures, VhostUserVringAddr, VhostUserVringState,
};
use vhost::vhost_user::message::{
    VHOST_USER_CONFIG_SIZE, VhostUserConfigFlags, VhostUserVringAddrFlags,
};
use virtio_bindings::virtio_config::VIRTIO_F_ACCESS_PLATFORM;

use super::{BackendChannel, Frontend, FrontendError};
use crate::wire::{MAX_FDS, Message, WireError};

/// A region of guest memory, in a memfd that the back end can map.
///
/// It has to be sealed against shrinking (`F_SEAL_SHRINK`): a back end could truncate it otherwise,
/// and the VMM would be killed at its next access.
#[derive(Clone, Debug)]
pub struct MemoryRegion {
    /// Its guest physical address.
    pub guest_address: u64,
    /// Bytes.
    pub size: u64,
    /// The file.
    pub file: Arc<File>,
    /// Where in the file it begins.
    pub offset: u64,
}

impl MemoryRegion {
    /// Returns its first and last guest physical address.
    fn range(&self) -> Result<(u64, u64), FrontendError> {
        let size = self.size.checked_sub(1);
        let last = size.and_then(|size| self.guest_address.checked_add(size));
        // The back end's own check: the end of each is a number.
        let last = last.filter(|last| *last != u64::MAX);
        let last = last.filter(|_| self.offset.checked_add(self.size).is_some());
        let last = last.ok_or(FrontendError::Invalid(
            "a region of memory is empty, or reaches the end of the address space",
        ))?;
        Ok((self.guest_address, last))
    }

    /// Checks that the back end cannot take the memory from the VMM.
    fn check_seals(&self) -> Result<(), FrontendError> {
        match fcntl_get_seals(&self.file) {
            Ok(seals) if seals.contains(SealFlags::SHRINK) => Ok(()),
            _ => Err(FrontendError::Invalid(
                "guest memory is not in a memfd that is sealed against shrinking",
            )),
        }
    }

    fn body(&self) -> VhostUserMemoryRegion {
        // The "user address" is any number that is the same in all messages.
        VhostUserMemoryRegion::new(
            self.guest_address,
            self.size,
            self.guest_address,
            self.offset,
        )
    }
}

/// What a back end offers.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Features of virtio, without those that only concern vhost-user.
    pub features: u64,
    /// Features of the protocol that are agreed on.
    pub protocol: Protocol,
    /// The number of queues it has.
    pub queues: u64,
}

fn number(request: FrontendReq, value: u64) -> Message {
    Message::request(request).with(&VhostUserU64::new(value))
}

/// Features of the protocol that this front end uses where the back end has them.
const WANTED: Protocol = Protocol::REPLY_ACK
    .union(Protocol::BACKEND_REQ)
    .union(Protocol::CONFIG)
    .union(Protocol::MQ)
    .union(Protocol::RESET_DEVICE)
    .union(Protocol::CONFIGURE_MEM_SLOTS);

impl Frontend {
    /// Begins a session: agrees on features of the protocol and asks what the device offers.
    ///
    /// # Errors
    /// If the back end fails, or lacks features of the protocol.
    pub fn begin(&self) -> Result<Offer, FrontendError> {
        let features = self.ask(&Message::request(FrontendReq::GET_FEATURES))?;
        let features = features.number()?;
        let has_protocol = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        if features & has_protocol == 0 {
            return Err(FrontendError::Lacks("VHOST_USER_F_PROTOCOL_FEATURES"));
        }
        let offered = self.ask(&Message::request(FrontendReq::GET_PROTOCOL_FEATURES))?;
        let protocol = Protocol::from_bits_truncate(offered.number()?) & WANTED;
        if !protocol.contains(Protocol::REPLY_ACK) {
            return Err(FrontendError::Lacks("VHOST_USER_PROTOCOL_F_REPLY_ACK"));
        }
        let agreed = number(FrontendReq::SET_PROTOCOL_FEATURES, protocol.bits());
        self.tell("its own features of the protocol", agreed, &[])?;
        self.channel().acknowledges = true;
        self.tell("an owner", Message::request(FrontendReq::SET_OWNER), &[])?;
        let queues = match protocol.contains(Protocol::MQ) {
            true => self
                .ask(&Message::request(FrontendReq::GET_QUEUE_NUM))?
                .number()?,
            false => 1,
        };
        Ok(Offer {
            features: features & !VhostUserVirtioFeatures::all().bits(),
            protocol,
            queues,
        })
    }

    /// Sets the features of virtio that the driver accepted. With `VIRTIO_F_ACCESS_PLATFORM` the
    /// device uses IOVAs, and is told of mappings from the next
    /// [`set_memory`](Self::set_memory) on.
    ///
    /// # Errors
    /// If the back end fails or refuses.
    pub fn set_features(&self, features: u64) -> Result<(), FrontendError> {
        let has_access_platform = features & (1 << VIRTIO_F_ACCESS_PLATFORM) != 0;
        {
            let mut channel = self.channel();
            channel.has_access_platform = has_access_platform;
            channel.is_translated = false;
        }
        let features = features | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        let message = number(FrontendReq::SET_FEATURES, features);
        self.tell("the driver's features", message, &[])
    }

    /// Sets the guest's memory, and tells of all mappings if the device uses IOVAs.
    ///
    /// # Errors
    /// If there are too many regions or one cannot be, or the back end fails or refuses.
    pub fn set_memory(&self, regions: &[MemoryRegion]) -> Result<(), FrontendError> {
        let count = u32::try_from(regions.len()).unwrap_or(u32::MAX);
        if regions.is_empty() || regions.len() > MAX_FDS {
            return Err(FrontendError::Invalid(
                "there are none or too many regions of memory",
            ));
        }
        regions.iter().try_for_each(MemoryRegion::check_seals)?;
        let ranges = regions
            .iter()
            .map(MemoryRegion::range)
            .collect::<Result<_, _>>()?;
        let mut message =
            Message::request(FrontendReq::SET_MEM_TABLE).with(&VhostUserMemory::new(count));
        for region in regions {
            message = message.with(&region.body());
        }
        let fds: Vec<BorrowedFd<'_>> = regions.iter().map(|region| region.file.as_fd()).collect();
        self.tell("the guest's memory", message, &fds)?;
        self.channel().mappings.set_ranges(ranges);
        self.tell_everything()
    }

    /// Tells of all mappings, from now on, if the device uses IOVAs.
    fn tell_everything(&self) -> Result<(), FrontendError> {
        let mut channel = self.channel();
        channel.is_translated = channel.has_access_platform;
        if channel.is_translated {
            for update in channel.mappings.everything() {
                channel.post(&update)?;
            }
        }
        Ok(())
    }

    /// Adds a region of guest memory, and tells again of all mappings. Needs
    /// [`CONFIGURE_MEM_SLOTS`](Protocol::CONFIGURE_MEM_SLOTS).
    ///
    /// # Errors
    /// If it cannot be, or the back end fails or refuses.
    pub fn add_memory(&self, region: &MemoryRegion) -> Result<(), FrontendError> {
        let range = region.range()?;
        region.check_seals()?;
        let message = Self::single(FrontendReq::ADD_MEM_REG, region);
        self.tell("more memory", message, &[region.file.as_fd()])?;
        self.channel().mappings.add_range(range);
        self.tell_everything()
    }

    /// Removes a region of guest memory, and tells again of the mappings that are left: a back end
    /// may forget more than it must. Needs
    /// [`CONFIGURE_MEM_SLOTS`](Protocol::CONFIGURE_MEM_SLOTS).
    ///
    /// # Errors
    /// If the back end fails or refuses.
    pub fn remove_memory(&self, region: &MemoryRegion) -> Result<(), FrontendError> {
        let range = region.range()?;
        // Before it is gone: no miss is answered with it.
        self.channel().mappings.remove_range(range);
        let message = Self::single(FrontendReq::REM_MEM_REG, region);
        self.tell("less memory", message, &[])?;
        self.tell_everything()
    }

    fn single(request: FrontendReq, region: &MemoryRegion) -> Message {
        let (address, size) = (region.guest_address, region.size);
        let body = VhostUserSingleMemoryRegion::new(address, size, address, region.offset);
        Message::request(request).with(&body)
    }

    /// Sets up a queue: its size, the addresses of its descriptor table, available ring and used
    /// ring, and the index of the next available descriptor. Addresses are IOVAs where the device
    /// uses them, and else guest physical addresses.
    ///
    /// # Errors
    /// If the back end fails or refuses.
    pub fn set_queue(
        &self,
        index: u32,
        size: u16,
        (descriptors, available, used): (u64, u64, u64),
        next: u16,
    ) -> Result<(), FrontendError> {
        let state = |request, value: u16| {
            Message::request(request).with(&VhostUserVringState::new(index, value.into()))
        };
        self.tell(
            "a size of a queue",
            state(FrontendReq::SET_VRING_NUM, size),
            &[],
        )?;
        self.tell(
            "a place in a queue",
            state(FrontendReq::SET_VRING_BASE, next),
            &[],
        )?;
        let none = VhostUserVringAddrFlags::empty();
        let body = VhostUserVringAddr::new(index, none, descriptors, used, available, 0);
        let message = Message::request(FrontendReq::SET_VRING_ADDR).with(&body);
        self.tell("the addresses of a queue", message, &[])
    }

    /// Gives a queue its events: the driver's kick, the device's interrupt.
    ///
    /// # Errors
    /// If the back end fails or refuses.
    pub fn set_queue_events(
        &self,
        index: u8,
        kick: BorrowedFd<'_>,
        call: BorrowedFd<'_>,
    ) -> Result<(), FrontendError> {
        let message = |request| number(request, index.into());
        self.tell(
            "an interrupt",
            message(FrontendReq::SET_VRING_CALL),
            &[call],
        )?;
        self.tell("a kick", message(FrontendReq::SET_VRING_KICK), &[kick])
    }

    /// Enables or disables a queue.
    ///
    /// # Errors
    /// If the back end fails or refuses.
    pub fn enable_queue(&self, index: u32, enabled: bool) -> Result<(), FrontendError> {
        let body = VhostUserVringState::new(index, enabled.into());
        let message = Message::request(FrontendReq::SET_VRING_ENABLE).with(&body);
        self.tell("a queue", message, &[])
    }

    /// Stops a queue, and returns the index of the next available descriptor.
    ///
    /// # Errors
    /// If the back end fails, or answers for another queue.
    pub fn stop_queue(&self, index: u32) -> Result<u16, FrontendError> {
        let body = VhostUserVringState::new(index, 0);
        let reply = self.ask(&Message::request(FrontendReq::GET_VRING_BASE).with(&body))?;
        let state: VhostUserVringState = reply.body()?;
        match (state.index, u16::try_from(state.num)) {
            (of, Ok(next)) if of == index => Ok(next),
            _ => Err(reply.malformed().into()),
        }
    }

    /// Reads the device's configuration space into `bytes`.
    ///
    /// # Errors
    /// If the back end fails, refuses, or answers with something else.
    pub fn read_config(&self, offset: u32, bytes: &mut [u8]) -> Result<(), FrontendError> {
        let body = Self::config(offset, bytes.len(), VhostUserConfigFlags::empty())?;
        let mut message = Message::request(FrontendReq::GET_CONFIG).with(&body);
        message.payload.extend_from_slice(bytes);
        let reply = self.ask(&message)?;
        // Without a payload it is a refusal ("Configuration space payload").
        if reply.payload.is_empty() {
            return Err(FrontendError::Refused("its configuration"));
        }
        let (_, contents) = reply.split_body::<VhostUserConfig>()?;
        if contents.len() != bytes.len() {
            return Err(reply.malformed().into());
        }
        bytes.copy_from_slice(contents);
        Ok(())
    }

    /// Writes to the device's configuration space.
    ///
    /// # Errors
    /// If the back end fails or refuses.
    pub fn write_config(&self, offset: u32, bytes: &[u8]) -> Result<(), FrontendError> {
        let body = Self::config(offset, bytes.len(), VhostUserConfigFlags::WRITABLE)?;
        let mut message = Message::request(FrontendReq::SET_CONFIG).with(&body);
        message.payload.extend_from_slice(bytes);
        self.tell("a configuration", message, &[])
    }

    fn config(
        offset: u32,
        length: usize,
        flags: VhostUserConfigFlags,
    ) -> Result<VhostUserConfig, FrontendError> {
        let size = u32::try_from(length).ok().filter(|size| *size > 0);
        let end = size.and_then(|size| offset.checked_add(size));
        // So that it fits into a message, with its header.
        let end = end.filter(|end| *end <= VHOST_USER_CONFIG_SIZE - 0x100);
        match (size, end) {
            (Some(size), Some(_)) => Ok(VhostUserConfig::new(offset, size, flags)),
            _ => Err(FrontendError::Invalid(
                "there is no such configuration space",
            )),
        }
    }

    /// Has the device reset, its queues disabled. It is told of no more mappings until the next
    /// [`set_memory`](Self::set_memory).
    ///
    /// # Errors
    /// If the back end fails or refuses; one without
    /// [`RESET_DEVICE`](Protocol::RESET_DEVICE) is not to be asked.
    pub fn reset_device(&self) -> Result<(), FrontendError> {
        self.channel().is_translated = false;
        self.tell("a reset", Message::request(FrontendReq::RESET_DEVICE), &[])
    }

    /// Gives the back end a channel for requests of its own, and returns its other end.
    ///
    /// # Errors
    /// If there are no more file descriptors, or the back end fails or refuses.
    pub fn open_backend_channel(&self) -> Result<BackendChannel, FrontendError> {
        let (ours, theirs) = UnixStream::pair().map_err(WireError::from)?;
        let connection = self.channel().number;
        let message = Message::request(FrontendReq::SET_BACKEND_REQ_FD);
        self.tell("a channel of its own", message, &[theirs.as_fd()])?;
        Ok(BackendChannel::new(ours, self.clone(), connection))
    }
}
