//! Finding and showing differences.

use std::fmt::Write;

use crate::layout::{self, Output, SCRATCH_SIZE};
use crate::ours::word;
use crate::runtime::signal;

/// Returns whether the results of `slot` are the same.
pub fn same(ours: &[u8], theirs: &[u8], slot: u32) -> bool {
    // The whole stride: a store behind the end of a slot's memory must show, too.
    let (block, scratch) = (
        range(layout::output(slot), Output::STRIDE),
        range(layout::scratch(slot), layout::SCRATCH_STRIDE),
    );
    let (a, b) = (&ours[block.clone()], &theirs[block]);
    // Blocks are copied only if they differ, as hardly any do.
    (a == b || normal(a) == normal(b)) && ours[scratch.clone()] == theirs[scratch]
}

/// Returns a block without what is UNPREDICTABLE: a jump in A32 to an address that is 2 modulo 4,
/// which has gone astray anyhow, faults at that address in QEMU and at the one rounded down here.
fn normal(block: &[u8]) -> Vec<u8> {
    let mut block = block.to_vec();
    let (pc, thumb) = (
        word(&block, Output::PC),
        word(&block, Output::SIGNAL_CPSR) & 1 << 5 != 0,
    );
    if word(&block, Output::SIGNAL) == signal::SEGV && !thumb && word(&block, Output::FAULT) == pc {
        block[Output::PC as usize] &= !3;
        block[Output::FAULT as usize] &= !3;
    }
    block
}

fn range(address: u32, len: u32) -> std::ops::Range<usize> {
    let from = (address - layout::OUTPUT) as usize;
    from..from + len as usize
}

/// Returns what differs in `slot`, a line each.
pub fn describe(ours: &[u8], theirs: &[u8], slot: u32) -> String {
    let mut text = String::new();
    let (a, b) = (
        &ours[range(layout::output(slot), Output::STRIDE)],
        &theirs[range(layout::output(slot), Output::STRIDE)],
    );
    let mut line = |name: &str, ours: String, theirs: String| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {name:<10} ours {ours:<18} qemu {theirs}");
    };
    let mut words = vec![
        ("cpsr".to_string(), Output::CPSR),
        ("fpscr".into(), Output::FPSCR),
        ("signal".into(), Output::SIGNAL),
    ];
    words.extend([
        ("pc".into(), Output::PC),
        ("fault".into(), Output::FAULT),
        ("at signal".into(), Output::SIGNAL_CPSR),
    ]);
    let registers = (0..15).map(|i| (format!("r{i}"), Output::R + 4 * i));
    for (name, at) in registers.chain(words) {
        if word(a, at) != word(b, at) {
            line(
                &name,
                format!("{:08x}", word(a, at)),
                format!("{:08x}", word(b, at)),
            );
        }
    }
    let double = |block: &[u8], i: u32| {
        u64::from(word(block, Output::D + 8 * i + 4)) << 32
            | u64::from(word(block, Output::D + 8 * i))
    };
    for i in (0..32).filter(|i| double(a, *i) != double(b, *i)) {
        line(
            &format!("d{i}"),
            format!("{:016x}", double(a, i)),
            format!("{:016x}", double(b, i)),
        );
    }
    let (a, b) = (
        &ours[range(layout::scratch(slot), SCRATCH_SIZE)],
        &theirs[range(layout::scratch(slot), SCRATCH_SIZE)],
    );
    for at in (0..SCRATCH_SIZE)
        .step_by(4)
        .filter(|at| word(a, *at) != word(b, *at))
    {
        let name = format!("[{:08x}]", layout::scratch(slot) + at);
        line(
            &name,
            format!("{:08x}", word(a, at)),
            format!("{:08x}", word(b, at)),
        );
    }
    text
}
