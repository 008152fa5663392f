//! `benches boot`: from the start of a process to the guest's power-off, here and under QEMU.

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use benches::statistics::{median, median_or_nan, range};
use guest_images::{Cache, Image, Terminal};
use serde::Serialize;
use vmm::{BoardModel, ByteSize};

use crate::qemu::Peer;
use crate::userland::login;
use crate::{guest, qemu};

/// What to compare.
///
/// Both sides get the same compressed kernel, the same initial file system, one Cortex-A15 class
/// core, the same memory, the same kernel command line but for the console's name, and write the
/// console to a file. Here the clock is virtual. The runs take turns, so that whatever else the
/// host does hits both alike.
///
/// The other side is the host's QEMU and the newest that Debian has, each as it runs by default,
/// with another size of its code cache, and counting instructions (`-icount`), as is done here.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The guest image
    #[arg(long, default_value = "ipmmu")]
    image: String,
    /// Runs on each side
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Boot the system on this root disk to its login instead, such as debian:bookworm
    #[arg(long, value_name = "NAME", conflicts_with_all = ["image", "interpreter"])]
    rootfs: Option<String>,
    /// On Calxeda's ECX-2000, by the kernel's own device tree, with a disk of 64 MiB behind SATA
    /// that is read whole: here and on QEMU's `midway`
    #[arg(long, conflicts_with_all = ["rootfs", "interpreter"])]
    ecx2000: bool,
    /// Number of cores
    #[arg(long, default_value_t = 1, requires = "rootfs", value_parser = clap::value_parser!(u8).range(1..=4))]
    cores: u8,
    /// Size of RAM
    #[arg(long, default_value = "256M")]
    memory: ByteSize,
    /// Size of QEMU's code cache in MiB, where it is not the default
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2047))]
    tb_size: u32,
    /// Measure the interpreter, too
    #[arg(long)]
    interpreter: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The result, as JSON has it: times in seconds, `ratio` is ours by the other's; `qemu_s` is of the
/// host's QEMU as it runs by default.
#[derive(Debug, Serialize)]
struct Comparison {
    image: String,
    viommu_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    interpreted_s: Option<f64>,
    qemu_s: f64,
    ratio: f64,
    mips: f64,
    peers: Vec<Compared>,
}

/// A QEMU in one of its manners.
#[derive(Debug, Serialize)]
struct Compared {
    name: String,
    version: String,
    seconds: f64,
    ratio: f64,
}

/// Size of the disk of `--ecx2000`.
const DISK_BYTES: u32 = 64 << 20;

/// Runs the comparison.
///
/// # Errors
/// An image or QEMU cannot be had, or a guest does not come up.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(rootfs) = &args.rootfs {
        return login::run(rootfs, args.cores, args.memory, args.runs, args.json);
    }
    let cache = Cache::open()?;
    let image = cache.obtain(&args.image, &mut Terminal::new())?;
    // Before the first run: QEMU may have to be installed.
    let machine = if args.ecx2000 {
        qemu::MIDWAY
    } else {
        qemu::VIRT
    };
    let peers = qemu::peers(&cache, args.tb_size, machine)?;
    ensure!(!peers.is_empty(), "there is no QEMU to compare with");
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let (ours, theirs) = sides(args, (&cache, &image), directory.path())?;
    let interpreted = args.interpreter.then(|| guest::Args {
        interpreted: true,
        ..ours.clone()
    });
    let mut times = Times {
        peers: vec![Vec::new(); peers.len()],
        ..Times::default()
    };
    for n in 1..=args.runs {
        let (time, cost) = guest::measure(&ours)?;
        came_up(&ours.console)?;
        if let Some(interpreted) = &interpreted {
            let (time, plain) = guest::measure(interpreted)?;
            came_up(&interpreted.console)?;
            if plain.instructions != cost.instructions {
                return Err(anyhow!(
                    "the interpreter retired {} instructions, translated code {}",
                    plain.instructions,
                    cost.instructions
                ));
            }
            times.interpreted.push(time.as_secs_f64());
        }
        let mut shown = format!("here {:.2} s", time.as_secs_f64());
        for (peer, times) in peers.iter().zip(&mut times.peers) {
            let seconds = qemu::measure(peer, &theirs)?.as_secs_f64();
            came_up(&theirs.console)?;
            same_sum(&ours.console, &theirs.console, args.ecx2000)?;
            shown += &format!(", {} {seconds:.2} s", peer.name);
            times.push(seconds);
        }
        eprintln!("run {n} of {}: {shown}, {:.0} MIPS", args.runs, cost.mips);
        times.here.push(time.as_secs_f64());
        times.mips.push(cost.mips);
        // The same in every run, as the clock is virtual.
        times.instructions = cost.instructions;
    }
    let result = times.compare(image.spec.name, &peers);
    if args.json {
        println!("{}", serde_json::to_string(&result)?);
        return Ok(());
    }
    let board = if args.ecx2000 { " on an ECX-2000" } else { "" };
    println!(
        "{}: Linux {}{board}, {} instructions, {} of memory",
        result.image, image.version, times.instructions, args.memory
    );
    times.print(&result);
    println!("  speed {:7.0} MIPS", result.mips);
    Ok(())
}

