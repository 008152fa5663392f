//! What a space is connected to.

use std::sync::Arc;

use super::port::Port;
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
