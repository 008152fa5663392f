//! What a space is connected to.

use std::sync::Arc;

use vm_memory::Permissions;

use super::port::{Port, Way};
use crate::grace::Held;
use crate::host::Map;

/// What stands between a bus master and memory.
pub(super) enum Connection<M> {
    /// Nothing: this memory is seen as it is.
    Open(Arc<M>),
    /// A wall, before this memory.
    Blocked(Arc<M>),
    /// A translation unit.
    Port(Port<M>),
}

/// What an access begins with.
pub(super) struct Seen<'a, M> {
    pub view: View<'a, M>,
    /// The way through the unit, where it was kept with the pin.
    pub way: Option<&'a Way<'a, M>>,
}

impl<M> Clone for Seen<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Seen<'_, M> {}

impl<M> Seen<'_, M> {
    /// Tells an observer that wants single accesses of one.
    #[inline(always)]
    pub fn announce(&self, iova: u64, length: usize, access: Permissions) {
        if let View::Port(port, _) = self.view {
            port.announce(iova, length, access);
        }
    }
}

/// A connection under a pin.
pub(crate) enum View<'a, M> {
    /// See [`Connection::Open`].
    Open(&'a M),
    /// See [`Connection::Blocked`].
    Blocked,
    /// A translation unit, and guest memory as it is as long as the pin is held.
    Port(&'a Port<M>, &'a Map<M>),
}

impl<M> Clone for View<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for View<'_, M> {}

impl<'a, M> View<'a, M> {
    /// Returns what is seen under the pin on `connection` that `held` shows; a unit has one.
    #[inline(always)]
    pub(super) fn new(connection: &'a Connection<M>, held: Option<Held<'a>>) -> Self {
        match (connection, held) {
            (Connection::Open(memory), _) => Self::Open(memory),
            (Connection::Port(port), Some(held)) => Self::Port(port, port.unit.host.map(held)),
            // Without a pin, which does not happen, nothing of a unit can be used.
            (Connection::Port(_), None) | (Connection::Blocked(_), _) => Self::Blocked,
        }
    }
}
