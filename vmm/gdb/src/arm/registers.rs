//! Registers of a 32-bit core, as bytes of the protocol (little-endian, like the guest).

use arm32::CoreView;
use gdbstub::arch;

use super::{CORE, DOUBLES, Register, cp15};

/// The registers that are sent all at once; the system registers are asked for one by one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Registers {
    r: [u32; CORE],
    cpsr: u32,
    d: [u64; DOUBLES],
    fpscr: u32,
}

impl Registers {
    /// Those of `core`.
    pub fn of(core: &CoreView<'_>) -> Self {
        let s = core.state();
        Self {
            r: s.r,
            cpsr: s.cpsr(),
            d: s.fp.d,
            fpscr: s.fp.fpscr,
        }
    }

    /// Makes them those of `core`: the mode first, for it decides which R13 is meant.
    pub fn write(&self, core: &mut CoreView<'_>) {
        if core.cpsr() != self.cpsr {
            core.set_cpsr(self.cpsr);
        }
        for (n, value) in (0..).zip(self.r) {
            if core.reg(n) != value {
                core.set_reg(n, value);
            }
        }
        if Self::of(core).d != self.d || core.state().fp.fpscr != self.fpscr {
            let fp = &mut core.state_mut().fp;
            fp.d = self.d;
            fp.write_fpscr(self.fpscr);
        }
    }
}

impl arch::Registers for Registers {
    type ProgramCounter = u32;

    fn pc(&self) -> u32 {
        self.r[15]
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        let mut write = |bytes: &[u8]| bytes.iter().for_each(|byte| write_byte(Some(*byte)));
        self.r.iter().for_each(|r| write(&r.to_le_bytes()));
        write(&self.cpsr.to_le_bytes());
        self.d.iter().for_each(|d| write(&d.to_le_bytes()));
        write(&self.fpscr.to_le_bytes());
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        let mut rest = bytes;
        for r in &mut self.r {
            *r = take(&mut rest).ok_or(())?;
        }
        self.cpsr = take(&mut rest).ok_or(())?;
        for d in &mut self.d {
            let (low, high): (u32, u32) = (take(&mut rest).ok_or(())?, take(&mut rest).ok_or(())?);
            *d = u64::from(high) << 32 | u64::from(low);
        }
        self.fpscr = take(&mut rest).ok_or(())?;
        Ok(())
    }
}

/// The next word of `bytes`.
fn take(bytes: &mut &[u8]) -> Option<u32> {
    let (word, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*word))
}

/// One register.
pub(super) fn read(core: &CoreView<'_>, register: Register) -> Vec<u8> {
    let s = core.state();
    let value = match register {
        Register::Core(n) => core.reg(n).into(),
        Register::Cpsr => s.cpsr().into(),
        Register::Double(n) => s.fp.d(n),
        Register::Fpscr => s.fp.fpscr.into(),
        Register::System(n) => (cp15::REGISTERS[n].read)(s),
    };
    value.to_le_bytes()[..register.bytes()].to_vec()
}

/// Writes one register; `None` when it cannot be, or `bytes` is not its size.
#[expect(
    clippy::cast_possible_truncation,
    reason = "no more bytes were given than the register has"
)]
pub(super) fn write(core: &mut CoreView<'_>, register: Register, bytes: &[u8]) -> Option<()> {
    if bytes.len() != register.bytes() {
        return None;
    }
    let value = bytes
        .iter()
        .rev()
        .fold(0, |v, byte| v << 8 | u64::from(*byte));
    match register {
        Register::Core(n) => core.set_reg(n, value as u32),
        Register::Cpsr => core.set_cpsr(value as u32),
        Register::Double(n) => core.state_mut().fp.set_d(n, value),
        Register::Fpscr => core.state_mut().fp.write_fpscr(value as u32),
        Register::System(n) => cp15::REGISTERS[n].write?(core.state_mut(), value),
    }
    Some(())
}
