//! `--beside`: the same measurement by another revision of this repository, in turns.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow};
use benches::statistics::{median_or_nan, range};
use serde::{Deserialize, Serialize};

use super::Args;

/// The other revision's figures beside those of this build, medians of all turns.
#[derive(Debug, Serialize)]
pub struct Beside {
    /// What it was named by.
    revision: String,
    commit: String,
    /// Instructions of a run there.
    instructions_per_run: u64,
    /// Runs from a snapshot in a second of a core's time.
    here_runs_per_s: f64,
    there_runs_per_s: f64,
    /// The first by the second, turn by turn.
    ratio: f64,
    least_ratio: f64,
    most_ratio: f64,
    /// Runs with a reboot for each.
    there_reboot_runs_per_s: f64,
}

/// What this measurement prints with `--json`, as far as any revision has it.
#[derive(Debug, Deserialize)]
struct Said {
    instructions_per_run: u64,
    snapshot_runs_per_s: f64,
    reboot_runs_per_s: f64,
}

/// Builds `revision`, unless that was done before, and measures it and this build in turns.
///
/// # Errors
/// There is no such revision, it cannot be built, or it has no such measurement.
pub fn measure(args: &Args, revision: &str) -> anyhow::Result<Beside> {
    let (commit, there) = build(revision)?;
    let here = std::env::current_exe().context("this program's file cannot be found")?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..args.turns {
        ours.push(said(&here, args)?);
        theirs.push(said(&there, args)?);
    }
    let rates = |all: &[Said]| -> Vec<f64> { all.iter().map(|s| s.snapshot_runs_per_s).collect() };
    let (here, there) = (rates(&ours), rates(&theirs));
    let ratios: Vec<f64> = here.iter().zip(&there).map(|(a, b)| a / b).collect();
    let (least_ratio, most_ratio) = range(&ratios).unwrap_or((f64::NAN, f64::NAN));
    let reboots: Vec<f64> = theirs.iter().map(|s| s.reboot_runs_per_s).collect();
    Ok(Beside {
        revision: revision.to_owned(),
        commit,
        instructions_per_run: theirs.first().map_or(0, |said| said.instructions_per_run),
        here_runs_per_s: median_or_nan(&here),
        there_runs_per_s: median_or_nan(&there),
        ratio: median_or_nan(&ratios),
        least_ratio,
        most_ratio,
        there_reboot_runs_per_s: median_or_nan(&reboots),
    })
}

impl Beside {
    /// Prints it for a person.
    pub fn print(&self) {
        println!(
            "beside {} ({:.12}), in turns: {:.1} runs/s here, {:.1} there: {:.2} times as many ({:.2} to {:.2}); \
                there {:.2} M instructions a run, {:.2} runs/s with a reboot for each",
            self.revision,
            self.commit,
            self.here_runs_per_s,
            self.there_runs_per_s,
            self.ratio,
            self.least_ratio,
            self.most_ratio,
            self.instructions_per_run as f64 / 1e6,
            self.there_reboot_runs_per_s,
        );
    }
}

/// Has `program` measure, without comparing.
fn said(program: &Path, args: &Args) -> anyhow::Result<Said> {
    let mut command = Command::new(program);
    // No more than what every revision knows.
    command.args(["inject", "--json", "--plan", &args.plan]);
    command.args(["--runs", &args.runs.to_string()]);
    command.args(["--reboots", &args.reboots.to_string()]);
    let text = output(&mut command)?;
    serde_json::from_str(&text).with_context(|| format!("{} says {text}", program.display()))
}

/// Returns the commit of `revision`, and the program that it builds.
fn build(revision: &str) -> anyhow::Result<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let root = root.context("the package is in no workspace")?;
    let name = format!("{revision}^{{commit}}");
    let commit = output(git(root).args(["rev-parse", "--verify", "--end-of-options", &name]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let kept = target.join("beside");
    let program = kept.join(&commit);
    if program.exists() {
        return Ok((commit, program));
    }
    fs::create_dir_all(&kept).context("cannot make the directory of other builds")?;
    let place = tempfile::tempdir_in(&kept).context("cannot make a temporary directory")?;
    let clone = place.path().join("source");
    eprintln!("building {revision} ({commit}) in {}", clone.display());
    let paths = [root.as_os_str(), clone.as_os_str()];
    output(
        git(root)
            .args(["clone", "--quiet", "--shared", "--no-checkout"])
            .args(paths),
    )?;
    output(git(&clone).args(["checkout", "--quiet", "--detach", &commit]))?;
    let built = place.path().join("target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(&clone).arg("build").arg("--target-dir");
    output(
        command
            .arg(&built)
            .args(["--release", "--package", "benches"]),
    )?;
    // All at once: a program that is there is whole.
    let copied = place.path().join("benches");
    let copy = fs::copy(built.join("release/benches"), &copied);
    copy.and_then(|_| fs::rename(&copied, &program))
        .context("cannot keep what was built")?;
    Ok((commit, program))
}

fn git(directory: &Path) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(directory);
    git
}

/// Runs a command; returns what it prints, less the end of the line. Its stderr is shown.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let words = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = output.with_context(|| format!("cannot run {words}"))?;
    if !output.status.success() {
        return Err(anyhow!("{words}: {}", output.status));
    }
    let text = String::from_utf8(output.stdout).with_context(|| format!("what {words} prints"))?;
    Ok(text.trim_end().to_owned())
}
