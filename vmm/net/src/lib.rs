//! What is at the other end of a network interface's cable.

#![deny(missing_docs)]

mod folder;
mod frame;
mod peer;
pub mod responder;
pub mod spec;
pub mod user;

pub use folder::{File, Folder, FolderError};
pub use peer::{Notify, Peer, PeerState, WrongPeer};
pub use responder::Responder;
pub use user::User;
