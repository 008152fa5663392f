//! `vmm inject`: fault plans, and campaigns of runs that follow them.

mod merge;
mod outputs;
mod signals;

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use sha2::{Digest, Sha256};
use vmm::campaign::campaign::{self, Difference, MAX_RUNS, Prepared, RetentionPolicy};
use vmm::campaign::journal::{Header, Journal, Part};
use vmm::campaign::run::{Record, Task};
use vmm::campaign::scenario::Scenario;
use vmm::campaign::start::{Boot, Forked, Start};
use vmm::campaign::{Outcome as RunOutcome, Shard, Summary};
use vmm::faults::plan::{self, SHIPPED};
use vmm::faults::spec::Plan;
use vmm::{GuestKernel, KernelChoice};

use self::outputs::{Outputs, ResultArgs};
use self::signals::Signals;
use super::files::Files;
use super::host::HostArgs;
use super::install;
use super::probes::Timeline;
use super::sandbox::{self, Policy};
use super::stdout::print;
use super::values::jobs_or_cores;
use super::vmlinux::VmlinuxFiles;
use super::{CommandExit, UserError, text};

/// Run a guest many times with faults injected by a plan, and classify what becomes of it.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// A plan: a name from `--list`, or a file
    #[arg(required_unless_present = "list")]
    plan: Option<String>,
    /// List the plans that are shipped
    #[arg(long, conflicts_with = "plan")]
    list: bool,
    /// How many runs [default: 100, or every point with --systematic]
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// How many to run at once [default: one a core]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// The seed that every run's own seed is made from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Walk every point of the scenario once: each fault of the plan at each point that it is about
    #[arg(long)]
    systematic: bool,
    /// Boot the guest for each run, and do not go on from a snapshot
    #[arg(long)]
    reboot: bool,
    /// Run the K-th of N shards of the campaign, each of which runs on any machine, and keep its
    /// journal for `vmm inject merge`
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
    /// Repeat this run only
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["runs", "jobs", "json", "junit", "report", "journal", "resume", "shard"]
    )]
    run: Option<u64>,
    /// Write the timeline of that run to this file (.html, .txt, .json or .trace.json)
    #[arg(long, value_name = "FILE", requires = "run")]
    timeline: Option<PathBuf>,
    /// The vmlinux of the scenario's kernel, with its debug information: the structures that
    /// conditions of the plan look at, for a kernel without types in its image. Or the name of an
    /// image, after `vmm images fetch --debug-info NAME`
    #[arg(long, value_name = "FILE")]
    vmlinux: Option<PathBuf>,
    #[command(flatten)]
    results: ResultArgs,
    /// Keep the journal, a line for each run as it ends, in this file
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Go on with the campaign in the journal
    #[arg(long)]
    resume: bool,
    /// Then do N of the runs again, evenly chosen, and compare them
    #[arg(long, value_name = "N", conflicts_with = "run")]
    recheck: Option<NonZeroUsize>,
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Merge(merge::Args),
}

const AFTER_HELP: &str = "\
Examples:
  vmm inject --list
  vmm inject flush --runs 200 --report report
  vmm inject flush --systematic
  vmm inject flush --seed 1 --run 17 --timeline run.html
  vmm inject my-plan.toml --runs 1000 --deny hang,crash --junit results.xml
  vmm inject flush --runs 1000 --recheck 20
  vmm inject flush --runs 1000 --shard 1/3 --journal 1.jsonl
  vmm inject merge 1.jsonl 2.jsonl 3.jsonl --report report

Exit codes:
  0  the campaign is done, and no run ended in a way that was denied
  1  one did, or the machine failed in one, which is a bug of ours, or a repeated run was another than it had been
  2  a mistake in the arguments or files, told in one sentence
  128+N  ended by signal N; --resume goes on with it";

/// Runs of a campaign that does not say how many.
const DEFAULT_RUNS: u64 = 100;

