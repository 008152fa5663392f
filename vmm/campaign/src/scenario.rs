//! What a guest does while faults happen: short work of which the host knows what must come of it.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use vmm_faults::spec::ScenarioName;
use vmm_files::scratch::{ScratchFile, seeded_bytes};
use vmm_machine::board::Board;
use vmm_machine::{ByteSize, Config, DiskConfig, GuestKernel, IommuConfig, IommuModel};

/// Bytes that the guest copies at a time.
pub const PART: usize = 64 << 10;
/// The most copies that a scenario makes.
const COPIES: usize = 2;
/// How a command ends that has found the disk not to work any more.
pub const LOST: u8 = 99;
/// Seeds the disk's contents; any number will do.
const CONTENTS: u64 = 0x1_5eed;

/// A scenario, with the commands that the guest runs.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Which.
    pub name: ScenarioName,
    /// The shell commands that the guest runs, in order.
    pub commands: Vec<String>,
    /// For each of them, the part of the disk that it copies to, if it does.
    pub copies: Vec<Option<usize>>,
    /// Guest time after which a run hangs, in nanoseconds from its beginning.
    pub watchdog_ns: u64,
    /// Instructions after which a run hangs: a guest that spins makes its time pass slowly.
    pub watchdog_instructions: u64,
}

impl Scenario {
    /// Creates the scenario of this name.
    pub fn new(name: ScenarioName) -> Self {
        let copy = |part: usize| {
            // `dd` counts in blocks of 16 KiB, of which a part has four.
            let blocks = 4 * part;
            // What could be copied to its end came from a disk that works; otherwise one more
            // request tells.
            let command = format!(
                "dd if=/dev/vda of=/dev/vda bs=16k count=4 seek={blocks} iflag=direct oflag=direct \
                    conv=notrunc status=none \
                 || {{ dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct status=none || exit {LOST}; exit 1; }}"
            );
            (command, Some(part))
        };
        let steps = match name {
            ScenarioName::Copy | ScenarioName::Plain | ScenarioName::Virtio => vec![copy(1)],
            ScenarioName::Rockchip | ScenarioName::SmmuV2 => {
                // This kernel sends what was written to the console later, by interrupts: without
                // the wait, the copy is made before `guest: ready` is seen.
                let (command, part) = copy(1);
                vec![(format!("sleep 0.1; {command}"), part)]
            }
            ScenarioName::Rebind => {
                let device = disk_name(&machine(name, Path::new("")));
                let driver = "/sys/bus/platform/drivers/virtio-mmio";
                let rebind = format!(
                    "echo {device} >{driver}/unbind; for n in 1 2 3 4 5 6; do echo {device} >{driver}/bind; \
                        sleep 0.1; [ -b /dev/vda ] && break; done"
                );
                vec![copy(1), (rebind, None), copy(2)]
            }
        };
        let (commands, copies) = steps.into_iter().unzip();
        Self {
            name,
            commands,
            copies,
            watchdog_ns: 20_000_000_000,
            watchdog_instructions: 400_000_000,
        }
    }

    /// Returns the machine that it needs, with the disk at `disk`.
    pub fn config(&self, kernel: &GuestKernel, disk: &Path) -> Config {
        // An oops ends the run at once, by a reset, instead of what it would lead to later.
        let mut cmdline = "console=ttyS0 earlycon panic=-1 oops=panic".to_owned();
        for command in &self.commands {
            cmdline.push(' ');
            cmdline.push_str(&guest_images::encode_command(command));
        }
        Config {
            kernel: kernel.path.clone(),
            kernel_format: kernel.format,
            initrd: Some(kernel.image.initramfs.clone()),
            cmdline,
            ..machine(self.name, disk)
        }
    }

    /// Returns the board of its machine.
    pub fn board(&self) -> Board {
        Board::new(&machine(self.name, Path::new("")))
    }

