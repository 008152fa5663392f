//! `vmm lab matrix` and `vmm lab merge`: cases on several kernels, on one machine or on several.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use vmm::KernelChoice;
use vmm::introspect::types::vmlinux::TypesFrom;
use vmm::lab::matrix::{self, Column, Matrix, Part, Seen};
use vmm::lab::releases::{self, Layout};
use vmm::lab::{Case, Lab};
use vmm_base::Shard;
use vmm_files::input;

use super::selection::{Kernels, Selection, enter_sandbox};
use super::{by_release, conclude, line, name};
use crate::cli::files::Files;
use crate::cli::output::Output;
use crate::cli::stdout::print;
use crate::cli::vmlinux::VmlinuxFiles;
use crate::cli::{CommandExit, UserError};

/// The largest file of results that is read, in bytes: a hundred thousand runs.
const MAX_RESULTS: u64 = 64 << 20;

/// `vmm lab matrix`.
#[derive(Debug, clap::Args)]
pub struct MatrixArgs {
    #[command(flatten)]
    selection: Selection,
    /// An image to run on the kernel of, besides the scenario's own
    #[arg(long, value_name = "NAME")]
    image: Vec<String>,
    /// Run unmodified kernels only, of each release that a scenario names, and print a table of
    /// scenarios by release, as `vmm lab list --releases` does of what is expected
    #[arg(long, conflicts_with_all = ["image", "kernel"])]
    releases: bool,
    /// A kernel to run on, besides the scenario's own; `FILE` or `FILE,MODULE`, where MODULE is its
    /// clk-axi-clkgen.ko
    #[arg(long, value_name = "FILE[,MODULE]")]
    kernel: Vec<String>,
    /// The vmlinux with debug information of one of these kernels, for one without types in its
    /// image; each kernel takes the one of its own build. Or the name of an image whose debug
    /// information was fetched. May be given more than once
    #[arg(long, value_name = "FILE")]
    vmlinux: Vec<PathBuf>,
    /// Run the K-th of N shards of the matrix, each of which runs on any machine, and write its
    /// results for `vmm lab merge`
    #[arg(long, value_name = "K/N", requires = "results")]
    shard: Option<Shard>,
    /// Write the results of a shard to this file
    #[arg(long, value_name = "FILE", requires = "shard")]
    results: Option<PathBuf>,
}

/// `vmm lab merge`.
#[derive(Debug, clap::Args)]
pub struct MergeArgs {
    /// The results of the shards
    #[arg(required = true, value_name = "RESULTS")]
    results: Vec<PathBuf>,
}

impl MatrixArgs {
    /// Runs the subcommand.
    pub fn run(self) -> Result<CommandExit, UserError> {
        let cases = self.selection.cases()?;
        let choices = self.choices()?;
        self.check_files(&choices)?;
        let types = VmlinuxFiles::read(&self.vmlinux)?.any();
        let output = self.results.as_deref();
        let output = output.map(|path| Output::at(path, "results")).transpose()?;
        // In the table by release each run has the image that it is for.
        let cases = match self.releases {
            true => releases::runs(&cases),
            false => cases,
        };
        let kernels = self.selection.kernels(&cases, &choices)?;
        let columns = choices.iter().zip(&kernels);
        let columns = columns.map(|(choice, kernels)| Column::new(name(choice), kernels));
        let sanitize = self.selection.sanitize.as_ref();
        let mut matrix = Matrix::new(self.selection.host(), &cases, columns.collect(), sanitize);
        matrix.releases = self.releases.then(|| Layout::new(&cases));
        enter_sandbox(&kernels, [&self.results], None, self.selection.jobs())?;
        let runs = self.run_shard(&matrix, &cases, &kernels, &types)?;
        match output {
            None => Ok(show(&matrix, &runs.into_values().collect::<Vec<_>>())),
            Some(output) => {
                let seen: Vec<Seen> = runs.values().cloned().collect();
                let part = Part::new(matrix, self.shard.unwrap_or_default(), runs);
                let text = serde_json::to_vec(&part).map_err(|e| UserError::new(e.to_string()))?;
                output.save(&text)?;
                Ok(conclude(&seen, Seen::has_verdict))
            }
        }
    }

    /// Returns the kernels that are named: one for each column.
    fn choices(&self) -> Result<Vec<KernelChoice>, UserError> {
        let mut choices = vec![KernelChoice::OfImage];
        choices.extend(self.image.iter().cloned().map(KernelChoice::Image));
        for text in &self.kernel {
            let (path, module) = match text.split_once(',') {
                Some((path, module)) => (path, Some(module.into())),
                None => (text.as_str(), None),
            };
            if path.is_empty() || text.ends_with(',') {
                return Err(UserError::new(format!(
                    "--kernel {text:?} names no file: write FILE or FILE,MODULE"
                )));
            }
            choices.push(KernelChoice::File {
                path: path.into(),
                module,
            });
        }
        Ok(choices)
    }