/// Runs the subcommand.
pub fn run(args: Args) -> Result<CommandExit, UserError> {
    if let Some(Command::Merge(args)) = args.command {
        return merge::run(args);
    }
    args.host.apply()?;
    let Some(name) = &args.plan else {
        return list();
    };
    let plan = plan::find(name).map_err(fail)?;
    // The name goes into journals and reports, whose readers are in other directories.
    let name = &if plan::is_file(name) {
        let path = std::path::absolute(name).map_err(fail)?;
        path.display().to_string()
    } else {
        name.clone()
    };
    args.check(&plan)?;
    args.check_files(name)?;
    let vmlinux = args.vmlinux(campaign::check(&plan)?)?;
    let timeline = args.timeline.as_deref().map(Timeline::at).transpose()?;
    let mut header = args.header(name, &plan)?;
    let outputs = Outputs::new(&args, &header)?;
    let scenario = Scenario::new(plan.scenario);
    let kernel = GuestKernel::obtain(
        plan.scenario.image(),
        &KernelChoice::OfImage,
        &mut install::terminal(),
    );
    let kernel = kernel.map_err(fail)?;
    vmlinux.check(&kernel.path)?;
    header.kernel_sha256.clone_from(&kernel.sha256);
    args.enter_sandbox(&kernel, &outputs)?;
    let boot = Boot {
        kernel: &kernel,
        scenario: &scenario,
    };
    let start: Box<dyn Start> = if args.reboot {
        Box::new(boot)
    } else {
        Box::new(Forked::new(boot)?)
    };
    let prepared = Prepared::with_types(&plan, &scenario, &*start, &vmlinux.only())?;
    let task = |run: u64| {
        if args.systematic {
            prepared.systematic_task(args.seed, run)
        } else {
            Some(prepared.task(args.seed, run))
        }
    };
    match args.run {
        Some(number) => {
            let task = task(number).ok_or_else(|| {
                let runs = prepared.systematic_runs();
                UserError::new(match runs {
                    0 => format!(
                        "there is no run {number}: the scenario comes to no point of the plan; leave --systematic out"
                    ),
                    _ => format!(
                        "there is no run {number}: every point is {runs} runs, so use a number from 0 to {}",
                        runs - 1
                    ),
                })
            })?;
            repeat(&args, &prepared, &task, &kernel, timeline)
        }
        None => {
            let runs = args.runs(&prepared);
            if let Some(part) = &mut header.part {
                part.runs = runs;
            }
            args.campaign(&prepared, &header, runs, &task, outputs)
        }
    }
}

fn fail(error: impl ToString) -> UserError {
    UserError::new(error.to_string())
}

fn list() -> Result<CommandExit, UserError> {
    let mut out = String::new();
    for (name, _) in SHIPPED {
        let plan = plan::find(name).map_err(fail)?;
        out.push_str(&format!(
            "{name:14} {:8} {}\n",
            plan.scenario.name(),
            plan.title
        ));
    }
    print(&out);
    Ok(CommandExit::Success)
}

/// Repeats one run and tells all about it.
fn repeat(
    args: &Args,
    prepared: &Prepared<'_>,
    task: &Task,
    kernel: &GuestKernel,
    timeline: Option<Timeline>,
) -> Result<CommandExit, UserError> {
    let recording = timeline.as_ref().map(|t| Arc::clone(t.recording()));
    let done = prepared.runner.run(task, recording.as_ref());
    let record = &done.record;
    let verdict = &record.verdict;
    let mut out = format!(
        "run {}, seed {}: {}",
        record.run, record.seed, verdict.outcome
    );
    if !verdict.why.is_empty() {
        out.push_str(&format!(": {}", verdict.why));
    }
    out.push('\n');
    for told in &record.told {
        let at = text::seconds(told.at_ns);
        out.push_str(&format!(
            "  {at} {} (fault {} of the plan)\n",
            told.text,
            told.rule + 1
        ));
    }
    for line in verdict.said.iter().take(20) {
        out.push_str(&format!("  the kernel: {line}\n"));
    }
    for line in &verdict.stack {
        out.push_str(&format!("  {line}\n"));
    }
    out.push_str(&format!("digest {}\n", record.digest));
    print(&out);
    if let (Some(timeline), Some(machine)) = (timeline, &done.machine) {
        let config = prepared.runner.scenario.config(kernel, Path::new("disk"));
        let image = prepared.plan.scenario.image();
        timeline.write(&config, Some(image), machine, Vec::new())?;
    }
    Ok(args.results.judge(std::iter::once(verdict.outcome)))
}

