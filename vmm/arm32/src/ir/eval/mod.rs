//! Micro-operations run on a core, as plainly as can be: the second opinion of back ends.

mod bank;
mod status;

use arm32_isa::{ExtendOp, RevOp};

use super::{AluOp, BankMop, Dest, FlagSet, Mop, MultiplyLong, TEMPS, ThreadRegister, Value};
use crate::cpu::{Cpu, Flow};
use crate::exec::Op;
use crate::exec::access::{read_cached, write_cached};
use crate::exec::dp::{add_with_carry, shift_c};
use crate::mmu::Access;
use crate::state::{CpuState, Monitor};

/// Runs the operations of one instruction; returns what its handler would.
pub fn run(cpu: &mut Cpu, op: &Op, mops: &[Mop]) -> Flow {
    let mut temps = [0; TEMPS];
    let mut next = 0;
    while let Some(mop) = mops.get(next) {
        next += 1;
        match step(cpu, op, &mut temps, *mop) {
            Done::Next => {}
            Done::Skip(count) => next += usize::from(count),
            Done::Leave(flow) => return flow,
        }
    }
    Flow::Next
}

/// Makes of a temporary that nobody may read any more something that would be noticed.
const LOST: u32 = 0x55aa_1234;

enum Done {
    Next,
    Skip(u8),
    Leave(Flow),
}

fn value(cpu: &Cpu, temps: &[u32; TEMPS], value: Value) -> u32 {
    match value {
        Value::Reg(n) => cpu.s.r[usize::from(n)],
        Value::Temp(n) => temps[usize::from(n)],
        Value::Imm(value) => value,
    }
}

fn put(cpu: &mut Cpu, temps: &mut [u32; TEMPS], d: Dest, value: u32) {
    match d {
        Dest::Reg(n) => cpu.s.r[usize::from(n)] = value,
        Dest::Temp(n) => temps[usize::from(n)] = value,
        Dest::None => {}
    }
}

fn set_nz(cpu: &mut Cpu, set: FlagSet, n: u32, z: u32) {
    if set.has(FlagSet::NZ) {
        (cpu.s.flags.n, cpu.s.flags.z) = (n, z);
    }
}

/// Runs one operation, and has the temporaries that back ends need not keep hold something else.
fn step(cpu: &mut Cpu, op: &Op, temps: &mut [u32; TEMPS], mop: Mop) -> Done {
    let address = match mop {
        Mop::Load { at, .. }
        | Mop::Store { at, .. }
        | Mop::LoadList { at, .. }
        | Mop::StoreList { at, .. }
        | Mop::StorePair { at, .. } => Some(value(cpu, temps, at)),
        Mop::Bank(BankMop::Load(moved) | BankMop::Store(moved)) => {
            Some(value(cpu, temps, moved.at))
        }
        Mop::Bank(BankMop::Structures(moved)) => Some(value(cpu, temps, moved.at)),
        _ => None,
    };
    let done = effect(cpu, op, temps, mop);
    let written = mop.written_temporary();
    for (n, temp) in (0..).zip(temps) {
        match address {
            _ if mop.keeps_temporaries() || written == Some(n) => {}
            Some(address) if n == 0 => *temp = address,
            _ => *temp ^= LOST,
        }
    }
    done
}

