//! `vmm demo`: a guided run for someone who sees this for the first time.

mod background;
mod comparison;
mod guest;
mod rebind;
mod show;
mod verdict;

use std::path::{Path, PathBuf};

use guest_images::Cache;
use vmm::Config;

use self::background::Build;
use self::guest::Guest;
use self::show::{heading, line, paragraph};
use super::files::Files;
use super::install::{self, Install};
use super::output::Output;
use super::sandbox::SandboxArgs;
use super::{CommandExit, UserError};

/// Show the DMA teardown bug of 2017 and its fix, on one unmodified kernel with its devices behind
/// an IOMMU.
///
/// The first run compiles that kernel, some ten minutes on two cores. Meanwhile it boots a stock
/// Debian one (a download of about 150 MB each) and shows a bug of it: a device that is bound again
/// goes past its IOMMU. Later runs take seconds, and show the bug of 2017 only.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything obtained is kept in $VIOMMU_CACHE, else $XDG_CACHE_HOME/viommu, else ~/.cache/viommu.
Packages that building a kernel takes are installed only where that is allowed; see --install-packages.")]
pub struct Args {
    /// Only boot the stock kernel and show its bug; build nothing
    #[arg(long)]
    stock_only: bool,
    /// Write the reports to this directory
    #[arg(long, value_name = "DIR", default_value = "viommu-report")]
    report: PathBuf,
    #[command(flatten)]
    install: Install,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

/// The image that needs no compiler.
const STOCK: &str = "debian-armmp";
/// The image that is built.
const BUILT: &str = "ipmmu";

/// Runs the subcommand.
pub fn run(args: Args) -> Result<CommandExit, UserError> {
    args.install.apply();
    args.sandbox.apply();
    let cache = Cache::open()?;
    let mut files = Files::default();
    files.reports(
        "--report",
        &args.report,
        [comparison::REPORT, rebind::REPORT],
    );
    files.check()?;
    Output::check_directory(&args.report, "report directory")?;
    // Before anything is fetched, and while there is someone to ask: the build runs in the
    // background.
    match (args.stock_only, cache.image(BUILT)?) {
        (true, _) => install::prepare_host(&cache, &[STOCK])?,
        (false, None) => install::prepare_host(&cache, &[STOCK, BUILT])?,
        // With the built kernel in the cache the stock one is not booted, and nothing is obtained.
        (false, Some(_)) => {}
    }
    line(&format!(
        "viommu {}: 32-bit ARM Linux kernels, unmodified, on an emulated machine with IOMMUs.",
        env!("CARGO_PKG_VERSION")
    ));
    let mut expected = true;
    let mut steps = 0;
    if args.stock_only || cache.image(BUILT)?.is_none() {
        expected &= stock(&cache, &mut steps, args.stock_only, &args.report)?;
    }
    if !args.stock_only {
        steps += 1;
        heading(steps, "A deferred probe, with the fix of 2017 and without");
        expected &= comparison::run(&args.report)?;
    }
    farewell();
    Ok(if expected {
        CommandExit::Success
    } else {
        CommandExit::GuestFailure
    })
}

/// Boots the stock kernel and shows its bug, while the other kernel is compiled unless this is to
/// be all. Returns whether the bug was as expected.
fn stock(
    cache: &Cache,
    steps: &mut u32,
    stock_only: bool,
    report: &Path,
) -> Result<bool, UserError> {
    let mut next = |title| {
        *steps += 1;
        heading(*steps, title);
    };
    next("A stock Debian kernel");
    if cache.image(STOCK)?.is_none() {
        paragraph(&[
            "The kernel that Debian ships for ARM boards, straight from its package, has to be fetched first (once).",
        ]);
    }
    cache.obtain(STOCK, &mut install::terminal())?;
    let build = (!stock_only)
        .then(|| Build::start(cache.clone(), BUILT))
        .transpose()?;
    if build.is_some() {
        paragraph(&[
            "While it runs, a kernel with more IOMMU drivers is being compiled in the background.",
        ]);
    }
    boot_stock()?;
    next("A driver unbound and bound again: the device goes past its IOMMU");
    let expected = rebind::run(report)?;
    if let Some(build) = build {
        next("The kernel for the bug of 2017");
        build.wait()?;
    }
    Ok(expected)
}

/// Returns the configuration of a machine for an image.
fn machine(image: &str, commands: &[&str]) -> Result<Config, UserError> {
    let mut words = vec![super::settings::default_cmdline(vmm::BoardModel::default())];
    words.extend(
        commands
            .iter()
            .map(|command| guest_images::encode_command(command)),
    );
    let mut config = Config {
        cmdline: words.join(" "),
        ..Config::default()
    };
    super::guest::use_image(&mut config, image)?;
    Ok(config)
}

fn boot_stock() -> Result<(), UserError> {
    let command = "uname -a; grep -m1 'model name' /proc/cpuinfo";
    show::command(&format!("vmm boot --image {STOCK} --run \"{command}\""));
    let run = Guest::boot(&machine(STOCK, &[command])?)?;
    run.demand_success()?;
    show::good(&run.account());
    Ok(())
}

fn farewell() {
    heading(0, "What next");
    let vmm =
        std::env::current_exe().map_or_else(|_| "vmm".into(), |path| path.display().to_string());
    paragraph(&["The program is", &vmm, "", "Things to try:"]);
    for (command, meaning) in [
        ("vmm lab list", "all the scenarios of setup and teardown"),
        (
            "vmm lab run rockchip",
            "four stock kernels, a driver bound again: who loses the IOMMU",
        ),
        (
            "vmm lab run deferral --report DIR",
            "a family of them, with a report on each",
        ),
        (
            "vmm boot --image ipmmu --shell --time host",
            "a shell in the guest; Ctrl-A x ends it",
        ),
        (
            "vmm boot --image ipmmu --iommu ipmmu --trace iommu",
            "an IOMMU, and what the guest's driver does with it",
        ),
        (
            "vmm boot --image debian-armmp-7.2 --cpus 4",
            "a newer kernel, on four cores",
        ),
        ("vmm images list", "all the kernels that can be had"),
        (
            "vmm boot --help",
            "everything that can be said about a machine",
        ),
    ] {
        line(&format!("    {command:<44}  {meaning}"));
    }
    line("");
}
