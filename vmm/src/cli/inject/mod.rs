//! `vmm inject`: fault plans, and campaigns of runs that follow them.

mod debug;
mod guided;
mod help;
mod merge;
mod outputs;
mod repeat;
mod signals;
mod systematic;

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use sha2::{Digest, Sha256};
use vmm::campaign::campaign::{self, MAX_RUNS, Prepared, RetentionPolicy};
use vmm::campaign::journal::{Header, Journal, Part};
use vmm::campaign::run::{Record, Task};
use vmm::campaign::scenario::Scenario;
use vmm::campaign::start::{Boot, Forked, Start};
use vmm::campaign::{Shard, Summary};
use vmm::faults::plan::{self, SHIPPED};
use vmm::faults::spec::Plan;
use vmm::sanitizer::Options;
use vmm::{GuestKernel, KernelChoice};

use self::guided::GuideArgs;
use self::help::AFTER_HELP;
use self::outputs::{Outputs, ResultArgs};
use self::repeat::{repeat, repeated};
use self::signals::Signals;
use self::systematic::{PointName, Systematic};
use super::files::Files;
use super::gdb::{self, GdbAddress};
use super::host::HostArgs;
use super::install;
use super::probes::Timeline;
use super::sandbox::{self, Policy};
use super::stdout::print;
use super::travel::TravelArgs;
use super::values::{jobs_or_cores, word};
use super::vmlinux::VmlinuxFiles;
use super::{CommandExit, UserError};

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
    /// Walk every point of the scenario once: each fault of the plan at each point that it is
    /// about; with `pairs` then every two of these in one run
    #[arg(
        long,
        value_name = "points|pairs",
        num_args = 0..=1,
        default_missing_value = "points",
        value_parser = word::<Systematic>
    )]
    systematic: Option<Systematic>,
    /// Say which code of these functions of the kernel the runs reach, where `*` is any text
    #[arg(
        long,
        value_name = "FUNCTION,...",
        value_delimiter = ',',
        conflicts_with = "run"
    )]
    cover: Vec<String>,
    /// Choose the points at which faults happen, up to four in a run, by the code of --cover that
    /// runs before have reached
    #[arg(long, requires = "cover", conflicts_with_all = ["systematic", "run"])]
    guided: bool,
    #[command(flatten)]
    guide: GuideArgs,
    /// With --run: faults of the plan happen at these points and nowhere else. FAULT is a number, N
    /// which of its points, both from 1
    #[arg(
        long,
        value_name = "FAULT:N,...",
        value_delimiter = ',',
        requires = "run",
        conflicts_with = "systematic"
    )]
    points: Vec<PointName>,
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
    /// With --run: wait for a debugger (GDB) at this port, 10 us before the first fault of the run,
    /// or where --goto says
    #[arg(
        long,
        value_name = "[ADDRESS:]PORT",
        requires = "run",
        conflicts_with_all = ["timeline", "reboot", "sanitize"]
    )]
    gdb: Option<GdbAddress>,
    #[command(flatten)]
    travel: TravelArgs,
    /// The vmlinux of the scenario's kernel, with its debug information: the structures that
    /// conditions of the plan look at, for a kernel without types in its image. Or the name of an
    /// image, after `vmm images fetch --debug-info NAME`
    #[arg(long, value_name = "FILE")]
    vmlinux: Option<PathBuf>,
    /// Look for mistakes that the guest makes with DMA, in each run, and count a run with one as a
    /// failure: dma for all kinds, or dma=KIND,...; see docs/sanitizer.md
    #[arg(long, value_name = "dma[=KIND,...]")]
    sanitize: Option<Options>,
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
    let name = &match plan::is_file(name) {
        true => absolute(Path::new(name))?,
        false => name.clone(),
    };
    args.check(&plan)?;
    args.check_files(name)?;
    if let Some(at) = args.gdb {
        gdb::check(at)?;
    }
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
        sanitize: args.sanitize.as_ref(),
    };
    let start: Box<dyn Start> = if args.reboot {
        Box::new(boot)
    } else {
        Box::new(Forked::new(boot)?)
    };
    let mut prepared = Prepared::with_types(&plan, &scenario, &*start, &vmlinux.only())?;
    if !args.cover.is_empty() {
        prepared.watch_code(&args.cover)?;
        header.code.clone_from(&prepared.runner.code);
    }
    let mode = args.systematic;
    let task = |run: u64| match mode {
        Some(mode) => prepared.systematic_task(args.seed, run, mode == Systematic::Pairs),
        None => Some(prepared.task(args.seed, run)),
    };
    if let Some(number) = args.run {
        let task = match PointName::all(&args.points) {
            Some(points) => prepared.task_at(args.seed, number, &points),
            None => task(number),
        };
        let task = task.ok_or_else(|| systematic::no_run(mode, &prepared.walk, number))?;
        return match args.gdb {
            Some(at) => debug::debug(&args, at, &prepared, &task),
            None => repeat(&args, &prepared, &task, &kernel, timeline),
        };
    }
    if mode.is_some() || args.guided {
        header.walk = Some(prepared.walk.clone());
    }
    let runs = match mode {
        Some(mode) => mode.runs(&prepared.walk, args.runs)?,
        None => args.runs.unwrap_or(DEFAULT_RUNS),
    };
    if let Some(part) = &mut header.part {
        part.runs = runs;
    }
    args.campaign(&prepared, &header, runs, &task, outputs)
}