/// Returns what either side runs, ours first; their files are in `directory`.
fn sides(
    args: &Args,
    (cache, image): (&Cache, &Image),
    directory: &Path,
) -> anyhow::Result<(guest::Args, guest::Args)> {
    let side = |console: &str, name: &str| {
        guest::Args::of(image, args.memory, console, directory.join(name))
    };
    let (mut ours, mut theirs) = (side("ttyS0", "ours"), side("ttyAMA0", "theirs"));
    if args.ecx2000 {
        let board = BoardModel::Ecx2000.facts();
        let tree = board.tree.unwrap_or_default();
        let files = cache.obtain_board(&args.image, tree, &mut Terminal::new())?;
        let disk = directory.join("disk");
        fs::write(&disk, noise(DISK_BYTES)).context("cannot make a disk")?;
        for side in [&mut ours, &mut theirs] {
            let command = guest_images::encode_command("sha256sum /dev/sda");
            side.cmdline = format!("{}{} {command}", guest::CMDLINE, board.console);
            side.initrd.clone_from(&files.initramfs);
            side.dtb = Some(files.dtb.clone());
            side.disk = Some(disk.clone());
        }
    }
    Ok((ours, theirs))
}

/// The times of all runs in seconds, and what they retired.
#[derive(Default)]
struct Times {
    here: Vec<f64>,
    interpreted: Vec<f64>,
    /// Of each peer.
    peers: Vec<Vec<f64>>,
    mips: Vec<f64>,
    instructions: u64,
}

impl Times {
    fn compare(&self, image: &str, peers: &[Peer]) -> Comparison {
        let viommu_s = median_or_nan(&self.here);
        let compared = |(peer, times): (&Peer, &Vec<f64>)| {
            let seconds = median_or_nan(times);
            Compared {
                name: peer.name.clone(),
                version: peer.version.clone(),
                seconds,
                ratio: viommu_s / seconds,
            }
        };
        let peers: Vec<_> = peers.iter().zip(&self.peers).map(compared).collect();
        // The host's is the first.
        let (qemu_s, ratio) = peers
            .first()
            .map_or((f64::NAN, f64::NAN), |peer| (peer.seconds, peer.ratio));
        Comparison {
            image: image.to_owned(),
            viommu_s,
            interpreted_s: median(&self.interpreted),
            qemu_s,
            ratio,
            mips: median_or_nan(&self.mips),
            peers,
        }
    }

    fn print(&self, result: &Comparison) {
        print_row("here", &self.here, "");
        print_row("interpreted", &self.interpreted, "");
        for (peer, times) in result.peers.iter().zip(&self.peers) {
            let more = format!("  ratio {:.2}  ({})", peer.ratio, peer.version);
            print_row(&peer.name, times, &more);
        }
    }
}

/// Prints times, if there are any.
fn print_row(name: &str, values: &[f64], more: &str) {
    if let (Some(middle), Some((least, most))) = (median(values), range(values)) {
        let count = values.len();
        println!("  {name:14} {middle:8.3} s  (median of {count}; {least:.3} to {most:.3}){more}");
    }
}

/// Returns bytes that do not repeat, the same each time.
fn noise(count: u32) -> Vec<u8> {
    // Multiples of an odd number, modulo 2^32.
    let words = (0..count / 4).flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes());
    words.collect()
}

/// Checks that both guests have read the same from their disks, if they have any.
fn same_sum(ours: &Path, theirs: &Path, is_expected: bool) -> anyhow::Result<()> {
    let sum = |console: &Path| -> anyhow::Result<Option<String>> {
        let text = fs::read(console).context("cannot read the console")?;
        let text = String::from_utf8_lossy(&text);
        let mut lines = text
            .lines()
            .filter_map(|line| line.split_once("  /dev/sda"));
        Ok(lines.next().map(|(sum, _)| sum.to_owned()))
    };
    match (sum(ours)?, sum(theirs)?) {
        (Some(ours), Some(theirs)) if ours == theirs => Ok(()),
        (None, None) if !is_expected => Ok(()),
        sums => Err(anyhow!("the disk was read otherwise on one side: {sums:?}")),
    }
}

/// Checks that a guest's userspace came up; a quick failure must not pass for a quick boot.
fn came_up(console: &Path) -> anyhow::Result<()> {
    let text = fs::read(console).context("cannot read the console")?;
    let text = String::from_utf8_lossy(&text);
    if text.contains("guest: ready") && text.contains("guest: powering off") {
        return Ok(());
    }
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(20)..].join("\n");
    Err(anyhow!(
        "the guest did not come up; its console ends with\n{tail}"
    ))
}
