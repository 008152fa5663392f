//! The walk once more, slowly, from the values of registers: every rule of the manual by itself,
//! bit by bit. It takes nothing from the crate, so that it shares no mistake with the walk under
//! test, and so that the fuzz targets can have it too.

/// Registers and features, as numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Machine {
    pub(super) tcr: u64,
    pub(super) ttbr: [u64; 2],
    /// ID_AA64MMFR0_EL1.PARange.
    pub(super) pa_range: u64,
    /// FEAT_LVA.
    pub(super) lva: bool,
    /// FEAT_TTST.
    pub(super) ttst: bool,
    pub(super) wxn: bool,
    pub(super) pan: bool,
    pub(super) secure: bool,
    /// A clear access flag is no fault.
    pub(super) affd: bool,
    /// EL2 without VHE: one privilege level, and only the lower half.
    pub(super) el2: bool,
}

/// What the slow walk says of a mapped address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slow {
    pub(super) output: u64,
    pub(super) level: i64,
    pub(super) size_log2: u64,
    /// `r`, `w` and `x`, for the privilege of the access.
    pub(super) rights: [bool; 3],
    pub(super) attr_index: u64,
    pub(super) shareability: u64,
    pub(super) ns: bool,
    pub(super) global: bool,
    pub(super) contiguous: bool,
}

/// Returns bits `high` to `low` of `value`, at bit 0.
fn cut(value: u64, high: u64, low: u64) -> u64 {
    (low..=high).fold(0, |sum, n| sum | (value >> n & 1) << (n - low))
}

/// Returns whether bit `n` is set.
fn bit(value: u64, n: u64) -> bool {
    cut(value, n, n) == 1
}

/// Returns the sizes that TnSZ may have: D8.2, the table of each granule.
pub(super) fn sizes(machine: &Machine, upper: bool) -> std::ops::RangeInclusive<u64> {
    let kib = granule(machine.tcr, upper);
    let ds = bit(machine.tcr, 59);
    let least = match kib {
        64 if machine.lva => 12,
        4 | 16 if ds => 12,
        _ => 16,
    };
    let most = match (machine.ttst, kib) {
        (true, 64) => 47,
        (true, _) => 48,
        (false, _) => 39,
    };
    least..=most
}

/// Returns the granule of a half in KiB.
fn granule(tcr: u64, upper: bool) -> u64 {
    match (
        upper,
        if upper {
            cut(tcr, 31, 30)
        } else {
            cut(tcr, 15, 14)
        },
    ) {
        (false, 0) | (true, 2) => 4,
        (false, 2) | (true, 1) => 16,
        _ => 64,
    }
}

/// Returns how many bits an address has for a value of IPS or PARange.
fn address_bits(encoded: u64) -> u64 {
    match encoded {
        0..=2 => 32 + 4 * encoded,
        3 => 42,
        4 => 44,
        5 => 48,
        _ => 52,
    }
}

/// Returns the lowest address bit that a level resolves, from the tables of D8.2: levels -1 to 3.
fn low_bit(kib: u64, level: i64) -> u64 {
    let bits = match kib {
        4 => [48, 39, 30, 21, 12],
        16 => [58, 47, 36, 25, 14],
        _ => [68, 55, 42, 29, 16],
    };
    bits[usize::try_from(level + 1).expect("none is above -1")]
}

