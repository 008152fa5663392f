//! `vmm lab`: scenarios of a device's DMA at setup and teardown, run and judged.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Subcommand;
use guest_images::Cache;
use serde::Serialize;
use vmm::Accel;
use vmm::lab::{Case, Host, Judged, Kernel, KernelChoice, Lab, LabError, Undecided, junit, signs};
use vmm::observe::export;

use super::boot::width;
use super::files::Files;
use super::install::{self, Install};
use super::output::Output;
use super::sandbox::{self, Policy, SandboxArgs};
use super::stdout::print;
use super::values::word;
use super::{Outcome, UserError};

/// Show what a kernel does to a device's DMA when a probe is deferred or fails, or a driver is taken away.
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER_HELP)]
pub enum Command {
    /// List the scenarios, or the words that can be expected in one
    List {
        /// The signs that a scenario can ask for
        #[arg(long)]
        signs: bool,
    },
    /// Run scenarios and compare what is seen with what they expect
    Run(RunArgs),
    /// Run scenarios on several kernels and print how each went
    Matrix(MatrixArgs),
}

const AFTER_HELP: &str = "\
Examples:
  vmm lab list
  vmm lab run deferral.shared --report report
  vmm lab run deferral.shared.stock.off --kernel arch/arm/boot/zImage --module drivers/clk/clk-axi-clkgen.ko
  vmm lab run my-scenario.toml
  vmm lab matrix deferral.shared --image ipmmu-5.10 --image ipmmu-6.12 --kernel zImage,clk-axi-clkgen.ko

Exit codes, as `git bisect run` wants them:
  0    everything is as expected (in a matrix: every verdict is)
  1    something is not
  2    a mistake in the arguments or files, told in one sentence
  125  nothing was unexpected, but something could not be judged: the kernel does not boot or has no symbols";

/// Which cases, on what.
#[derive(Debug, clap::Args)]
pub struct Selection {
    /// Scenarios: names from `vmm lab list`, beginnings of such names up to a dot, or files
    #[arg(value_name = "NAME|FILE", required_unless_present = "all")]
    names: Vec<String>,
    /// All scenarios that are shipped; those of arm64 kernels only with --accel
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// How many to run at once [default: one a core]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Who executes the guests: emulated (in virtual time), kvm (the host's processor, in its time), or auto [default: emulated]
    #[arg(long, value_name = "auto|emulated|kvm", value_parser = word::<Accel>, default_value = "emulated", hide_default_value = true)]
    accel: Accel,
    /// In the host's time, how many times as long as written a run may take
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100), default_value_t = 1)]
    patience: u32,
    #[command(flatten)]
    install: Install,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

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
    /// Write a report on each group of cases to this directory
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Write the results to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the results to this file, as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// `vmm lab matrix`.
#[derive(Debug, clap::Args)]
pub struct MatrixArgs {
    #[command(flatten)]
    selection: Selection,
    /// An image to run on the kernel of, besides the scenario's own
    #[arg(long, value_name = "NAME")]
    image: Vec<String>,
    /// A kernel to run on, besides the scenario's own; `FILE` or `FILE,MODULE`, where MODULE is its clk-axi-clkgen.ko
    #[arg(long, value_name = "FILE[,MODULE]")]
    kernel: Vec<String>,
}

/// What became of a case.
type Verdict = Result<Judged, Undecided>;

/// Runs the subcommand.
pub fn run(command: Command) -> Result<Outcome, UserError> {
    match command {
        Command::List { signs } => list(signs),
        Command::Run(args) => args.run(),
        Command::Matrix(args) => args.run(),
    }
}

fn list(only_signs: bool) -> Result<Outcome, UserError> {
    let mut out = String::new();
    if only_signs {
        for (prefix, list) in [("", &signs::MACHINE[..]), ("X-", &signs::DEVICE[..])] {
            for sign in list {
                let name = format!("{prefix}{}", sign.name);
                out.push_str(&format!("{name:20} {}\n", sign.meaning));
            }
        }
    } else {
        let lab = Lab::shipped()?;
        for case in lab.cases().iter().chain(lab.arm64()) {
            out.push_str(&format!("{:44} {}\n", case.name, case.expect.verdict));
        }
    }
    print(&out);
    Ok(Outcome::Success)
}

impl Selection {
    fn host(&self) -> Host {
        Host {
            accel: self.accel,
            // Virtual time is the same on every host.
            patience: match self.accel {
                Accel::Emulated => 1,
                Accel::Auto | Accel::Kvm => self.patience,
            },
        }
    }

    fn cases(&self) -> Result<Vec<Case>, UserError> {
        let lab = Lab::shipped()?;
        if self.all {
            let mut cases = lab.cases().to_vec();
            if self.accel != Accel::Emulated {
                cases.extend_from_slice(lab.arm64());
            }
            return Ok(cases);
        }
        let mut cases = Vec::new();
        for name in &self.names {
            cases.extend(lab.select(name)?);
        }
        Ok(cases)
    }

