//! The same guest under Debian's qemu-system-arm.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use guest_images::{Terminal, host};
use vmm::ByteSize;

use crate::guest;

const PROGRAM: &str = "qemu-system-arm";
/// Returns QEMU's version; it is installed first where it is missing and that is allowed.
///
/// # Errors
/// QEMU cannot be installed, or does not say its version.
pub fn version() -> anyhow::Result<String> {
    if let Some(version) = ask() {
        return Ok(version);
    }
    host::ensure(&host::packages("qemu"), &mut Terminal::new())?;
    ask().with_context(|| format!("{PROGRAM} does not say its version"))
}

fn ask() -> Option<String> {
    let output = Command::new(PROGRAM)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::to_owned)
}

/// Returns QEMU's command for a machine like ours, which is still to get a console and a kernel.
pub fn machine(cores: u8, memory: ByteSize) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args([
        "-machine",
        // A 32-bit kernel without LPAE does not reach devices above 4 GiB.
        "virt,highmem=off",
        "-cpu",
        "cortex-a15",
        "-accel",
        "tcg",
    ]);
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
pub fn measure(args: &guest::Args) -> anyhow::Result<Duration> {
    let mut command = machine(1, args.memory);
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
        .with_context(|| format!("cannot start {PROGRAM}"))?;
    loop {
        if let Some(status) = child.try_wait()? {
            let time = start.elapsed();
            return if status.success() {
                Ok(time)
            } else {
                Err(anyhow!("{PROGRAM} ended with {status}"))
            };
        }
        if start.elapsed() > guest::LIMIT {
            // It may have ended meanwhile.
            let _ = child.kill();
            let _ = child.wait();
            return Err(anyhow!("the guest did not power off under {PROGRAM}"));
        }
        // Adds 5 ms at most to what is measured.
        std::thread::sleep(Duration::from_millis(5));
    }
}
