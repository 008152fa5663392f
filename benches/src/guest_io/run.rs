//! One guest that copies, and what each copy took.

use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use guest_images::{Image, guest_script};
use tempfile::TempDir;
use vmm::introspect::types::vmlinux::TypesFrom;
use vmm::sanitizer::{DmaApi, Options, Sanitizer};
use vmm::{
    ByteSize, Config, ConsoleSink, DiskConfig, Flow, IommuConfig, KernelFormat, Limits, Machine,
    Reason, TimeMode,
};

/// Bytes that one phase copies.
pub const SIZE: u64 = 64 << 20;
/// The longest that a guest may take.
const LIMIT: Duration = Duration::from_secs(600);
/// What the guest prints around each copy, and if one fails.
const BEGIN: &str = "io: begin";
const END: &str = "io: end";
const FAILED: &str = "io: failed";

/// One copy.
pub struct Phase {
    /// What it is called.
    pub name: &'static str,
    /// The shell command.
    command: &'static str,
}

/// The copies, in their order.
pub const PHASES: [Phase; 7] = [
    Phase {
        name: "read, 1 MiB direct",
        command: "dd if=/dev/vda of=/dev/null bs=1M count=64 iflag=direct",
    },
    Phase {
        name: "read, 64 KiB direct",
        command: "dd if=/dev/vda of=/dev/null bs=64k count=1024 iflag=direct",
    },
    Phase {
        name: "read, 4 KiB direct",
        command: "dd if=/dev/vda of=/dev/null bs=4k count=16384 iflag=direct",
    },
    Phase {
        name: "write, 1 MiB direct",
        command: "dd if=/dev/zero of=/dev/vda bs=1M count=64 oflag=direct",
    },
    Phase {
        name: "write, 64 KiB direct",
        command: "dd if=/dev/zero of=/dev/vda bs=64k count=1024 oflag=direct",
    },
    Phase {
        name: "write, 4 KiB direct",
        command: "dd if=/dev/zero of=/dev/vda bs=4k count=16384 oflag=direct",
    },
    Phase {
        name: "read, buffered",
        command: "dd if=/dev/vda of=/dev/null bs=1M count=64",
    },
];

/// A copy of nothing: what starting dd takes, and printing the lines.
const NOTHING: &str = "dd if=/dev/vda of=/dev/null bs=1M count=0";

/// The time and instructions of one copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    nanoseconds: u64,
    instructions: u64,
}

impl Sample {
    /// Returns the rate in MiB a second.
    pub fn rate(&self) -> f64 {
        let seconds = Duration::from_nanos(self.nanoseconds).as_secs_f64();
        (SIZE >> 20) as f64 / seconds
    }

    /// Returns the guest's instructions for each KiB.
    pub fn instructions(&self) -> f64 {
        self.instructions as f64 / (SIZE >> 10) as f64
    }

    fn without(self, other: Self) -> Self {
        Self {
            // At least 1, so that a rate is finite.
            nanoseconds: self.nanoseconds.saturating_sub(other.nanoseconds).max(1),
            instructions: self.instructions.saturating_sub(other.instructions),
        }
    }
}

/// Every how many instructions to tell whom of the phase and the program counter.
type Probe<'p> = (u64, &'p mut dyn FnMut(usize, u32));

/// What stands before the disk, and who looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The IOMMU, if there is one.
    pub iommu: Option<&'a IommuConfig>,
    /// What a sanitizer looks for, if there is one.
    pub sanitize: Option<&'a Options>,
}

/// The guest, ready to be run many times.
pub struct Guest {
    config: Config,
    _directory: TempDir,
}

