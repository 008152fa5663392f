//! FISes from the device: what the driver finds in memory and registers when a command is over.

use vm_memory::{Bytes, GuestAddress};

use super::Ahci;
use super::spec::*;

impl Ahci {
    /// Stops the port at an error of this kind, until its driver starts it anew.
    pub(super) fn halt(&mut self, cause: u32) {
        self.port.is |= cause;
        self.port.halted = true;
        self.stop();
    }

    /// Puts a FIS where the driver wants FISes, if it wants any.
    fn receive(&mut self, offset: u64, fis: &[u8]) {
        if self.port.cmd & cmd::RECEIVE == 0 {
            return;
        }
        let at = GuestAddress(u64::from(self.port.fb) + offset);
        if self.dma.pin().write_slice(fis, at).is_err() {
            self.halt(interrupt::BUS);
        }
    }

    /// Receives what the device says of itself after a reset, as soon as there is a place for it.
    pub(super) fn receive_signature(&mut self) {
        if self.port.greets && self.port.cmd & cmd::RECEIVE != 0 {
            self.port.greets = false;
            // Sector 1, one sector: the signature (ACS-3, 7.9.4).
            let fis = registers(status::GOOD, 1, 1, 1);
            self.receive(received::REGISTERS, &fis);
        }
    }

    fn set_task_file(&mut self, status: u8, error: u8) {
        self.port.tfd = u32::from(error) << 8 | u32::from(status);
    }

    /// Ends the command in `slot` with a register FIS, whose count is `count`.
    pub(super) fn end_with_registers(&mut self, slot: u32, count: u16) {
        self.port.ci &= !(1 << slot);
        self.set_task_file(status::GOOD, 0);
        self.port.is |= interrupt::REGISTERS;
        let mut fis = registers(status::GOOD, 0, 0, count);
        fis[1] = fis::INTERRUPT;
        self.receive(received::REGISTERS, &fis);
    }

    /// Ends the command in `slot`, which has read `bytes`, with a PIO setup FIS.
    pub(super) fn end_with_pio(&mut self, slot: u32, bytes: u64) {
        self.port.ci &= !(1 << slot);
        self.set_task_file(status::GOOD, 0);
        self.port.is |= interrupt::PIO;
        let mut fis = registers(status::GOOD | status::REQUEST, 0, 0, 0);
        (fis[0], fis[1], fis[15]) = (fis::PIO, fis::INTERRUPT | fis::INTO_HOST, status::GOOD);
        // The bytes of the last block.
        let last = u16::try_from(bytes.min(512)).unwrap_or(512);
        fis[16..18].copy_from_slice(&last.to_le_bytes());
        self.receive(received::PIO, &fis);
    }

    /// Ends the queued command in `slot` with a set device bits FIS.
    pub(super) fn end_queued(&mut self, slot: u32) {
        self.port.ci &= !(1 << slot);
        self.port.sact &= !(1 << slot);
        self.device_bits(1 << slot, status::GOOD, 0);
    }

    fn device_bits(&mut self, over: u32, status: u8, error: u8) {
        self.set_task_file(status, error);
        self.port.is |= interrupt::DEVICE_BITS;
        let mut fis = [fis::DEVICE_BITS, fis::INTERRUPT, status, error, 0, 0, 0, 0];
        fis[4..].copy_from_slice(&over.to_le_bytes());
        self.receive(received::DEVICE_BITS, &fis);
    }

    /// Fails the command in `slot`, which stays issued, with these bits of the device's error.
    pub(super) fn fail(&mut self, slot: u32, queued: bool, error: u8) {
        let status = status::GOOD | status::ERROR;
        if queued {
            self.failed = u8::try_from(slot).ok().map(|tag| (tag, error));
            self.device_bits(0, status, error);
        } else {
            self.set_task_file(status, error);
            self.port.is |= interrupt::REGISTERS;
            let mut fis = registers(status, error, 0, 0);
            fis[1] = fis::INTERRUPT;
            self.receive(received::REGISTERS, &fis);
        }
        self.halt(interrupt::TASK_FILE);
    }
}

/// Returns a register FIS from the device (Serial ATA 3.0, 10.3.5).
fn registers(status: u8, error: u8, sector: u8, count: u16) -> [u8; FIS_BYTES] {
    let mut fis = [0; FIS_BYTES];
    (fis[0], fis[2], fis[3], fis[4]) = (fis::TO_HOST, status, error, sector);
    fis[12..14].copy_from_slice(&count.to_le_bytes());
    fis
}
