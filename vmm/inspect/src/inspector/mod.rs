//! Answers to questions about a machine that stands still.

mod cores;
mod dma;
mod mapped;
mod travel;

use std::fmt::Write as _;

use vmm_base::{Reason, Seconds};
use vmm_introspect::memory::{CoreMemory, Memory};
use vmm_introspect::probe::Kernel;
use vmm_introspect::stack::Unwinder;
use vmm_introspect::symbols::Symbols;
use vmm_machine::vcpu::Core;
use vmm_machine::{Limits, Machine};

use crate::{Place, Question, Seen};

/// The most events that an answer to `where` has.
const EVENTS: usize = 5;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// There is no such core.
    #[error("there is no core {core}: the machine has {cores}")]
    Core {
        /// The one that was asked for.
        core: usize,
        /// How many there are.
        cores: usize,
    },
    /// There is no such device.
    #[error("there is no bus master {0:?}: `utlbs` and `devices` list them")]
    Device(String),
    /// It is attached to no domain.
    #[error("{0} is not translated: `utlbs` says what it is attached to")]
    NotTranslated(String),
    /// No device is translated.
    #[error("no device is translated now: `utlbs` says what each is attached to")]
    NoDomain,
    /// Several devices could be meant.
    #[error("say for which device: {0}")]
    Which(String),
    /// Nothing in the history mapped it.
    #[error("nothing has mapped {iova:#x} for {device} since the history begins")]
    NeverMapped {
        /// The address.
        iova: u64,
        /// The device.
        device: String,
    },
    /// The table that maps it cannot be watched.
    #[error(
        "the page table at {0:#x} is nowhere in the kernel's memory, so that its writes cannot be watched"
    )]
    NoTable(u64),
    /// No kernel was found.
    #[error("no kernel with symbols is in memory, or it is not mapped yet: {0}")]
    NoKernel(String),
    /// The place is not in the run.
    #[error("the guest does not come to {place}: it {end}")]
    NotThere {
        /// The place.
        place: Place,
        /// What happens instead.
        end: &'static str,
    },
    /// Someone ended it.
    #[error("ended before it was done")]
    Ended,
    /// The machine cannot go there.
    #[error(transparent)]
    Machine(#[from] vmm_machine::Error),
    /// A pattern that cannot be used.
    #[error(transparent)]
    Pattern(#[from] vmm_base::TextError),
}

/// Answers questions about one machine, which keeps its history.
pub struct Inspector {
    seen: Seen,
    /// The limits of the run where it was never before.
    limits: Limits,
    /// The guest's kernel, once it was found.
    kernel: Option<Kernel>,
    /// Its unwinding tables, once it was mapped.
    unwinder: Option<Unwinder>,
    /// Whether the machine has someone who wants to know of watched writes.
    watches: bool,
}

impl Inspector {
    /// Creates one that knows what was `seen` of the machine. Where that was never before, it goes
    /// as far as `limits` allow.
    pub fn new(seen: Seen, limits: Limits) -> Self {
        Self {
            seen,
            limits,
            kernel: None,
            unwinder: None,
            watches: false,
        }
    }

    /// Runs `machine` to its end, or to a limit; returns why it ends there.
    pub fn finish(&mut self, machine: &mut Machine) -> Option<Reason> {
        machine.run_to(vmm_machine::Until::NEVER, self.limits)
    }

    /// Answers `question` about `machine`, in lines. The machine is elsewhere in its run only after
    /// a question that says so. There is no answer to [`Question::Quit`].
    ///
    /// # Errors
    /// Why there is no answer, as a sentence.
    pub fn answer(
        &mut self,
        machine: &mut Machine,
        question: &Question,
    ) -> Result<String, NoAnswer> {
        match question {
            Question::Help => Ok(Question::HELP.to_owned()),
            Question::Where => Ok(self.place(machine)),
            Question::Registers(core) => Self::registers(machine, *core),
            Question::Backtrace(core) => self.backtrace(machine, *core),
            Question::Mappings(device) => Self::mappings(machine, device.as_deref()),
            Question::Ports => Ok(Self::ports(machine)),
            Question::WhoMapped { device, iova } => {
                self.who_mapped(machine, device.as_deref(), *iova)
            }
            Question::Devices => Ok(Self::devices(machine)),
            Question::Log(lines) => Ok(self.log(machine, *lines)),
            Question::Goto(place) => self.go_to(machine, place),
            Question::Step(count) => {
                let to = machine.instructions().saturating_add(*count);
                self.go_to(machine, &Place::Instruction(to))
            }
            Question::Back(count) => {
                let to = machine.instructions().saturating_sub(*count);
                // Before the history there is nothing: it is gone back to its beginning.
                let to = to.max(machine.history_start().unwrap_or(0));
                self.go_to(machine, &Place::Instruction(to))
            }
            Question::Quit => Ok(String::new()),
        }
    }

    /// Says where the machine is, and what happened last.
    fn place(&self, machine: &Machine) -> String {
        let mut text = here(machine);
        if let Some(start) = machine.history_start().filter(|start| *start > 0) {
            // Writing to a `String` cannot fail, so these results are dropped.
            let _ = writeln!(text, "the history begins after instruction {start}");
        }
        for event in self.seen.events(machine.guest_ns(), EVENTS) {
            let _ = writeln!(text, "  {event}");
        }
        let last = self.log(machine, 1);
        if !last.is_empty() {
            let _ = writeln!(text, "  console: {}", last.trim_end());
        }
        text
    }

    /// Returns the last lines of the console up to here.
    fn log(&self, machine: &Machine, lines: usize) -> String {
        let bytes = self.seen.log(0, machine.console_bytes());
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text.lines().collect();
        let first = all.len().saturating_sub(lines);
        let mut shown = String::new();
        for line in &all[first..] {
            shown.extend(printable(line));
            shown.push('\n');
        }
        shown
    }

    /// Finds the guest's kernel, by the memory of a core that has it mapped.
    fn find_kernel(&mut self, machine: &mut Machine) -> Result<(), NoAnswer> {
        if self.kernel.is_none() {
            let found = Kernel::of(machine);
            self.kernel = Some(found.map_err(|why| NoAnswer::NoKernel(why.to_string()))?);
        }
        let Some(kernel) = &mut self.kernel else {
            return Ok(());
        };
        let text = code(&kernel.symbols).unwrap_or(0);
        let unwinder = &mut self.unwinder;
        machine.with_cores(|cores| {
            for core in 0..cores.len() {
                let Some(core) = cores.core(core) else {
                    continue;
                };
                let memory = CoreMemory(&core);
                if memory.word(text).is_ok() {
                    unwinder.get_or_insert_with(|| Unwinder::find(&memory, &kernel.symbols));
                    // What cannot be found out of modules is left as it was.
                    let _ = kernel.read_modules(&memory);
                    break;
                }
            }
        });
        Ok(())
    }
}

/// Returns an address of the kernel's that is mapped as long as it runs: its first byte need not
/// be, once it has started.
fn code(symbols: &Symbols) -> Option<u64> {
    symbols.address("_stext").or_else(|| symbols.text())
}

/// Returns where the machine is, in a line.
fn here(machine: &Machine) -> String {
    format!(
        "at {} s, after instruction {}\n",
        Seconds(machine.guest_ns()),
        machine.instructions()
    )
}

/// Returns a line of the guest's without what a terminal would obey.
fn printable(line: &str) -> impl Iterator<Item = char> {
    line.chars().map(|c| {
        if c.is_control() && c != '\t' {
            '\u{fffd}'
        } else {
            c
        }
    })
}

/// Returns the general registers of a core of 32 bits.
fn general(core: &Core<'_>) -> [u32; 16] {
    let mut registers = [0; 16];
    for (n, register) in (0..).zip(&mut registers) {
        // Cores of 32 bits have registers of as many.
        *register = u32::try_from(core.reg(n)).unwrap_or(0);
    }
    registers
}
