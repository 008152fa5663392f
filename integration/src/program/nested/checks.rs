//! What is checked in the outer machine.

use guest_images::{GuestFile, Image, encode_command};
use integration::disk::{random_bytes, sha256};
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::Value;
use vmm::Config;

use super::outer::obtain;

/// Begins what is said for a check; its name follows.
pub const BEGIN: &str = "check begins: ";
/// Ends what is said for a check; the program's exit code follows.
pub const END: &str = "check ends: ";
/// Begins a line of the guest's console.
const CONSOLE: &str = "| ";

/// Seed of the guests' entropy.
const SEED: u64 = 29;

/// Size of a disk.
const DISK: usize = 1 << 20;

/// What was said in the outer machine for one check.
#[derive(Debug, Default)]
pub struct Said {
    /// Lines: the program's own, and its guest's console.
    pub lines: Vec<String>,
    /// The program's exit code, if it came to an end.
    pub status: Option<i32>,
}

impl Said {
    /// Whether a line of the program's own contains this.
    fn program(&self, words: &str) -> bool {
        let mut own = self.lines.iter().filter(|line| !line.starts_with(CONSOLE));
        own.any(|line| line.contains(words))
    }

    /// The guest's console.
    fn console(&self) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .filter_map(|line| line.strip_prefix(CONSOLE))
    }

    /// Whether a line of the guest's console contains this.
    fn guest(&self, words: &str) -> bool {
        self.console().any(|line| line.contains(words))
    }

    /// The program's summary of the run.
    fn summary(&self) -> Result<Value, String> {
        let own = self.lines.iter().filter(|line| !line.starts_with(CONSOLE));
        let text: Vec<_> = own
            .skip_while(|line| *line != "{")
            .map(String::as_str)
            .collect();
        let end = text.iter().position(|line| *line == "}");
        let text = text[..end.map_or(0, |end| end + 1)].join("\n");
        serde_json::from_str(&text).map_err(|error| format!("vmm wrote no summary: {error}"))
    }
}

/// What a guest does in a check.
#[derive(Clone, Copy, Debug)]
struct Boot {
    image: &'static str,
    /// Which IOMMU its disks and its entropy device stand behind, as on the command line.
    iommu: Option<&'static str>,
    /// Words for its kernel's command line.
    words: &'static str,
    /// What its kernel calls its processor (`uname -m`).
    machine: &'static str,
    cpus: u8,
    /// What else it does.
    more: &'static [More],
}

/// What a guest may do besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    /// Take its disk from its driver and give it back.
    Rebind,
    /// Read the disk by several programs at once.
    Crowd,
    /// Access a physical address at which nothing lies.
    Stray,
}

/// One check.
#[derive(Clone, Debug)]
pub struct Check {
    name: &'static str,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// A guest comes up, reads a disk, writes another, reads entropy and powers off.
    Guest(Boot),
    /// The program with these arguments, and what it exits with and says.
    Program {
        arguments: String,
        guest: Option<&'static str>,
        status: i32,
        words: &'static str,
    },
}

/// All checks, or one of each kind.
///
/// # Errors
/// A sentence.
pub fn all(quick: bool) -> Result<Vec<Check>, String> {
    let ipmmu = Boot {
        image: "ipmmu",
        iommu: Some("ipmmu"),
        words: "",
        machine: "armv7l",
        cpus: 2,
        more: &[More::Rebind, More::Stray],
    };
    let strict = Boot {
        image: "debian-arm64-6.12",
        iommu: Some("virtio"),
        words: "iommu.strict=1",
        machine: "aarch64",
        cpus: 4,
        more: &[More::Rebind, More::Crowd],
    };
    let guest = |name, boot| Check {
        name,
        kind: Kind::Guest(boot),
    };
    let program = |name, arguments: &str, guest, status, words| Check {
        name,
        kind: Kind::Program {
            arguments: arguments.to_owned(),
            guest,
            status,
            words,
        },
    };
    let mut checks = vec![
        program(
            "virtual time is refused",
            "boot --accel kvm --time virtual --kernel /bin/vmm",
            None,
            2,
            "virtual time is the emulated processor's alone",
        ),
        program(
            "a running guest is stopped",
            "boot --accel kvm --cpus 4 --wall-timeout 4 --kernel /guests/ipmmu/kernel --console none",
            Some("ipmmu"),
            124,
            "took too long on this host",
        ),
        guest("32 bits behind an IPMMU", ipmmu),
        guest("64 bits behind a virtio-iommu", strict),
    ];
    if !quick {
        checks.extend([
            guest(
                "32 bits behind an IPMMU of Gen3",
                Boot {
                    iommu: Some("ipmmu-gen3"),
                    cpus: 4,
                    more: &[More::Crowd],
                    ..ipmmu
                },
            ),
            guest(
                "32 bits, a stock kernel",
                Boot {
                    image: "debian-armmp-6.1",
                    iommu: None,
                    cpus: 1,
                    more: &[],
                    ..ipmmu
                },
            ),
            guest(
                "64 bits behind a virtio-iommu, lazily",
                Boot {
                    words: "iommu.strict=0",
                    ..strict
                },
            ),
            guest(
                "64 bits without an IOMMU",
                Boot {
                    iommu: None,
                    words: "",
                    cpus: 1,
                    ..strict
                },
            ),
        ]);
    }
    Ok(checks)
}

