//! The interpreter and the translator held to each other for longer than tests may take: whole
//! boots of every image, and every campaign that is shipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use guest_images::{Architecture, ImageSpec, catalog};
use vmm::faults::plan::SHIPPED;

/// What to compare.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only boots, of these images [default: all of 32-bit kernels; those that are not here are
    /// fetched or compiled]
    #[arg(long, value_name = "NAME", num_args = 1.., conflicts_with = "plan")]
    image: Vec<String>,
    /// Only campaigns, of these plans [default: all that are shipped]
    #[arg(long, value_name = "PLAN", num_args = 1..)]
    plan: Vec<String>,
    /// Runs of each campaign
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    runs: u32,
}

/// Makes all comparisons, with a line for each. False if one found a difference.
///
/// # Errors
/// A sentence, when one could not be made.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let Options { image, plan, runs } = options;
    let images = if plan.is_empty() {
        images(image)?
    } else {
        Vec::new()
    };
    let plans = if image.is_empty() {
        plans(plan)?
    } else {
        Vec::new()
    };
    let program = program()?;
    let mut same = true;
    let mut judge = |name: String, found: anyhow::Result<String>| {
        same &= found.is_ok();
        match found {
            Ok(compared) => println!("{name}: the same, {compared}"),
            Err(why) => println!("{name}: {why:#}"),
        }
    };
    for image in images {
        for cores in [1, 4] {
            let found = boot(&program, image.name, cores);
            judge(format!("{}, cores: {cores}", image.name), found);
        }
    }
    for plan in plans {
        let found = campaign(&program, plan, *runs);
        judge(format!("{plan}, runs: {runs}"), found);
    }
    Ok(same)
}

/// Returns the images of `names`, or all that have a 32-bit kernel.
fn images(names: &[String]) -> anyhow::Result<Vec<&'static ImageSpec>> {
    let has_tiers = |image: &&ImageSpec| image.architecture == Architecture::Armhf;
    if names.is_empty() {
        return Ok(catalog::all().iter().filter(has_tiers).collect());
    }
    names
        .iter()
        .map(|name| {
            let image = catalog::find(name).map_err(anyhow::Error::msg)?;
            ensure!(
                has_tiers(&image),
                "{name} runs by KVM, which has no tiers: name images of 32-bit kernels"
            );
            Ok(image)
        })
        .collect()
}

/// Returns the plans of `names`, or all that are shipped.
fn plans(names: &[String]) -> anyhow::Result<Vec<&str>> {
    let shipped = || SHIPPED.iter().map(|(plan, _)| *plan);
    if names.is_empty() {
        return Ok(shipped().collect());
    }
    names
        .iter()
        .map(|name| {
            let found = shipped().find(|plan| plan == name);
            found
                .with_context(|| format!("there is no plan {name}: `vmm inject --list` shows them"))
        })
        .collect()
}

/// Compiles the program, and returns where it is.
fn program() -> anyhow::Result<PathBuf> {
    let built = super::cargo()
        .args([
            "build",
            "--release",
            "--locked",
            "-p",
            "vmm",
            "--bin",
            "vmm",
        ])
        .status()
        .context("cannot run cargo")?;
    ensure!(built.success(), "vmm could not be compiled");
    let here = std::env::current_exe().context("cannot tell which program this is")?;
    Ok(here.with_file_name("vmm"))
}

/// Boots a guest to a command in both tiers at once, and returns what was compared.
fn boot(program: &Path, image: &str, cores: u8) -> anyhow::Result<String> {
    let mut boot = Command::new(program);
    boot.args(["boot", "--image", image, "--cpus", &cores.to_string()])
        .args(["--tier", "both", "--console", "none", "--run", "true"]);
    let output = ended_well(&mut boot)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let compared = said
        .lines()
        .find_map(|line| Some(line.split_once("did the same for ")?.1.to_owned()));
    compared.with_context(|| format!("nothing was compared:\n{said}"))
}

/// Runs a campaign in each tier, and returns how long the journals are.
fn campaign(program: &Path, plan: &str, runs: u32) -> anyhow::Result<String> {
    let directory = tempfile::tempdir().context("cannot make a directory for journals")?;
    let journal = |tier: &str| {
        let path = directory.path().join(tier);
        let mut inject = Command::new(program);
        // One after the other, or they would be in the journal in the order of their ends.
        inject
            .args(["inject", plan, "--runs", &runs.to_string(), "--jobs", "1"])
            .args(["--tier", tier, "--journal"])
            .arg(&path);
        ended_well(&mut inject)?;
        fs::read_to_string(path).context("cannot read a journal")
    };
    let (interpreted, translated) = (journal("interpreter")?, journal("translate")?);
    let lines = interpreted.lines().count();
    ensure!(
        lines > usize::try_from(runs)?,
        "a journal has {lines} lines, which are too few"
    );
    let differs = interpreted
        .lines()
        .zip(translated.lines())
        .find(|(one, other)| one != other);
    if let Some((one, other)) = differs {
        let begin = |line: &str| line.chars().take(300).collect::<String>();
        let (one, other) = (begin(one), begin(other));
        anyhow::bail!("it differs\n  interpreted: {one}\n  translated: {other}");
    }
    ensure!(interpreted == translated, "one journal is longer");
    Ok(format!("{lines} lines of a journal"))
}

/// Runs a program to its end, whose exit code must be 0.
fn ended_well(command: &mut Command) -> anyhow::Result<Output> {
    let output = command.output().context("cannot run vmm")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}:\n{said}", output.status);
    Ok(output)
}
