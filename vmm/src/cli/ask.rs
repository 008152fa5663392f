//! `--ask`: questions about a guest, at a place of its run.

use std::io::IsTerminal;
use std::str::FromStr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use vmm::inspect::{Inspector, MAX_LINE, NoAnswer, Place, Question, QuestionError, Seen};
use vmm::{Limits, Machine};

use super::signals::Stopper;
use super::stdout::print;
use super::{CommandExit, text};

/// How long a signal may wait while nothing is typed, in nanoseconds.
const LOOK_NS: i64 = 100_000_000;

/// The questions of the command line; if there are none, they are read from stdin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked(Vec<Question>);

impl FromStr for Asked {
    type Err = QuestionError;

    fn from_str(line: &str) -> Result<Self, QuestionError> {
        Question::line(line).map(Self)
    }
}

/// What comes next on stdin.
enum Input {
    Line(String),
    End,
    /// A signal came.
    Signal,
}

/// A conversation about one machine.
struct Conversation<'m> {
    machine: &'m mut Machine,
    inspector: Inspector,
    stopper: &'m Stopper,
    /// Whether a person asks: then nothing that fails is a failure of the command.
    person: bool,
    outcome: CommandExit,
}

/// Takes `machine` to `place`, or to the end of its run within `limits`, and answers questions
/// there.
pub fn run(
    asked: &Asked,
    (place, seen): (Option<&Place>, &Seen),
    (machine, limits): (&mut Machine, Limits),
    stopper: &Stopper,
) -> CommandExit {
    let from_stdin = asked.0.is_empty();
    let mut conversation = Conversation {
        machine,
        inspector: Inspector::new(seen.clone(), limits),
        stopper,
        person: from_stdin && std::io::stdin().is_terminal(),
        outcome: CommandExit::Success,
    };
    conversation.arrive(place);
    match from_stdin {
        true => conversation.talk(),
        false => {
            let mut questions = asked.0.iter();
            // The first that ends the conversation ends it.
            let _ = questions.try_for_each(|question| conversation.ask(question));
        }
    }
    match stopper.cause() {
        Some(cause) => cause.exit(),
        None => conversation.outcome,
    }
}

/// The conversation is over.
struct Over;

impl Conversation<'_> {
    /// Goes to where the questions are asked.
    fn arrive(&mut self, place: Option<&Place>) {
        match place {
            Some(place) => {
                if let Err(why) = self.inspector.go_to(self.machine, place) {
                    self.fail(&why);
                }
            }
            None => {
                if let Some(reason) = self.inspector.finish(self.machine) {
                    text::tell(&format!("the guest {}", reason.sentence()));
                }
            }
        }
        if let Some(divergence) = self.machine.divergence() {
            text::complain(&format!("this is not the recorded run: {divergence}"));
            self.outcome = CommandExit::Diverged;
        }
    }

    /// Answers what is read from stdin.
    fn talk(&mut self) {
        let mut lines = Lines::default();
        loop {
            if self.person {
                print("(ask) ");
            }
            let line = match lines.next(self.stopper) {
                Input::Line(line) => line,
                Input::End | Input::Signal => return,
            };
            match Question::line(&line) {
                Ok(questions) => {
                    let asked = questions.iter().try_for_each(|question| self.ask(question));
                    if asked.is_err() {
                        return;
                    }
                }
                Err(why) => {
                    text::complain(&why.to_string());
                    if !self.person {
                        self.outcome = CommandExit::UserError;
                    }
                }
            }
        }
    }

    /// Answers a question.
    ///
    /// # Errors
    /// It was the last one.
    fn ask(&mut self, question: &Question) -> Result<(), Over> {
        if *question == Question::Quit || self.stopper.cause().is_some() {
            return Err(Over);
        }
        match self.inspector.answer(self.machine, question) {
            Ok(answer) => print(&answer),
            Err(why) => self.fail(&why),
        }
        Ok(())
    }

    /// Says why there is no answer.
    fn fail(&mut self, why: &NoAnswer) {
        text::complain(&why.to_string());
        if !self.person {
            if self.outcome == CommandExit::Success {
                self.outcome = CommandExit::GuestFailure;
            }
            return;
        }
        // A person's Ctrl-C ends only what takes long.
        if self.stopper.forget_interrupt() {
            // A request that came between two runs is taken here, or it would end the next one.
            let here = self.machine.instructions();
            let _ = self.machine.go_to(here);
        }
    }
}

/// Lines from stdin, while signals are looked for.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    ended: bool,
}

impl Lines {
    fn next(&mut self, stopper: &Stopper) -> Input {
        loop {
            let end = self.bytes.iter().position(|byte| *byte == b'\n');
            // A line that is too long is one all the same, and is refused as such.
            let end = end.or((self.bytes.len() > MAX_LINE).then_some(self.bytes.len() - 1));
            if let Some(end) =
                end.or((self.ended && !self.bytes.is_empty()).then_some(self.bytes.len() - 1))
            {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return Input::Line(String::from_utf8_lossy(&line).into_owned());
            }
            if self.ended {
                return Input::End;
            }
            if stopper.cause().is_some() {
                return Input::Signal;
            }
            self.read();
        }
    }

    /// Reads what is there, or waits for a moment.
    fn read(&mut self) {
        let stdin = std::io::stdin();
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: LOOK_NS,
        };
        let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut polled, Some(&moment)) {
            Ok(0) | Err(Errno::INTR) => return,
            Ok(_) => {}
            Err(_) => {
                self.ended = true;
                return;
            }
        }
        let mut buffer = [0; 4096];
        // Past the buffer of `Stdin`, of which `poll` does not know.
        match rustix::io::read(&stdin, &mut buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => self.ended = true,
        }
    }
}