/// What the guest's disk holds.
fn content() -> Vec<u8> {
    random_bytes(DISK, 17)
}

impl Check {
    /// Its name.
    pub fn name(&self) -> String {
        self.name.to_owned()
    }

    /// The image of its guest, if it has one.
    ///
    /// # Errors
    /// A sentence, when it cannot be obtained.
    pub fn guest(&self) -> Result<Option<(&'static str, Image)>, String> {
        let name = match &self.kind {
            Kind::Guest(boot) => Some(boot.image),
            Kind::Program { guest, .. } => *guest,
        };
        name.map(|name| Ok((name, obtain(name)?))).transpose()
    }

    /// What it needs in the outer machine.
    pub fn files(&self) -> Vec<GuestFile> {
        match self.kind {
            Kind::Guest(_) => vec![GuestFile {
                path: "disks/in".into(),
                mode: 0o644,
                bytes: content(),
            }],
            Kind::Program { .. } => Vec::new(),
        }
    }

    /// What the outer machine does for it.
    pub fn script(&self) -> String {
        let command = match &self.kind {
            Kind::Guest(boot) => boot.command(),
            Kind::Program { arguments, .. } => format!("vmm {arguments}\nstatus=$?"),
        };
        format!(
            "echo '{BEGIN}{}'\n{command}\necho \"{END}$status\"\n",
            self.name
        )
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, said: &Said) -> Result<(), String> {
        let Some(status) = said.status else {
            return Err("it did not come to an end".to_owned());
        };
        let wanted = match &self.kind {
            Kind::Guest(_) => 0,
            Kind::Program { status, .. } => *status,
        };
        if status != wanted {
            return Err(format!("vmm exited with {status}, not {wanted}"));
        }
        match &self.kind {
            Kind::Guest(boot) => boot.judge(said),
            Kind::Program { words, .. } if said.program(words) => Ok(()),
            Kind::Program { words, .. } => Err(format!("vmm did not say {words:?}")),
        }
    }
}

impl Boot {
    /// What the guest does, in this order.
    fn commands(&self) -> Vec<String> {
        let mut commands = vec![
            "uname -m; grep -c ^processor /proc/cpuinfo",
            "sha256sum /dev/vda",
            "dd if=/dev/vda of=/dev/vdb bs=64k conv=fsync",
            r#"dd if=/dev/hwrng bs=32 count=1 2>/dev/null | hexdump -v -e '32/1 "%02x"'; echo"#,
        ];
        for more in self.more {
            commands.push(match more {
                More::Rebind => {
                    "d=$(readlink -f /sys/block/vda/device/..); cd /sys/bus/platform/drivers/virtio-mmio; \
                     echo ${d##*/} >unbind; echo ${d##*/} >bind; sleep 1; echo again $(sha256sum /dev/vda)"
                }
                More::Stray => "! devmem 0xb000000 32",
                More::Crowd => {
                    "for i in 1 2 3 4; do for j in 1 2; do \
                     dd if=/dev/vda bs=64k iflag=direct 2>/dev/null | sha256sum | sed s/^/crowd:/; done & done; wait"
                }
            });
        }
        commands.into_iter().map(str::to_owned).collect()
    }

    fn command(&self) -> String {
        let Self {
            image, words, cpus, ..
        } = self;
        let iommu = self
            .iommu
            .map_or_else(String::new, |model| format!("--iommu {model}"));
        let commands: Vec<_> = self.commands().iter().map(|c| encode_command(c)).collect();
        format!(
            "dd if=/dev/zero of=/disks/out bs=64k count={} 2>/dev/null\n\
             vmm boot --accel kvm --cpus {cpus} --memory 256M --wall-timeout 400 --json /summary --console /console \
             --kernel /guests/{image}/kernel --initrd /guests/{image}/initrd {iommu} --seed {SEED} \
             --disk /disks/in,ro --disk /disks/out --cmdline 'quiet {words} {}'\n\
             status=$?\n\
             sed 's/^/{CONSOLE}/' /console\n\
             cat /summary\n\
             sha256sum /disks/out",
            DISK / (64 << 10),
            commands.join(" "),
        )
    }

