//! The CPU interface's registers (IHI 0048B.b 4.4).

use super::spec::*;
use super::state::{Candidate, GicState};

impl GicState {
    /// Reads the CPU interface of core `cpu`. A read of an acknowledge register acknowledges.
    pub fn cpu_read(&mut self, cpu: usize, offset: u64) -> u32 {
        let interface = &self.interfaces[cpu];
        match offset {
            GICC_CTLR => interface.ctlr,
            GICC_PMR => u32::from(interface.mask),
            GICC_BPR => u32::from(interface.bpr),
            GICC_ABPR => u32::from(interface.abpr),
            GICC_RPR => u32::from(interface.running()),
            GICC_APR0 => interface.active,
            GICC_IIDR => GICC_IIDR_VALUE,
            GICC_IAR => self.acknowledge(cpu, false),
            GICC_AIAR => self.acknowledge(cpu, true),
            GICC_HPPIR => self.peek(cpu, false),
            GICC_AHPPIR => self.peek(cpu, true),
            _ => 0,
        }
    }

    /// Writes the CPU interface of core `cpu`. Returns whether the write was acceptable.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "these fields are in the low byte"
    )]
    pub fn cpu_write(&mut self, cpu: usize, offset: u64, value: u32) -> bool {
        let interface = &mut self.interfaces[cpu];
        match offset {
            GICC_CTLR => interface.ctlr = value & CTLR_WRITABLE,
            GICC_PMR => interface.mask = value as u8 & PRIORITY_MASK,
            // A smaller value becomes the least; `group_priority` relies on it as it subtracts one
            // from ABPR.
            GICC_BPR => interface.bpr = (value as u8 & 7).max(BPR_MIN),
            GICC_ABPR => interface.abpr = (value as u8 & 7).max(ABPR_MIN),
            GICC_APR0 => interface.active = value,
            GICC_EOIR | GICC_AEOIR => return self.end(cpu, value),
            GICC_DIR => return self.deactivate(cpu, value),
            // Read-only and unimplemented registers: GIC-400 has one word of active priorities.
            _ => return matches!(offset, GICC_IAR | GICC_RPR | GICC_HPPIR | 0xd4..=0xfc),
        }
        true
    }

    fn peek(&self, cpu: usize, alias: bool) -> u32 {
        // Whatever the mask and the running priority are: these registers only look.
        match self.highest(cpu) {
            Some(candidate) => self
                .visible(cpu, candidate, alias)
                .unwrap_or_else(|special| special),
            None => SPURIOUS,
        }
    }

    /// Returns what an acknowledge register shows of `candidate`: its identifier with the sender of
    /// an SGI, or a special one.
    fn visible(&self, cpu: usize, candidate: Candidate, alias: bool) -> Result<u32, u32> {
        // The aliased registers are those of group 1 alone.
        if alias && !candidate.group1 {
            return Err(SPURIOUS);
        }
        // Without AckCtl, IAR only tells that an interrupt of group 1 is pending (4.4.4).
        if !alias && candidate.group1 && self.interfaces[cpu].ctlr & CTLR_ACK == 0 {
            return Err(SPURIOUS_GROUP1);
        }
        let sender = match candidate.irq {
            // With several senders pending the lowest-numbered is shown first; the others stay
            // pending.
            sgi @ 0..16 => self.private[cpu].sgi_sources[sgi as usize].trailing_zeros() & 7,
            _ => 0,
        };
        Ok(candidate.irq | sender << 10)
    }

    fn acknowledge(&mut self, cpu: usize, alias: bool) -> u32 {
        let Some(candidate) = self.signalled(cpu) else {
            return SPURIOUS;
        };
        // Before anything changes: a special identifier acknowledges nothing.
        let value = match self.visible(cpu, candidate, alias) {
            Ok(value) => value,
            Err(special) => return special,
        };
        let irq = candidate.irq;
        let bit = 1 << (irq % 32);
        match irq {
            sgi @ 0..16 => self.change_sgi(cpu, sgi as usize, |sources| {
                // Takes back the sender that was shown, the lowest bit.
                sources & sources.wrapping_sub(1)
            }),
            _ => {
                if let Some(word) = self.word_mut(cpu, irq as usize / 32) {
                    // Only an edge is taken by acknowledging it: a level-sensitive interrupt is
                    // pending while its line is high.
                    word.latched &= !bit;
                }
            }
        }
        if let Some(word) = self.word_mut(cpu, irq as usize / 32) {
            word.active |= bit;
        }
        let interface = &mut self.interfaces[cpu];
        let priority = interface.group_priority(candidate.priority, candidate.group1);
        // A bit for each of the 32 levels; the levels of one priority group share one.
        interface.active |= 1 << (priority >> 3);
        value
    }

    /// Ends an interrupt: the running priority drops, and the interrupt is deactivated unless DIR
    /// does that.
    fn end(&mut self, cpu: usize, value: u32) -> bool {
        let irq = value & 0x3ff;
        // The identifier of a spurious interrupt: the write is ignored (4.4.5).
        if irq >= FIRST_SPECIAL {
            return true;
        }
        let interface = &mut self.interfaces[cpu];
        // Nothing is being handled: the guest's mistake, of which the caller warns.
        if interface.active == 0 {
            return false;
        }
        // The lowest bit is the highest active priority, which is the running one: it drops.
        interface.active &= interface.active - 1;
        interface.ctlr & CTLR_EOIMODE != 0 || self.deactivate(cpu, value)
    }

    fn deactivate(&mut self, cpu: usize, value: u32) -> bool {
        let irq = value & 0x3ff;
        let bit = 1 << (irq % 32);
        match self.word_mut(cpu, irq as usize / 32) {
            Some(word) if word.active & bit != 0 => word.active &= !bit,
            _ => return false,
        }
        true
    }
}
