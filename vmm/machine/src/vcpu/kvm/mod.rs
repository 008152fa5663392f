//! Cores by KVM of an arm64 host: the host's own processor executes the guest.
//!
//! The same machine as with emulated cores, apart from what KVM has in the kernel: the interrupt
//! controller (GICv2 or GICv3, whichever the host has), the generic timer and PSCI. Devices and
//! IOMMUs are the same code; each core is a thread that serves its accesses to registers, and the
//! device thread serves queues, so that all of them work at once.
//!
//! | not here | why |
//! |---|---|
//! | virtual time, seeds that repeat a run | the host's processor does not count instructions to a stop |
//! | performance monitors | a guest's kernel finds no node for them |

mod call;
mod code;
mod cores;
mod debug;
mod gic;
mod gic_state;
mod lines;
mod spec;
mod state;
#[cfg(test)]
mod tests;
mod traps;
mod vm;

pub use cores::vcpus;
pub use vm::Vm;