fn effect(cpu: &mut Cpu, op: &Op, temps: &mut [u32; TEMPS], mop: Mop) -> Done {
    let of = |cpu: &Cpu, v| value(cpu, temps, v);
    match mop {
        Mop::Nop => {}
        Mop::SkipUnless { cond, count } => {
            if !cpu.s.flags.holds(cond) {
                return Done::Skip(count);
            }
        }
        Mop::SkipUnlessZero { x, zero, count } => {
            if (of(cpu, x) == 0) != zero {
                return Done::Skip(count);
            }
        }
        Mop::Alu { op, d, x, y, set } => {
            let (x, y, flags) = (of(cpu, x), of(cpu, y), cpu.s.flags);
            let (result, c, v) = alu(op, x, y, flags.c, flags.v);
            set_nz(cpu, set, result, result);
            if set.has(FlagSet::C) {
                cpu.s.flags.c = c;
            }
            if set.has(FlagSet::V) {
                cpu.s.flags.v = v;
            }
            put(cpu, temps, d, result);
        }
        Mop::Shift {
            kind,
            d,
            x,
            amount,
            carry,
        } => {
            let amount = of(cpu, amount) & 0xff;
            let (result, c) = shift_c(kind, of(cpu, x), amount, cpu.s.flags.c);
            if carry {
                cpu.s.flags.c = c;
            }
            put(cpu, temps, d, result);
        }
        Mop::SetCarry { to } => cpu.s.flags.c = to.into(),
        Mop::Multiply { d, x, y } => {
            let product = of(cpu, x).wrapping_mul(of(cpu, y));
            put(cpu, temps, d, product);
        }
        Mop::Divide { d, x, y, signed } => {
            let quotient = divide(of(cpu, x), of(cpu, y), signed);
            put(cpu, temps, d, quotient);
        }
        Mop::MultiplyLong(product) => multiply_long(cpu, temps, product),
        Mop::Goto { va } => {
            cpu.s.r[15] = va;
            return Done::Leave(Flow::Taken);
        }
        Mop::Jump { to, exchange } => {
            let to = of(cpu, to);
            if exchange {
                return Done::Leave(cpu.branch_exchange(to));
            }
            cpu.s.r[15] = to & !1;
            return Done::Leave(Flow::Jump);
        }
        Mop::Call => return Done::Leave((op.f)(cpu, op)),
        Mop::ReadThread { d, register } => match read_thread(cpu, register) {
            Some(read) => put(cpu, temps, d, read),
            None => return Done::Leave((op.f)(cpu, op)),
        },
        mop if mop.may_leave() => {
            if attempt(cpu, temps, mop).is_none() {
                return Done::Leave((op.f)(cpu, op));
            }
        }
        Mop::Bank(mop) => bank::run(cpu, temps, mop).unwrap_or_default(),
        _ => bits(cpu, temps, mop),
    }
    Done::Next
}

/// Does what the fast path may not answer; `None` if it does not, and then nothing was done.
fn attempt(cpu: &mut Cpu, temps: &mut [u32; TEMPS], mop: Mop) -> Option<()> {
    match mop {
        Mop::ReadCounter { .. } | Mop::LoadExclusive { .. } | Mop::StoreExclusive { .. } => {
            system(cpu, temps, mop)
        }
        Mop::Bank(mop) => bank::run(cpu, temps, mop),
        Mop::System(mop) => status::run(cpu, temps, mop),
        _ => access(cpu, temps, mop),
    }
}

fn divide(x: u32, y: u32, signed: bool) -> u32 {
    match (signed, y) {
        (_, 0) => 0,
        (false, _) => x / y,
        (true, _) => x
            .cast_signed()
            .wrapping_div(y.cast_signed())
            .cast_unsigned(),
    }
}

