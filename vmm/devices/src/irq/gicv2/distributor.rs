//! The distributor's registers (IHI 0048B.b 4.3).

use super::spec::*;
use super::state::GicState;

impl GicState {
    /// Reads `size` bytes of the distributor as core `cpu`. Smaller reads see their part of the
    /// word.
    pub fn dist_read(&mut self, cpu: usize, offset: u64, size: u32) -> u32 {
        let value = self.dist_read_word(cpu, offset & !3) >> (8 * (offset & 3));
        match size {
            1 => value & 0xff,
            2 => value & 0xffff,
            _ => value,
        }
    }

    /// Writes `size` bytes of the distributor as core `cpu`. Bytes may be written where registers
    /// are arrays of bytes; elsewhere anything but an aligned word is ignored (UNPREDICTABLE).
    /// Returns whether the write was acceptable.
    pub fn dist_write(&mut self, cpu: usize, offset: u64, size: u32, value: u32) -> bool {
        let bytes = match offset {
            GICD_IPRIORITYR..GICD_ICFGR | GICD_CPENDSGIR..GICD_ID => size.min(4),
            _ if size == 4 && offset.is_multiple_of(4) => {
                return self.dist_write_word(cpu, offset, value);
            }
            _ => return false,
        };
        for (i, byte) in value
            .to_le_bytes()
            .into_iter()
            .enumerate()
            .take(bytes as usize)
        {
            self.dist_write_byte(cpu, offset + i as u64, byte);
        }
        true
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are at most 8 cores, and offsets lie within the registers"
    )]
    fn dist_read_word(&self, cpu: usize, offset: u64) -> u32 {
        // Each array with a bit for each interrupt takes 0x80 bytes.
        let index = (offset % 0x80 / 4) as usize;
        let word = |index| self.word(cpu, index).copied().unwrap_or_default();
        match offset {
            GICD_CTLR => self.ctlr,
            // ITLinesNumber in bits 4:0, CPUNumber in bits 7:5 (4.3.2), both one less than there
            // are.
            GICD_TYPER => (self.irqs() / 32 - 1) | (self.cpus() as u32 - 1) << 5,
            GICD_IIDR => GICD_IIDR_VALUE,
            GICD_IGROUPR..GICD_ISENABLER => word(index).group,
            GICD_ISENABLER..GICD_ISPENDR => word(index).enabled,
            GICD_ISPENDR..GICD_ISACTIVER => word(index).pending(),
            GICD_ISACTIVER..GICD_IPRIORITYR => word(index).active,
            GICD_IPRIORITYR..GICD_ICFGR | GICD_CPENDSGIR..0xf30 => {
                u32::from_le_bytes([0, 1, 2, 3].map(|i| self.dist_read_byte(cpu, offset + i)))
            }
            GICD_ICFGR..0xd00 => {
                // Two bits an interrupt: a byte has four of them, and a register half a word of the
                // state.
                let first = (offset - GICD_ICFGR) as usize * 4;
                spread(word(first / 32).edge >> (first % 32))
            }
            GICD_ID..0x1000 => u32::from(GICD_ID_VALUES[(offset - GICD_ID) as usize / 4]),
            _ => 0,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "offsets lie within the registers"
    )]
    fn dist_read_byte(&self, cpu: usize, offset: u64) -> u8 {
        match offset {
            GICD_IPRIORITYR..GICD_ITARGETSR => {
                self.priority(cpu, (offset - GICD_IPRIORITYR) as u32)
            }
            // A register of a uniprocessor's targets reads as zero (4.3.12).
            GICD_ITARGETSR..GICD_ICFGR if self.cpus() == 1 => 0,
            GICD_ITARGETSR..GICD_ICFGR => match (offset - GICD_ITARGETSR) as usize {
                // Targets of private interrupts are read-only and show the reading core itself
                // (4.3.12).
                0..32 => 1 << cpu,
                irq => self.targets.get(irq - 32).copied().unwrap_or(0),
            },
            GICD_CPENDSGIR..0xf30 => self.private[cpu].sgi_sources[(offset & 15) as usize],
            _ => 0,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "offsets lie within the registers"
    )]
    fn dist_write_word(&mut self, cpu: usize, offset: u64, value: u32) -> bool {
        let index = (offset % 0x80 / 4) as usize;
        // Which bits of the word software may change: enables and pending bits of SGIs are not
        // among them.
        let free = if index == 0 { 0xffff_0000 } else { u32::MAX };
        match offset {
            GICD_CTLR => self.ctlr = value & 3,
            GICD_SGIR => self.generate(cpu, value),
            GICD_ICFGR..0xd00 => {
                let first = (offset - GICD_ICFGR) as usize * 4;
                // SGIs, the first sixteen, are edge-triggered for good (4.3.13).
                if first >= 16
                    && let Some(word) = self.word_mut(cpu, first / 32)
                {
                    let shift = first % 32;
                    word.edge = word.edge & !(0xffff << shift) | gather(value) << shift;
                }
            }
            GICD_IGROUPR..GICD_IPRIORITYR => {
                // Fields of interrupts that are not implemented are RAZ/WI, so that this is no
                // mistake.
                let Some(word) = self.word_mut(cpu, index) else {
                    return true;
                };
                match offset {
                    GICD_IGROUPR..GICD_ISENABLER => word.group = value,
                    GICD_ISENABLER..GICD_ICENABLER => word.enabled |= value & free,
                    GICD_ICENABLER..GICD_ISPENDR => word.enabled &= !(value & free),
                    // SGIs are made pending through their own registers only (4.3.7).
                    GICD_ISPENDR..GICD_ICPENDR => word.latched |= value & free,
                    // Only the latch: a level-sensitive interrupt stays pending while its line is
                    // high.
                    GICD_ICPENDR..GICD_ISACTIVER => word.latched &= !(value & free),
                    GICD_ISACTIVER..GICD_ICACTIVER => word.active |= value,
                    _ => word.active &= !value,
                }
            }
            // A write to a read-only register is ignored, but no mistake to be reported.
            _ => return matches!(offset, GICD_TYPER..GICD_IGROUPR | GICD_ID..0x1000),
        }
        true
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are at most 8 cores, and offsets lie within the registers"
    )]
    fn dist_write_byte(&mut self, cpu: usize, offset: u64, value: u8) {
        match offset {
            GICD_IPRIORITYR..GICD_ITARGETSR => match (offset - GICD_IPRIORITYR) as usize {
                irq @ 0..32 => self.private[cpu].priority[irq] = value & PRIORITY_MASK,
                irq => {
                    if let Some(priority) = self.priority.get_mut(irq - 32) {
                        *priority = value & PRIORITY_MASK;
                    }
                }
            },
            GICD_ITARGETSR..GICD_ICFGR if self.cpus() > 1 => {
                // Computed in 16 bits, as with eight cores the shift leaves a byte.
                let present = ((1_u16 << self.cpus()) - 1) as u8;
                let irq = (offset - GICD_ITARGETSR) as usize;
                if let Some(targets) = irq.checked_sub(32).and_then(|i| self.targets.get_mut(i)) {
                    *targets = value & present;
                }
            }
            // A write clears or sets the sources of the writing core's own SGIs only: these
            // registers are banked.
            GICD_CPENDSGIR..GICD_SPENDSGIR => {
                self.change_sgi(cpu, (offset & 15) as usize, |sources| sources & !value)
            }
            GICD_SPENDSGIR..0xf30 => {
                let present = ((1_u16 << self.cpus()) - 1) as u8;
                self.change_sgi(cpu, (offset & 15) as usize, |sources| {
                    sources | value & present
                });
            }
            _ => {}
        }
    }

    /// Writes GICD_SGIR: sends an SGI to the listed cores, to all others, or to the sender itself.
    fn generate(&mut self, cpu: usize, value: u32) {
        let all = (1_u32 << self.cpus()) - 1;
        // TargetListFilter (4.3.15): those listed, all but the sender, the sender alone; 3 is
        // reserved.
        let targets = match value >> 24 & 3 {
            0 => value >> 16 & 0xff & all,
            1 => all & !(1 << cpu),
            2 => 1 << cpu,
            _ => 0,
        };
        for target in (0..self.cpus()).filter(|target| targets >> target & 1 != 0) {
            self.change_sgi(target, (value & 15) as usize, |sources| sources | 1 << cpu);
        }
    }

    pub(super) fn change_sgi(&mut self, cpu: usize, sgi: usize, change: impl FnOnce(u8) -> u8) {
        let private = &mut self.private[cpu];
        let sources = change(private.sgi_sources[sgi]);
        private.sgi_sources[sgi] = sources;
        // An SGI is pending as long as at least one of its senders is.
        private.word.latched = private.word.latched & !(1 << sgi) | u32::from(sources != 0) << sgi;
    }
}

/// Spreads sixteen bits to the upper bits of sixteen pairs.
fn spread(bits: u32) -> u32 {
    (0..16).fold(0, |pairs, i| pairs | (bits >> i & 1) << (2 * i + 1))
}

/// Collects the upper bits of sixteen pairs.
fn gather(pairs: u32) -> u32 {
    (0..16).fold(0, |bits, i| bits | (pairs >> (2 * i + 1) & 1) << i)
}