    /// Runs what of the matrix is the shard's, column by column, and shows each run as it ends.
    fn run_shard(
        &self,
        matrix: &Matrix,
        cases: &[Case],
        kernels: &[Kernels],
        types: &TypesFrom,
    ) -> Result<BTreeMap<u64, Seen>, UserError> {
        // Of a matrix that is not divided all is.
        let shard = self.shard.unwrap_or_default();
        let mut runs = BTreeMap::new();
        for (number, (column, kernels)) in (0..).zip(matrix.columns.iter().zip(kernels)) {
            heading(matrix, number, column);
            let first = number * cases.len() as u64;
            let numbered = (first..).zip(cases).filter(|(run, _)| shard.has(*run));
            let (numbers, cases): (Vec<u64>, Vec<Case>) =
                numbered.map(|(run, case)| (run, case.clone())).unzip();
            let verdicts = self.selection.judge(&cases, kernels, types)?;
            runs.extend(numbers.into_iter().zip(verdicts.iter().map(Seen::new)));
        }
        Ok(runs)
    }

    /// Refuses an output that would take another file's place.
    fn check_files(&self, choices: &[KernelChoice]) -> Result<(), UserError> {
        let mut files = Files::default();
        let names = self.selection.names.iter();
        for name in names.filter(|name| Lab::is_file(name)) {
            files.input("scenario", Path::new(name));
        }
        for choice in choices {
            if let KernelChoice::File { path, module } = choice {
                files.input("kernel", path);
                files.inputs("module", module);
            }
        }
        files.inputs("vmlinux", &self.vmlinux);
        files.output("--results", self.results.as_deref());
        files.check()
    }
}

/// Shows which kernel a column is of. The table by release has one column, of many kernels.
fn heading(matrix: &Matrix, number: u64, column: &Column) {
    if matrix.releases.is_none() {
        print(&format!("kernel {number}: {}\n", column.name));
    }
}

/// Shows the table of a matrix of which all runs have ended, and returns the exit code.
fn show(matrix: &Matrix, seen: &[Seen]) -> CommandExit {
    let text = match &matrix.releases {
        Some(layout) => {
            let cells: Vec<String> = seen.iter().map(cell).collect();
            format!("\n{}{MARKS}", by_release(layout, &cells))
        }
        None => grid(matrix, seen),
    };
    print(&text);
    conclude(seen, Seen::has_verdict)
}

impl MergeArgs {
    /// Runs the subcommand.
    pub fn run(self) -> Result<CommandExit, UserError> {
        let parts = self
            .results
            .iter()
            .map(|path| Ok((path.display().to_string(), read(path)?)));
        let parts = parts.collect::<Result<_, UserError>>()?;
        let (matrix, seen) = matrix::merge(parts).map_err(|e| UserError::new(e.to_string()))?;
        // All that one machine would have shown, in its order.
        let mut left = seen.iter();
        for (number, column) in (0..).zip(&matrix.columns) {
            heading(&matrix, number, column);
            for (case, seen) in matrix.cases.iter().zip(left.by_ref()) {
                print(&line(case, seen));
            }
        }
        Ok(show(&matrix, &seen))
    }
}

/// Reads the results of a shard.
fn read(path: &Path) -> Result<Part, UserError> {
    let unusable = |why: &dyn std::fmt::Display| {
        UserError::new(format!("cannot use the results {}: {why}", path.display()))
    };
    let file = input::open_stream(path).map_err(|why| unusable(&why))?;
    let mut text = Vec::new();
    // One byte more than is allowed shows that there is more.
    let read = file.take(MAX_RESULTS + 1).read_to_end(&mut text);
    read.map_err(|why| unusable(&why))?;
    if text.len() as u64 > MAX_RESULTS {
        return Err(unusable(&"they are larger than 64 MiB"));
    }
    serde_json::from_slice(&text).map_err(|why| {
        unusable(&format!(
            "they are no results of `vmm lab matrix --shard`: {why}"
        ))
    })
}

/// Returns a table with a line for each case and a column for each kernel; marked where it is not
/// as expected.
fn grid(matrix: &Matrix, seen: &[Seen]) -> String {
    let mut text = format!("\n{:44}", "");
    for number in 0..matrix.columns.len() {
        text.push_str(&format!(" {:11}", format!("kernel {number}")));
    }
    text.push('\n');
    for (index, case) in matrix.cases.iter().enumerate() {
        text.push_str(&format!("{case:44}"));
        // A column has a verdict for every case, in the order of the cases.
        for seen in seen.iter().skip(index).step_by(matrix.cases.len()) {
            text.push_str(&format!(" {:11}", cell(seen)));
        }
        text.push('\n');
    }
    text.push_str(MARKS);
    text
}

/// What marks in a table of verdicts mean.
const MARKS: &str =
    "* not the expected verdict, ~ the expected verdict by other signs, ? not judged\n";

/// Returns the verdict of a run as in a table, marked where it is not as expected.
fn cell(seen: &Seen) -> String {
    match seen {
        Seen::Judged { health, .. } if seen.is_expected() => health.to_string(),
        Seen::Judged { health, .. } if seen.has_verdict() => format!("{health}~"),
        Seen::Judged { health, .. } => format!("{health}*"),
        Seen::Undecided(_) => "?".into(),
    }
}