/// Walks for an access: `r`, `w` or `x`.
pub(super) fn slow(
    machine: &Machine,
    memory: impl Fn(u64) -> Option<u64>,
    address: u64,
    access: char,
    privileged: bool,
) -> Result<Slow, (&'static str, i64)> {
    let tcr = machine.tcr;
    let upper = bit(address, 55) && !machine.el2;
    let kib = granule(tcr, upper);
    let size = if upper {
        cut(tcr, 21, 16)
    } else {
        cut(tcr, 5, 0)
    };
    let ignores_top = bit(tcr, if upper { 38 } else { 37 });
    let checked = (64 - size)..(if ignores_top { 56 } else { 64 });
    if bit(tcr, if upper { 23 } else { 7 }) || checked.into_iter().any(|n| bit(address, n) != upper)
    {
        return Err(("translation", 0));
    }
    // The first level is the highest one whose table would have more than one entry.
    let first = (-1..=3)
        .find(|&level| low_bit(kib, level) < 64 - size)
        .unwrap_or(3);
    let ds = bit(tcr, 59) && kib != 64;
    let lpa = kib == 64 && address_bits(machine.pa_range) == 52;
    let reach = if ds || lpa { 52 } else { 48 };
    let reach = reach
        .min(address_bits(cut(tcr, 34, 32)))
        .min(address_bits(machine.pa_range));
    let ttbr = machine.ttbr[usize::from(upper)];
    let mut table = cut(ttbr, 47, 1) << 1;
    let mut bytes = 8 << (64 - size - low_bit(kib, first));
    if ds || (lpa && cut(tcr, 34, 32) >= 6) {
        table = cut(ttbr, 47, 6) << 6 | cut(ttbr, 5, 2) << 48;
        bytes = bytes.max(64);
    }
    table -= table % bytes;
    if table >= 1 << reach {
        return Err(("address size", 0));
    }
    let mut above = Vec::new();
    let mut top = 64 - size;
    for level in first..=3 {
        let low = low_bit(kib, level);
        let d = memory(table + 8 * cut(address, top - 1, low)).ok_or(("abort", level))?;
        let leaf = match (kib, level, bit(d, 1)) {
            (_, 3, page) => page,
            (4, 1 | 2, block) | (16 | 64, 2, block) => !block,
            (4, 0, block) | (16, 1, block) if ds => !block,
            (64, 1, block) if lpa => !block,
            _ => false,
        };
        let table_below = level < 3 && bit(d, 1);
        if !bit(d, 0) || !(leaf || table_below) {
            return Err(("translation", level));
        }
        let from = if leaf { low } else { low_bit(kib, 3) };
        let mut base = cut(d, 47, from) << from;
        if ds {
            base += cut(d, 49, 48) << 48 | cut(d, 9, 8) << 50;
        } else if lpa {
            base += cut(d, 15, 12) << 48;
        }
        if base >= 1 << reach {
            return Err(("address size", level));
        }
        if leaf {
            let output = base + cut(address, low - 1, 0);
            return slow_leaf(
                machine,
                upper,
                d,
                &above,
                (output, level, low),
                access,
                privileged,
            );
        }
        above.push(d);
        (table, top) = (base, low);
    }
    unreachable!("there is no table at level 3");
}

fn slow_leaf(
    machine: &Machine,
    upper: bool,
    d: u64,
    above: &[u64],
    (output, level, size_log2): (u64, i64, u64),
    access: char,
    privileged: bool,
) -> Result<Slow, (&'static str, i64)> {
    if !bit(d, 10) && !machine.affd {
        return Err(("access flag", level));
    }
    let hpd = bit(machine.tcr, if upper { 42 } else { 41 });
    let table = |n| !hpd && above.iter().any(|&d| bit(d, n));
    // AP[2:1] as 00, 01, 10, 11, for privileged and unprivileged accesses.
    let (mut el1, mut el0) = [("rw", ""), ("rw", "rw"), ("r", ""), ("r", "r")]
        [usize::from(bit(d, 7)) * 2 + usize::from(bit(d, 6))];
    if machine.el2 {
        el1 = if bit(d, 7) { "r" } else { "rw" };
        el0 = el1;
    } else if table(61) {
        el0 = "";
    }
    if table(62) {
        (el1, el0) = (el1.trim_end_matches('w'), el0.trim_end_matches('w'));
    }
    let uxn = bit(d, 54) || table(60);
    let pxn = bit(d, 53) || table(59) || el0.contains('w');
    let (data, mut execute) = match (machine.el2, privileged) {
        (true, _) => (el1, !uxn),
        (false, true) => (el1, !pxn),
        (false, false) => (el0, !uxn),
    };
    if machine.wxn && data.contains('w') {
        execute = false;
    }
    let panned = machine.pan && privileged && !machine.el2 && el0.contains('r');
    let rights = [
        data.contains('r') && !panned,
        data.contains('w') && !panned,
        execute,
    ];
    if !rights["rwx".find(access).expect("there are three")] {
        return Err(("permission", level));
    }
    let ds = bit(machine.tcr, 59) && granule(machine.tcr, upper) != 64;
    let shareability = match (ds, upper) {
        (true, false) => cut(machine.tcr, 13, 12),
        (true, true) => cut(machine.tcr, 29, 28),
        _ => cut(d, 9, 8),
    };
    Ok(Slow {
        output,
        level,
        size_log2,
        rights,
        attr_index: cut(d, 4, 2),
        shareability,
        ns: !machine.secure || bit(d, 5) || above.iter().any(|&d| bit(d, 63)),
        global: !bit(d, 11),
        contiguous: bit(d, 52),
    })
}
