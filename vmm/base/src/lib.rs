//! What every part of the machine may know, and what knows no part of it.
//!
//! The processor, the devices, the machine and the tools around it share these few types. Whatever
//! needs more than the standard library, a serialiser and the log belongs elsewhere.

mod byte_size;
mod clock;
mod clocks;
pub mod code_pages;
mod control;
mod end;
mod guest_warning;
mod interrupt;
mod pins;
mod seconds;
mod shard;
mod text_error;
pub mod thread;
mod unwritten;
mod waker;
mod width;

pub use byte_size::ByteSize;
pub use clock::Clock;
pub use clocks::{HostClock, VirtualClock};
pub use code_pages::CodePages;
pub use control::Control;
pub use end::{Exit, Limits, Reason};
pub use guest_warning::Limiter;
pub use interrupt::Interrupt;
#[cfg(feature = "testing")]
pub use interrupt::testing;
pub use pins::Pins;
pub use seconds::Seconds;
pub use shard::Shard;
pub use text_error::TextError;
pub use unwritten::UnwrittenPages;
pub use waker::Waker;
pub use width::Width;

#[doc(hidden)]
pub use tracing;
