//! The window of registers.

use vm_memory::GuestMemoryBackend;

use super::decode::Register;
use super::device::SmmuV2;
use super::event::SmmuV2Event;
use super::operation::operation;
use super::registers::Registers;
use super::spec::{BankRegister, Cr0, GFSR_FAULTS, GlobalRegister};
use super::state::{cr0_mask, smr_mask};
use crate::inject::Injected;
use crate::register_event::Ignored;
use crate::window::{self, RegisterFile};

/// How often one access looks, giving the processor away in between, whether accesses that it must
/// wait for have ended: a read of TLBSTATUS or sTLBGSTATUS, and every write that changes what
/// accesses meet. The guest polls for a second of its own time (6.1, `TLB_LOOP_TIMEOUT`), which may
/// be over before the host has let a device's thread finish its work; and no register tells it when
/// attachments have changed.
const PATIENCE: u32 = 256;

impl<M: GuestMemoryBackend> RegisterFile for SmmuV2<M> {
    fn instance(&self) -> &str {
        self.name()
    }

    fn injected(&self) -> Option<&Injected> {
        self.shared.injected.as_ref()
    }

    fn register_name(&self, offset: u64) -> Option<&'static str> {
        Some(self.register(offset)?.name())
    }

    fn read_word(&self, offset: u64) -> u32 {
        self.read_register(offset)
    }

    fn write_word(&self, offset: u64, value: u32) {
        self.write_register(offset, value);
    }

    fn ignore(&self, offset: u64, access: Ignored) {
        let mut registers = self.shared.registers();
        self.shared.ignore(&mut registers, offset, None, access);
    }
}

