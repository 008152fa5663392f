//! The cores.

mod waker;

pub use waker::Waker;