fn alu(op: AluOp, x: u32, y: u32, c: u32, v: u32) -> (u32, u32, u32) {
    match op {
        AluOp::Move => (y, c, v),
        AluOp::Not => (!y, c, v),
        AluOp::And => (x & y, c, v),
        AluOp::AndNot => (x & !y, c, v),
        AluOp::Or => (x | y, c, v),
        AluOp::OrNot => (x | !y, c, v),
        AluOp::Xor => (x ^ y, c, v),
        AluOp::Add => add_with_carry(x, y, 0),
        AluOp::AddCarry => add_with_carry(x, y, c),
        AluOp::Sub => add_with_carry(x, !y, 1),
        AluOp::SubCarry => add_with_carry(x, !y, c),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "words are read as signed, and products cut into words"
)]
fn multiply_long(cpu: &mut Cpu, temps: &[u32; TEMPS], m: MultiplyLong) {
    let (x, y) = (value(cpu, temps, m.x), value(cpu, temps, m.y));
    let (low, high) = (usize::from(m.low), usize::from(m.high));
    let mut product = if m.signed {
        (i64::from(x as i32) * i64::from(y as i32)) as u64
    } else {
        u64::from(x) * u64::from(y)
    };
    if m.add {
        let before = u64::from(cpu.s.r[high]) << 32 | u64::from(cpu.s.r[low]);
        product = product.wrapping_add(before);
    }
    (cpu.s.r[low], cpu.s.r[high]) = (product as u32, (product >> 32) as u32);
    set_nz(cpu, m.set, (product >> 32) as u32, u32::from(product != 0));
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "bytes and halfwords are cut out, and read as signed"
)]
fn bits(cpu: &mut Cpu, temps: &mut [u32; TEMPS], mop: Mop) {
    let of = |cpu: &Cpu, v| value(cpu, temps, v);
    let (d, result) = match mop {
        Mop::Extend { kind, d, x, rotate } => {
            let x = of(cpu, x).rotate_right(rotate.into());
            let result = match kind {
                ExtendOp::Sxtb => x as i8 as u32,
                ExtendOp::Sxth => x as i16 as u32,
                ExtendOp::Uxtb => x as u8 as u32,
                _ => x as u16 as u32,
            };
            (d, result)
        }
        Mop::Extract {
            d,
            x,
            lsb,
            width,
            signed,
        } => {
            let up = 32 - u32::from(width);
            let top = of(cpu, x) >> lsb << up;
            let result = if signed {
                (top as i32 >> up) as u32
            } else {
                top >> up
            };
            (d, result)
        }
        Mop::Insert { reg, x, lsb, width } => {
            let mask = (u32::MAX >> (32 - width)) << lsb;
            let old = cpu.s.r[usize::from(reg)];
            (Dest::Reg(reg), old & !mask | of(cpu, x) << lsb & mask)
        }
        Mop::Reverse { kind, d, x } => {
            let x = of(cpu, x);
            let result = match kind {
                RevOp::Rev => x.swap_bytes(),
                RevOp::Rev16 => x.swap_bytes().rotate_left(16),
                RevOp::Revsh => (x as u16).swap_bytes() as i16 as u32,
                RevOp::Rbit => x.reverse_bits(),
            };
            (d, result)
        }
        Mop::LeadingZeros { d, x } => (d, of(cpu, x).leading_zeros()),
        Mop::AddBytes { d, x, y, subtract } => {
            let (x, y) = (of(cpu, x).to_le_bytes(), of(cpu, y).to_le_bytes());
            let sums: [(u8, bool); 4] = std::array::from_fn(|i| {
                if subtract {
                    (x[i].wrapping_sub(y[i]), x[i] >= y[i])
                } else {
                    x[i].overflowing_add(y[i])
                }
            });
            let bits = (0..).zip(sums).map(|(i, (_, set))| u8::from(set) << i);
            cpu.s.psr.ge = bits.sum();
            (d, u32::from_le_bytes(sums.map(|(sum, _)| sum)))
        }
        Mop::SelectBytes { d, x, y } => {
            let (x, y) = (of(cpu, x).to_le_bytes(), of(cpu, y).to_le_bytes());
            let chosen = |i| if cpu.s.psr.ge >> i & 1 != 0 { x } else { y }[i];
            (d, u32::from_le_bytes(std::array::from_fn(chosen)))
        }
        _ => return,
    };
    put(cpu, temps, d, result);
}

/// Reads a thread register; `None` if that is not allowed.
const fn read_thread(cpu: &Cpu, register: ThreadRegister) -> Option<u32> {
    let CpuState { cp15, psr, .. } = &cpu.s;
    match register {
        ThreadRegister::User => Some(cp15.tpidrurw),
        ThreadRegister::UserReadOnly => Some(cp15.tpidruro),
        ThreadRegister::Kernel if psr.mode.privileged() => Some(cp15.tpidrprw),
        ThreadRegister::Kernel => None,
    }
}