    /// Sees to it that this host has what obtaining the images of all these runs takes, before the first run.
    fn prepare_host(&self, cases: &[Case], choices: &[KernelChoice]) -> Result<(), UserError> {
        self.install.apply();
        self.sandbox.apply();
        let mut images = BTreeSet::new();
        for choice in choices {
            match choice {
                KernelChoice::Image(name) => drop(images.insert(name.as_str())),
                KernelChoice::OfImage | KernelChoice::File { .. } => {
                    images.extend(cases.iter().map(|case| case.machine.image.as_str()));
                }
            }
        }
        let images: Vec<&str> = images.into_iter().collect();
        install::prepare_host(&Cache::open()?, &images)
    }

    /// Finds every mistake that can be found before anything is obtained.
    fn check(&self, cases: &[Case], choices: &[KernelChoice]) -> Result<(), UserError> {
        let host = self.host();
        host.check()?;
        for choice in choices {
            for case in cases {
                let image = choice.check(&case.machine.image);
                let image = image.map_err(|why| UserError::new(why.to_string()))?;
                vmm::lab::check(host, case, image, width(image)?)?;
            }
        }
        Ok(())
    }

    /// The kernels for all runs, by image; one map for each choice. Obtained before the first guest runs, as a process that
    /// runs guests obtains nothing any more.
    fn kernels(&self, cases: &[Case], choices: &[KernelChoice]) -> Result<Vec<Kernels>, UserError> {
        self.check(cases, choices)?;
        self.prepare_host(cases, choices)?;
        choices.iter().map(|choice| obtain(cases, choice)).collect()
    }

    /// Runs `cases`, several at once, and shows each as it ends, in their order.
    fn judge(&self, cases: &[Case], kernels: &Kernels) -> Result<Vec<Verdict>, UserError> {
        let host = self.host();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self
            .jobs
            .map_or(cores, usize::from)
            .clamp(1, cases.len().max(1));
        let next = AtomicUsize::new(0);
        let done: Mutex<BTreeMap<usize, Verdict>> = Mutex::default();
        let shown = Mutex::new(0_usize);
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(case) = cases.get(index) else {
                    return;
                };
                let verdict = vmm::lab::run_on(host, case, &kernels[&case.machine.image]);
                let mut shown = shown.lock().unwrap_or_else(|e| e.into_inner());
                let mut done = done.lock().unwrap_or_else(|e| e.into_inner());
                done.insert(index, verdict);
                while let Some(verdict) = done.get(&*shown) {
                    print(&line(&cases[*shown], verdict));
                    *shown += 1;
                }
            }
        };
        std::thread::scope(|scope| vmm::thread::spawn_several(scope, "lab", jobs, work))?;
        let done = done.into_inner().unwrap_or_else(|e| e.into_inner());
        Ok(done.into_values().collect())
    }
}

/// The kernels of one choice, by image.
type Kernels = BTreeMap<String, Kernel>;

/// Obtains the kernels of one choice.
fn obtain(cases: &[Case], choice: &KernelChoice) -> Result<Kernels, UserError> {
    let mut kernels = Kernels::new();
    for case in cases {
        let image = &case.machine.image;
        if !kernels.contains_key(image) {
            let kernel = Kernel::obtain(image, choice, &mut install::terminal());
            let kernel = kernel.map_err(|e| UserError::new(e.to_string()))?;
            kernels.insert(image.clone(), kernel);
        }
    }
    Ok(kernels)
}

/// Restricts this process to what guests of these kernels take, and to its own outputs.
fn enter_sandbox<'p>(
    kernels: &[Kernels],
    outputs: impl IntoIterator<Item = &'p Option<PathBuf>>,
    report: Option<&Path>,
) -> Result<(), UserError> {
    let mut policy = Policy::of_images()?;
    for kernel in kernels.iter().flat_map(BTreeMap::values) {
        policy.read(&kernel.path);
    }
    for path in outputs {
        policy.output(path.as_deref());
    }
    if let Some(directory) = report {
        let made = std::fs::create_dir_all(directory);
        made.map_err(|error| {
            let name = directory.display();
            UserError::new(format!("cannot make the report directory {name}: {error}"))
        })?;
        policy.directory(directory);
    }
    policy.enter()?;
    sandbox::filter()
}

/// A case and what became of it.
fn line(case: &Case, verdict: &Verdict) -> String {
    match verdict {
        Ok(judged) => {
            let judgement = &judged.judgement;
            let mark = if judgement.is_expected() {
                "ok  "
            } else {
                "FAIL"
            };
            let signs: Vec<&str> = judgement.signs.iter().map(String::as_str).collect();
            let mut text = format!(
                "{mark} {:44} {:9} {}\n",
                case.name,
                judgement.health.to_string(),
                signs.join(" ")
            );
            for problem in &judgement.problems {
                text.push_str(&format!("     {problem}\n"));
            }
            text
        }
        Err(why) => format!("??   {:44} not judged: {why}\n", case.name),
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
        files.output("--json", self.json.as_deref());
        files.output("--junit", self.junit.as_deref());
        if let Some(directory) = &self.report {
            let groups: BTreeSet<&str> = cases.iter().map(|case| case.group.as_str()).collect();
            files.reports("--report", directory, groups);
        }
        files.check()
    }

    fn run(self) -> Result<Outcome, UserError> {
        let cases = self.selection.cases()?;
        self.check_files(&cases)?;
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
        enter_sandbox(&kernels, [&self.json, &self.junit], self.report.as_deref())?;
        let verdicts = self.selection.judge(&cases, &kernels[0])?;
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
            let results: Vec<junit::Outcome<'_>> = cases
                .iter()
                .zip(&verdicts)
                .map(|(case, verdict)| (case.name.as_str(), verdict.as_ref()))
                .collect();
            let kernel = name(&choice);
            let mut text = Vec::new();
            // Memory takes all.
            let _ = junit::write(&kernel, &results, &mut text);
            output.save(&text)?;
        }
        Ok(conclude(&verdicts, |judged| judged.judgement.is_expected()))
    }
}

