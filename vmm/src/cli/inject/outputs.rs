//! The files that a campaign writes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use vmm::TextError;
use vmm::campaign::journal::{Header, Journal};
use vmm::campaign::run::Record;
use vmm::campaign::{Outcome as RunOutcome, Summary, write_html, write_junit};

use super::{Args, fail};
use crate::cli::files::Files;
use crate::cli::output::Output;
use crate::cli::sandbox::Policy;
use crate::cli::{CommandExit, UserError};

/// The page in the report's directory.
const REPORT_PAGE: &str = "index.html";

/// What becomes of a campaign's results.
#[derive(Debug, clap::Args)]
pub struct ResultArgs {
    /// Count a run that ends so as a failure
    #[arg(long, value_name = "OUTCOME", value_delimiter = ',', value_parser = outcome)]
    deny: Vec<RunOutcome>,
    /// Write the summary and every run to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write every run to this file, as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a page to this directory, and keep the journal there
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

fn outcome(text: &str) -> Result<RunOutcome, TextError> {
    serde_json::from_value(text.into()).map_err(|_| {
        "use unaffected, recovered, device-lost, silent-corruption, hang, crash or vmm-error".into()
    })
}

impl ResultArgs {
    /// Returns the journal that a report keeps.
    pub fn kept_journal(&self) -> Option<PathBuf> {
        self.report.as_ref().map(|dir| dir.join("journal.jsonl"))
    }

    /// Returns whether each run's record is needed in full. A table does with less, which bounds
    /// memory.
    pub const fn is_whole(&self) -> bool {
        self.json.is_some()
    }

    /// Names the files that are written.
    pub fn name(&self, files: &mut Files) {
        let page = self.report.as_ref().map(|dir| dir.join(REPORT_PAGE));
        files.output("--json", self.json.as_deref());
        files.output("--junit", self.junit.as_deref());
        files.output("--report", page.as_deref());
    }

    /// Allows the files that are written.
    pub fn allow(&self, policy: &mut Policy) {
        policy.output(self.json.as_deref());
        policy.output(self.junit.as_deref());
        if let Some(directory) = &self.report {
            policy.directory(directory);
        }
    }

    /// Returns the exit code for these runs.
    pub fn judge<'r>(&self, mut records: impl Iterator<Item = &'r Record>) -> CommandExit {
        let denied = |record: &Record| {
            let outcome = record.verdict.outcome;
            outcome == RunOutcome::VmmError
                || self.deny.contains(&outcome)
                || !record.mistakes.is_empty()
        };
        if records.any(denied) {
            CommandExit::GuestFailure
        } else {
            CommandExit::Success
        }
    }
}

/// Everything, for a program.
#[derive(Serialize)]
struct Results<'r> {
    #[serde(flatten)]
    summary: &'r Summary,
    records: Vec<&'r Record>,
}

/// Files that are written at the end.
pub struct Outputs {
    json: Option<Output>,
    junit: Option<Output>,
    pub journal: Option<PathBuf>,
}

impl Outputs {
    /// Finds out whether the files of a campaign can be written. Nothing is made yet, except for
    /// the directory of the report.
    pub fn new(args: &Args, header: &Header) -> Result<Self, UserError> {
        let mut outputs = Self::of(&args.results)?;
        outputs.journal = args.journal_file();
        if args.resume && outputs.journal.is_none() {
            return Err(UserError::new(
                "--resume needs the journal of the campaign: name it by --journal or --report",
            ));
        }
        if let Some(path) = &outputs.journal {
            Journal::check(path, header, args.resume).map_err(fail)?;
            Output::at(path, "journal")?;
        }
        Ok(outputs)
    }

    /// Finds out whether results can be written, as [`Outputs::new`] does.
    pub fn of(results: &ResultArgs) -> Result<Self, UserError> {
        let (json, junit) = Output::results(results.json.as_deref(), results.junit.as_deref())?;
        if let Some(directory) = &results.report {
            std::fs::create_dir_all(directory).map_err(|error| {
                let name = directory.display();
                UserError::new(format!("cannot make the report directory {name}: {error}"))
            })?;
            // Only a test: it is dropped, and what was at the place stays until the report is
            // written.
            Output::at(&directory.join(REPORT_PAGE), "report")?;
        }
        Ok(Self {
            json,
            junit,
            journal: None,
        })
    }

    /// Writes the results.
    pub fn write(
        self,
        summary: &Summary,
        done: &BTreeMap<u64, Record>,
        results: &ResultArgs,
    ) -> Result<(), UserError> {
        if let Some(directory) = &results.report {
            let page = Output::at(&directory.join(REPORT_PAGE), "report")?;
            let mut bytes = Vec::new();
            write_html(summary, done.values(), &mut bytes).map_err(fail)?;
            page.save(&bytes)?;
        }
        if let Some(output) = self.json {
            let results = Results {
                summary,
                records: done.values().collect(),
            };
            output.save(&serde_json::to_vec_pretty(&results).map_err(fail)?)?;
        }
        if let Some(output) = self.junit {
            let mut bytes = Vec::new();
            write_junit(summary, &results.deny, done.values(), &mut bytes).map_err(fail)?;
            output.save(&bytes)?;
        }
        Ok(())
    }
}
