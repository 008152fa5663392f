//! The commands of a block of code.

use crate::markdown::Block;
use anyhow::{Context, ensure};
use std::process;

/// A command as somebody would type it.
#[derive(Clone, Debug)]
pub struct Command {
    /// The text, of one line or more.
    pub text: String,
    /// What to do with it.
    pub kind: Kind,
}

/// What to do with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Run it; it ends with this code.
    Exits(i32),
    /// Only read it, for a reason.
    NotRun(String),
}

/// What a comment before a block says of commands with a text in them.
struct Rule {
    text: String,
    kind: Kind,
}

/// The commands of a block.
///
/// # Errors
/// When a comment before it cannot be read or fits no command, or the shell cannot read its last
/// command.
pub fn of(block: &Block) -> anyhow::Result<Vec<Command>> {
    let rules = block
        .directives
        .iter()
        .map(|directive| rule(directive))
        .collect::<Result<Vec<_>, _>>()?;
    let mut commands = Vec::new();
    let mut text = String::new();
    for line in &block.lines {
        let line = match line.strip_prefix("$ ") {
            Some(line) => line,
            None if block.prompts => continue,
            None => line,
        };
        if text.is_empty() && (line.trim().is_empty() || line.trim_start().starts_with('#')) {
            continue;
        }
        text.push_str(line);
        text.push('\n');
        if line.ends_with('\\') || !is_whole(&text) {
            continue;
        }
        let rule = rules.iter().find(|rule| text.contains(&rule.text));
        let kind = rule.map_or(Kind::Exits(0), |rule| rule.kind.clone());
        commands.push(Command {
            text: std::mem::take(&mut text),
            kind,
        });
    }
    ensure!(text.is_empty(), "the shell cannot read: {text}");
    for rule in rules {
        ensure!(
            commands
                .iter()
                .any(|command| command.text.contains(&rule.text)),
            "a comment speaks of `{}`, and no command has that",
            rule.text
        );
    }
    Ok(commands)
}

/// Reads `not run: REASON`, `not run "TEXT": REASON` or `exits N "TEXT"`.
fn rule(directive: &str) -> anyhow::Result<Rule> {
    let complaint = || format!("cannot read the comment `test: {directive}`");
    if let Some(rest) = directive.strip_prefix("not run") {
        let (text, reason) = match rest.strip_prefix(" \"") {
            Some(quoted) => quoted.split_once("\": ").with_context(complaint)?,
            None => ("", rest.strip_prefix(": ").with_context(complaint)?),
        };
        return Ok(Rule {
            text: text.into(),
            kind: Kind::NotRun(reason.into()),
        });
    }
    let rest = directive.strip_prefix("exits ").with_context(complaint)?;
    let (code, text) = rest.split_once(" \"").with_context(complaint)?;
    let code = code.parse().ok().with_context(complaint)?;
    Ok(Rule {
        text: text.strip_suffix('"').with_context(complaint)?.into(),
        kind: Kind::Exits(code),
    })
}

/// Whether the shell can read the text as it is.
fn is_whole(text: &str) -> bool {
    let read = process::Command::new("bash")
        .args(["-n", "-c", text])
        .output();
    read.expect("bash should run").status.success()
}