/// What a kernel is called in results.
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

/// Counts, says so, and gives the exit code.
fn conclude(verdicts: &[Verdict], good: impl Fn(&Judged) -> bool) -> Outcome {
    let undecided = verdicts.iter().filter(|verdict| verdict.is_err()).count();
    let wrong = verdicts
        .iter()
        .filter(|verdict| matches!(verdict, Ok(judged) if !good(judged)))
        .count();
    let instructions: u64 = verdicts
        .iter()
        .flatten()
        .map(|judged| judged.instructions)
        .sum();
    print(&format!(
        "{} run ({} M instructions): {} as expected, {wrong} not, {undecided} not judged\n",
        verdicts.len(),
        instructions / 1_000_000,
        verdicts.len() - wrong - undecided,
    ));
    match (wrong, undecided) {
        (0, 0) => Outcome::Success,
        (0, _) => Outcome::Undecided,
        _ => Outcome::GuestFailure,
    }
}

/// One report for the cases that differ only in the kernel's behaviour.
fn reports(directory: &Path, cases: &[Case], verdicts: &[Verdict]) -> Result<(), UserError> {
    let mut groups: BTreeMap<&str, Vec<Judged>> = BTreeMap::new();
    for (case, verdict) in cases.iter().zip(verdicts) {
        if let Ok(judged) = verdict {
            groups.entry(&case.group).or_default().push(judged.clone());
        }
    }
    for (name, group) in groups {
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
    changes: &'r [vmm::observe::timeline::GuestChange],
    findings: &'r [vmm::observe::timeline::Finding],
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
            changes: judged.map_or(&[], |judged| &judged.run.changes),
            findings: judged.map_or(&[], |judged| &judged.run.findings),
            guest_ns: judged.map(|judged| judged.run.timeline.end),
        }
    }
}

impl MatrixArgs {
    fn run(self) -> Result<Outcome, UserError> {
        let cases = self.selection.cases()?;
        let mut choices = vec![KernelChoice::OfImage];
        choices.extend(self.image.iter().cloned().map(KernelChoice::Image));
        for text in &self.kernel {
            let (path, module) = match text.split_once(',') {
                Some((path, module)) => (path, Some(module.into())),
                None => (text.as_str(), None),
            };
            if path.is_empty() {
                return Err(UserError::new(format!(
                    "--kernel {text:?} names no file: write FILE or FILE,MODULE"
                )));
            }
            choices.push(KernelChoice::File {
                path: path.into(),
                module,
            });
        }
        let kernels = self.selection.kernels(&cases, &choices)?;
        enter_sandbox(&kernels, [], None)?;
        let mut columns = Vec::new();
        for (choice, kernels) in choices.iter().zip(&kernels) {
            print(&format!("kernel {}: {}\n", columns.len(), name(choice)));
            columns.push(self.selection.judge(&cases, kernels)?);
        }
        print(&grid(&cases, &columns));
        Ok(conclude(&columns.concat(), has_verdict))
    }
}

/// Whether the verdict is the expected one. The signs that lead to it differ from kernel to kernel.
fn has_verdict(judged: &Judged) -> bool {
    judged.judgement.health == judged.case.expect.verdict
}

/// A line a case, a column a kernel; marked where it is not as expected.
fn grid(cases: &[Case], columns: &[Vec<Verdict>]) -> String {
    let mut text = format!("\n{:44}", "");
    for number in 0..columns.len() {
        text.push_str(&format!(" {:11}", format!("kernel {number}")));
    }
    text.push('\n');
    for (index, case) in cases.iter().enumerate() {
        text.push_str(&format!("{:44}", case.name));
        for column in columns {
            let cell = match &column[index] {
                Ok(judged) if judged.judgement.is_expected() => judged.judgement.health.to_string(),
                Ok(judged) if has_verdict(judged) => format!("{}~", judged.judgement.health),
                Ok(judged) => format!("{}*", judged.judgement.health),
                Err(_) => "?".into(),
            };
            text.push_str(&format!(" {cell:11}"));
        }
        text.push('\n');
    }
    text.push_str(
        "* not the expected verdict, ~ the expected verdict by other signs, ? not judged\n",
    );
    text
}

impl From<LabError> for UserError {
    fn from(error: LabError) -> Self {
        Self::new(error.to_string())
    }
}