impl Guest {
    /// Prepares its disk and its initial file system.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the disk has a fixed, small size"
    )]
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn new(image: &Image, memory: ByteSize) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let keep = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            fs::write(&path, bytes).with_context(|| format!("cannot write {name}"))?;
            anyhow::Ok(path)
        };
        // Something else than zeros, so that no file system leaves it out.
        let disk = keep("disk", &vec![0x5a; SIZE as usize])?;
        let initramfs = image.initramfs_with(&[guest_script("10-copy", &script())])?;
        let initrd = keep("initramfs", &initramfs)?;
        let (kernel, kernel_format) = match &image.raw_kernel {
            Some(raw) => (raw.clone(), KernelFormat::Image),
            None => (image.kernel.clone(), KernelFormat::Zimage),
        };
        let config = Config {
            kernel,
            kernel_format,
            initrd: Some(initrd),
            cmdline: "console=ttyS0 panic=-1 quiet".into(),
            memory,
            disks: vec![DiskConfig::new(disk)],
            // An IOMMU of one port has none left for it.
            rng: false,
            ..Config::default()
        };
        Ok(Self {
            config,
            _directory: directory,
        })
    }

    /// Runs it on the host's clock, and returns what each of [`PHASES`] took.
    ///
    /// # Errors
    /// The machine cannot be made, the guest does not copy all, or the sanitizer finds a mistake.
    pub fn run(&self, side: &Side<'_>) -> anyhow::Result<Vec<Sample>> {
        self.follow(side, TimeMode::Host, None)
    }

    /// Runs it on a virtual clock, which repeats, and tells `probe` of the phase and the program
    /// counter every so many instructions.
    ///
    /// # Errors
    /// The machine cannot be made, or the guest does not copy all.
    pub fn sample(
        &self,
        iommu: Option<&IommuConfig>,
        every: u64,
        probe: &mut dyn FnMut(usize, u32),
    ) -> anyhow::Result<()> {
        let side = Side {
            iommu,
            sanitize: None,
        };
        self.follow(&side, TimeMode::Virtual, Some((every, probe)))?;
        Ok(())
    }

    fn follow(
        &self,
        side: &Side<'_>,
        time: TimeMode,
        mut probe: Option<Probe<'_>>,
    ) -> anyhow::Result<Vec<Sample>> {
        let config = Config {
            iommus: side.iommu.cloned().into_iter().collect(),
            time,
            ..self.config.clone()
        };
        let (to, lines) = mpsc::channel();
        let console = Lines {
            line: Vec::new(),
            to,
        };
        let sanitizer = side.sanitize;
        let sanitizer = sanitizer.map(|options| Sanitizer::new(options.clone(), Box::new(|_| {})));
        let mut machine = Machine::builder(&config, Box::new(console))
            .iommu_sink(sanitizer.as_ref().map(Sanitizer::sink))
            .build()?;
        if let Some(sanitizer) = &sanitizer {
            // The same as `vmm boot`'s: the kernel's calls are followed, too.
            DmaApi::attach(sanitizer, &mut machine, TypesFrom::Kernel)?;
        }
        let mut progress = Progress::default();
        loop {
            // The first copy is of nothing.
            let phase = progress.samples.len().checked_sub(1);
            let probing = probe.as_mut().zip(phase.filter(|_| progress.copying));
            let limits = Limits {
                wall: Some(LIMIT),
                instructions: probing
                    .as_ref()
                    .map(|((every, _), _)| machine.summary().instructions + every),
                ..Limits::default()
            };
            let reason = machine.run(limits).reason;
            if let (Reason::InstructionLimit, Some(((_, probe), phase))) = (reason, probing) {
                let pc = machine.cluster().and_then(|all| Some(all.core(0)?.pc()));
                probe(phase, pc.unwrap_or_default());
            }
            progress.update(&machine, &lines);
            match reason {
                Reason::ConsoleStop | Reason::InstructionLimit => {}
                Reason::PowerOff if progress.samples.len() == PHASES.len() + 1 => break,
                reason => return Err(anyhow!(progress.failure(reason))),
            }
        }
        let findings = sanitizer.map(|it| it.finish(machine.summary().guest_ns));
        if let Some(findings) = findings.filter(|findings| !findings.is_empty()) {
            return Err(anyhow!("the sanitizer found mistakes: {findings:?}"));
        }
        let nothing = progress.samples.remove(0);
        let net = progress.samples.iter().map(|taken| taken.without(nothing));
        Ok(net.collect())
    }
}

