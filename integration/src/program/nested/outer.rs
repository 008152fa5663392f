//! The outer machine.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use guest_images::{Cache, GuestFile, Image, Terminal, guest_script};
use tempfile::NamedTempFile;

use super::checks::{BEGIN, Check, END, Said};

/// The outer machine's image: its kernel has KVM built in.
const IMAGE: &str = "debian-arm64-6.1";
/// Longest silence of the outer machine. It is emulated, and so is what its guests do.
const SILENCE: Duration = Duration::from_secs(420);
/// Longest run of the outer machine.
const LIMIT: Duration = Duration::from_secs(3000);
/// Most of its console that is kept.
const MAX_CONSOLE: usize = 8 << 20;

/// An outer machine, ready to be started.
#[derive(Debug)]
pub struct Outer {
    kernel: PathBuf,
    initrd: NamedTempFile,
}

impl Outer {
    /// A machine that makes `checks` with `program`.
    ///
    /// # Errors
    /// A sentence.
    pub fn new(program: &Path, checks: &[Check]) -> Result<Self, String> {
        let cache = Cache::open().map_err(|error| error.to_string())?;
        cache
            .host_packages(&["qemu-system-arm"], &mut Terminal::new())
            .map_err(|error| error.to_string())?;
        let image = obtain(IMAGE)?;
        let mut files = vec![file("bin/vmm", 0o755, program)?];
        let mut guests = BTreeMap::new();
        for check in checks {
            if let Some((name, guest)) = check.guest()? {
                guests.insert(name, guest);
            }
        }
        for (name, guest) in &guests {
            let kernel = guest.raw_kernel.as_ref().unwrap_or(&guest.kernel);
            files.push(file(&format!("guests/{name}/kernel"), 0o644, kernel)?);
            files.push(file(
                &format!("guests/{name}/initrd"),
                0o644,
                &guest.initramfs,
            )?);
        }
        for (index, check) in checks.iter().enumerate() {
            files.extend(check.files()?);
            files.push(guest_script(&format!("{index:02}"), &check.script()));
        }
        let bytes = image.initramfs_with(&files);
        let bytes = bytes.map_err(|error| error.to_string())?;
        let initrd = NamedTempFile::new()
            .and_then(|file| std::fs::write(file.path(), &bytes).map(|()| file))
            .map_err(|error| format!("the outer machine's files cannot be written: {error}"))?;
        Ok(Self {
            kernel: image.kernel,
            initrd,
        })
    }

    /// Runs the machine with that many cores and a GIC of that version, and returns what was said for each check.
    ///
    /// # Errors
    /// A sentence.
    pub fn run(&self, gic: u8, cores: u8, verbose: bool) -> Result<BTreeMap<String, Said>, String> {
        let mut qemu = Command::new("qemu-system-aarch64");
        qemu.args(["-M", &format!("virt,virtualization=on,gic-version={gic}")])
            .args([
                "-cpu",
                "cortex-a57",
                "-smp",
                &cores.to_string(),
                "-m",
                "2048",
            ])
            .args(["-accel", "tcg,thread=multi", "-nodefaults", "-no-reboot"])
            .args(["-display", "none", "-serial", "stdio", "-kernel"])
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(self.initrd.path())
            .args(["-append", "console=ttyAMA0 quiet panic=-1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let child = qemu
            .spawn()
            .map_err(|error| format!("qemu-system-aarch64 cannot be run: {error}"))?;
        Transcript::default().follow(Running(child), verbose)
    }
}

/// A program that ends when this value does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the outer machine said, by check.
#[derive(Debug, Default)]
struct Transcript {
    said: BTreeMap<String, Said>,
    current: Option<String>,
    bytes: usize,
}

impl Transcript {
    fn follow(
        mut self,
        mut qemu: Running,
        verbose: bool,
    ) -> Result<BTreeMap<String, Said>, String> {
        let stdout = qemu.0.stdout.take().ok_or("QEMU has no output")?;
        let lines = lines(stdout);
        let begun = Instant::now();
        loop {
            let line = match lines.recv_timeout(SILENCE) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => return Ok(self.said),
                Err(RecvTimeoutError::Timeout) => {
                    println!(
                        "the outer machine has said nothing for {} s",
                        SILENCE.as_secs()
                    );
                    return Ok(self.said);
                }
            };
            if verbose {
                println!("  {line}");
            }
            self.bytes += line.len();
            if begun.elapsed() > LIMIT || self.bytes > MAX_CONSOLE {
                println!("the outer machine does not come to an end");
                return Ok(self.said);
            }
            self.line(&line);
        }
    }

    fn line(&mut self, line: &str) {
        if let Some((_, name)) = line.split_once(BEGIN) {
            self.current = Some(name.trim().to_owned());
            self.said.insert(name.trim().to_owned(), Said::default());
            return;
        }
        let Some(said) = self
            .current
            .as_ref()
            .and_then(|name| self.said.get_mut(name))
        else {
            return;
        };
        match line.split_once(END) {
            Some((_, status)) => {
                said.status = status.trim().parse().ok();
                self.current = None;
            }
            None => said.lines.push(line.to_owned()),
        }
    }
}

/// The lines of a stream, from a thread that ends with it.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (to, from) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if to.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    from
}

/// An image, obtained if need be.
///
/// # Errors
/// A sentence.
pub fn obtain(name: &str) -> Result<Image, String> {
    Cache::open()
        .and_then(|cache| cache.obtain(name, &mut Terminal::new()))
        .map_err(|error| error.to_string())
}

/// A file of this host for the outer machine.
fn file(path: &str, mode: u32, from: &Path) -> Result<GuestFile, String> {
    let bytes = std::fs::read(from)
        .map_err(|error| format!("{} cannot be read: {error}", from.display()))?;
    Ok(GuestFile {
        path: path.to_owned(),
        mode,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_belongs_to_its_check() {
        let mut transcript = Transcript::default();
        for line in [
            "noise",
            &format!("{BEGIN}one"),
            "a",
            &format!("{END}3"),
            "noise",
            &format!("{BEGIN}two"),
            "b",
        ] {
            transcript.line(line);
        }
        let said = &transcript.said;
        assert_eq!((said["one"].lines.len(), said["one"].status), (1, Some(3)));
        assert_eq!((said["two"].lines.len(), said["two"].status), (1, None));
    }
}
