//! Who types at a guest, and how its idle time passes meanwhile.

use guest_images::root_disk::ROOT_WORD;
use guest_images::{RUN_WORD, SHELL_WORD};
use vmm::Machine;

use super::UserError;
use super::origin::Origin;
use super::settings::Settings;
use super::signals::Stopper;
use super::terminal::{self, Source, Stdin};
use super::tty::Raw;
use super::values::Idle;

/// The relation of a guest to whoever types.
#[derive(Clone, Copy)]
pub struct Session {
    /// It reads its console as far as we know, and without a terminal is of no use.
    reads: bool,
    /// Idle time passes as the host's does as long as someone may type.
    waits: bool,
}

impl Session {
    /// Returns the session of a run from `origin`; `to_a_moment` if it is to end at one.
    pub fn new(
        settings: &Settings,
        origin: &Origin,
        image: Option<&str>,
        to_a_moment: bool,
    ) -> Self {
        let words = || origin.config().cmdline.split_ascii_whitespace();
        let shell = words().any(|word| word == SHELL_WORD);
        let word = |start| words().any(|word| word.starts_with(start));
        let reads = match origin {
            // It has all its input.
            Origin::Recording(_) => false,
            // A system on a root disk has a login, unless it only serves for commands.
            _ if image.is_some() => shell || word(ROOT_WORD) && !word(RUN_WORD),
            // A guest of ours that has commands only ends after them; any other may have a login.
            _ => shell || !word(RUN_WORD),
        };
        let waits = match settings.idle.unwrap_or_default() {
            Idle::Skip => false,
            Idle::Wait => true,
            // Who names a moment wants to be there soon, and at the same one each time.
            Idle::Auto => reads && !to_a_moment,
        };
        Self { reads, waits }
    }

    /// Connects stdin to the guest's console. The result keeps the terminal raw.
    ///
    /// # Errors
    /// A sentence, when signals cannot be handled or there is no thread to be had.
    pub fn attach(self, machine: &Machine, stopper: &Stopper) -> Result<Option<Raw>, UserError> {
        let input = match self.waits {
            // As long as this handle exists idle time passes as the host's does.
            true => machine.persons_input(),
            false => machine.console_input(),
        };
        let stopper = stopper.clone();
        match Source::find() {
            // Whoever might have typed has left before the guest begins.
            Source::Nowhere => {}
            Source::File => terminal::forward_file(input, stopper)?,
            Source::Stream => terminal::forward_stdin(input, stopper, Stdin::Stream)?,
            Source::Terminal => {
                let raw = Raw::enter()?;
                let stdin = match raw {
                    Some(_) => Stdin::Terminal { needed: self.reads },
                    // A terminal that could not be made raw handles Ctrl-C itself, and needs no
                    // escape.
                    None => Stdin::Stream,
                };
                terminal::forward_stdin(input, stopper, stdin)?;
                return Ok(raw);
            }
        }
        Ok(None)
    }
}