/// Returns the name of a file for readers in other directories.
fn absolute(path: &Path) -> Result<String, UserError> {
    let path = std::path::absolute(path).map_err(fail)?;
    Ok(path.display().to_string())
}

/// Returns what `--vmlinux` names, for readers in other directories: a file, or an image.
fn named(vmlinux: &Path) -> Result<String, UserError> {
    match vmlinux.exists() {
        true => absolute(vmlinux),
        false => Ok(vmlinux.display().to_string()),
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
        self.guide.name(self.journal_file().as_deref(), &mut files);
        self.results.name(&mut files);
        files.check()
    }

    /// Checks what can be checked of numbers of runs before the scenario has run. How many points
    /// it has, of which a systematic campaign has its runs, is not known before.
    fn check(&self, plan: &Plan) -> Result<(), UserError> {
        self.travel.need(self.gdb.is_some())?;
        self.travel.goes_forward()?;
        if self.shard.is_some() && self.journal_file().is_none() {
            return Err(UserError::new(
                "--shard needs a journal, which `vmm inject merge` takes: name it by --journal or --report",
            ));
        }
        self.guide.check(self.guided, self.shard)?;
        match (self.runs, self.run) {
            (Some(0), _) => Err(UserError::new("--runs 0 runs nothing: use 1 or more")),
            (Some(runs), _) if runs > MAX_RUNS => Err(UserError::new(format!(
                "--runs {runs} is too many: use {MAX_RUNS} at most"
            ))),
            (_, Some(run)) if run >= MAX_RUNS && self.systematic.is_none() => {
                Err(UserError::new(format!(
                    "there is no run {run}: use a number from 0 to {}",
                    MAX_RUNS - 1
                )))
            }
            (_, Some(run)) if self.systematic.is_some() && plan.fault.is_empty() => {
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
        self.guide.allow(&mut policy);
        self.results.allow(&mut policy);
        policy.listen(self.gdb.map(GdbAddress::port));
        policy.enter()?;
        if self.gdb.is_some() {
            // The filter follows where the debugger is waited for, which takes more.
            return Ok(());
        }
        // A machine that begins has memory of its own until it is given that of one that ended.
        sandbox::filter(jobs_or_cores(self.jobs).get().saturating_mul(2))
    }

    /// Returns what the campaign is, but for its kernel.
    fn header(&self, name: &str, plan: &Plan) -> Result<Header, UserError> {
        let plan_text = serde_json::to_vec(plan).map_err(fail)?;
        let digest = format!("{:x}", Sha256::digest(plan_text));
        let mut header = Header::new(name, digest, String::new(), self.seed);
        header.systematic = self.systematic.is_some();
        header.guided = self.guided;
        header.generation = self.guide.generation;
        header.cover.clone_from(&self.cover);
        header.pairs = self.systematic == Some(Systematic::Pairs);
        header.title.clone_from(&plan.title);
        header.sanitize = self.sanitize.as_ref().map(ToString::to_string);
        header.vmlinux = self.vmlinux.as_deref().map(named).transpose()?;
        header.part = self.shard.map(|shard| Part {
            shard,
            // Of a walk of every point that is not known yet.
            runs: self.runs.unwrap_or(DEFAULT_RUNS),
        });
        Ok(header)
    }

    fn campaign(
        &self,
        prepared: &Prepared<'_>,
        header: &Header,
        runs: u64,
        task: &(dyn Fn(u64) -> Option<Task> + Sync),
        outputs: Outputs,
    ) -> Result<CommandExit, UserError> {
        // Before there is a journal: what is wrong with theirs leaves none behind.
        let elsewhere = match self.guided {
            true => self.guide.others(self.journal_file().as_deref(), header)?,
            false => BTreeMap::new(),
        };
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
        let mut each = |record: &mut Record| {
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
        };
        let stop = &signals.stop;
        let mut awaited = None;
        let done = if self.guided {
            let guided = self.guide.guided(self.seed, runs, shard, &elsewhere);
            let runs = prepared.run_guided(guided, done, jobs, stop, &mut each);
            runs.map(|runs| {
                awaited = runs.awaited;
                runs.done
            })
        } else {
            prepared.run(task, shard.runs(runs), done, jobs, stop, &mut each)
        };
        bar.finish_and_clear();
        let done = done?;
        let summary = Summary::new(header, done.values());
        print(&summary.table());
        outputs.write(&summary, &done, &self.results)?;
        let others = self.recheck.map_or_else(Vec::new, |sample| {
            let chosen = |run: u64| {
                let points = done.get(&run)?.points();
                prepared.task_at(self.seed, run, &points)
            };
            let task: &(dyn Fn(u64) -> Option<Task> + Sync) =
                if self.guided { &chosen } else { task };
            let (count, others) = prepared.recheck(task, &done, sample, jobs, &signals.stop);
            print(&repeated(&summary, count, &others, self.resume));
            others
        });
        if signals.stop.load(Ordering::Relaxed) {
            let last = signals.last.load(Ordering::Relaxed);
            return Ok(CommandExit::Signal(u8::try_from(last).unwrap_or(u8::MAX)));
        }
        // A repeated run that was another is a bug of ours.
        let judged = match others.is_empty() {
            true => self.results.judge(done.values()),
            false => CommandExit::GuestFailure,
        };
        Ok(match awaited {
            Some(awaited) if judged == CommandExit::Success => guided::wait(awaited, shard),
            _ => judged,
        })
    }
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
