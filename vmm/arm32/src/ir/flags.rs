//! Which flags are wanted.

use arm32_isa::Shift;

use super::{BankMop, FlagSet, Mop, MultiplyLong, Value};

/// Returns the flags that condition `cond` looks at.
pub const fn of_condition(cond: u8) -> FlagSet {
    match cond >> 1 {
        0 | 2 => FlagSet::NZ,
        1 => FlagSet::C,
        3 => FlagSet::V,
        4 => FlagSet::NZ.or(FlagSet::C),
        5 | 6 => FlagSet::NZ.or(FlagSet::V),
        _ => FlagSet::NONE,
    }
}

/// Takes away what sets flags that are set again before anybody looks at them.
///
/// At the end of `mops`, which are a block's, and wherever the block may be left, all flags are
/// wanted.
pub fn drop_dead_flags(mops: &mut [Mop]) {
    let certain = certain(mops);
    let mut live = FlagSet::ALL;
    for (mop, certain) in mops.iter_mut().zip(certain).rev() {
        if mop.may_leave() {
            live = FlagSet::ALL;
            continue;
        }
        let wanted = live;
        let (reads, writes) = prune(mop, wanted);
        // What may be skipped leaves the flags as they were.
        if certain {
            live = live.without(writes);
        }
        live = live.or(reads);
    }
}

/// Takes from `mop` the flags that are not wanted; returns those it reads, and those it is sure to
/// set.
fn prune(mop: &mut Mop, wanted: FlagSet) -> (FlagSet, FlagSet) {
    match mop {
        Mop::SkipUnless { cond, .. } => (of_condition(*cond), FlagSet::NONE),
        Mop::Alu { op, set, .. } => {
            *set = set.and(wanted);
            let reads = if op.reads_carry() {
                FlagSet::C
            } else {
                FlagSet::NONE
            };
            (reads, *set)
        }
        Mop::MultiplyLong(MultiplyLong { set, .. }) => {
            *set = set.and(wanted);
            (FlagSet::NONE, *set)
        }
        Mop::Shift {
            kind,
            amount,
            carry,
            ..
        } => {
            *carry &= wanted.has(FlagSet::C);
            // By no bits, a register's shift leaves C.
            let sure = *carry && matches!(amount, Value::Imm(_));
            let reads = *kind == Shift::Rrx || (*carry && !sure);
            let only_if = |yes| if yes { FlagSet::C } else { FlagSet::NONE };
            (only_if(reads), only_if(sure))
        }
        Mop::SetCarry { .. } => {
            if !wanted.has(FlagSet::C) {
                *mop = Mop::Nop;
                return (FlagSet::NONE, FlagSet::NONE);
            }
            (FlagSet::NONE, FlagSet::C)
        }
        Mop::Bank(BankMop::Flags) => (FlagSet::NONE, FlagSet::ALL),
        _ => (FlagSet::NONE, FlagSet::NONE),
    }
}

/// Returns of each operation whether it is done whenever its block is.
pub fn certain(mops: &[Mop]) -> Vec<bool> {
    let mut left = 0;
    mops.iter()
        .map(|mop| {
            let certain = left == 0;
            left = u8::saturating_sub(left, 1);
            if let Mop::SkipUnless { count, .. } | Mop::SkipUnlessZero { count, .. } = mop {
                left = left.max(*count);
            }
            certain
        })
        .collect()
}
