//! A debugger's view of the machine: the GDB remote serial protocol over TCP.
//!
//! Cores are threads. The protocol is spoken by a thread of its own (`session`), which sends the
//! machine's thread orders to carry out while it is halted (`observer`); while the guest runs,
//! the machine knows of the debugger only what it stops for. Breakpoints and watchpoints are the
//! emulated processor's own, so guest memory stays as it is, and virtual time stands still while
//! the debugger looks: a run that is only looked at is the same run. Of cores that KVM runs a
//! debugger sees copies; their accesses are not watched. A machine that keeps its history can be
//! had go back (`reverse`).

#![deny(missing_docs)]

mod aarch64;
mod arm;
mod breakpoints;
mod event;
mod greeting;
mod isa;
mod memory;
mod monitor;
mod observer;
mod registers;
mod reverse;
mod session;
mod target;
#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};

use aarch64::Aarch64;
use arm::Arm;
use target::Abilities;
use vmm_base::Width;
use vmm_machine::Machine;

/// Takes sentences for the user.
pub type Notice = Box<dyn Fn(&str) + Send>;

/// Is called once.
pub type Ready = Box<dyn FnOnce() + Send>;

/// A place where a debugger may connect.
pub struct Server {
    listener: TcpListener,
    notice: Notice,
    ready: Option<Ready>,
}

impl Server {
    /// Listens at `address`; port 0 takes one that is free.
    ///
    /// # Errors
    /// The host does not allow it.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let notice = Box::new(|sentence: &str| tracing::warn!("{sentence}"));
        Ok(Self {
            listener,
            notice,
            ready: None,
        })
    }

    /// Has `notice` told what the user should know, in place of the log.
    #[must_use]
    pub fn noticing(self, notice: Notice) -> Self {
        Self { notice, ..self }
    }

    /// Has `ready` called when the machine stands still for the first time, and answers.
    #[must_use]
    pub fn ready(self, ready: Ready) -> Self {
        Self {
            ready: Some(ready),
            ..self
        }
    }

    /// Returns the address at which it listens.
    ///
    /// # Errors
    /// The host does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Has `machine` wait for a debugger before its first instruction, and answer to one as long as
    /// it runs. Debuggers may come and go, one at a time. Who connects and sends no packet of the
    /// protocol changes nothing.
    ///
    /// In a machine that keeps its history ([`Machine::keep_history`]) debuggers can go back, and
    /// cannot change the guest.
    ///
    /// # Errors
    /// The host has no thread left.
    pub fn attach(self, machine: &mut Machine) -> io::Result<()> {
        let stop = machine.stop_handle();
        let abilities = Abilities {
            cores: usize::from(machine.board().cpus),
            // Accesses of cores that KVM runs go past this program.
            watches: !machine.board().platform.accelerated,
            history: machine.has_history(),
        };
        let start = match machine.board().platform.width {
            Width::Bits32 => session::start::<Arm>,
            Width::Bits64 => session::start::<Aarch64>,
        };
        let observer = start(self, abilities, stop.clone())?;
        machine.observe(Box::new(observer));
        // The machine's first stop is this interrupt: it waits for the debugger there.
        stop.interrupt();
        Ok(())
    }
}
