//! Finding and showing differences.

use std::fmt::Write;

use crate::layout::{self, Output, SCRATCH_SIZE};
use crate::ours::word;

/// Whether the results of `slot` are the same.
pub fn same(ours: &[u8], theirs: &[u8], slot: u32) -> bool {
    let (block, scratch) = (range(layout::output(slot), Output::STRIDE), range(layout::scratch(slot), layout::SCRATCH_STRIDE));
    ours[block.clone()] == theirs[block] && ours[scratch.clone()] == theirs[scratch]
}

fn range(address: u32, len: u32) -> std::ops::Range<usize> {
    let from = (address - layout::OUTPUT) as usize;
    from..from + len as usize
}

/// What differs in `slot`, a line each.
pub fn describe(ours: &[u8], theirs: &[u8], slot: u32) -> String {
    let mut text = String::new();
    let (a, b) = (&ours[range(layout::output(slot), Output::STRIDE)], &theirs[range(layout::output(slot), Output::STRIDE)]);
    let mut line = |name: &str, ours: String, theirs: String| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {name:<10} ours {ours:<18} qemu {theirs}");
    };
    let mut words = vec![("cpsr".to_string(), Output::CPSR), ("fpscr".into(), Output::FPSCR), ("signal".into(), Output::SIGNAL)];
    words.extend([("pc".into(), Output::PC), ("fault".into(), Output::FAULT), ("at signal".into(), Output::SIGNAL_CPSR)]);
    let registers = (0..15).map(|i| (format!("r{i}"), Output::R + 4 * i));
    for (name, at) in registers.chain(words) {
        if word(a, at) != word(b, at) {
            line(&name, format!("{:08x}", word(a, at)), format!("{:08x}", word(b, at)));
        }
    }
    let double = |block: &[u8], i: u32| u64::from(word(block, Output::D + 8 * i + 4)) << 32 | u64::from(word(block, Output::D + 8 * i));
    for i in (0..32).filter(|i| double(a, *i) != double(b, *i)) {
        line(&format!("d{i}"), format!("{:016x}", double(a, i)), format!("{:016x}", double(b, i)));
    }
    let (a, b) = (&ours[range(layout::scratch(slot), SCRATCH_SIZE)], &theirs[range(layout::scratch(slot), SCRATCH_SIZE)]);
    for at in (0..SCRATCH_SIZE).step_by(4).filter(|at| word(a, *at) != word(b, *at)) {
        let name = format!("[{:08x}]", layout::scratch(slot) + at);
        line(&name, format!("{:08x}", word(a, at)), format!("{:08x}", word(b, at)));
    }
    text
}
