//! Invalidations, and how the guest waits for them.

use super::device::SmmuV2;
use super::event::SmmuV2Event;
use super::registers::Registers;
use super::spec::BankRegister;
use crate::fault::DomainId;
use crate::inject::{Flush, FlushFault};

/// What is invalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scope {
    /// The page of this address; everything if there is none.
    iova: Option<u32>,
    /// Of this ASID; of any if there is none.
    asid: Option<u8>,
}

impl<M> SmmuV2<M> {
    /// Invalidates what a write of `value` to an invalidation register of a context bank asks for.
    ///
    /// Translations are tagged with the VMID and ASID of the bank (6.1,
    /// `arm_smmu_init_domain_context`), so that those of other banks with the same are meant, too.
    /// Those of the bank itself are forgotten whatever the ASID, which covers global ones.
    #[expect(clippy::cast_possible_truncation, reason = "an ASID is the low byte")]
    pub(super) fn invalidate(
        &self,
        registers: &mut Registers,
        bank: usize,
        register: BankRegister,
        value: u32,
    ) {
        let (iova, asid) = (Some(value & !0xfff), Some(value as u8));
        let scope = match register {
            BankRegister::TlbiVa | BankRegister::TlbiVal => Scope { iova, asid },
            BankRegister::TlbiVaa | BankRegister::TlbiVaal => Scope { iova, asid: None },
            BankRegister::TlbiAsid => Scope { iova: None, asid },
            _ => Scope {
                iova: None,
                asid: None,
            },
        };
        self.shared.tell(match scope.iova {
            Some(iova) => SmmuV2Event::FlushAddress { bank, iova },
            None => SmmuV2Event::Flush { bank },
        });
        let fault = self.flush_fault(bank);
        // An ignored invalidation has no effect.
        if fault == Some(FlushFault::Ignored) {
            return;
        }
        let vmid = registers.state.banks[bank].cbar().vmid();
        for number in 0..registers.state.banks.len() {
            let other = &registers.state.banks[number];
            let meant = other.cbar().vmid() == vmid
                && scope.asid.is_none_or(|asid| asid == other.asid())
                // Nothing of it is cached.
                && other.largest != 0;
            if number == bank || meant {
                self.forget(registers, number, scope.iova);
            }
        }
        // A late or stuck one has done its work: only its end is not shown.
        registers.syncs[bank].note(fault);
    }

    /// Invalidates what all context banks have, or those with a VMID.
    pub(super) fn invalidate_banks(&self, registers: &mut Registers, vmid: Option<u8>) {
        self.shared.tell(SmmuV2Event::FlushAll { vmid });
        for number in 0..registers.state.banks.len() {
            let bank = &registers.state.banks[number];
            if vmid.is_some_and(|vmid| vmid != bank.cbar().vmid()) {
                continue;
            }
            // A bank that does not translate is no flush of its own for faults that are injected.
            let fault = bank
                .is_enabled()
                .then(|| self.flush_fault(number))
                .flatten();
            if fault == Some(FlushFault::Ignored) {
                continue;
            }
            self.forget(registers, number, None);
            registers.sync.note(fault);
        }
    }

    /// Returns the fault that is injected at an invalidation of a bank.
    fn flush_fault(&self, context: usize) -> Option<FlushFault> {
        let injected = self.shared.injected.as_ref()?;
        injected.injector.flush(&Flush {
            instance: self.name(),
            context,
        })
    }

    /// Forgets the translation of an IOVA's page or block, or all, of a bank.
    #[expect(clippy::cast_possible_truncation, reason = "there are few banks")]
    fn forget(&self, registers: &mut Registers, bank: usize, iova: Option<u32>) {
        let domain = DomainId(bank as u32);
        let largest = &mut registers.state.banks[bank].largest;
        let (first, last) = match iova {
            None => {
                // Before what is cached goes: what is walked from now on counts anew.
                *largest = 0;
                (0, u64::MAX)
            }
            Some(iova) => {
                // One address of a block stands for all of it.
                let within = (1u64 << (*largest).max(super::spec::PAGE_BITS)) - 1;
                let iova = u64::from(iova);
                (iova & !within, iova | within)
            }
        };
        // Where faults can be injected, this buffer stands in for the cache. What the model answers
        // after the invalidation counts as new, so that the buffer comes first.
        if let Some(injected) = &self.shared.injected {
            injected.forget(domain, first, last);
        }
        match iova {
            None => self.unit.invalidate_domain(domain),
            Some(_) => self.unit.invalidate_range(domain, first, last),
        }
    }

    /// Begins to wait for the end of all accesses through what was invalidated: of a bank, or of
    /// all.
    pub(super) fn begin_sync(&self, registers: &mut Registers, bank: Option<usize>) {
        // After what was forgotten, which alone it covers.
        let grace = self.unit.begin_grace_period();
        match bank {
            Some(bank) => registers.syncs[bank].begin(grace),
            None => registers.sync.begin(grace),
        }
        // Often nobody is pinned: then the guest sees it complete at its first look.
        registers.poll_sync(bank);
    }
}
