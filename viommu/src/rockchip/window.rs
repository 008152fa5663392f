//! The window of registers.

use super::device::{DOMAIN, RockchipIommu};
use super::event::RockchipEvent;
use super::registers::Registers;
use super::spec::{Command, PAGE_BITS, Register};
use super::state::{RockchipState, interrupt_mask};
use crate::inject::{Flush, FlushFault, Injected};
use crate::register_event::Ignored;
use crate::window::{self, RegisterFile};

/// How often one access looks, giving the processor away in between, whether accesses that it must
/// wait for have ended: a read of MMU_STATUS during a stall, and every write that invalidates or
/// changes what accesses meet. The guest polls a stall for a millisecond of its own time (6.1,
/// `RK_MMU_POLL_TIMEOUT_US`), which may be over before the host has let a device's thread finish
/// its work; and no register tells it when an invalidation is complete.
const PATIENCE: u32 = 256;

impl<M> RegisterFile for RockchipIommu<M> {
    fn instance(&self) -> &str {
        self.name()
    }

    fn injected(&self) -> Option<&Injected> {
        self.shared.injected.as_ref()
    }

    fn register_name(&self, offset: u64) -> Option<&'static str> {
        Some(Register::at(offset)?.name())
    }

    fn read_word(&self, offset: u64) -> u32 {
        self.read_register(offset)
    }

    fn write_word(&self, offset: u64, value: u32) {
        self.write_register(offset, value);
    }

    fn ignore(&self, offset: u64, access: Ignored) {
        self.shared
            .ignore(&mut self.shared.registers(), offset, access);
    }
}

