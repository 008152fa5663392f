//! Registers of a 64-bit core, as bytes of the protocol (little-endian, like the guest).

use gdbstub::arch;
use vmm_machine::vcpu::{Aarch64State, Pstate};

use super::{GENERAL, Register, VECTORS, system};

/// The registers that are sent all at once; the system registers are asked for one by one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Registers {
    x: [u64; GENERAL],
    sp: u64,
    pc: u64,
    cpsr: u32,
    v: [u128; VECTORS],
    fpsr: u32,
    fpcr: u32,
}

impl Registers {
    /// Those of a core.
    pub fn of(s: &Aarch64State) -> Self {
        Self {
            x: s.x,
            sp: s.sp(),
            pc: s.pc,
            cpsr: cpsr(s),
            v: s.v,
            fpsr: s.fpsr,
            fpcr: s.fpcr,
        }
    }

    /// Makes them those of a core: its state first, for that decides which stack pointer is meant.
    pub fn write(&self, s: &mut Aarch64State) {
        set_cpsr(s, self.cpsr);
        s.set_sp(self.sp);
        (s.x, s.pc, s.v) = (self.x, self.pc, self.v);
        (s.fpsr, s.fpcr) = (self.fpsr, self.fpcr);
    }
}

/// All that PSTATE has is in its low half.
#[expect(
    clippy::cast_possible_truncation,
    reason = "all that PSTATE has is in its low half"
)]
fn cpsr(s: &Aarch64State) -> u32 {
    u64::from(s.pstate) as u32
}

fn set_cpsr(s: &mut Aarch64State, value: u32) {
    s.pstate = Pstate::from(u64::from(value));
}

impl arch::Registers for Registers {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.pc
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        let mut write = |bytes: &[u8]| bytes.iter().for_each(|byte| write_byte(Some(*byte)));
        self.x.iter().for_each(|x| write(&x.to_le_bytes()));
        write(&self.sp.to_le_bytes());
        write(&self.pc.to_le_bytes());
        write(&self.cpsr.to_le_bytes());
        self.v.iter().for_each(|v| write(&v.to_le_bytes()));
        write(&self.fpsr.to_le_bytes());
        write(&self.fpcr.to_le_bytes());
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        let mut rest = bytes;
        for x in &mut self.x {
            *x = u64::from_le_bytes(take(&mut rest)?);
        }
        self.sp = u64::from_le_bytes(take(&mut rest)?);
        self.pc = u64::from_le_bytes(take(&mut rest)?);
        self.cpsr = u32::from_le_bytes(take(&mut rest)?);
        for v in &mut self.v {
            *v = u128::from_le_bytes(take(&mut rest)?);
        }
        self.fpsr = u32::from_le_bytes(take(&mut rest)?);
        self.fpcr = u32::from_le_bytes(take(&mut rest)?);
        Ok(())
    }
}

/// The next bytes of `bytes`.
fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], ()> {
    let (first, rest) = bytes.split_first_chunk().ok_or(())?;
    *bytes = rest;
    Ok(*first)
}

/// One register.
pub(super) fn read(s: &Aarch64State, register: Register) -> Vec<u8> {
    let value: u128 = match register {
        Register::General(n) => s.reg(n).into(),
        Register::Sp => s.sp().into(),
        Register::Pc => s.pc.into(),
        Register::Cpsr => cpsr(s).into(),
        Register::Vector(n) => s.v[usize::from(n)],
        Register::Fpsr => s.fpsr.into(),
        Register::Fpcr => s.fpcr.into(),
        Register::System(n) => (system::REGISTERS[n].read)(s).into(),
    };
    value.to_le_bytes()[..register.bytes()].to_vec()
}

/// Writes one register; `None` when `bytes` is not its size.
#[expect(
    clippy::cast_possible_truncation,
    reason = "no more bytes were given than the register has"
)]
pub(super) fn write(s: &mut Aarch64State, register: Register, bytes: &[u8]) -> Option<()> {
    if bytes.len() != register.bytes() {
        return None;
    }
    let mut value = [0; 16];
    value[..bytes.len()].copy_from_slice(bytes);
    let value = u128::from_le_bytes(value);
    let long = value as u64;
    match register {
        Register::General(n) => s.set_reg(n, long),
        Register::Sp => s.set_sp(long),
        Register::Pc => s.pc = long,
        Register::Cpsr => set_cpsr(s, value as u32),
        Register::Vector(n) => s.v[usize::from(n)] = value,
        Register::Fpsr => s.fpsr = value as u32,
        Register::Fpcr => s.fpcr = value as u32,
        Register::System(n) => (system::REGISTERS[n].write)(s, long),
    }
    Some(())
}
