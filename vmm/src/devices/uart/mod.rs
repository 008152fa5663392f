//! The console.

mod gate;
mod sink;

pub use gate::{ConsoleInput, InputGate, InputRecord, MAX_WAITING};
pub use sink::{Capture, ConsoleSink, Discard, Flow};