impl<M> RockchipIommu<M> {
    /// Reads `data` at `offset` in the window. Registers are words; any part of them may be read,
    /// and several.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        window::read(self, offset, data);
    }

    /// Writes `data` at `offset` in the window. Only whole words are written; anything else is
    /// ignored, as the write of something that is not modelled.
    pub fn write(&self, offset: u64, data: &[u8]) {
        window::write(self, offset, data);
    }

    fn read_register(&self, offset: u64) -> u32 {
        let mut registers = self.shared.registers();
        let state = &registers.state;
        match Register::at(offset) {
            Some(Register::DteAddr) => state.dte_addr,
            Some(Register::Status) => {
                // It locks the registers itself, anew for each look.
                drop(registers);
                self.read_status()
            }
            Some(Register::PageFaultAddr) => state.page_fault_addr,
            Some(Register::IntRawstat) => state.int_rawstat,
            Some(Register::IntMask) => state.int_mask,
            Some(Register::IntStatus) => state.int_rawstat & state.int_mask,
            Some(Register::AutoGating) => state.auto_gating,
            Some(Register::Command | Register::ZapOneLine | Register::IntClear) => 0,
            None => {
                self.shared.ignore(&mut registers, offset, Ignored::Read);
                0
            }
        }
    }

    /// Reads MMU_STATUS; if a stall is under way, with some patience for it. The registers are not
    /// locked meanwhile: devices need them in order to go on.
    fn read_status(&self) -> u32 {
        let mut patience = PATIENCE;
        loop {
            let mut registers = self.shared.registers();
            // Told under the lock, so that observers see events in the order of the register's
            // changes.
            if registers.poll_stall() {
                self.shared.tell(RockchipEvent::Stalled);
            }
            if registers.stall.is_none() || patience == 0 {
                registers.count_look();
                return registers.status().into_bits();
            }
            drop(registers);
            // In this time the device's thread can finish the access that the stall waits for.
            patience -= 1;
            std::thread::yield_now();
        }
    }

    fn write_register(&self, offset: u64, value: u32) {
        let shared = &self.shared;
        let mut guard = shared.registers();
        let registers = &mut *guard;
        match Register::at(offset) {
            Some(Register::DteAddr) => {
                let old = registers.state.dte_addr;
                registers.state.dte_addr = value & shared.config.format.directory_mask();
                // Walks from now on see it; what is cached stays until it is invalidated.
                if registers.state.dte_addr != old {
                    let address = shared.config.format.address(registers.state.dte_addr);
                    shared.tell(RockchipEvent::Directory { address });
                }
            }
            Some(Register::Command) => match Command::from_repr(value) {
                Some(command) => self.execute(registers, command),
                None => shared.unimplemented(registers, |count| RockchipEvent::UnknownCommand {
                    number: value,
                    count,
                }),
            },
            Some(Register::ZapOneLine) => {
                shared.tell(RockchipEvent::ZapLine { iova: value });
                self.invalidate(registers, Some(value));
            }
            Some(Register::IntClear) => {
                let cleared = registers.state.int_rawstat & value;
                registers.state.int_rawstat &= !value;
                if cleared != 0 {
                    let interrupts = cleared;
                    shared.tell(RockchipEvent::InterruptsCleared { interrupts });
                }
            }
            Some(Register::IntMask) => registers.state.int_mask = value & interrupt_mask(),
            Some(Register::AutoGating) => registers.state.auto_gating = value,
            Some(
                Register::Status
                | Register::PageFaultAddr
                | Register::IntRawstat
                | Register::IntStatus,
            )
            | None => shared.ignore(registers, offset, Ignored::Write(value)),
        }
        // Clearing, masking and a reset change the line.
        shared.update_interrupt(registers);
        let waits = registers.zap.is_some();
        drop(guard);
        if waits {
            self.wait_for_zap();
        }
    }

    /// Gives accesses through what was invalidated some time to end, with the registers unlocked:
    /// the guest takes a zap for complete when its write is.
    fn wait_for_zap(&self) {
        for _ in 0..PATIENCE {
            if self.shared.registers().poll_zap() {
                return;
            }
            std::thread::yield_now();
        }
    }

    fn execute(&self, registers: &mut Registers, command: Command) {
        let shared = &self.shared;
        let status = registers.state.status();
        match command {
            Command::EnablePaging | Command::DisablePaging => {
                let enabled = command == Command::EnablePaging;
                registers.state.status = status.with_paging_enabled(enabled).into_bits();
                if enabled != status.paging_enabled() {
                    shared.tell(if enabled {
                        RockchipEvent::PagingEnabled
                    } else {
                        RockchipEvent::PagingDisabled
                    });
                }
                self.attach(registers);
                // Hardware holds accesses back during a stall. Here those that began by the old
                // setting must end.
                registers.zap = Some(self.unit.begin_grace_period());
            }
            Command::EnableStall => {
                // 6.1, `rk_iommu_enable_stall`: only with paging.
                let asked = status.stall_active() || registers.state.stalling;
                if status.paging_enabled() && !asked {
                    registers.state.stalling = true;
                    registers.stall = Some(self.unit.begin_grace_period());
                    shared.tell(RockchipEvent::StallRequested);
                }
            }
            Command::DisableStall => {
                if status.stall_active() || registers.state.stalling {
                    registers.state.stalling = false;
                    registers.stall = None;
                    registers.state.status = status.with_stall_active(false).into_bits();
                    shared.tell(RockchipEvent::StallEnded);
                }
            }
            Command::ZapCache => {
                shared.tell(RockchipEvent::ZapAll);
                self.invalidate(registers, None);
            }
            Command::PageFaultDone => {
                if status.page_fault_active() {
                    registers.state.status = status.with_page_fault_active(false).into_bits();
                    shared.tell(RockchipEvent::FaultDone);
                }
            }
            Command::ForceReset => {
                registers.state = RockchipState::reset(registers.state.unimplemented);
                registers.stall = None;
                registers.held = None;
                if status.paging_enabled() {
                    shared.tell(RockchipEvent::PagingDisabled);
                }
                shared.tell(RockchipEvent::Reset);
                self.attach(registers);
                self.forget_all();
                registers.zap = Some(self.unit.begin_grace_period());
            }
        }
    }

    /// Invalidates the translation of the page of an IOVA, or all of them.
    fn invalidate(&self, registers: &mut Registers, iova: Option<u32>) {
        let injected = self.shared.injected.as_ref();
        let fault = injected.and_then(|injected| {
            injected.injector.flush(&Flush {
                instance: self.name(),
                context: 0,
            })
        });
        // An ignored invalidation has no effect.
        if fault == Some(FlushFault::Ignored) {
            return;
        }
        match iova {
            None => self.forget_all(),
            Some(iova) => {
                let within = (1 << PAGE_BITS) - 1;
                let iova = u64::from(iova);
                let (first, last) = (iova & !within, iova | within);
                if let Some(injected) = injected {
                    injected.forget(DOMAIN, first, last);
                }
                self.unit.invalidate_range(DOMAIN, first, last);
            }
        }
        // A late or stuck one has done its work: only its end is not shown.
        registers.held = fault;
        // After what was forgotten, which alone it covers. It ends no earlier than one that it
        // takes the place of.
        registers.zap = Some(self.unit.begin_grace_period());
    }
}
