//! The registers of the DMA tester that the guest writes and reads back.

use serde::{Deserialize, Serialize};

use super::operation::{Operation, OperationKind, Pattern};
use super::spec::*;

/// What the guest has written. Any values are fine: a command looks at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registers {
    /// [`REQUESTER`].
    pub requester: u32,
    /// [`ADDRESS_LO`] and [`ADDRESS_HI`].
    pub address: u64,
    /// [`LENGTH`].
    pub length: u32,
    /// [`COUNT`].
    pub count: u32,
    /// [`STRIDE`].
    pub stride: u32,
    /// [`REPEAT`].
    pub repeat: u32,
    /// [`DELAY`].
    pub delay: u32,
    /// [`INTERVAL`].
    pub interval: u32,
    /// [`PATTERN`].
    pub pattern: u32,
    /// [`DATA`].
    pub data: u32,
    /// [`CONTROL`].
    pub control: u32,
    /// [`INTERRUPT_ENABLE`].
    pub interrupt_enable: u32,
}

impl Default for Registers {
    fn default() -> Self {
        Self {
            requester: 0,
            address: 0,
            // One access of one word, once: a guest need not write what it does not want to choose.
            length: 4,
            count: 1,
            stride: 0,
            repeat: 1,
            delay: 0,
            interval: 0,
            pattern: PATTERN_WORD,
            data: 0,
            control: 0,
            interrupt_enable: 0,
        }
    }
}

impl Registers {
    /// Returns the register at `offset`; others read as zero.
    #[expect(clippy::cast_possible_truncation, reason = "halves of 64 bits")]
    pub fn get(&self, offset: u64) -> u32 {
        match offset {
            ADDRESS_LO => self.address as u32,
            ADDRESS_HI => (self.address >> 32) as u32,
            REQUESTER => self.requester,
            LENGTH => self.length,
            COUNT => self.count,
            STRIDE => self.stride,
            REPEAT => self.repeat,
            DELAY => self.delay,
            INTERVAL => self.interval,
            PATTERN => self.pattern,
            DATA => self.data,
            CONTROL => self.control,
            INTERRUPT_ENABLE => self.interrupt_enable,
            _ => 0,
        }
    }

    /// Writes the register at `offset`; others ignore it.
    pub fn set(&mut self, offset: u64, value: u32) {
        let register = match offset {
            ADDRESS_LO => {
                self.address = self.address >> 32 << 32 | u64::from(value);
                return;
            }
            ADDRESS_HI => {
                self.address = u64::from(value) << 32 | self.address & u64::from(u32::MAX);
                return;
            }
            REQUESTER => &mut self.requester,
            LENGTH => &mut self.length,
            COUNT => &mut self.count,
            STRIDE => &mut self.stride,
            REPEAT => &mut self.repeat,
            DELAY => &mut self.delay,
            INTERVAL => &mut self.interval,
            PATTERN => &mut self.pattern,
            DATA => &mut self.data,
            CONTROL => &mut self.control,
            INTERRUPT_ENABLE => &mut self.interrupt_enable,
            _ => return,
        };
        *register = value;
    }

    /// Returns the operation that `command` starts; none if there is no such command or pattern.
    pub fn operation(&self, command: u32) -> Option<Operation> {
        let kind = match command {
            COMMAND_READ => OperationKind::Read,
            COMMAND_WRITE => OperationKind::Write,
            COMMAND_COMPARE => OperationKind::Compare,
            COMMAND_FILL => OperationKind::Fill,
            _ => return None,
        };
        let pattern = match self.pattern {
            PATTERN_WORD => Pattern::Word,
            PATTERN_SEQUENCE => Pattern::Sequence,
            PATTERN_BUFFER => Pattern::Buffer,
            _ => return None,
        };
        Some(Operation {
            kind,
            requester: self.requester,
            address: self.address,
            length: self.length,
            count: self.count,
            stride: self.stride.cast_signed(),
            repeat: self.repeat,
            interval_ns: self.interval.into(),
            pattern,
            data: self.data,
            go_on: self.control & CONTROL_GO_ON != 0,
        })
    }
}
