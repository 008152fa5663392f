//! What a space is connected to.

use super::port::Port;

/// What stands between a bus master and memory.
pub(super) enum Connection<M> {
    /// Nothing.
    Open,
    /// A wall.
    Blocked,
    /// A translation unit.
    Port(Port<M>),
}