    fn judge(&self, said: &Said) -> Result<(), String> {
        let hash = sha256(&content());
        let commands = self.commands();
        let succeeded =
            (1..=commands.len()).all(|n| said.guest(&format!("guest: command {n} exited with 0")));
        let crowd = format!("crowd:{hash}  -");
        let crowd = said.console().filter(|line| *line == crowd).count();
        let wants = [
            (said.guest(self.machine), "its processor is another one"),
            (
                said.console().any(|line| line == self.cpus.to_string()),
                "it has another number of cores",
            ),
            (succeeded, "a command failed"),
            (
                said.guest(&format!("{hash}  /dev/vda")),
                "it read the disk wrongly",
            ),
            (
                said.program(&format!("{hash}  /disks/out")),
                "it wrote the disk wrongly",
            ),
            (is_noise(said), "its entropy was not what its seed gives"),
            (
                !self.more.contains(&More::Rebind) || said.guest(&format!("again {hash}")),
                "it read the disk wrongly after its driver came back",
            ),
            (
                !self.more.contains(&More::Crowd) || crowd == 8,
                "programs that read the disk at once read it wrongly",
            ),
        ];
        match wants.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err((*why).to_owned()),
            None => self.judge_summary(&said.summary()?),
        }
    }

    /// What the program's summary says: everything was translated, and nothing was refused.
    fn judge_summary(&self, summary: &Value) -> Result<(), String> {
        if summary["kvm"] != true {
            return Err("it was not run by KVM".to_owned());
        }
        let iommus = summary["iommus"].as_array().map_or(&[][..], Vec::as_slice);
        let sum = |path: &str| {
            let values = iommus
                .iter()
                .filter_map(|iommu| iommu.pointer(path)?.as_u64());
            values.sum::<u64>()
        };
        let ports = iommus.iter().filter_map(|iommu| iommu["utlbs"].as_array());
        let refused = ports
            .flatten()
            .any(|port| port["faults"] != 0 || port["bus_errors"] != 0);
        let virtio = self.iommu == Some("virtio");
        let strays = summary["exits"]["unmapped"].as_u64();
        let wants = [
            (
                self.more.contains(&More::Stray) == (strays > Some(0)),
                "accesses to where nothing lies were not those that were made",
            ),
            (
                iommus.is_empty() == self.iommu.is_none(),
                "it has not the IOMMU it was to have",
            ),
            (
                self.iommu.is_none() || sum("/fills") > 0,
                "nothing was translated",
            ),
            (!refused, "accesses were refused"),
            (
                !virtio || sum("/virtio/requests/map") > 0 && sum("/virtio/requests/unmap") > 0,
                "the virtio-iommu was not asked to map and to unmap",
            ),
            (
                !virtio || sum("/virtio/requests/attach") >= 3,
                "a device was not attached",
            ),
            (
                !virtio || sum("/virtio/refused") == 0,
                "the virtio-iommu refused requests",
            ),
        ];
        match wants.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err((*why).to_owned()),
            None => Ok(()),
        }
    }
}

/// Whether the guest read bytes that its entropy device is to have given it.
fn is_noise(said: &Said) -> bool {
    let mut stream = vec![0; 64 << 10];
    let config = Config {
        seed: SEED,
        ..Config::default()
    };
    Xoshiro256PlusPlus::seed_from_u64(vmm::noise_seed(&config)).fill_bytes(&mut stream);
    let stream: String = stream.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut lines = said.console();
    lines.any(|line| line.len() == 64 && stream.contains(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot() -> Boot {
        let mut checks = all(true).unwrap().into_iter();
        let boot = checks.find_map(|check| match check.kind {
            Kind::Guest(boot) if boot.iommu == Some("virtio") => Some(boot),
            _ => None,
        });
        boot.unwrap()
    }

    #[test]
    fn names_differ_and_command_lines_fit() {
        let checks = all(false).unwrap();
        let mut names: Vec<_> = checks.iter().map(Check::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), checks.len());
        for check in checks {
            if let Kind::Guest(boot) = check.kind {
                let words: usize = boot
                    .commands()
                    .iter()
                    .map(|c| encode_command(c).len() + 1)
                    .sum();
                assert!(words < 950, "{}: {words}", check.name);
            }
        }
    }

    #[test]
    fn a_summary_is_judged() {
        let good = r#"{"kvm": true, "exits": {"unmapped": 0}, "iommus": [{"fills": 9, "utlbs": [{"faults": 0, "bus_errors": 0}],
            "virtio": {"refused": 0, "requests": {"map": 4, "unmap": 3, "attach": 3}}}]}"#;
        let judge = |text: &str| boot().judge_summary(&serde_json::from_str(text).unwrap());
        judge(good).unwrap();
        for (from, to) in [
            ("true", "false"),
            ("\"fills\": 9", "\"fills\": 0"),
            ("\"faults\": 0", "\"faults\": 1"),
            ("\"unmap\": 3", "\"unmap\": 0"),
            ("\"attach\": 3", "\"attach\": 2"),
            ("\"refused\": 0", "\"refused\": 1"),
            ("\"unmapped\": 0", "\"unmapped\": 1"),
        ] {
            assert!(judge(&good.replace(from, to)).is_err(), "{from}");
        }
    }
}
