//! The outer machine.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use guest_images::{Cache, GuestFile, Terminal, guest_script};
use tempfile::NamedTempFile;

use super::check_output::{BEGIN, CheckOutput, END};
use super::checks::Check;
use super::obtain::obtain;

/// The outer machine's image: its kernel has KVM built in.
const IMAGE: &str = "debian-arm64-6.1";
/// Longest silence of the outer machine. It is emulated, and so is what its guests do.
const SILENCE: Duration = Duration::from_secs(420);
/// Longest run of the outer machine.
const LIMIT: Duration = Duration::from_secs(3000);
/// Most of its console that is kept.
const MAX_CONSOLE: usize = 8 << 20;

/// Keeps core N of each guest on core N of the outer machine, whose scheduler might have two share
/// one: QEMU gets AArch32 wrong then. A guest's core N is the Nth thread that is called `core`.
const PINS: &str = r#"
cores=$(grep -c ^processor /proc/cpuinfo)
while sleep 0.3; do
    for process in /proc/[0-9]*; do
        read name 2>/dev/null <$process/comm || continue
        case $name in vmm*) ;; *) continue ;; esac
        n=0
        for thread in $process/task/*; do
            read name 2>/dev/null <$thread/comm && [ "$name" = core ] || continue
            id=${thread##*/}
            case " $pinned " in *" $id "*) ;; *)
                taskset -p $(printf %x $((1 << n % cores))) $id >/dev/null && pinned="$pinned $id" ;;
            esac
            n=$((n + 1))
        done
    done
done &
"#;

/// The outer machine's processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Processor {
    /// AArch32 for kernels and for programs
    CortexA57,
    /// AArch32 for programs only; virtualization host extensions
    NeoverseN1,
}

impl Processor {
    /// Returns QEMU's name for it.
    const fn name(self) -> &'static str {
        match self {
            Self::CortexA57 => "cortex-a57",
            Self::NeoverseN1 => "neoverse-n1",
        }
    }
}

/// The hardware of an outer machine.
#[derive(Clone, Copy, Debug)]
pub struct Hardware {
    pub processor: Processor,
    pub cores: u8,
    /// Version of its interrupt controller.
    pub gic: u8,
}

/// An outer machine, ready to be started.
#[derive(Debug)]
pub struct Outer {
    kernel: PathBuf,
    initrd: NamedTempFile,
}

impl Outer {
    /// Creates a machine that makes `checks` with `programs`, of which each has its path in there.
    ///
    /// # Errors
    /// A sentence.
    pub fn new(programs: &[(&str, PathBuf)], checks: &[Check]) -> anyhow::Result<Self> {
        let cache = Cache::open().map_err(anyhow::Error::msg)?;
        cache
            .host_packages(&guest_images::host::packages("qemu"), &mut Terminal::new())
            .map_err(anyhow::Error::msg)?;
        let image = obtain(IMAGE)?;
        let mut files = Vec::new();
        for (path, program) in programs {
            files.push(file(path, 0o755, program)?);
        }
        // By image: several checks may boot one, which is packed once.
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
        // Scripts run in the order of their names, which two digits make that of the list.
        files.push(guest_script("0-pins", PINS));
        for (index, check) in checks.iter().enumerate() {
            files.extend(check.files()?);
            files.push(guest_script(&format!("{index:02}"), &check.script()));
        }
        let bytes = image.initramfs_with(&files);
        let bytes = bytes.map_err(anyhow::Error::msg)?;
        let initrd = NamedTempFile::new()
            .and_then(|file| std::fs::write(file.path(), &bytes).map(|()| file))
            .context("the outer machine's files cannot be written")?;
        Ok(Self {
            kernel: image.kernel,
            initrd,
        })
    }

