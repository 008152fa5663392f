//! What cores are doing.

use std::fmt::Write as _;

use arm32::Power;
use vmm_introspect::memory::CoreMemory;
use vmm_introspect::symbols::Symbols;
use vmm_machine::Machine;
use vmm_machine::vcpu::{Core, Cores};

use super::{Inspector, NoAnswer, general};

/// Modes, as CPSR.M has them (ARM ARM DDI 0406C B1.3.1).
const USER: u32 = 0x10;
const SUPERVISOR: u32 = 0x13;
const SYSTEM: u32 = 0x1f;
/// The most functions of a call stack.
const MAX_DEPTH: usize = 48;

impl Inspector {
    /// Returns the registers of a core, or of all that are on.
    pub(super) fn registers(
        machine: &mut Machine,
        core: Option<usize>,
    ) -> Result<String, NoAnswer> {
        each(machine, core, |text, core| {
            for (n, value) in (0..).zip(general(core)) {
                let end = if n % 4 == 3 { '\n' } else { ' ' };
                // Writing to a `String` cannot fail, so these results are dropped.
                let _ = write!(text, "  {:4}{value:#010x}{end}", name(n));
            }
            if let Core::Aarch32(view) = core {
                let _ = writeln!(
                    text,
                    "  cpsr {:#010x}  ttbr0 {:#x}  ttbr1 {:#x}",
                    view.cpsr(),
                    view.ttbr0(),
                    view.ttbr1()
                );
            }
        })
    }

    /// Returns the call stack of a core, or of all that are on.
    pub(super) fn backtrace(
        &mut self,
        machine: &mut Machine,
        core: Option<usize>,
    ) -> Result<String, NoAnswer> {
        self.find_kernel(machine)?;
        each(machine, core, |text, core| {
            for (n, frame) in self.frames(core).into_iter().enumerate() {
                let _ = writeln!(text, "  #{n:<2} {frame}");
            }
        })
    }

    /// Returns the call stack of a core, the innermost function first; of one that runs a program,
    /// where it is.
    pub(super) fn frames(&self, core: &Core<'_>) -> Vec<String> {
        let empty = Symbols::default();
        let symbols = self
            .kernel
            .as_ref()
            .map_or(&empty, |kernel| &kernel.symbols);
        let registers = general(core);
        let in_kernel = mode(core) != Some(USER);
        let Some(unwinder) = self.unwinder.as_ref().filter(|_| in_kernel) else {
            return vec![located(symbols, core.pc())];
        };
        let found = unwinder.stack(&CoreMemory(core), symbols, registers, MAX_DEPTH);
        let frames = found.iter().map(|address| located(symbols, *address));
        frames.collect()
    }
}

/// Returns an address, and what is there.
fn located(symbols: &Symbols, address: u64) -> String {
    match symbols.at(address) {
        Some(location) => format!("{address:#010x} {location}"),
        None => format!("{address:#010x}"),
    }
}

/// Writes a line about a core, or about each, and what `tell` writes of those that are on.
fn each(
    machine: &mut Machine,
    one: Option<usize>,
    mut tell: impl FnMut(&mut String, &Core<'_>),
) -> Result<String, NoAnswer> {
    let told = machine.with_cores(|cores| {
        let count = cores.len();
        let wanted = match one {
            Some(core) if core >= count => return Err(NoAnswer::Core { core, cores: count }),
            Some(core) => core..core + 1,
            None => 0..count,
        };
        let mut text = String::new();
        for index in wanted {
            let power = cores.power(index);
            let _ = writeln!(text, "core {index}: {}", state(cores, index));
            if power != Power::Off
                && let Some(core) = cores.core(index)
            {
                tell(&mut text, &core);
            }
        }
        Ok(text)
    });
    told.unwrap_or_else(|| Ok(String::new()))
}

/// Says what a core is doing.
fn state(cores: &mut Cores<'_>, index: usize) -> String {
    let does = match cores.power(index) {
        Power::Off => return "off".into(),
        Power::Running => "runs",
        Power::WaitingInterrupt => "waits for an interrupt",
        Power::WaitingEvent => "waits for an event",
    };
    let turn = if cores.current() == index {
        ", its turn"
    } else {
        ""
    };
    let mode = match cores.core(index).as_ref().and_then(mode) {
        Some(USER) => ", in a program",
        Some(SUPERVISOR | SYSTEM) => ", in the kernel",
        Some(_) => ", in an exception",
        None => "",
    };
    format!("{does}{mode}{turn}")
}

/// Returns the mode of a core of 32 bits.
fn mode(core: &Core<'_>) -> Option<u32> {
    match core {
        Core::Aarch32(view) => Some(view.cpsr() & 0x1f),
        Core::Aarch64(_) => None,
    }
}

fn name(n: u8) -> String {
    match n {
        13 => "sp".into(),
        14 => "lr".into(),
        15 => "pc".into(),
        n => format!("r{n}"),
    }
}
