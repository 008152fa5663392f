//! The first difference of two machines, and how it is told.

use std::fmt;

use serde_json::Value;

use super::compare::{self, Compared};

/// As many values of a state are told.
const MOST_FIELDS: usize = 40;
/// Before the values of a core in the path of a state.
const CORES: &str = "processor.emulated.cores.members[";

/// The first difference of a machine that interprets from one that translates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// After so many instructions both were equal in all.
    pub equal: u64,
    /// After so many they differ.
    pub differ: u64,
    /// How sure it is that the last of these is to blame.
    pub certainty: Certainty,
    /// The last of these instructions, if it was found.
    pub instruction: Option<Instruction>,
    /// What differs after it, some of it if that is much.
    pub fields: Vec<Field>,
    /// How many values differ that are not told.
    pub more: usize,
}

/// How far a difference was narrowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// The instruction, translated alone, does something else.
    Instruction,
    /// It ends a piece of code that, translated at once, does something else; each instruction of
    /// it alone does not.
    Block,
    /// The search was ended before.
    Unfinished,
    /// Machines that go on from where both were equal are equal all the way: what was translated
    /// before matters.
    Unrepeated,
}

/// An instruction, and the core that executed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The core.
    pub core: usize,
    /// Where the core stood. An interrupt that was due, or a fetch that aborts, leads elsewhere
    /// from there.
    pub pc: u32,
    /// Its word and its text; `None` where there is no memory.
    pub code: Option<arm32::Disassembly>,
}

/// A value that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it is.
    pub name: String,
    /// Its value where code is interpreted.
    pub interpreted: String,
    /// Its value where code is translated.
    pub translated: String,
}

/// Returns what two machines differ in, and how many values more there are.
pub(super) fn fields(found: &Compared) -> (Vec<Field>, usize) {
    let (mut fields, mut more) = (Vec::new(), 0);
    if let Some(states) = &found.states {
        // A state is plain data, which serialises.
        let [ours, theirs] = [0, 1].map(|n| serde_json::to_value(&states[n]).unwrap_or_default());
        compare::values("", Some(&ours), Some(&theirs), &mut |path, one, other| {
            if fields.len() == MOST_FIELDS {
                more += 1;
                return;
            }
            fields.push(Field {
                name: name(path),
                interpreted: shown(one),
                translated: shown(other),
            });
        });
    }
    let words = found.words.iter().map(|(at, [one, other])| Field {
        name: format!("memory at {at:#010x}"),
        interpreted: format!("{one:#010x}"),
        translated: format!("{other:#010x}"),
    });
    fields.extend(words);
    (fields, more)
}

/// Returns the name of the value at `path` of a state.
fn name(path: &str) -> String {
    match path.strip_prefix(CORES).and_then(|of| of.split_once("].")) {
        Some((core, rest)) => {
            let rest = rest.strip_prefix("cpu.").unwrap_or(rest);
            format!("core {core}, {rest}")
        }
        None => path.to_owned(),
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "none".into(),
        Some(Value::Number(number)) => number
            .as_u64()
            .map_or_else(|| number.to_string(), |number| format!("{number:#x}")),
        Some(value) => {
            let text = value.to_string();
            // A whole structure, where the other has none.
            text.chars().take(60).collect()
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            equal,
            differ,
            certainty,
            instruction,
            fields,
            more,
        } = self;
        write!(
            f,
            "the interpreter and the translator differ after {differ} instructions, "
        )?;
        match certainty {
            Certainty::Instruction => write!(f, "and are equal after {equal}")?,
            Certainty::Block => write!(
                f,
                "and are equal after {equal}; what is translated at once ends there, and its instructions one by one \
                     show no difference"
            )?,
            Certainty::Unfinished => {
                write!(f, "and are equal after {equal}; the search was ended")?
            }
            Certainty::Unrepeated => write!(
                f,
                "and are equal after {equal}; it is not repeated by machines that go on from there"
            )?,
        }
        if let Some(Instruction { core, pc, code }) = instruction {
            write!(f, "\n  instruction {differ}: core {core} at {pc:#010x}")?;
            if let Some(arm32::Disassembly { word, len, text }) = code {
                let digits = 2 * usize::from(*len);
                write!(f, ": {word:0digits$x}  {text}")?;
            }
        }
        let title = Field {
            name: String::new(),
            interpreted: "interpreter".into(),
            translated: "translator".into(),
        };
        let all = || std::iter::once(&title).chain(fields);
        let width = |of: fn(&Field) -> &str| all().map(|field| of(field).len()).max().unwrap_or(0);
        let (names, values) = (
            width(|field| &field.name),
            width(|field| &field.interpreted),
        );
        for field in all() {
            let (name, one, other) = (&field.name, &field.interpreted, &field.translated);
            write!(f, "\n  {name:names$}  {one:values$}  {other}")?;
        }
        if *more > 0 {
            write!(f, "\n  and {more} values more")?;
        }
        Ok(())
    }
}
