//! The console: a UART, between a sink for output and a gate for input.
//!
//! A UART is a [`SerialPort`] with the registers of a part: a 16550A ([`Uart`]), a PL011
//! ([`Pl011Uart`]) or a SCIF ([`ScifUart`]). Whoever runs the machine knows it as a [`Console`].

mod gate;
pub mod ns16550a;
pub mod pl011;
mod port;
mod saved;
pub mod scif;
mod sink;

pub use gate::{
    Attendance, ConsoleInput, GateState, InputGate, InputRecord, MAX_RECORD, MAX_WAITING,
};
pub use ns16550a::{CLOCK_HZ, REG_SHIFT};
pub use port::{Console, RegisterFile, SerialPort};
pub use saved::{PortState, UartState, WrongUart};
pub use sink::{Capture, ConsoleSink, Discard, Flow, MAX_CAPTURE};

/// A UART with the registers of a 16550A.
pub type Uart = SerialPort<ns16550a::Registers>;
/// A UART with the registers of a PL011.
pub type Pl011Uart = SerialPort<pl011::Registers>;
/// A UART with the registers of a SCIF.
pub type ScifUart = SerialPort<scif::Registers>;
