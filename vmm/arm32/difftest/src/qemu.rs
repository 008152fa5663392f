//! The oracle: Debian's `qemu-arm`.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::image::Image;
use crate::layout::{OUTPUT, RESULTS_END};

/// How long one program may run. Normally it takes well below a second.
const PATIENCE: Duration = Duration::from_secs(20);
/// What installs it.
const INSTALL: &str = "sudo apt-get install --no-install-recommends qemu-user";

/// QEMU's user-mode emulator for ARM.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    /// Name of the processor it shall be.
    cpu: &'static str,
}

impl Qemu {
    /// Finds it, or installs it where `VIOMMU_INSTALL=yes` allows that.
    ///
    /// # Errors
    /// [`Error::NoOracle`] when there is none and it may not be installed.
    pub fn find() -> Result<Self, Error> {
        if let Some(qemu) = Self::present() {
            return Ok(qemu);
        }
        // The variable that lets all programs of this workspace install packages of the host.
        let allowed = std::env::var_os("VIOMMU_INSTALL").is_some_and(|value| value == "yes");
        let prefixes = [&[][..], &["sudo", "-n"]];
        // Root needs no sudo; for others, `-n` fails where a password would be asked for.
        for prefix in prefixes.into_iter().filter(|_| allowed) {
            install(prefix);
            if let Some(qemu) = Self::present() {
                return Ok(qemu);
            }
        }
        Err(Error::NoOracle { command: INSTALL })
    }

    fn present() -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let program = std::env::split_paths(&path)
            .map(|dir| dir.join("qemu-arm"))
            .find(|file| file.is_file())?;
        Some(Self {
            program,
            cpu: "cortex-a15",
        })
    }

    /// Runs `image` and returns its results.
    ///
    /// # Errors
    /// Any of [`Error`] but [`Error::NoOracle`].
    pub fn run(&self, image: &Image) -> Result<Vec<u8>, Error> {
        let mut file = tempfile::Builder::new()
            .prefix("arm32-difftest-")
            .tempfile()
            .map_err(Error::Write)?;
        file.write_all(&image.elf()).map_err(Error::Write)?;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o700))
            .map_err(Error::Write)?;
        // A file open for writing cannot be executed, so it is closed first.
        let path = file.into_temp_path();
        let failed = |source| Error::Run {
            program: self.program.clone(),
            source,
        };
        let child = Command::new(&self.program)
            // A small stack: what is mapped there but not here shall be hard to hit.
            .args(["-cpu", self.cpu, "-s", "65536"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let output = wait(child).map_err(failed)?.ok_or(Error::Hang {
            first: 0,
            seconds: PATIENCE.as_secs(),
        })?;
        // Both: a truncated output compared with ours would look like a difference.
        if output.status.success() && output.stdout.len() == (RESULTS_END - OUTPUT) as usize {
            return Ok(output.stdout);
        }
        let text = String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', "; ");
        Err(Error::Oracle {
            status: output.status,
            bytes: output.stdout.len(),
            text,
        })
    }
}

/// Installs the package; when the host's package index does not know it, brings that up to date
/// first. Whether it worked shows in whether the program is there.
fn install(prefix: &[&str]) {
    let apt_get = |arguments: &[&str]| {
        let mut words = prefix
            .iter()
            .copied()
            .chain(["apt-get", "-q", "-y"])
            .chain(arguments.iter().copied());
        let mut command = Command::new(words.next().unwrap_or("apt-get"));
        let done = command
            .args(words)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output();
        done.is_ok_and(|output| output.status.success())
    };
    let package = ["install", "--no-install-recommends", "qemu-user"];
    if !apt_get(&package) && apt_get(&["update"]) {
        apt_get(&package);
    }
}

/// Collects what `child` writes until it ends; `None` when it takes too long.
fn wait(mut child: Child) -> std::io::Result<Option<Output>> {
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    // Both pipes are read while the program runs: it would block on a full one.
    let reader = std::thread::spawn(move || read_all(out.as_mut()));
    let errors = std::thread::spawn(move || read_all(err.as_mut()));
    let end = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > end {
            child.kill()?;
            // No zombie is left. The readers end by themselves, as the pipes are closed.
            child.wait()?;
            return Ok(None);
        }
        // Short at first, since most programs end soon, then longer, to leave the CPU to QEMU.
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    };
    let joined = |t: std::thread::JoinHandle<Vec<u8>>| t.join().unwrap_or_default();
    Ok(Some(Output {
        status,
        stdout: joined(reader),
        stderr: joined(errors),
    }))
}

fn read_all(from: Option<&mut impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // A short read shows in the length, which the caller checks.
        let _ = from.read_to_end(&mut bytes);
    }
    bytes
}
