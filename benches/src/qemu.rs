//! The same guest under QEMU: Debian's `qemu-system-arm` of the host's release, and the newest that
//! Debian has.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use guest_images::{Cache, Terminal, host};
use vmm::ByteSize;

use crate::guest;

const PROGRAM: &str = "qemu-system-arm";
/// `-accel`, as it is by default without KVM.
const TCG: &str = "tcg";

/// The machine that is like ours.
pub const VIRT: &str = "virt";
/// The ECX-2000, by its name at Calxeda.
pub const MIDWAY: &str = "midway";

/// How a QEMU runs.
struct Manner {
    /// What a table calls it.
    name: &'static str,
    /// Whether its code cache gets another size.
    resized: bool,
    /// Further options.
    options: &'static [&'static str],
}

/// As it runs by default, with another code cache, and counting instructions: as the machine here
/// does it, with a nanosecond for each, and without sleeping where the guest waits.
const MANNERS: [Manner; 3] = [
    Manner {
        name: "",
        resized: false,
        options: &[],
    },
    Manner {
        name: " tb-size",
        resized: true,
        options: &[],
    },
    Manner {
        name: " icount",
        resized: false,
        options: &["-icount", "shift=0,sleep=off"],
    },
];

/// A QEMU, and how it runs.
pub struct Peer {
    /// What a table calls it.
    pub name: String,
    /// What it says of its version.
    pub version: String,
    program: PathBuf,
    /// `-accel`.
    accelerator: String,
    /// Further options.
    options: &'static [&'static str],
}

/// Returns all that there are to compare with, that of the host in its default manner first, and
/// one of each with a code cache of `tb_size` MiB. Why one is not among them, if it is not, is
/// printed: the newest cannot be had, or has no `machine`.
///
/// # Errors
/// The host has no QEMU and none can be installed.
pub fn peers(cache: &Cache, tb_size: u32, machine: &str) -> anyhow::Result<Vec<Peer>> {
    let mut found = vec![("QEMU", PathBuf::from(PROGRAM), version()?)];
    match newest(cache) {
        // The host's may be as new.
        Ok((_, version)) if version == found[0].2 => {}
        Ok((program, version)) => found.push(("newest", program, version)),
        Err(error) => eprintln!("the newest QEMU is left out: {error:#}"),
    }
    found.retain(|(which, program, version)| {
        let has = has_machine(program, machine);
        if !has {
            eprintln!("{which} is left out: {version} has no machine {machine}");
        }
        has
    });
    let mut peers = Vec::new();
    for (which, program, version) in found {
        peers.extend(MANNERS.iter().map(|manner| Peer {
            name: format!("{which}{}", manner.name),
            version: version.clone(),
            program: program.clone(),
            accelerator: if manner.resized {
                format!("tcg,tb-size={tb_size}")
            } else {
                TCG.to_owned()
            },
            options: manner.options,
        }));
    }
    Ok(peers)
}

/// Returns the newest QEMU and what it says of its version.
fn newest(cache: &Cache) -> anyhow::Result<(PathBuf, String)> {
    let program = cache.newest_qemu_system_arm(&mut Terminal::new())?;
    let program = program.context("Debian has none for this host's processor")?;
    let version = ask(&program).context("it does not run on this host")?;
    Ok((program, version))
}

/// Returns QEMU's version; it is installed first where it is missing and that is allowed.
///
/// # Errors
/// QEMU cannot be installed, or does not say its version.
pub fn version() -> anyhow::Result<String> {
    if let Some(version) = ask(Path::new(PROGRAM)) {
        return Ok(version);
    }
    host::ensure(&host::packages("qemu"), &mut Terminal::new())?;
    ask(Path::new(PROGRAM)).with_context(|| format!("{PROGRAM} does not say its version"))
}

fn ask(program: &Path) -> Option<String> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // The loader of a program that does not run here prints something else, or nothing.
    text.lines().next().map(str::to_owned)
}

/// Returns whether a QEMU has a machine of this name.
fn has_machine(program: &Path, name: &str) -> bool {
    let mut command = Command::new(program);
    let output = command.args(["-machine", "help"]).stdin(Stdio::null());
    output.output().is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines()
            .any(|line| line.split_whitespace().next() == Some(name))
    })
}

/// Returns the command of the host's QEMU for a machine like ours, which is still to get a console
/// and a kernel.
pub fn machine(cores: u8, memory: ByteSize) -> Command {
    machine_by(Path::new(PROGRAM), TCG, cores, memory)
}

fn machine_by(program: &Path, accelerator: &str, cores: u8, memory: ByteSize) -> Command {
    // A 32-bit kernel without LPAE does not reach devices above 4 GiB.
    machine_of(
        &format!("{VIRT},highmem=off"),
        program,
        accelerator,
        cores,
        memory,
    )
}

fn machine_of(
    machine: &str,
    program: &Path,
    accelerator: &str,
    cores: u8,
    memory: ByteSize,
) -> Command {
    let mut command = Command::new(program);
    command.args(["-machine", machine, "-cpu", "cortex-a15"]);
    command.args(["-accel", accelerator]);
    command.args(["-smp", &cores.to_string()]);
    command.args([
        "-m",
        &memory.to_string(),
        "-nodefaults",
        "-display",
        "none",
        "-monitor",
        "none",
    ]);
    // With panic=-1 a guest that panics asks for a reset, which ends QEMU then.
    command.arg("-no-reboot");
    command
}

/// Runs the guest to its power-off. The time is from QEMU's start to its end.
///
/// # Errors
/// QEMU cannot be started, or the guest does not power itself off.
pub fn measure(peer: &Peer, args: &guest::Args) -> anyhow::Result<Duration> {
    let (program, accelerator) = (&peer.program, &peer.accelerator);
    let mut command = match &args.dtb {
        None => machine_by(program, accelerator, 1, args.memory),
        Some(dtb) => {
            let mut command = machine_of(MIDWAY, program, accelerator, 1, args.memory);
            command.arg("-dtb").arg(dtb);
            command
        }
    };
    if let Some(disk) = &args.disk {
        let drive = format!(
            "if=none,id=disk,format=raw,snapshot=on,file={}",
            disk.display()
        );
        command.args(["-drive", &drive, "-device", "ide-hd,drive=disk"]);
    }
    command.args(peer.options);
    command
        .arg("-serial")
        .arg(format!("file:{}", args.console.display()));
    command
        .arg("-kernel")
        .arg(&args.kernel)
        .arg("-initrd")
        .arg(&args.initrd)
        .arg("-append")
        .arg(&args.cmdline);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", peer.name))?;
    loop {
        if let Some(status) = child.try_wait()? {
            let time = start.elapsed();
            return if status.success() {
                Ok(time)
            } else {
                let mut said = String::new();
                if let Some(mut stderr) = child.stderr.take() {
                    // What is no text does not help either.
                    let _ = stderr.read_to_string(&mut said);
                }
                Err(anyhow!("{} ended with {status}: {said}", peer.name))
            };
        }
        if start.elapsed() > guest::LIMIT {
            // It may have ended meanwhile.
            let _ = child.kill();
            let _ = child.wait();
            let name = &peer.name;
            return Err(anyhow!("the guest did not power off under {name}"));
        }
        // Adds 5 ms at most to what is measured.
        std::thread::sleep(Duration::from_millis(5));
    }
}
