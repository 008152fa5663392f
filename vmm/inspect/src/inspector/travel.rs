//! Going elsewhere in the run.

use vmm_base::Reason;
use vmm_machine::{Limits, Machine, Until};

use super::{Inspector, NoAnswer, here};
use crate::{Expect, Place};

impl Inspector {
    /// Takes `machine` to `place`: what the guest shows is looked for from here on. Returns where
    /// it is then.
    ///
    /// # Errors
    /// It does not come there; it is at the end of its run then, or where it was ended.
    pub fn go_to(&mut self, machine: &mut Machine, place: &Place) -> Result<String, NoAnswer> {
        let reason = match place {
            Place::Instruction(to) => self.to_instruction(machine, *to)?,
            Place::Time(ns) => {
                // How many instructions that is nobody knows.
                let mut before = machine.checkpoints();
                while *ns < machine.guest_ns()
                    && let Some(from) = before.pop()
                {
                    return_to(machine, from)?;
                }
                self.pass(machine, place.until())
            }
            Place::Console(pattern) => self.to_console(machine, pattern)?,
            Place::Iommu(pattern) => {
                self.seen.expect_event(Some(Expect::new(pattern)?));
                let reason = self.pass(machine, place.until());
                self.seen.expect_event(None);
                reason
            }
        };
        match reason {
            None => Ok(here(machine)),
            // It ends exactly there.
            Some(_) if *place == Place::Instruction(machine.instructions()) => Ok(here(machine)),
            Some(Reason::Stopped) => Err(NoAnswer::Ended),
            Some(reason) => Err(NoAnswer::NotThere {
                place: place.clone(),
                end: reason.sentence(),
            }),
        }
    }

    fn to_instruction(&self, machine: &mut Machine, to: u64) -> Result<Option<Reason>, NoAnswer> {
        Ok(match to > machine.known_instructions() {
            // Where it was never before its limits hold.
            true => machine.run_to(Until::instructions(to), self.limits),
            false => machine.go_to(to)?,
        })
    }

    /// Runs on to `until`, within the limits.
    fn pass(&self, machine: &mut Machine, until: Until) -> Option<Reason> {
        machine.run_to(until, self.limits)
    }

    /// Goes on to where the console shows `pattern`. What it has shown before, it does not show
    /// again: so that is looked for in what was noted.
    fn to_console(&self, machine: &mut Machine, pattern: &str) -> Result<Option<Reason>, NoAnswer> {
        let mut mark = Expect::new(pattern)?;
        let (from, to) = (machine.console_bytes(), self.seen.shown());
        let noted = self.seen.log(from, to);
        // What is not kept any more is left out.
        let first = to - noted.len() as u64;
        let found = noted.iter().position(|byte| mark.feed(&[*byte]));
        if let Some(index) = found {
            return to_byte(machine, first + index as u64 + 1);
        }
        let known = machine.known_instructions();
        if let Some(reason) = machine.go_to(known)? {
            return Ok(Some(reason));
        }
        self.seen.expect_console(Some(mark));
        let until = Place::Console(String::new()).until();
        let reason = self.pass(machine, until);
        self.seen.expect_console(None);
        Ok(reason)
    }
}

/// Goes on to where the guest has written so many bytes to its console, which it does where its run
/// is known.
fn to_byte(machine: &mut Machine, bytes: u64) -> Result<Option<Reason>, NoAnswer> {
    // The count only grows, so that half of what is left is left out each time.
    let (mut before, mut after) = (machine.instructions(), machine.known_instructions());
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if machine.go_to(middle)? == Some(Reason::Stopped) {
            return Ok(Some(Reason::Stopped));
        }
        match machine.console_bytes() < bytes {
            true => before = middle,
            false => after = middle,
        }
    }
    // If the guest ends right there, it is there all the same.
    let end = machine.go_to(after)?;
    Ok(end.filter(|reason| *reason == Reason::Stopped))
}

/// Goes back to where the machine was, whatever became of a search.
pub(super) fn return_to(machine: &mut Machine, instructions: u64) -> Result<(), NoAnswer> {
    match machine.go_to(instructions)? {
        Some(Reason::Stopped) => Err(NoAnswer::Ended),
        _ => Ok(()),
    }
}

/// Runs on to what was asked for, not beyond so many instructions.
pub(super) fn to_asked(machine: &mut Machine, end: u64) -> Option<Reason> {
    let until = Until {
        asked: true,
        ..Until::instructions(end)
    };
    machine.run_to(until, Limits::default())
}