impl Args {
    /// Returns the campaign's journal, if it has one.
    fn journal_file(&self) -> Option<PathBuf> {
        let kept = self.results.kept_journal();
        self.journal.clone().or(kept)
    }

    /// Reads the file that conditions of a plan, if it has any, look at structures by.
    fn vmlinux(&self, conditions: bool) -> Result<VmlinuxFiles, UserError> {
        if self.vmlinux.is_some() && !conditions {
            return Err(UserError::new(
                "--vmlinux is for conditions that look at structures, and this plan has no condition: leave it out",
            ));
        }
        VmlinuxFiles::read(&self.vmlinux)
    }

    /// Refuses outputs that would take another file's place.
    fn check_files(&self, plan: &str) -> Result<(), UserError> {
        let mut files = Files::default();
        if plan::is_file(plan) {
            files.input("plan", Path::new(plan));
        }
        files.inputs("vmlinux", &self.vmlinux);
        files.output("--timeline", self.timeline.as_deref());
        files.output("--journal", self.journal_file().as_deref());
        self.results.name(&mut files);
        files.check()
    }

    /// Checks what can be checked of numbers of runs before the scenario has run. How many points
    /// it has, of which a systematic campaign has its runs, is not known before.
    fn check(&self, plan: &Plan) -> Result<(), UserError> {
        if self.shard.is_some() && self.journal_file().is_none() {
            return Err(UserError::new(
                "--shard needs a journal, which `vmm inject merge` takes: name it by --journal or --report",
            ));
        }
        match (self.runs, self.run) {
            (Some(0), _) => Err(UserError::new("--runs 0 runs nothing: use 1 or more")),
            (Some(runs), _) if runs > MAX_RUNS => Err(UserError::new(format!(
                "--runs {runs} is too many: use {MAX_RUNS} at most"
            ))),
            (_, Some(run)) if run >= MAX_RUNS && !self.systematic => Err(UserError::new(format!(
                "there is no run {run}: use a number from 0 to {}",
                MAX_RUNS - 1
            ))),
            (_, Some(run)) if self.systematic && plan.fault.is_empty() => {
                Err(UserError::new(format!(
                    "there is no run {run}: a plan without faults has no point to walk; leave --systematic out"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Restricts this process to what its guests and its own outputs take.
    fn enter_sandbox(&self, kernel: &GuestKernel, outputs: &Outputs) -> Result<(), UserError> {
        let mut policy = Policy::of_images()?;
        policy.read(&kernel.path);
        for path in [&self.timeline, &outputs.journal] {
            policy.output(path.as_deref());
        }
        self.results.allow(&mut policy);
        policy.enter()?;
        // A machine that begins has memory of its own until it is given that of one that ended.
        sandbox::filter(jobs_or_cores(self.jobs).get().saturating_mul(2))
    }

    /// Returns what the campaign is, but for its kernel.
    fn header(&self, name: &str, plan: &Plan) -> Result<Header, UserError> {
        let plan_text = serde_json::to_vec(plan).map_err(fail)?;
        let digest = format!("{:x}", Sha256::digest(plan_text));
        let mut header = Header::new(name, digest, String::new(), self.seed);
        header.systematic = self.systematic;
        header.title.clone_from(&plan.title);
        header.part = self.shard.map(|shard| Part {
            shard,
            // Of a walk of every point that is not known yet.
            runs: self.runs.unwrap_or(DEFAULT_RUNS),
        });
        Ok(header)
    }

    /// Returns how many runs the campaign has.
    fn runs(&self, prepared: &Prepared<'_>) -> u64 {
        if self.systematic {
            let asked = self.runs.unwrap_or(u64::MAX);
            prepared.systematic_runs().min(asked)
        } else {
            self.runs.unwrap_or(DEFAULT_RUNS)
        }
    }

    fn campaign(
        &self,
        prepared: &Prepared<'_>,
        header: &Header,
        runs: u64,
        task: &(dyn Fn(u64) -> Option<Task> + Sync),
        outputs: Outputs,
    ) -> Result<CommandExit, UserError> {
        let (mut journal, mut done) = match &outputs.journal {
            None => (None, BTreeMap::new()),
            Some(path) if self.resume => {
                let (journal, done) = Journal::resume(path, header).map_err(fail)?;
                (Some(journal), done)
            }
            Some(path) => (
                Some(Journal::create(path, header).map_err(fail)?),
                BTreeMap::new(),
            ),
        };
        let signals = Signals::handle()?;
        // Its number is in the range of its shards, so this is all runs of a whole campaign.
        let shard = self.shard.unwrap_or_default();
        let bar = progress(shard.runs(runs).count() as u64, done.len() as u64);
        let jobs = jobs_or_cores(self.jobs);
        // A file of results needs each run's record in full; a table does with less, which bounds
        // memory.
        let mut retention = (!self.results.is_whole()).then(RetentionPolicy::default);
        let mut trim = |record: &mut Record| retention.iter_mut().for_each(|t| t.trim(record));
        done.values_mut().for_each(&mut trim);
        let done = prepared.run(
            task,
            shard.runs(runs),
            done,
            jobs,
            &signals.stop,
            &mut |record: &mut Record| {
                bar.inc(1);
                if let Some(journal) = &mut journal {
                    journal.add(record).map_err(|error| {
                        UserError::new(format!(
                            "{error}; the runs before are kept, and --resume goes on with them"
                        ))
                    })?;
                }
                trim(record);
                Ok::<(), UserError>(())
            },
        );
        bar.finish_and_clear();
        let done = done?;
        let (name, title) = (&header.plan, &prepared.plan.title);
        let summary = Summary::new(name, title, self.seed, self.systematic, done.values());
        print(&summary.table());
        outputs.write(&summary, &done, &self.results)?;
        let others = self.recheck.map_or_else(Vec::new, |sample| {
            let (count, others) = prepared.recheck(task, &done, sample, jobs, &signals.stop);
            print(&repeated(&summary, count, &others, self.resume));
            others
        });
        if signals.stop.load(Ordering::Relaxed) {
            let last = signals.last.load(Ordering::Relaxed);
            return Ok(CommandExit::Signal(u8::try_from(last).unwrap_or(u8::MAX)));
        }
        let bugs = others.iter().map(|_| RunOutcome::VmmError);
        let outcomes = done.values().map(|record| record.verdict.outcome);
        Ok(self.results.judge(outcomes.chain(bugs)))
    }
}

/// Returns what came of doing `count` runs again, of which `others` were not what they had been.
/// Some of them may have been `read` from a journal.
fn repeated(summary: &Summary, count: usize, others: &[Difference], read: bool) -> String {
    let mut text = format!("\n{count} runs were done again: ");
    let cause = if read {
        "the journal was changed, or it is a bug of ours"
    } else {
        "a bug of ours"
    };
    if others.is_empty() {
        text.push_str("each was what it had been\n");
    } else {
        text.push_str(&format!("{} were others: {cause}\n", others.len()));
    }
    for Difference { run, what } in others.iter().take(12) {
        text.push_str(&format!("  {}: {what}\n", summary.command(*run)));
    }
    text
}

fn progress(runs: u64, done: u64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(runs), target);
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        let _ = write!(out, "{:.1}", state.per_sec());
    };
    // A template that does not fit is the plain bar.
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {pos} of {len} runs, {rate} a second, {eta} left")
    {
        bar.set_style(style.with_key("rate", rate));
    }
    bar.set_position(done);
    bar
}
