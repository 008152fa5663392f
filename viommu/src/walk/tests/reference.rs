//! The walk once more, slowly: every rule of the manual by itself, bit by bit, with none of the
//! types or constants that the walk under test uses for its own work.

#![expect(
    clippy::cast_possible_truncation,
    reason = "fields are cut out of descriptors"
)]

use crate::fault::{Access, FaultReason};
use crate::walk::{Regime, Region, Security};

/// What the slow walk says of a mapped IOVA, the contiguous hint aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slow {
    pub(super) output: u64,
    pub(super) level: u8,
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) xn: bool,
    pub(super) pxn: bool,
    pub(super) attr_index: u8,
    pub(super) shareability: u8,
    pub(super) ns: bool,
    pub(super) global: bool,
    /// Where the leaf descriptor stands.
    pub(super) entry: u64,
    /// The leaf descriptor has the contiguous hint.
    pub(super) hint: bool,
}

fn bit(value: u64, n: u32) -> bool {
    n < 64 && value >> n & 1 == 1
}

/// Returns bits `high` to `low` of `value`, in place.
fn field(value: u64, high: u32, low: u32) -> u64 {
    (low..=high)
        .filter(|&n| bit(value, n))
        .map(|n| 1 << n)
        .sum()
}

/// Returns the lowest bit that indexes a table of a level.
fn low_bit(level: u8) -> u32 {
    [30, 21, 12][usize::from(level) - 1]
}

/// Returns the region by B3.6.4: TTBR1 if the top T1SZ bits are ones (or, T1SZ being 0, TTBR0 does
/// not have it), TTBR0 if the top T0SZ bits are zeros.
fn choose(regime: &Regime, iova: u64) -> Option<Region> {
    let width = u32::from(regime.input_bits);
    if (width..64).any(|n| bit(iova, n)) {
        return None;
    }
    let top = |count: u8| (width - u32::from(count))..width;
    let zeros = top(regime.ttbr0.size_offset).all(|n| !bit(iova, n));
    if let Some(upper) = regime.ttbr1 {
        let ones = top(upper.size_offset).all(|n| bit(iova, n));
        if (upper.size_offset > 0 && ones) || (upper.size_offset == 0 && !zeros) {
            return Some(upper);
        }
    }
    zeros.then_some(regime.ttbr0)
}

/// Returns whether any address bit that the output size does not have is set.
fn too_large(regime: &Regime, address: u64) -> bool {
    (u32::from(regime.output_bits)..64).any(|n| bit(address, n))
}

pub(super) fn slow(
    regime: &Regime,
    memory: impl Fn(u64) -> Option<u64>,
    iova: u64,
    access: Access,
) -> Result<Slow, (FaultReason, u8)> {
    let region = choose(regime, iova)
        .filter(|region| !region.disabled)
        .ok_or((FaultReason::Translation, 1))?;
    let mut level = region.start.number();
    let region_bits = u32::from(regime.input_bits) - u32::from(region.size_offset);
    if region_bits < low_bit(level) || region_bits > low_bit(level) + 13 {
        return Err((FaultReason::Translation, level));
    }
    if too_large(regime, region.base) {
        return Err((FaultReason::AddressSize, 0));
    }
    // The first table has one entry for each value of these bits, of eight bytes each, and is
    // aligned to its size.
    let mut index_high = region_bits;
    let table_bytes = 8u64 << (index_high - low_bit(level));
    let mut table = region.base - region.base % table_bytes;
    let mut upper_tables = Vec::new();
    loop {
        let mut entry = table;
        for n in low_bit(level)..index_high {
            if bit(iova, n) {
                entry += 8 << (n - low_bit(level));
            }
        }
        let d = memory(entry).ok_or((FaultReason::WalkAbort, level))?;
        if !bit(d, 0) {
            return Err((FaultReason::Translation, level));
        }
        if !bit(d, 1) && level == 3 {
            return Err((FaultReason::Format, 3));
        }
        if too_large(regime, field(d, 47, 12)) {
            return Err((FaultReason::AddressSize, level));
        }
        let is_table = bit(d, 1) && level < 3;
        let ns_bit = if is_table { 63 } else { 5 };
        if regime.security == Security::NonSecureRequired && !bit(d, ns_bit) {
            return Err((FaultReason::Secure, level));
        }
        if !is_table {
            return slow_leaf(regime, iova, access, level, &upper_tables, entry, d);
        }
        upper_tables.push(d);
        table = field(d, 47, 12);
        index_high = low_bit(level);
        level += 1;
    }
}

fn slow_leaf(
    regime: &Regime,
    iova: u64,
    access: Access,
    level: u8,
    upper_tables: &[u64],
    entry: u64,
    d: u64,
) -> Result<Slow, (FaultReason, u8)> {
    if regime.access_flag_faults && !bit(d, 10) {
        return Err((FaultReason::AccessFlag, level));
    }
    let upper = |n| upper_tables.iter().any(|&table| bit(table, n));
    // B3.7.1, table B3-8: AP[2:1] as 00, 01, 10, 11, for privileged and unprivileged accesses.
    let table = [("rw", ""), ("rw", "rw"), ("r", ""), ("r", "r")];
    let (privileged, user) = table[usize::from(bit(d, 7)) * 2 + usize::from(bit(d, 6))];
    let mut rights = if regime.privileged { privileged } else { user };
    if !regime.privileged && upper(61) {
        rights = "";
    }
    if upper(62) {
        rights = rights.trim_end_matches('w');
    }
    let wanted = match access {
        Access::Read => 'r',
        Access::Write => 'w',
    };
    if !rights.contains(wanted) {
        return Err((FaultReason::Permission, level));
    }
    Ok(Slow {
        output: field(d, 47, low_bit(level)) + field(iova, low_bit(level) - 1, 0),
        level,
        read: rights.contains('r'),
        write: rights.contains('w'),
        xn: bit(d, 54) || upper(60),
        pxn: bit(d, 53) || upper(59),
        attr_index: (field(d, 4, 2) >> 2) as u8,
        shareability: (field(d, 9, 8) >> 8) as u8,
        ns: regime.security != Security::Secure || bit(d, 5) || upper(63),
        global: !bit(d, 11),
        entry,
        hint: bit(d, 52),
    })
}
