//! `vmm inject merge`: the campaign that its shards are together.

use std::path::PathBuf;

use vmm::campaign::Summary;
use vmm::campaign::journal::Journal;
use vmm::campaign::merge::{Merged, merge};

use super::fail;
use super::outputs::{Outputs, ResultArgs};
use crate::cli::files::Files;
use crate::cli::output::Output;
use crate::cli::stdout::print;
use crate::cli::{CommandExit, UserError};

/// Merge the journals of all shards of a campaign: the results are those of one machine.
///
/// The journals may come in any order, and a run that is in several counts once. What is missing is
/// told with the command that makes it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The journals
    #[arg(required = true, value_name = "JOURNAL")]
    journals: Vec<PathBuf>,
    #[command(flatten)]
    results: ResultArgs,
    /// Write the journal of the whole campaign to this file
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<CommandExit, UserError> {
    let journal = args.journal.or_else(|| args.results.kept_journal());
    let mut files = Files::default();
    for path in &args.journals {
        files.input("journal", path);
    }
    files.output("--journal", journal.as_deref());
    args.results.name(&mut files);
    files.check()?;
    let outputs = Outputs::of(&args.results)?;
    if let Some(path) = &journal {
        if path.metadata().is_ok_and(|file| file.len() > 0) {
            let path = path.display();
            return Err(UserError::new(format!(
                "there is a journal at {path}: name another place"
            )));
        }
        Output::at(path, "journal")?;
    }
    let retention = !args.results.is_whole() && journal.is_none();
    let Merged { header, records } = merge(&args.journals, retention).map_err(fail)?;
    let summary = Summary::new(&header, records.values());
    if let Some(path) = &journal {
        let mut journal = Journal::create(path, &header).map_err(fail)?;
        for record in records.values() {
            journal.add(record).map_err(fail)?;
        }
    }
    print(&summary.table());
    outputs.write(&summary, &records, &args.results)?;
    Ok(args.results.judge(records.values()))
}
