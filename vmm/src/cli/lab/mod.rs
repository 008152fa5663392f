//! `vmm lab`: scenarios of a device's DMA at setup and teardown, run and judged.

mod debug;
mod matrix;
mod selection;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;
use vmm::KernelChoice;
use vmm::lab::matrix::Seen;
use vmm::lab::releases::{self, Layout};
use vmm::lab::{Case, Judged, Lab, LabError, Sanitized, Undecided, junit, signs};
use vmm::sanitizer::Kind;
use vmm::timeline::export;

use self::matrix::{MatrixArgs, MergeArgs};
use self::selection::{Selection, enter_sandbox};
use super::files::Files;
use super::gdb::GdbAddress;
use super::output::Output;
use super::stdout::print;
use super::travel::TravelArgs;
use super::vmlinux::VmlinuxFiles;
use super::{CommandExit, UserError};

/// Show what a kernel does to a device's DMA when a probe is deferred or fails, or a driver is
/// taken away.
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER_HELP)]
pub enum Command {
    /// List the scenarios, or the words that can be expected in one
    List {
        /// The signs that a scenario can ask for
        #[arg(long)]
        signs: bool,
        /// The verdicts that are expected of unmodified kernels, as a table: scenarios by release
        #[arg(long, conflicts_with = "signs")]
        releases: bool,
    },
    /// Run scenarios and compare what is seen with what they expect
    Run(Box<RunArgs>),
    /// Run scenarios on several kernels and print how each went
    Matrix(MatrixArgs),
    /// Merge the results of all shards of a matrix: what is printed is what one machine prints
    Merge(MergeArgs),
}

const AFTER_HELP: &str = "\
Examples:
  vmm lab list
  vmm lab run deferral.shared --report report
  vmm lab run deferral.shared.stock.off --kernel arch/arm/boot/zImage --module drivers/clk/clk-axi-clkgen.ko
  vmm lab run my-scenario.toml
  vmm lab run --all --sanitize dma
  vmm lab matrix --all --releases
  vmm lab matrix deferral.shared --image ipmmu-5.10 --image ipmmu-6.12 --kernel zImage,clk-axi-clkgen.ko
  vmm lab matrix --all --shard 1/3 --results 1.json
  vmm lab merge 1.json 2.json 3.json

Exit codes, as `git bisect run` wants them:
  0    everything is as expected (in a matrix: every verdict is)
  1    something is not
  2    a mistake in the arguments or files, told in one sentence
  125  nothing was unexpected, but something could not be judged: the kernel does not boot or has no symbols";

/// `vmm lab run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    selection: Selection,
    /// Run on this kernel, a zImage or raw Image, in place of the scenario's
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Run on the kernel of this image, such as ipmmu-6.12, in place of the scenario's
    #[arg(long, value_name = "NAME", conflicts_with = "kernel")]
    image: Option<String>,
    /// The module clk-axi-clkgen.ko built for that kernel, for scenarios with late clocks
    #[arg(long, value_name = "FILE", requires = "kernel")]
    module: Option<PathBuf>,
    /// The vmlinux with debug information of that very kernel, for one without types in its image
    /// (CONFIG_DEBUG_INFO_BTF). Or the name of an image whose debug information was fetched
    #[arg(long, value_name = "FILE")]
    vmlinux: Option<PathBuf>,
    /// Write a report on each group of cases to this directory
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Write the results to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the results to this file, as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Judge nothing, and wait for a debugger (GDB) at this port: one case, whose kernel is not
    /// changed by probes
    #[arg(long, value_name = "[ADDRESS:]PORT", conflicts_with_all = ["report", "json", "junit", "vmlinux", "sanitize"])]
    gdb: Option<GdbAddress>,
    #[command(flatten)]
    travel: TravelArgs,
}

/// The result of a case.
type Verdict = Result<Judged, Undecided>;

/// Runs the subcommand.
pub fn run(command: Command) -> Result<CommandExit, UserError> {
    match command {
        Command::List { releases: true, .. } => list_releases(),
        Command::List { signs, .. } => list(signs),
        Command::Run(args) => args.run(),
        Command::Matrix(args) => args.run(),
        Command::Merge(args) => args.run(),
    }
}

fn list(only_signs: bool) -> Result<CommandExit, UserError> {
    let mut out = String::new();
    if only_signs {
        for (prefix, list) in [("", &signs::MACHINE[..]), ("X-", &signs::DEVICE[..])] {
            for sign in list {
                let name = format!("{prefix}{}", sign.name);
                out.push_str(&format!("{name:22} {}\n", sign.meaning));
            }
        }
        // They are expected as `mistakes`, and found with --sanitize.
        for kind in Kind::ALL {
            let name = format!("X-{kind}");
            out.push_str(&format!("{name:22} {}\n", signs::mistake_meaning(kind)));
        }
    } else {
        let lab = Lab::shipped()?;
        for case in lab.cases().iter().chain(lab.arm64()) {
            out.push_str(&format!("{:44} {}\n", case.name, case.expect.verdict));
        }
    }
    print(&out);
    Ok(CommandExit::Success)
}

