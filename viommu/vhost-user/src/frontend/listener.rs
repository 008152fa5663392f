//! Tells a back end what its device's endpoint meets.

use viommu::{Attachment, DmaListener, Mapping, Refusal};

use super::channel::Channel;
use super::{Frontend, Translations, mappings};
use crate::wire::IotlbMessage;

/// Tells a back end what its device's endpoint meets, from [`Frontend::listener`].
///
/// A change is settled when the back end has acknowledged it: one that follows the protocol does
/// so when its accesses by what is gone are over. A dead back end settles everything; see
/// [the module](super) for what that means.
pub struct Listener {
    frontend: Frontend,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

/// Posts messages, if the back end is to be told. One that cannot be told is dead by then, and its
/// device with it: that is no reason to refuse the guest a mapping.
fn tell(channel: &mut Channel, messages: impl IntoIterator<Item = IotlbMessage>) {
    if channel.is_translated {
        for message in messages {
            let _ = channel.post(&message);
        }
    }
}

impl Listener {
    pub(super) const fn new(frontend: Frontend) -> Self {
        Self { frontend }
    }

    fn asks(&self) -> bool {
        matches!(self.frontend.shared.translations, Translations::Asked(_))
    }
}

impl DmaListener for Listener {
    fn attach(&mut self, to: Attachment) -> Result<(), Refusal> {
        let mut channel = self.frontend.channel();
        channel.mappings.attach(to);
        tell(&mut channel, mappings::invalidations(0, u64::MAX));
        let everything = channel.mappings.everything();
        tell(&mut channel, everything);
        Ok(())
    }

    fn map(&mut self, mapping: &Mapping) -> Result<(), Refusal> {
        let mut channel = self.frontend.channel();
        channel.mappings.map(*mapping);
        let updates: Vec<_> = channel.mappings.updates(mapping).collect();
        tell(&mut channel, updates);
        Ok(())
    }

    fn unmap(&mut self, first: u64, last: u64) {
        let mut channel = self.frontend.channel();
        if channel.mappings.unmap(first, last) {
            tell(&mut channel, mappings::invalidations(first, last));
        }
    }

    fn invalidate(&mut self, first: u64, last: u64) {
        let mut channel = self.frontend.channel();
        channel.mappings.changes += 1;
        tell(&mut channel, mappings::invalidations(first, last));
    }

    fn commit(&mut self) {
        if self.asks() {
            // The timeout of the connection is the bound.
            while !self.is_settled() {
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
        }
    }

    fn is_settled(&mut self) -> bool {
        let mut channel = self.frontend.channel();
        // An error is the death of the back end.
        let _ = channel.pump();
        channel.is_settled()
    }
}
