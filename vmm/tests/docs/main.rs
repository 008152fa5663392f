//! Runs every command that README and the other pages show.
//!
//! Commands are found, not listed: all in code blocks marked `sh`, and those after a prompt, `$ `,
//! in other blocks. Each block runs in a directory of its own, with the program in `PATH` and with
//! the files that it names. Comments in the Markdown before a block say what is special:
//!
//! - `<!-- test: not run: REASON -->` for all of the block's commands, `<!-- test: not run "TEXT":
//!   REASON -->` for those with that text in them. They are still read: the shell checks the
//!   syntax, and `vmm` and `cargo` their arguments;
//! - `<!-- test: exits 1 "TEXT" -->` for commands that do not end with 0.
//!
//! A block marked `text printed` is what the commands of the block before it print, numbers apart.
//!
//! Who uses a shell in a guest leaves it: `poweroff` is typed at its prompt.

mod commands;
mod directory;
mod markdown;

use anyhow::bail;
use commands::{Command, Kind};
use directory::TestDirectory;
use libtest_mimic::{Arguments, Failed, Trial};
use markdown::Page;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Guests keep a core busy each.
    arguments
        .test_threads
        .get_or_insert_with(|| std::thread::available_parallelism().map_or(1, Into::into));
    let mut trials = Vec::new();
    for path in markdown::pages(&workspace()) {
        let page = Page::read(&workspace(), &path);
        trials.extend(of_page(&page));
    }
    assert!(trials.len() > 20, "the pages were not found");
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The directory with README in it.
fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .parent()
        .expect("the package is in the workspace")
        .to_path_buf()
}

/// The tests of a page: one for each block, one for each command that is not run, and one for what
/// is in its sentences.
fn of_page(page: &Page) -> Vec<Trial> {
    let mut trials = Vec::new();
    for block in &page.blocks {
        let name = format!("{}:{}", page.name, block.line);
        let commands = match commands::of(block) {
            Ok(commands) => commands,
            Err(complaint) => {
                trials.push(Trial::test(name, || Err(failed(complaint))));
                continue;
            }
        };
        let (read, run): (Vec<_>, Vec<_>) = commands
            .into_iter()
            .partition(|command| matches!(command.kind, Kind::NotRun(_)));
        trials.extend(
            read.into_iter()
                .map(|command| reading(page, &name, command)),
        );
        if !run.is_empty() {
            let (page, printed) = (page.clone(), block.printed.clone());
            trials.push(Trial::test(name, move || {
                run_block(&page, &run, &printed).map_err(failed)
            }));
        }
    }
    let is_command = |code: &&String| {
        code.starts_with("vmm ") && !code.contains("...") && !code.contains("SUBCOMMAND")
    };
    let inline: Vec<String> = page.inline.iter().filter(is_command).cloned().collect();
    if !inline.is_empty() {
        let (name, page) = (format!("{}, in sentences", page.name), page.clone());
        let check = move || {
            inline
                .iter()
                .try_for_each(|text| TestDirectory::new(&page).read(&format!("{text}\n")))
                .map_err(failed)
        };
        trials.push(Trial::test(name, check));
    }
    trials
}

/// The test of a command that is not run.
fn reading(page: &Page, name: &str, command: Command) -> Trial {
    let reason = match &command.kind {
        Kind::NotRun(reason) => reason.clone(),
        Kind::Exits(_) => String::new(),
    };
    let line = command.text.lines().next().unwrap_or_default();
    let line = line.split("  #").next().unwrap_or_default().trim();
    let name = format!("{name} {line}");
    let page = page.clone();
    Trial::test(name, move || {
        TestDirectory::new(&page)
            .read(&command.text)
            .map_err(failed)
    })
    .with_kind(format!("not run: {reason}"))
}

/// Turns an error into what the harness prints.
fn failed(error: anyhow::Error) -> Failed {
    format!("{error:#}").into()
}

/// Runs a block's commands in turn, and looks for what they should print.
fn run_block(page: &Page, commands: &[Command], printed: &[String]) -> anyhow::Result<()> {
    let place = TestDirectory::new(page);
    let mut said = String::new();
    for command in commands {
        let Kind::Exits(code) = command.kind else {
            continue;
        };
        said += &place.run(&command.text, code)?;
    }
    let lines: Vec<String> = said.lines().map(without_numbers).collect();
    let mut rest = lines.iter();
    for line in printed {
        let line = without_numbers(line);
        if !rest.any(|other| other.contains(&line)) {
            bail!("`{line}` should be printed here, numbers apart, and is not in:\n{said}");
        }
    }
    Ok(())
}

/// A line with `#` for each word that starts with a digit.
fn without_numbers(line: &str) -> String {
    let mut text = String::new();
    let (mut number, mut word) = (false, false);
    for character in line.trim().chars() {
        let inside = character.is_ascii_alphanumeric() || (number && character == '.');
        if inside && !word && character.is_ascii_digit() {
            number = true;
            text.push('#');
        }
        word = inside;
        number &= inside;
        if !number {
            text.push(character);
        }
    }
    text
}