    /// Returns in words what is wrong with the disk, with these bytes, after a run in which the
    /// commands ended with `statuses`.
    pub fn verify(&self, bytes: &[u8], statuses: &[u8]) -> Vec<String> {
        let source = contents();
        let mut wrong = Vec::new();
        if bytes.len() != source.len() {
            wrong.push("the disk has another size".to_owned());
            return wrong;
        }
        for (part, (found, original)) in bytes.chunks(PART).zip(source.chunks(PART)).enumerate() {
            let copied = self.copies.iter().position(|copy| *copy == Some(part));
            let wanted = match copied.map(|command| statuses.get(command)) {
                // The command succeeded: it must be a copy.
                Some(Some(0)) => &source[..PART],
                // The command did not succeed: any content will do.
                Some(_) => continue,
                None => original,
            };
            // At once, as most parts are right.
            if found == wanted {
                continue;
            }
            if let Some(at) = found.iter().zip(wanted).position(|(a, b)| a != b) {
                let count = found.iter().zip(wanted).filter(|(a, b)| a != b).count();
                wrong.push(format!(
                    "{count} bytes of part {part} of the disk are wrong, the first at {at:#x}"
                ));
            }
        }
        wrong
    }
}

/// Returns the machine without what the guest runs.
fn machine(name: ScenarioName, disk: &Path) -> Config {
    let iommus = match name {
        ScenarioName::Copy | ScenarioName::Rebind => vec![IommuConfig::new(IommuModel::Ipmmu)],
        ScenarioName::Virtio => vec![IommuConfig::new(IommuModel::Virtio)],
        ScenarioName::Rockchip => vec![IommuConfig::new(IommuModel::Rockchip)],
        ScenarioName::SmmuV2 => vec![IommuConfig::new(IommuModel::SmmuV2)],
        ScenarioName::Plain => Vec::new(),
    };
    Config {
        memory: match name {
            // A kernel for every board is large.
            ScenarioName::Rockchip | ScenarioName::SmmuV2 => ByteSize(256 << 20),
            _ => ByteSize(64 << 20),
        },
        disks: vec![DiskConfig::new(disk)],
        rng: false,
        iommus,
        ..Config::default()
    }
}

/// Returns what the kernel calls the disk.
fn disk_name(config: &Config) -> String {
    let board = Board::new(config);
    let disk = board
        .devices
        .iter()
        .find(|entry| entry.disk_index().is_some());
    disk.map(|entry| entry.linux_name()).unwrap_or_default()
}

/// How long the disk is, in bytes.
pub const DISK_BYTES: usize = (1 + COPIES) * PART;

/// Returns what is on the disk at first: noise, and room for copies of it.
fn contents() -> &'static [u8] {
    // Every run is compared with it.
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut bytes = seeded_bytes(CONTENTS, PART);
        bytes.resize(DISK_BYTES, 0);
        bytes
    })
}

/// Returns a disk for one run.
///
/// # Errors
/// The host has no room for it.
pub fn disk() -> io::Result<ScratchFile> {
    ScratchFile::new(&[contents()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_fit_the_kernel_command_line() {
        for name in ScenarioName::ALL {
            let scenario = Scenario::new(name);
            let words: usize = scenario
                .commands
                .iter()
                .map(|command| guest_images::encode_command(command).len() + 1)
                .sum();
            assert!(
                words + 60 < guest_images::MAX_COMMAND_LINE,
                "{name:?}: {words}"
            );
            assert_eq!(scenario.commands.len(), scenario.copies.len());
        }
    }

    #[test]
    fn only_what_was_told_to_be_good_is_looked_at() {
        let scenario = Scenario::new(ScenarioName::Copy);
        let mut bytes = contents().to_vec();
        assert!(
            scenario.verify(&bytes, &[1, 0]).is_empty(),
            "a copy that failed"
        );
        assert_eq!(
            scenario.verify(&bytes, &[0, 0]).len(),
            1,
            "a copy that is none"
        );
        bytes.copy_within(..PART, PART);
        assert!(scenario.verify(&bytes, &[0, 0]).is_empty());
        bytes[3] ^= 1;
        bytes[2 * PART + 1] = 9;
        let wrong = scenario.verify(&bytes, &[1]);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].contains("1 bytes of part 0"), "{wrong:?}");
        assert_eq!(scenario.verify(&[], &[0]).len(), 1);
    }
}
