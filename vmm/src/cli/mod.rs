//! The command line: one file a subcommand, and what they share.

mod ask;
mod boot;
mod commands;
mod console;
mod deferred;
mod demo;
mod dma_script;
mod ending;
mod exit;
mod faults;
mod files;
mod gdb;
mod guest;
mod host;
mod images;
mod inject;
mod install;
mod lab;
mod lowmem;
mod moved;
mod origin;
mod output;
mod patience;
mod probes;
mod report;
mod sandbox;
mod sanitize;
mod session;
mod settings;
mod signals;
mod snapshot;
mod stdout;
mod terminal;
mod text;
mod tier;
mod trace;
mod travel;
mod tty;
mod values;
mod vmlinux;

use std::error::Error;
use std::ffi::OsString;
use std::num::{IntErrorKind, ParseIntError};
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

pub use exit::{CommandExit, UserError};

/// Boots unmodified ARM32 Linux kernels, deterministically, on an emulated machine with virtual
/// IOMMUs.
#[derive(Debug, Parser)]
#[command(name = "vmm", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Boot(Box<boot::Args>),
    #[command(subcommand)]
    Images(images::Command),
    #[command(subcommand)]
    Lab(lab::Command),
    Inject(Box<inject::Args>),
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    #[command(hide = true)]
    SandboxCheck(sandbox::check::Args),
}

const AFTER_HELP: &str = "\
Examples:
  vmm demo
  vmm boot --image debian-armmp --run 'uname -a'
  vmm images list

Environment:
  VIOMMU_CACHE          where guest images are kept (default: ~/.cache/viommu)
  VIOMMU_DEBIAN_MIRROR  the Debian mirror they come from
  VIOMMU_INSTALL        whether packages that obtaining an image takes may be installed on this host: yes, or no
                        (neither: a terminal's user is asked; --install-packages is yes)
  VMM_LOG               what the machine logs to stderr, such as `debug` or `vmm=trace` (default: error)
  NO_COLOR              no colours

Exit codes:
  0 all went well, 1 the guest failed or did not do what was expected, or --tier both found a difference, 2 a mistake
  of the user's, 3 a run differs from its recording,
  101 a bug in vmm, 124 a time limit was reached, 125 something could not be judged, 128+N ended by signal N,
  159 ended by the sandbox, with a sentence that says why";

/// Runs the program.
pub fn main() -> ExitCode {
    // Before the command line is read, so that a panic in there is reported as one of ours too.
    report_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    // Rings that are out of reach are what is wanted where faults are put in.
    let quiet = match cli.command {
        Command::Inject(_) => "error,virtio_queue=off",
        _ => "error",
    };
    // Before anything is written: a limit on the size of files (SIGXFSZ) would end the program
    // without a sentence.
    if let Err(error) = signals::survive_full_files() {
        return finish(Err(error));
    }
    let filter = match log_filter(std::env::var_os("VMM_LOG"), quiet) {
        Ok(filter) => filter,
        Err(error) => {
            return finish(Err(error));
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A log line must not hold up the run's end when nobody reads stderr.
        .with_writer(|| patience::Stderr)
        .with_ansi(::console::colors_enabled_stderr())
        .without_time()
        .init();
    let result = match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Boot(args) => boot::run(*args),
        Command::Images(command) => images::run(command),
        Command::Lab(command) => lab::run(command),
        Command::Inject(args) => inject::run(*args),
        Command::Snapshot(command) => snapshot::run(command),
        Command::SandboxCheck(args) => sandbox::check::run(args),
    };
    finish(result)
}

/// Tells of an error, and what the program exits with.
/// Makes panics restore the terminal and say whose fault they are.
fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        tty::restore();
        text::complain(&format!("this is a bug in vmm, not in your guest: {info}"));
    }));
}

fn finish(result: Result<CommandExit, UserError>) -> ExitCode {
    match result.and_then(whole) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            text::complain(&error.to_string());
            CommandExit::UserError.into()
        }
    }
}

/// Turns a success into an error if something that was printed did not arrive.
fn whole(outcome: CommandExit) -> Result<CommandExit, UserError> {
    match (outcome, stdout::check()) {
        (CommandExit::Success, Err(error)) => Err(error),
        // The command's own exit code says more than the lost output would.
        (_, Err(error)) => {
            text::complain(&error.to_string());
            Ok(outcome)
        }
        _ => Ok(outcome),
    }
}

