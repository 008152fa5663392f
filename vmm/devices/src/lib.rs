//! The devices: one folder each.
//!
//! A device is plain register logic over a state; it reaches guest memory only through a
//! [`DmaSpace`](ram::DmaSpace), raises interrupts only through an [`IrqLine`](irq::IrqLine), and is
//! put on the bus by the machine.

pub mod ahci;
pub mod alarm;
pub mod clkgen;
pub mod disk;
pub mod dma_tester;
pub mod irq;
pub mod ram;
pub mod renesas;
pub mod rtc;
pub mod sp804;
pub mod sregs;
pub mod uart;
pub mod unmodelled;
pub mod virtio;
mod words;
