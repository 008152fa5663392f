//! The files that a campaign writes.

use std::path::PathBuf;

use vmm::campaign::journal::{Header, Journal};

use super::{Args, REPORT_PAGE, fail};
use crate::cli::UserError;
use crate::cli::output::Output;

/// Files that are written at the end.
pub struct Outputs {
    pub json: Option<Output>,
    pub junit: Option<Output>,
    pub journal: Option<PathBuf>,
}

impl Outputs {
    /// Finds out whether they can be written. Nothing is made yet, except for the directory of the
    /// report.
    pub fn new(args: &Args, header: &Header) -> Result<Self, UserError> {
        let (json, junit) = Output::results(args.json.as_deref(), args.junit.as_deref())?;
        if let Some(directory) = &args.report {
            std::fs::create_dir_all(directory).map_err(|error| {
                let name = directory.display();
                UserError::new(format!("cannot make the report directory {name}: {error}"))
            })?;
        }
        if let Some(directory) = &args.report {
            // Only a test: it is dropped, and what was at the place stays until the report is
            // written.
            Output::at(&directory.join(REPORT_PAGE), "report")?;
        }
        let journal = args.journal_file();
        if args.resume && journal.is_none() {
            return Err(UserError::new(
                "--resume needs the journal of the campaign: name it by --journal or --report",
            ));
        }
        if let Some(path) = &journal {
            Journal::check(path, header, args.resume).map_err(fail)?;
            Output::at(path, "journal")?;
        }
        Ok(Self {
            json,
            junit,
            journal,
        })
    }
}