/// Returns what `VMM_LOG` asks for; `usual` if it asks for nothing.
fn log_filter(wanted: Option<OsString>, usual: &str) -> Result<EnvFilter, UserError> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else {
        return Ok(EnvFilter::new(usual));
    };
    let directives = wanted.to_string_lossy();
    EnvFilter::try_new(&directives).map_err(|_| {
        UserError::new(format!(
            "VMM_LOG={directives:?} does not say what to log: use a level such as debug, or directives such \
                as vmm=trace"
        ))
    })
}

/// Prints help, the version, or one sentence about a malformed command line.
fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print().inspect_err(stdout::note);
            finish(Ok(CommandExit::Success))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            CommandExit::UserError.into()
        }
        _ => {
            text::complain(&told(error));
            CommandExit::UserError.into()
        }
    }
}

/// Returns a malformed command line in one sentence.
fn told(error: &clap::Error) -> String {
    // The text of a `ParseIntError` speaks of digits, not of what may be written.
    let no_number = error.source().and_then(|source| source.downcast_ref());
    let value = |kind| error.get(kind).map(ToString::to_string);
    // clap takes `-1` for an unknown flag, and its own sentence does not mention the number.
    if let (ErrorKind::UnknownArgument, Some(argument)) =
        (error.kind(), value(ContextKind::InvalidArg))
        && argument.parse::<f64>().is_ok()
    {
        return format!(
            "{argument} is negative, and no option takes that: use a number from 0 on (see --help)"
        );
    }
    match (
        no_number,
        value(ContextKind::InvalidValue),
        value(ContextKind::InvalidArg),
    ) {
        (Some(why), Some(value), Some(argument)) => {
            let what = number(why);
            format!("invalid value '{value}' for '{argument}': {what} (see --help)")
        }
        _ => one_sentence(&error.to_string()),
    }
}

/// Returns what is wrong with a number, in words.
fn number(why: &ParseIntError) -> &'static str {
    match why.kind() {
        IntErrorKind::Empty => "a whole number is needed",
        IntErrorKind::PosOverflow => "the number is too large",
        IntErrorKind::NegOverflow => "the number is too small",
        IntErrorKind::Zero => "the number must be 1 or more",
        _ => "use a whole number from 0 on, such as 7",
    }
}

/// Returns the first paragraph of clap's message on one line; the rest of it is usage, which
/// `--help` shows.
fn one_sentence(message: &str) -> String {
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let paragraph: Vec<&str> = message
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .map(str::trim)
        .collect();
    format!("{} (see --help)", paragraph.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_log_filter_is_understood_or_refused() {
        for good in [None, Some(""), Some("debug"), Some("vmm=trace,arm32=info")] {
            assert!(
                log_filter(good.map(OsString::from), "error").is_ok(),
                "{good:?}"
            );
        }
        let error = log_filter(Some("vmm=loud=er".into()), "error").unwrap_err();
        assert!(error.to_string().contains("VMM_LOG"), "{error}");
    }

    #[test]
    fn clap_messages_become_sentences() {
        for (arguments, sentence) in [
            (
                &["vmm", "boot", "--cpus", "x"][..],
                "invalid value 'x' for '--cpus <N>'",
            ),
            (&["vmm", "boot", "--memory", "1T"], "\"1T\" is not a size"),
            (
                &["vmm", "boot", "--seed", "x"],
                "invalid value 'x' for '--seed <NUMBER>': use a whole number from 0 on",
            ),
            (
                &["vmm", "inject", "none", "--jobs", "0"],
                "invalid value '0' for '--jobs <N>': the number must be 1 or more",
            ),
            (
                &[
                    "vmm",
                    "snapshot",
                    "save",
                    "f",
                    "--at-instruction",
                    "99999999999999999999",
                ],
                "the number is too large",
            ),
            (
                &["vmm", "boot", "--nope"],
                "unexpected argument '--nope' found",
            ),
            (
                &["vmm", "inject", "none", "--seed", "-1"],
                "-1 is negative, and no option takes that",
            ),
            (
                &["vmm", "images", "fetch"],
                "the following required arguments were not provided",
            ),
        ] {
            let error = Cli::try_parse_from(arguments).unwrap_err();
            let text = told(&error);
            assert!(
                text.contains(sentence) && text.ends_with("(see --help)"),
                "{text}"
            );
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }
}
