//! `vmm demo`: a guided run for someone who sees this for the first time.

mod background;
mod disk;
mod guest;
mod show;

use guest_images::{Cache, Terminal};
use vmm::{Config, DiskConfig};

use self::background::Build;
use self::disk::Disk;
use self::guest::Guest;
use self::show::{heading, line, paragraph};
use super::{Outcome, UserError, text};

/// Fetch a stock Debian kernel and boot it, build a kernel with IOMMU drivers meanwhile, boot that one too.
///
/// The first run downloads about 150 MB and compiles a kernel, some ten minutes on two cores; the stock kernel boots
/// long before that. Later runs take seconds.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything obtained is kept in $VIOMMU_CACHE, else $XDG_CACHE_HOME/viommu, else ~/.cache/viommu.
Packages that building a kernel takes are installed with apt where this user may do that without a password;
otherwise one sentence says the exact command.")]
pub struct Args {
    /// Only the stock kernel; build nothing
    #[arg(long)]
    stock_only: bool,
}

/// The image that needs no compiler.
const STOCK: &str = "debian-armmp";
/// The image that is built.
const BUILT: &str = "ipmmu";

/// Runs the subcommand.
pub fn run(args: Args) -> Result<Outcome, UserError> {
    disk::remove_on_signals()?;
    let cache = Cache::open()?;
    line(&format!(
        "viommu {}: 32-bit ARM Linux kernels, unmodified, on an emulated machine.",
        env!("CARGO_PKG_VERSION")
    ));

    heading(1, "A stock Debian kernel");
    if cache.image(STOCK)?.is_none() {
        paragraph(&[
            "The kernel that Debian ships for ARM boards, straight from its package, has to be fetched first (once).",
        ]);
    }
    cache.obtain(STOCK, &mut Terminal::new())?;
    let build = if args.stock_only || cache.image(BUILT)?.is_some() {
        None
    } else {
        Some(Build::start(cache.clone(), BUILT))
    };
    if build.is_some() {
        paragraph(&["While it boots, a second kernel is being compiled in the background."]);
    }
    boot_stock()?;
    if !args.stock_only {
        if let Some(build) = build {
            heading(
                2,
                "A kernel with IOMMU drivers, symbols and type information",
            );
            build.wait()?;
        } else {
            heading(
                2,
                "A kernel with IOMMU drivers, symbols and type information (built by an earlier run)",
            );
        }
        boot_built()?;
    }
    farewell();
    Ok(Outcome::Success)
}

/// A machine for an image.
fn machine(image: &str, commands: &[&str]) -> Result<Config, UserError> {
    let mut words = vec![super::settings::DEFAULT_CMDLINE.to_owned()];
    words.extend(
        commands
            .iter()
            .map(|command| guest_images::encode_command(command)),
    );
    let mut config = Config {
        cmdline: words.join(" "),
        ..Config::default()
    };
    super::boot::use_image(&mut config, image)?;
    Ok(config)
}

fn boot_stock() -> Result<(), UserError> {
    let command = "uname -a; grep -m1 'model name' /proc/cpuinfo";
    show::command(&format!("vmm boot --image {STOCK} --run \"{command}\""));
    let run = Guest::boot(&machine(STOCK, &[command])?, true)?;
    run.demand_success()?;
    show::good(&run.account());
    Ok(())
}

fn boot_built() -> Result<(), UserError> {
    let disk = Disk::create()?;
    let mut config = machine(BUILT, &["sha256sum /dev/vda"])?;
    config.disks.push(DiskConfig {
        read_only: true,
        ..DiskConfig::new(disk.path())
    });
    paragraph(&["It gets a disk of 8 MiB, and reads it all through the virtio-blk driver:"]);
    show::command(&format!(
        "vmm boot --image {BUILT} --disk {},ro --run 'sha256sum /dev/vda'",
        disk.path().display()
    ));
    let run = Guest::boot(&config, true)?;
    run.demand_success()?;
    show::good(&run.account());
    line(&format!(
        "    the host's checksum of the disk   {}",
        disk.sha256()
    ));
    let seen = run.checksum().unwrap_or_else(|| "none".into());
    line(&format!("    the guest's checksum of the disk  {seen}"));
    if seen != disk.sha256() {
        return Err(UserError::new(
            "the guest read something else than what is on the disk: this is a bug in vmm",
        ));
    }
    show::good("They agree.");

    heading(3, "Once more, to compare");
    paragraph(&[
        "In virtual time a run follows from its images, its configuration and its seed, and from nothing else.",
    ]);
    let again = Guest::boot(&config, false)?;
    for (name, run) in [("first ", &run), ("second", &again)] {
        let summary = run.summary();
        line(&format!(
            "    {name}  {} instructions, {} bytes on the console, {} interrupts",
            summary.instructions, summary.console_bytes, summary.interrupts
        ));
    }
    if !run.repeats(&again) {
        return Err(UserError::new("the two runs differ: this is a bug in vmm"));
    }
    show::good("They agree, to the last instruction and byte.");
    Ok(())
}

fn farewell() {
    heading(0, "What next");
    let vmm =
        std::env::current_exe().map_or_else(|_| "vmm".into(), |path| path.display().to_string());
    paragraph(&["The program is", &vmm, "", "Things to try:"]);
    for (command, meaning) in [
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

/// Words for a duration since `start`.
fn since(start: std::time::Instant) -> String {
    text::seconds(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}