/// Makes an access as the fast path does; `None` if it cannot, and then nothing was done.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most a word is loaded, and read as signed"
)]
fn access(cpu: &mut Cpu, temps: &mut [u32; TEMPS], mop: Mop) -> Option<()> {
    match mop {
        Mop::Load { d, at, size, sign } => {
            let at = value(cpu, temps, at);
            let host = host(cpu, at, size.into(), Access::Read)?;
            let loaded = read_cached(host, size.into()) as u32;
            let loaded = match (sign, size) {
                (true, 1) => loaded as i8 as u32,
                (true, 2) => loaded as i16 as u32,
                _ => loaded,
            };
            put(cpu, temps, d, loaded);
        }
        Mop::Store { x, at, size } => {
            let (x, at) = (value(cpu, temps, x), value(cpu, temps, at));
            let host = host(cpu, at, size.into(), Access::Write)?;
            write_cached(host, size.into(), x.into());
        }
        Mop::LoadList { list, at } => {
            let words = words(cpu, list, value(cpu, temps, at), Access::Read)?;
            for (n, host) in words {
                let loaded = read_cached(host, 4) as u32;
                let d = if n == 15 { Dest::Temp(0) } else { Dest::Reg(n) };
                put(cpu, temps, d, loaded);
            }
        }
        Mop::StorePair { first, second, at } => {
            // Any two registers: which of them come first is not asked here.
            let words = words(cpu, 0b11, value(cpu, temps, at), Access::Write)?;
            for ((_, host), n) in words.into_iter().zip([first, second]) {
                write_cached(host, 4, cpu.s.r[usize::from(n)].into());
            }
        }
        Mop::StoreList { list, at } => {
            let words = words(cpu, list, value(cpu, temps, at), Access::Write)?;
            for (n, host) in words {
                write_cached(host, 4, cpu.s.r[usize::from(n)].into());
            }
        }
        _ => {}
    }
    Some(())
}

/// Reads the counter, or makes an exclusive access, as the fast path does; `None` if it cannot, and
/// then nothing was done.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a count is cut into words, and at most a word is loaded"
)]
fn system(cpu: &mut Cpu, temps: &mut [u32; TEMPS], mop: Mop) -> Option<()> {
    match mop {
        Mop::ReadCounter { low, high, idx } => {
            if !cpu.s.psr.mode.privileged() {
                return None;
            }
            cpu.sync_clock(idx);
            let count = cpu.timer_count();
            put(cpu, temps, Dest::Reg(low), count as u32);
            put(cpu, temps, Dest::Reg(high), (count >> 32) as u32);
        }
        Mop::LoadExclusive { d, at, size } => {
            let at = value(cpu, temps, at);
            let host = host(cpu, at, size.into(), Access::Read)?;
            let loaded = read_cached(host, size.into());
            cpu.s.monitor = Monitor {
                open: true,
                pa: cpu.bus.physical(host.addr().get())?,
                size,
                value: loaded,
            };
            put(cpu, temps, d, loaded as u32);
        }
        Mop::StoreExclusive { d, x, at, size } => {
            let (x, at) = (value(cpu, temps, x), value(cpu, temps, at));
            let host = host(cpu, at, size.into(), Access::Write)?;
            let wanted = Monitor {
                open: true,
                pa: cpu.bus.physical(host.addr().get())?,
                size,
                value: read_cached(host, size.into()),
            };
            if cpu.s.monitor != wanted {
                return None;
            }
            cpu.s.monitor = Monitor::default();
            write_cached(host, size.into(), x.into());
            put(cpu, temps, d, 0);
        }
        _ => {}
    }
    Some(())
}

/// Returns where the fast path finds an access.
fn host(cpu: &Cpu, at: u32, size: u32, access: Access) -> Option<std::ptr::NonNull<u8>> {
    let page = cpu.cached(at, size, access)?;
    (!page.watched && !page.told).then_some(page.host)
}

/// Returns each register of `list` and where its word is; `None` unless all are in one page.
fn words(
    cpu: &Cpu,
    list: u16,
    at: u32,
    access: Access,
) -> Option<Vec<(u8, std::ptr::NonNull<u8>)>> {
    let last = at.wrapping_add(4 * (list.count_ones() - 1));
    if at >> 12 != last >> 12 {
        return None;
    }
    let registers = (0..16).filter(|n| list & 1 << n != 0);
    (0..)
        .zip(registers)
        .map(|(i, n)| Some((n, host(cpu, at.wrapping_add(4 * i), 4, access)?)))
        .collect()
}