/// Shows the verdicts that scenarios expect of unmodified kernels, release by release.
fn list_releases() -> Result<CommandExit, UserError> {
    let runs = releases::runs(Lab::shipped()?.cases());
    let expected = runs.iter().map(|case| case.expect.verdict.to_string());
    let expected: Vec<String> = expected.collect();
    print(&by_release(&Layout::new(&runs), &expected));
    Ok(CommandExit::Success)
}

/// Returns the table of scenarios by release, with a text for each run.
fn by_release(layout: &Layout, texts: &[String]) -> String {
    format!(
        "{}- no run: the scenario names no kernel of that release for that IOMMU\n",
        layout.table(texts)
    )
}

/// Returns a line for a case and what became of it.
fn line(case: &str, seen: &Seen) -> String {
    match seen {
        Seen::Judged {
            health,
            signs,
            problems,
            mistakes,
            ..
        } => {
            let mark = if seen.is_expected() { "ok  " } else { "FAIL" };
            let (health, signs) = (health.to_string(), signs.join(" "));
            let mut text = format!("{mark} {case:44} {health:9} {signs}\n");
            for problem in problems.iter().chain(mistakes) {
                text.push_str(&format!("     {problem}\n"));
            }
            text
        }
        Seen::Undecided(why) => format!("??   {case:44} not judged: {why}\n"),
    }
}

impl RunArgs {
    /// Refuses outputs that would take another file's place.
    fn check_files(&self, cases: &[Case]) -> Result<(), UserError> {
        let mut files = Files::default();
        let names = self.selection.names.iter();
        for name in names.filter(|name| Lab::is_file(name)) {
            files.input("scenario", Path::new(name));
        }
        files.inputs("kernel", &self.kernel);
        files.inputs("module", &self.module);
        files.inputs("vmlinux", &self.vmlinux);
        files.output("--json", self.json.as_deref());
        files.output("--junit", self.junit.as_deref());
        if let Some(directory) = &self.report {
            let groups: BTreeSet<&str> = cases.iter().map(|case| case.group.as_str()).collect();
            files.reports("--report", directory, groups);
        }
        files.check()
    }

    fn run(self) -> Result<CommandExit, UserError> {
        self.travel.need(self.gdb.is_some())?;
        let judges = [&self.report, &self.json, &self.junit, &self.vmlinux];
        if self.travel.asks() && judges.iter().any(|path| path.is_some()) {
            return Err(UserError::new(
                "where --ask is answered nothing is judged: leave --report, --json, --junit and --vmlinux out",
            ));
        }
        let cases = self.selection.cases()?;
        // Before an output is begun, and before hours of runs: none may take an input's place.
        self.check_files(&cases)?;
        let vmlinux = VmlinuxFiles::read(&self.vmlinux)?;
        let (json, junit) = Output::results(self.json.as_deref(), self.junit.as_deref())?;
        let choice = match (&self.kernel, &self.image) {
            (Some(path), _) => KernelChoice::File {
                path: path.clone(),
                module: self.module.clone(),
            },
            (None, Some(image)) => KernelChoice::Image(image.clone()),
            (None, None) => KernelChoice::OfImage,
        };
        if let Some(directory) = &self.report {
            Output::check_directory(directory, "report directory")?;
        }
        let kernels = self
            .selection
            .kernels(&cases, std::slice::from_ref(&choice))?;
        for kernel in kernels.iter().flat_map(BTreeMap::values) {
            vmlinux.check(&kernel.path)?;
        }
        if self.gdb.is_some() || self.travel.asks() {
            return self.debug(&cases, &kernels[0], self.gdb);
        }
        let outputs = [&self.json, &self.junit];
        let jobs = self.selection.jobs();
        enter_sandbox(&kernels, outputs, self.report.as_deref(), jobs)?;
        // One choice of kernel was given, so that there is one map.
        let types = vmlinux.only();
        let verdicts = self.selection.judge(&cases, &kernels[0], &types)?;
        for (case, verdict) in cases.iter().zip(&verdicts) {
            let unexpected = |judged: &Judged| !judged.judgement.is_expected();
            // Of many cases only those that somebody will look into.
            if cases.len() == 1 || verdict.as_ref().is_ok_and(unexpected) {
                self.print_hint(case, verdict);
            }
        }
        if let Some(directory) = &self.report {
            reports(directory, &cases, &verdicts)?;
        }
        if let Some(output) = json {
            let results: Vec<Entry<'_>> = cases.iter().zip(&verdicts).map(Entry::new).collect();
            let text = serde_json::to_string_pretty(&results)
                .map_err(|error| UserError::new(error.to_string()))?;
            output.save(text.as_bytes())?;
        }
        if let Some(output) = junit {
            let results: Vec<junit::CaseResult<'_>> = cases
                .iter()
                .zip(&verdicts)
                .map(|(case, verdict)| (case.name.as_str(), verdict.as_ref()))
                .collect();
            let kernel = name(&choice);
            let mut text = Vec::new();
            // Writing to memory cannot fail.
            let _ = junit::write(&kernel, &results, &mut text);
            output.save(&text)?;
        }
        let seen: Vec<Seen> = verdicts.iter().map(Seen::new).collect();
        Ok(conclude(&seen, Seen::is_expected))
    }
}

