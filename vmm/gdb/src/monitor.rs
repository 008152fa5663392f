//! Commands of ours that a debugger passes on (`monitor ...`).

use std::fmt::Write;

use arm32::Power;
use vmm_base::Seconds;
use vmm_machine::vcpu::{Cores, Halted, Width};

const HELP: &str = "\
help            this
info            guest time, instructions, and what each core does
translate ADDR  where a virtual address of the core whose turn it is lies in physical memory
phys ADDR [N]   N words (default 4, at most 256) of physical memory";

/// Words that `phys` shows at most.
const MAX_WORDS: u64 = 256;

/// Returns the answer to `command`.
pub(super) fn answer(command: &str, halted: &mut Halted<'_>) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        [] | ["help"] => HELP.into(),
        ["info"] => info(halted),
        ["translate", address] => translate(address, halted),
        ["phys", address] => physical(address, "4", halted),
        ["phys", address, count] => physical(address, count, halted),
        _ => format!("no such command; there are:\n{HELP}"),
    }
}

fn info(halted: &mut Halted<'_>) -> String {
    let mut text = format!("guest time {} s", Seconds(halted.now_ns));
    if let Cores::Aarch32(cluster) = &halted.cores {
        // Writing to a string does not fail.
        let _ = write!(text, ", {} instructions", cluster.retired());
    }
    for core in 0..halted.cores.len() {
        let power = power_text(halted.cores.power(core));
        let _ = write!(text, "\ncore {core}: {power}, ");
        let _ = match &halted.cores {
            Cores::Aarch32(cluster) => {
                let s = cluster.state(core);
                let (mode, pc, waits) = (s.psr.mode, s.r[15], cluster.waits(core));
                let counts = format!("{} instructions, {waits} waits", s.retired);
                write!(text, "{mode:?} mode, pc {pc:#010x}, {counts}")
            }
            Cores::Aarch64(cluster) => {
                let s = cluster.state(core);
                let level = if s.in_kernel() { "EL1" } else { "EL0" };
                write!(text, "{level}, pc {:#018x}", s.pc)
            }
        };
    }
    text
}

/// Returns what a core is doing, in words.
pub(super) const fn power_text(power: Power) -> &'static str {
    match power {
        Power::Off => "off",
        Power::Running => "running",
        Power::WaitingInterrupt => "waits for an interrupt",
        Power::WaitingEvent => "waits for an event",
    }
}

fn translate(address: &str, halted: &mut Halted<'_>) -> String {
    let current = halted.cores.current();
    let aarch32 = halted.cores.width() == Width::Bits32;
    let Some(va) = number(address).filter(|va| !aarch32 || u32::try_from(*va).is_ok()) else {
        let bits = if aarch32 { 32 } else { 64 };
        return format!("{address} is no {bits}-bit address");
    };
    match halted.core(current).and_then(|core| core.translate(va)) {
        Some(pa) => format!("{va:#010x} is at {pa:#x} for core {current}"),
        None => format!("{va:#010x} is not mapped for core {current}"),
    }
}

fn physical(address: &str, count: &str, halted: &mut Halted<'_>) -> String {
    let (Some(start), Some(count)) = (number(address), number(count)) else {
        return "say phys ADDRESS COUNT".into();
    };
    // Physical memory is the same for all cores.
    let Some(core) = halted.core(0) else {
        return "there is no core".into();
    };
    let mut text = String::new();
    for i in 0..count.min(MAX_WORDS) {
        // The address is whatever the user typed.
        let at = start.saturating_add(4 * i);
        let mut bytes = [0; 4];
        if core.read_phys(at, &mut bytes).is_none() {
            let _ = write!(text, "\nno RAM at {at:#x}");
            break;
        }
        if i % 4 == 0 {
            let _ = write!(text, "{}{at:#010x}:", if i > 0 { "\n" } else { "" });
        }
        let _ = write!(text, " {:08x}", u32::from_le_bytes(bytes));
    }
    text
}

/// Reads a decimal number, or a hexadecimal one after `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
