//! What is checked in the outer machine.

use guest_images::{GuestFile, Image, encode_command};
use integration::disk::{random_bytes, sha256};

use super::outer::obtain;

/// Begins what is said for a check; its name follows.
pub const BEGIN: &str = "check begins: ";
/// Ends what is said for a check; the program's exit code follows.
pub const END: &str = "check ends: ";
/// Begins a line of the guest's console.
const CONSOLE: &str = "| ";

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

    /// Whether a line of the guest's console contains this.
    fn guest(&self, words: &str) -> bool {
        let mut console = self
            .lines
            .iter()
            .filter_map(|line| line.strip_prefix(CONSOLE));
        console.any(|line| line.contains(words))
    }
}

/// What a guest does in a check.
#[derive(Clone, Debug)]
struct Boot {
    image: &'static str,
    /// More arguments of `vmm boot`.
    arguments: &'static str,
    /// Whether its disks and its entropy device stand behind an IOMMU.
    iommu: bool,
    /// What its kernel calls its processor (`uname -m`).
    machine: &'static str,
    cpus: u8,
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
        arguments: "--iommu ipmmu",
        iommu: true,
        machine: "armv7l",
        cpus: 2,
    };
    let arm64 = Boot {
        image: "debian-arm64-6.12",
        arguments: "",
        iommu: false,
        machine: "aarch64",
        cpus: 2,
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
        guest("32 bits behind an IPMMU", ipmmu.clone()),
        guest("64 bits", arm64),
    ];
    if !quick {
        checks.extend([
            guest(
                "32 bits behind an IPMMU of Gen3",
                Boot {
                    arguments: "--iommu ipmmu-gen3",
                    cpus: 4,
                    ..ipmmu
                },
            ),
            guest(
                "32 bits, a stock kernel",
                Boot {
                    image: "debian-armmp-6.1",
                    arguments: "",
                    iommu: false,
                    machine: "armv7l",
                    cpus: 1,
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
    /// What the guest does.
    fn commands(&self) -> [String; 4] {
        [
            "uname -m; grep -c ^processor /proc/cpuinfo".to_owned(),
            "sha256sum /dev/vda".to_owned(),
            "dd if=/dev/vda of=/dev/vdb bs=64k conv=fsync".to_owned(),
            "dd if=/dev/hwrng bs=32 count=8 of=/r; wc -c /r; tr -d '\\000' </r | wc -c".to_owned(),
        ]
    }

    fn command(&self) -> String {
        let Self {
            image,
            arguments,
            cpus,
            ..
        } = self;
        let words: Vec<_> = self.commands().iter().map(|c| encode_command(c)).collect();
        format!(
            "dd if=/dev/zero of=/disks/out bs=64k count={} 2>/dev/null\n\
             vmm boot --accel kvm --cpus {cpus} --memory 256M --wall-timeout 400 --json /summary --console /console \
             --kernel /guests/{image}/kernel --initrd /guests/{image}/initrd {arguments} \
             --disk /disks/in,ro --disk /disks/out --cmdline 'quiet {}'\n\
             status=$?\n\
             sed 's/^/{CONSOLE}/' /console\n\
             cat /summary\n\
             sha256sum /disks/out",
            DISK / (64 << 10),
            words.join(" "),
        )
    }

    fn judge(&self, said: &Said) -> Result<(), String> {
        let hash = sha256(&content());
        let wants = [
            (said.guest(self.machine), "its processor is another one"),
            (
                said.guest(&format!("{hash}  /dev/vda")),
                "it read the disk wrongly",
            ),
            (
                said.program(&format!("{hash}  /disks/out")),
                "it wrote the disk wrongly",
            ),
            (said.guest("256 /r"), "it got too little entropy"),
            (
                said.guest("guest: command 4 exited with 0"),
                "a command failed",
            ),
            (
                said.lines
                    .iter()
                    .any(|line| line == &format!("{CONSOLE}{}", self.cpus)),
                "it has another number of cores",
            ),
            (
                !self.iommu || said.program("\"attaches\": 1"),
                "its devices stood behind no IOMMU",
            ),
        ];
        match wants.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err((*why).to_owned()),
            None => Ok(()),
        }
    }
}
