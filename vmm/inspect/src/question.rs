//! Questions, as they are written: several on a line, with semicolons between them.

use std::num::ParseIntError;
use std::str::FromStr;

use crate::Place;

/// The most bytes of a line of questions.
pub const MAX_LINE: usize = 64 << 10;
/// The lines of the console that are shown if no number is named.
const LOG_LINES: usize = 20;

/// A question, or where to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// What can be asked.
    Help,
    /// Where in its run the machine is.
    Where,
    /// The registers of a core, or of all.
    Registers(Option<usize>),
    /// The call stack of a core, or of all.
    Backtrace(Option<usize>),
    /// What is mapped for a device, or for all.
    Mappings(Option<String>),
    /// What the ports of IOMMUs are attached to.
    Ports,
    /// Who mapped an address, for a device if one is named.
    WhoMapped {
        /// The device.
        device: Option<String>,
        /// The address, as the device uses it.
        iova: u64,
    },
    /// Which devices there are.
    Devices,
    /// The last lines of the console, so many.
    Log(usize),
    /// Go to a place.
    Goto(Place),
    /// Go on by so many instructions of all cores.
    Step(u64),
    /// Go back by so many instructions of all cores.
    Back(u64),
    /// No more questions.
    Quit,
}

/// A question that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// There is no such question.
    #[error("{0:?} is no question: `help` lists what can be asked")]
    Unknown(String),
    /// It takes no more words.
    #[error("`{word}` takes {takes}, and not {rest:?}")]
    Words {
        /// The question.
        word: String,
        /// What it takes.
        takes: &'static str,
        /// What there is.
        rest: String,
    },
    /// A place that cannot be gone to.
    #[error("{0}")]
    Place(String),
    /// The line is too long.
    #[error("a line of questions has {MAX_LINE} bytes at most")]
    Long,
}

impl Question {
    /// What can be asked, in lines.
    pub const HELP: &str = "\
where                     the time, the number of instructions, and the last events here
backtrace [CORE]          the call stack of a core, or of each
registers [CORE]          the registers of a core, or of each
mappings [DEVICE]         what is mapped for a device, or for all: IOVAs and physical addresses
utlbs                     what each uTLB, stream or endpoint is attached to
who-mapped [DEVICE] IOVA  who mapped, or unmapped, an address last: call stack and time
devices                   the devices, where they are, and behind which IOMMU
log [N]                   the last N lines of the console
goto PLACE                go to instruction:N, time:SECONDS, or to the next console:REGEX or iommu:REGEX
step [N], back [N]        go on, or back, by N instructions of all cores
help, quit                this; no more questions
";

    /// Reads the questions of a line, in their order. An empty line has none.
    ///
    /// # Errors
    /// One is not understood; none of the line is to be asked then.
    pub fn line(line: &str) -> Result<Vec<Self>, QuestionError> {
        if line.len() > MAX_LINE {
            return Err(QuestionError::Long);
        }
        let questions = line.split(';').map(str::trim);
        let asked = questions.filter(|question| !question.is_empty());
        asked.map(str::parse).collect()
    }
}

impl FromStr for Question {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Self, QuestionError> {
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        let wrong = |takes| QuestionError::Words {
            word: word.to_owned(),
            takes,
            rest: rest.to_owned(),
        };
        let alone = |question: Self| match rest {
            "" => Ok(question),
            _ => Err(wrong("nothing more")),
        };
        let core = |question: fn(Option<usize>) -> Self| {
            let core = optional(rest, str::parse);
            core.map(question)
                .map_err(|_| wrong("the number of a core"))
        };
        let count = |default: u64| {
            let count = optional(&rest.replace('_', ""), str::parse);
            count
                .map(|count| count.unwrap_or(default))
                .map_err(|_| wrong("a number"))
        };
        match word {
            "help" | "?" => alone(Self::Help),
            "where" => alone(Self::Where),
            "registers" => core(Self::Registers),
            "backtrace" | "bt" => core(Self::Backtrace),
            "mappings" if rest.contains(char::is_whitespace) => Err(wrong("the name of a device")),
            "mappings" => Ok(Self::Mappings((!rest.is_empty()).then(|| rest.to_owned()))),
            "utlbs" | "streams" | "endpoints" => alone(Self::Ports),
            "who-mapped" => {
                who_mapped(rest).ok_or_else(|| wrong("an address, and a device before it"))
            }
            "devices" => alone(Self::Devices),
            "log" => Ok(Self::Log(
                usize::try_from(count(LOG_LINES as u64)?).unwrap_or(usize::MAX),
            )),
            "goto" => {
                let bad = |why: vmm_base::TextError| QuestionError::Place(why.to_string());
                rest.parse().map(Self::Goto).map_err(bad)
            }
            "step" => count(1).map(Self::Step),
            "back" => count(1).map(Self::Back),
            "quit" | "exit" => alone(Self::Quit),
            _ => Err(QuestionError::Unknown(word.to_owned())),
        }
    }
}

fn optional<T, E>(text: &str, read: impl FnOnce(&str) -> Result<T, E>) -> Result<Option<T>, E> {
    match text {
        "" => Ok(None),
        text => read(text).map(Some),
    }
}

fn who_mapped(rest: &str) -> Option<Question> {
    let (device, address) = match rest.split_once(char::is_whitespace) {
        Some((device, address)) => (Some(device.to_owned()), address.trim()),
        None => (None, rest),
    };
    let iova = number(address).ok()?;
    Some(Question::WhoMapped { device, iova })
}

/// Reads a number, in hexadecimal with `0x` before it.
fn number(text: &str) -> Result<u64, ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_in_their_order() {
        let questions = Question::line(
            " backtrace;registers 1; mappings disk0 ;who-mapped 0x1000;who-mapped rng 4096;; goto time:1; step; \
                back 1_000",
        );
        let iova = 0x1000;
        let wanted = [
            Question::Backtrace(None),
            Question::Registers(Some(1)),
            Question::Mappings(Some("disk0".into())),
            Question::WhoMapped { device: None, iova },
            Question::WhoMapped {
                device: Some("rng".into()),
                iova,
            },
            Question::Goto(Place::Time(1_000_000_000)),
            Question::Step(1),
            Question::Back(1000),
        ];
        assert_eq!(questions.as_deref(), Ok(&wanted[..]));
        assert_eq!(Question::line(" ; "), Ok(vec![]));
    }

    #[test]
    fn what_is_not_understood_is_told_in_a_sentence() {
        for text in [
            "what",
            "backtrace one",
            "registers -1",
            "mappings a b",
            "who-mapped",
            "who-mapped disk0",
            "who-mapped 0xg",
            "goto nowhere",
            "goto console:(",
            "step 1.5",
            "quit now",
            "where\u{1b}[2J",
            "help;more",
        ] {
            let why = Question::line(text).expect_err(text).to_string();
            assert!(why.lines().count() == 1 && why.len() > 20, "{why}");
            assert!(!why.contains(char::is_control), "{why}");
        }
        let long = "x".repeat(MAX_LINE + 1);
        assert_eq!(Question::line(&long), Err(QuestionError::Long));
    }

    #[test]
    fn help_tells_of_each_question() {
        for line in Question::HELP.lines() {
            for words in line.split("  ").next().unwrap_or_default().split(", ") {
                let word = words.split(' ').next().unwrap_or_default();
                let with = match word {
                    "goto" => "goto instruction:1",
                    "who-mapped" => "who-mapped 1",
                    word => word,
                };
                assert!(with.parse::<Question>().is_ok(), "{word}");
            }
        }
    }
}