    /// Runs the machine on that hardware. `ended` is told of each check as soon as it came to its
    /// end, and of one that the machine's own end cut short.
    ///
    /// # Errors
    /// A sentence.
    pub fn run(
        &self,
        hardware: Hardware,
        verbose: bool,
        ended: impl FnMut(&Begun),
    ) -> anyhow::Result<()> {
        let Hardware {
            processor,
            cores,
            gic,
        } = hardware;
        let mut qemu = Command::new("qemu-system-aarch64");
        qemu.args(["-M", &format!("virt,virtualization=on,gic-version={gic}")])
            .args(["-cpu", processor.name(), "-m", "2048"])
            .args(["-smp", &cores.to_string()])
            // With panic=-1 below, a panic of the outer kernel ends QEMU and with it the wait.
            .args(["-accel", "tcg,thread=multi", "-nodefaults", "-no-reboot"])
            .args(["-display", "none", "-serial", "stdio", "-kernel"])
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(self.initrd.path())
            .args(["-append", "console=ttyAMA0 quiet panic=-1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        // QEMU ends when this program does, however that happens.
        guest_images::host::keep(&mut qemu);
        let child = qemu.spawn().context("qemu-system-aarch64 cannot be run")?;
        Transcript::default().follow(Running(child), verbose, ended)
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

/// A check that the outer machine has come to.
#[derive(Debug)]
pub struct Begun {
    /// The check's name.
    pub name: String,
    since: Instant,
    /// What was said since.
    pub said: CheckOutput,
}

impl Begun {
    /// Returns the whole seconds since it began.
    pub fn seconds(&self) -> u64 {
        self.since.elapsed().as_secs()
    }
}

/// The output of the outer machine, taken apart.
#[derive(Debug, Default)]
struct Transcript {
    current: Option<Begun>,
    bytes: usize,
}

impl Transcript {
    fn follow(
        mut self,
        mut qemu: Running,
        verbose: bool,
        mut ended: impl FnMut(&Begun),
    ) -> anyhow::Result<()> {
        let stdout = qemu.0.stdout.take().context("QEMU has no output")?;
        let lines = lines(stdout);
        let begun = Instant::now();
        loop {
            let line = match lines.recv_timeout(SILENCE) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    println!(
                        "the outer machine has said nothing for {} s",
                        SILENCE.as_secs()
                    );
                    break;
                }
            };
            if verbose {
                println!("  {line}");
            }
            self.bytes += line.len();
            if begun.elapsed() > LIMIT || self.bytes > MAX_CONSOLE {
                println!("the outer machine does not come to an end");
                break;
            }
            self.line(&line).iter().for_each(&mut ended);
        }
        // A check that was cut short has no status, and fails for want of it.
        self.current.iter().for_each(ended);
        Ok(())
    }

    /// Takes a line; the check whose last one it was, or that the next one cuts short.
    fn line(&mut self, line: &str) -> Option<Begun> {
        if let Some((_, name)) = line.split_once(BEGIN) {
            return self.current.replace(Begun {
                name: name.trim().to_owned(),
                since: Instant::now(),
                said: CheckOutput::default(),
            });
        }
        let said = &mut self.current.as_mut()?.said;
        let Some((_, status)) = line.split_once(END) else {
            said.lines.push(line.to_owned());
            return None;
        };
        said.status = status.trim().parse().ok();
        self.current.take()
    }
}

/// Returns the lines of a stream, from a thread that ends with it.
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

/// Returns a file of this host for the outer machine.
fn file(path: &str, mode: u32, from: &Path) -> anyhow::Result<GuestFile> {
    let bytes =
        std::fs::read(from).with_context(|| format!("{} cannot be read", from.display()))?;
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
        let said = [
            "noise",
            &format!("{BEGIN}one"),
            "a",
            &format!("{END}3"),
            "noise",
            &format!("{BEGIN}two"),
            "b",
            &format!("{BEGIN}three"),
            "c",
        ];
        // What ends is told of at once: the first at its own last line, the second when the third
        // begins.
        let mut ended = Vec::new();
        for (at, line) in said.iter().enumerate() {
            ended.extend(transcript.line(line).map(|check| (at, check)));
        }
        ended.extend(transcript.current.map(|check| (said.len(), check)));
        let facts = ended.iter().map(|(at, Begun { name, said, .. })| {
            (*at, name.as_str(), said.lines.len(), said.status)
        });
        let expected = [
            (3, "one", 1, Some(3)),
            (7, "two", 1, None),
            (9, "three", 1, None),
        ];
        assert_eq!(facts.collect::<Vec<_>>(), expected);
    }
}