/// Returns what a kernel is called in results.
fn name(choice: &KernelChoice) -> String {
    match choice {
        KernelChoice::OfImage => "the scenario's own kernel".into(),
        KernelChoice::Image(name) => name.clone(),
        // Whoever reads the results is in another directory.
        KernelChoice::File { path, .. } => std::path::absolute(path)
            .unwrap_or_else(|_| path.clone())
            .display()
            .to_string(),
    }
}

/// Prints how many cases went how, and returns the exit code.
fn conclude(seen: &[Seen], good: impl Fn(&Seen) -> bool) -> CommandExit {
    let undecided = |seen: &&Seen| matches!(seen, Seen::Undecided(_));
    let undecided = seen.iter().filter(undecided).count();
    let wrong = seen.iter().filter(|seen| !good(seen)).count() - undecided;
    let instructions = seen.iter().map(|seen| match seen {
        Seen::Judged { instructions, .. } => *instructions,
        Seen::Undecided(_) => 0,
    });
    // What is merged may be any numbers.
    let instructions = instructions.fold(0, u64::saturating_add);
    print(&format!(
        "{} run ({} M instructions): {} as expected, {wrong} not, {undecided} not judged\n",
        seen.len(),
        instructions / 1_000_000,
        seen.len() - wrong - undecided,
    ));
    match (wrong, undecided) {
        (0, 0) => CommandExit::Success,
        // `git bisect run` skips a commit with this code, and takes one that failed for bad.
        (0, _) => CommandExit::Undecided,
        _ => CommandExit::GuestFailure,
    }
}

/// Writes one report for the cases that differ only in the kernel's behaviour.
fn reports(directory: &Path, cases: &[Case], verdicts: &[Verdict]) -> Result<(), UserError> {
    let mut groups: BTreeMap<&str, Vec<Judged>> = BTreeMap::new();
    for (case, verdict) in cases.iter().zip(verdicts) {
        if let Ok(judged) = verdict {
            groups.entry(&case.group).or_default().push(judged.clone());
        }
    }
    for (name, group) in groups {
        // A group is made for its first case, and never empty.
        let case = &group[0].case;
        let title = format!(
            "{}: {}, fw_devlink={}",
            case.title, case.topology.about, case.fw_devlink
        );
        let report = vmm::lab::report(title, &group);
        let written = export::write_all(directory, name, &report)
            .map_err(|error| UserError::new(error.to_string()))?;
        print(&format!("report: {}\n", written.html.display()));
    }
    Ok(())
}

/// A case in the JSON results.
#[derive(Serialize)]
struct Entry<'r> {
    name: &'r str,
    expected: &'r vmm::lab::spec::Expectation,
    kernel_sha256: Option<&'r str>,
    judgement: Option<&'r vmm::lab::Judgement>,
    undecided: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sanitizer: Option<&'r Sanitized>,
    changes: &'r [vmm::timeline::GuestChange],
    findings: &'r [vmm::timeline::Finding],
    guest_ns: Option<u64>,
}

impl<'r> Entry<'r> {
    fn new((case, verdict): (&'r Case, &'r Verdict)) -> Self {
        let judged = verdict.as_ref().ok();
        Self {
            name: &case.name,
            expected: &case.expect,
            kernel_sha256: judged.map(|judged| judged.run.machine.sha256.as_str()),
            judgement: judged.map(|judged| &judged.judgement),
            undecided: verdict.as_ref().err().map(ToString::to_string),
            sanitizer: judged.and_then(|judged| judged.sanitized.as_ref()),
            changes: judged.map_or(&[], |judged| &judged.run.changes),
            findings: judged.map_or(&[], |judged| &judged.run.findings),
            guest_ns: judged.map(|judged| judged.run.timeline.end),
        }
    }
}

impl From<LabError> for UserError {
    fn from(error: LabError) -> Self {
        Self::new(error.to_string())
    }
}