/// The progress of the guest.
#[derive(Default)]
struct Progress {
    /// What each copy took, the one of nothing first.
    samples: Vec<Sample>,
    copying: bool,
    /// When the present copy began.
    start: Sample,
    /// What else the console showed.
    shown: Vec<String>,
}

impl Progress {
    fn update(&mut self, machine: &Machine, lines: &mpsc::Receiver<String>) {
        let summary = machine.summary();
        let now = Sample {
            nanoseconds: summary.wall_ns,
            instructions: summary.instructions,
        };
        for line in lines.try_iter() {
            match line.as_str() {
                // The machine has stopped at this line, so that these are the numbers of that
                // moment.
                BEGIN => (self.copying, self.start) = (true, now),
                END => {
                    self.copying = false;
                    self.samples.push(now.without(self.start));
                }
                _ => self.shown.push(line),
            }
        }
    }

    fn failure(&self, reason: Reason) -> String {
        let tail = self.shown[self.shown.len().saturating_sub(20)..].join("\n");
        format!(
            "the guest {} before all was copied; its console ends with\n{tail}",
            reason.sentence()
        )
    }
}

/// Returns what the guest does: each copy between its lines, after one of nothing.
fn script() -> String {
    let mut script = format!("{NOTHING} 2>/dev/null\n");
    // The caches are dropped before each copy: what an earlier one has left in them would spare the
    // guest its reads.
    for command in std::iter::once(NOTHING).chain(PHASES.iter().map(|phase| phase.command)) {
        script += &format!(
            "echo 3 >/proc/sys/vm/drop_caches\n\
             echo '{BEGIN}'\n\
             {command} 2>/tmp/dd || {{ cat /tmp/dd; echo '{FAILED}: {command}'; exit 1; }}\n\
             echo '{END}'\n"
        );
    }
    script
}

/// Hands the console on line by line, and stops the machine at those that tell of a copy.
struct Lines {
    line: Vec<u8>,
    to: mpsc::Sender<String>,
}

impl ConsoleSink for Lines {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        let mut flow = Flow::Continue;
        for byte in bytes {
            if *byte != b'\n' {
                // A guest that never ends a line does not fill our memory.
                if self.line.len() < 4096 {
                    self.line.push(*byte);
                }
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
            self.line.clear();
            if line == BEGIN || line == END {
                flow = Flow::Stop;
            }
            // The other end is there for as long as the machine runs.
            let _ = self.to.send(line);
        }
        flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stop_the_machine_at_marks_only() {
        let (to, lines) = mpsc::channel();
        let mut sink = Lines {
            line: Vec::new(),
            to,
        };
        assert_eq!(sink.write(b"io: begin"), Flow::Continue);
        assert_eq!(sink.write(b"\r\n"), Flow::Stop);
        assert_eq!(sink.write(b"other io: end\nx"), Flow::Continue);
        let seen: Vec<String> = lines.try_iter().collect();
        assert_eq!(seen, ["io: begin", "other io: end"]);
    }

    #[test]
    fn the_script_copies_between_marks() {
        let script = script();
        assert_eq!(script.matches(BEGIN).count(), PHASES.len() + 1);
        assert_eq!(script.matches(END).count(), PHASES.len() + 1);
    }

    #[test]
    fn samples_are_rates() {
        let sample = Sample {
            nanoseconds: 1_500_000_000,
            instructions: 2 << 16,
        };
        let nothing = Sample {
            nanoseconds: 500_000_000,
            instructions: 1 << 16,
        };
        let net = sample.without(nothing);
        assert_eq!(net.rate(), 64.0);
        assert_eq!(net.instructions(), 1.0);
    }
}