impl<M: GuestMemoryBackend> SmmuV2<M> {
    /// Reads `data` at `offset` in the window. Registers are words; any part of them may be read,
    /// and several.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        window::read(self, offset, data);
    }

    /// Writes `data` at `offset` in the window. Only whole words are written; anything else is
    /// ignored, as the write of something that is not modelled. Registers of 64 bits are two words,
    /// the low one first.
    pub fn write(&self, offset: u64, data: &[u8]) {
        window::write(self, offset, data);
    }

    fn register(&self, offset: u64) -> Option<Register> {
        Register::at(self.shared.config.shape, offset)
    }

    fn read_register(&self, offset: u64) -> u32 {
        let register = self.register(offset);
        // These lock the registers themselves, anew for each look.
        match register {
            Some(Register::Global(GlobalRegister::TlbGstatus)) => return self.read_sync(None),
            Some(Register::Bank(bank, BankRegister::TlbStatus)) => {
                return self.read_sync(Some(bank));
            }
            _ => {}
        }
        let mut registers = self.shared.registers();
        let state = &registers.state;
        match register {
            Some(Register::Global(register)) => self.read_global(&registers, register),
            Some(Register::Smr(group)) => state.groups[group].smr,
            Some(Register::S2cr(group)) => state.groups[group].s2cr,
            Some(Register::Cbar(bank)) => state.banks[bank].cbar,
            Some(Register::Cbfrsynra(bank)) => state.banks[bank].cbfrsynra,
            Some(Register::Cba2r(_)) => 0,
            Some(Register::Bank(bank, register)) => state.banks[bank].get(register),
            None => {
                let read = Ignored::Read;
                self.shared.ignore(&mut registers, offset, register, read);
                0
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "these are low halves")]
    fn read_global(&self, registers: &Registers, register: GlobalRegister) -> u32 {
        let (state, shape) = (&registers.state, self.shared.config.shape);
        match register {
            GlobalRegister::Cr0 => state.cr0,
            GlobalRegister::Id0 => shape.id0().into_bits(),
            GlobalRegister::Id1 => shape.id1().into_bits(),
            GlobalRegister::Id2 => shape.id2().into_bits(),
            GlobalRegister::GfarLow => state.gfar as u32,
            GlobalRegister::GfarHigh => (state.gfar >> 32) as u32,
            GlobalRegister::Gfsr => state.gfsr,
            GlobalRegister::Gfsynr0 => state.gfsynr0,
            GlobalRegister::Gfsynr1 => state.gfsynr1,
            // Write-only, or nothing.
            GlobalRegister::Gfsynr2
            | GlobalRegister::TlbiVmid
            | GlobalRegister::TlbiAllNsnh
            | GlobalRegister::TlbiAllH
            | GlobalRegister::TlbGsync
            | GlobalRegister::TlbGstatus => 0,
        }
    }

    /// Reads TLBSTATUS of a bank or sTLBGSTATUS, with some patience for what is under way. The
    /// registers are not locked meanwhile: devices need them in order to go on.
    fn read_sync(&self, bank: Option<usize>) -> u32 {
        let mut registers = self.shared.registers();
        let sync = match bank {
            Some(bank) => &mut registers.syncs[bank],
            None => &mut registers.sync,
        };
        sync.count_look();
        // A fault that is injected holds it up: no time makes a difference.
        let mut patience = if sync.is_held() { 0 } else { PATIENCE };
        while registers.poll_sync(bank) {
            if patience == 0 {
                return 1;
            }
            drop(registers);
            // In this time the device's thread can finish the access that is waited for.
            patience -= 1;
            std::thread::yield_now();
            registers = self.shared.registers();
        }
        0
    }

    fn write_register(&self, offset: u64, value: u32) {
        let shared = &self.shared;
        let register = self.register(offset);
        // Locks the registers itself, for it reads guest memory in between.
        if let Some(Register::Bank(bank, register)) = register {
            if let Some(operation) = operation(register) {
                self.operate(bank, operation, value);
                return;
            }
        }
        let mut guard = shared.registers();
        let registers = &mut *guard;
        let done = match register {
            Some(Register::Global(register)) => self.write_global(registers, register, value),
            Some(Register::Smr(group)) => {
                let value = value & smr_mask();
                let old = std::mem::replace(&mut registers.state.groups[group].smr, value);
                if old != value {
                    shared.tell(SmmuV2Event::StreamMatch { group, value });
                }
                self.attach(registers);
                true
            }
            Some(Register::S2cr(group)) => {
                let old = std::mem::replace(&mut registers.state.groups[group].s2cr, value);
                if old != value {
                    shared.tell(SmmuV2Event::StreamContext { group, value });
                }
                self.attach(registers);
                true
            }
            Some(Register::Cbar(bank)) => {
                registers.state.banks[bank].cbar = value;
                self.attach(registers);
                true
            }
            // AArch64 formats are not modelled: that they are not stored is a choice.
            Some(Register::Cba2r(_)) => value == 0,
            Some(Register::Bank(bank, register)) => {
                self.write_bank(registers, bank, register, value)
            }
            Some(Register::Cbfrsynra(_)) | None => false,
        };
        if !done {
            shared.ignore(registers, offset, register, Ignored::Write(value));
        }
        // Clearing and masking change the line.
        shared.update_interrupt(registers);
        let waits = registers.attaching.is_some();
        drop(guard);
        if waits {
            self.wait_for_attachments();
        }
    }

    /// Gives accesses by attachments that have changed some time to end, with the registers
    /// unlocked: the guest takes the change for complete when its write is.
    fn wait_for_attachments(&self) {
        for _ in 0..PATIENCE {
            if self.shared.registers().poll_attaching() {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Writes a register of the whole SMMU; returns whether it can be written.
    #[expect(clippy::cast_possible_truncation, reason = "a VMID is the low byte")]
    fn write_global(
        &self,
        registers: &mut Registers,
        register: GlobalRegister,
        value: u32,
    ) -> bool {
        let shared = &self.shared;
        match register {
            GlobalRegister::Cr0 => {
                let old = registers.state.cr0;
                registers.state.cr0 = value & cr0_mask();
                if registers.state.cr0 != old {
                    let enabled = !Cr0::from_bits(value).clientpd();
                    shared.tell(SmmuV2Event::Control { value, enabled });
                }
                self.attach(registers);
            }
            GlobalRegister::Gfsr => {
                let cleared = registers.state.gfsr & value & GFSR_FAULTS;
                registers.state.gfsr &= !value;
                if cleared != 0 {
                    shared.tell(SmmuV2Event::GlobalFaultCleared { status: cleared });
                }
            }
            GlobalRegister::TlbiVmid => self.invalidate_banks(registers, Some(value as u8)),
            GlobalRegister::TlbiAllNsnh => self.invalidate_banks(registers, None),
            // There is nothing of Hyp.
            GlobalRegister::TlbiAllH => {}
            GlobalRegister::TlbGsync => self.begin_sync(registers, None),
            GlobalRegister::Id0
            | GlobalRegister::Id1
            | GlobalRegister::Id2
            | GlobalRegister::GfarLow
            | GlobalRegister::GfarHigh
            | GlobalRegister::Gfsynr0
            | GlobalRegister::Gfsynr1
            | GlobalRegister::Gfsynr2
            | GlobalRegister::TlbGstatus => return false,
        }
        true
    }

    /// Writes a register of a context bank's page; returns whether it can be written.
    fn write_bank(
        &self,
        registers: &mut Registers,
        bank: usize,
        register: BankRegister,
        value: u32,
    ) -> bool {
        let shared = &self.shared;
        let state = &mut registers.state.banks[bank];
        let old = *state;
        match register {
            BankRegister::Sctlr => {
                state.set(register, value);
                let enabled = state.sctlr().m();
                if enabled != old.sctlr().m() {
                    shared.tell(if enabled {
                        SmmuV2Event::BankEnabled { bank }
                    } else {
                        SmmuV2Event::BankDisabled { bank }
                    });
                }
                self.attach(registers);
            }
            BankRegister::Tcr2
            | BankRegister::Ttbr0Low
            | BankRegister::Ttbr0High
            | BankRegister::Ttbr1Low
            | BankRegister::Ttbr1High
            | BankRegister::Tcr
            | BankRegister::Contextidr
            | BankRegister::Mair0
            | BankRegister::Mair1 => {
                // Walks from now on see it; what is cached stays until it is invalidated.
                state.set(register, value);
                for (region, old, new) in [(0, old.ttbr0, state.ttbr0), (1, old.ttbr1, state.ttbr1)]
                {
                    if old != new {
                        let value = new;
                        shared.tell(SmmuV2Event::Table {
                            bank,
                            region,
                            value,
                        });
                    }
                }
            }
            BankRegister::Fsr => {
                state.clear(value);
                if old.has_fault() && !state.has_fault() {
                    shared.tell(SmmuV2Event::FaultCleared { bank });
                }
            }
            // Nothing is stalled.
            BankRegister::Resume => {}
            BankRegister::TlbiVa
            | BankRegister::TlbiVaa
            | BankRegister::TlbiAsid
            | BankRegister::TlbiAll
            | BankRegister::TlbiVal
            | BankRegister::TlbiVaal => self.invalidate(registers, bank, register, value),
            BankRegister::TlbSync => self.begin_sync(registers, Some(bank)),
            _ => return false,
        }
        true
    }
}
