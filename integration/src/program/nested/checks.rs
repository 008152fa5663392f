//! What is checked in the outer machine.

use anyhow::{Context, bail, ensure};
use guest_images::{GuestFile, Image};
use vmm::vcpu::Width;

use super::check_output::{BEGIN, CheckOutput, END};
use super::debug::Look;
use super::debugger;
use super::guest::{Boot, More, content};
use super::obtain::obtain;
use super::same;

/// A kernel that only sleeps.
const ASLEEP: &str = "guests/asleep";

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
    /// A script that ends with the program's exit code, and what that is and the program says.
    Program {
        script: String,
        guest: Option<&'static str>,
        status: i32,
        words: &'static str,
    },
    /// Someone looks into a guest.
    Look(Look),
    /// The emulated processor does the same as on this host.
    Same,
}

/// A guest of 32 bits.
const IPMMU: Boot = Boot {
    image: "ipmmu",
    accel: "kvm",
    iommu: Some("ipmmu"),
    words: "",
    machine: "armv7l",
    cpus: 2,
    more: &[More::Rebind, More::Stray],
};

/// A guest of 64 bits.
const STRICT: Boot = Boot {
    image: "debian-arm64-6.12",
    accel: "kvm",
    iommu: Some("virtio"),
    words: "iommu.strict=1",
    machine: "aarch64",
    cpus: 4,
    more: &[More::Rebind, More::Crowd],
};

const fn guest(name: &'static str, boot: Boot) -> Check {
    Check {
        name,
        kind: Kind::Guest(boot),
    }
}

const fn look(name: &'static str, look: Look) -> Check {
    Check {
        name,
        kind: Kind::Look(look),
    }
}

fn program(
    name: &'static str,
    script: &str,
    guest: Option<&'static str>,
    status: i32,
    words: &'static str,
) -> Check {
    Check {
        name,
        kind: Kind::Program {
            script: script.to_owned(),
            guest,
            status,
            words,
        },
    }
}

/// Returns the checks of a processor whose kernels have 64 bits.
pub fn wide() -> Vec<Check> {
    vec![
        program(
            "32 bits are refused",
            "vmm boot --accel kvm --kernel /guests/ipmmu/kernel 2>&1",
            Some("ipmmu"),
            2,
            "KVM cannot be used: this host's processor has no 32-bit mode for kernels",
        ),
        program(
            "32 bits are emulated instead",
            "vmm boot --accel auto --time host --wall-timeout 4 --kernel /guests/ipmmu/kernel --cmdline panic=0 \
             --console none 2>&1",
            Some("ipmmu"),
            124,
            "the processor is emulated: this host's processor has no 32-bit mode for kernels",
        ),
        guest("64 bits behind a virtio-iommu", STRICT),
    ]
}

/// Returns all checks of a processor whose kernels have 32 bits or 64, or one of each kind.
pub fn all(quick: bool) -> Vec<Check> {
    let mut checks = each();
    if !quick {
        checks.extend(programs());
        checks.extend(guests());
    }
    checks
}

/// Returns one check of each kind.
fn each() -> Vec<Check> {
    vec![
        program(
            "virtual time is refused",
            "vmm boot --accel kvm --time virtual --kernel /bin/vmm",
            None,
            2,
            "virtual time is the emulated processor's alone",
        ),
        program(
            "that there is no KVM is said",
            "mv /dev/kvm /dev/away\nvmm boot --accel kvm --kernel /guests/asleep 2>&1\nstatus=$?\n\
             mv /dev/away /dev/kvm\nexit $status",
            None,
            2,
            "KVM cannot be used: /dev/kvm cannot be opened: No such file or directory",
        ),
        // Without a root file system it panics sooner or later, and then spins.
        program(
            "a running guest is stopped",
            "vmm boot --accel kvm --cpus 4 --wall-timeout 4 --kernel /guests/ipmmu/kernel --cmdline panic=0 \
                --console none",
            Some("ipmmu"),
            124,
            "took too long on this host",
        ),
        program(
            "a guest that sleeps for ever is noticed",
            "vmm boot --accel kvm --cpus 2 --wall-timeout 100 --kernel /guests/asleep --console none",
            None,
            1,
            "sleeps and nothing can ever wake it",
        ),
        look("probes in 32 bits", Look::Probes(Width::Bits32)),
        look("probes in 64 bits", Look::Probes(Width::Bits64)),
        look("a debugger in 32 bits", Look::Debugger(debugger::NARROW)),
        Check {
            name: "an emulated run is the same as on this host",
            kind: Kind::Same,
        },
        guest("32 bits behind an IPMMU", IPMMU),
        guest("64 bits behind a virtio-iommu", STRICT),
    ]
}

/// Returns the other checks of what looks into a guest, saves one, or runs the lab.
fn programs() -> [Check; 8] {
    [
        program(
            "a running guest is ended by a signal",
            "vmm boot --accel kvm --cpus 4 --kernel /guests/ipmmu/kernel --cmdline panic=0 --console none & \
                 sleep 4; kill -TERM $!; wait $!",
            Some("ipmmu"),
            143,
            "",
        ),
        look("a debugger in 64 bits", Look::Debugger(debugger::AARCH64)),
        // They say that they are skipped where KVM cannot be used.
        program(
            "tests of what KVM takes and leaves",
            "mkdir -p /tmp\nvmm-tests vcpu::kvm --test-threads=1 --nocapture >/said 2>&1\nstatus=$?\ncat /said\n\
                 grep -q -e skipped -e '^running 0 tests' /said && exit 1\nexit $status",
            None,
            0,
            "test result: ok",
        ),
        look(
            "a guest of 32 bits is saved and goes on",
            Look::Snapshot {
                image: "ipmmu",
                iommu: "ipmmu",
            },
        ),
        look(
            "a guest of 64 bits is saved and goes on",
            Look::Snapshot {
                image: "debian-arm64-6.12",
                iommu: "virtio",
            },
        ),
        look(
            "the lab behind an IPMMU",
            Look::Lab {
                image: "ipmmu",
                cases: "rebind.shared.stock.off rebind.shared.guard-absent.off deferral.shared.stock.off \
                            deferral.shared.guard-absent.off repeated.shared.stock.off repeated.shared.ops-kept.off \
                            failing.shared.stock.off failing.shared.ops-null.off bugs.coherent.stock.off",
                count: 9,
            },
        ),
        look(
            "the lab behind a virtio-iommu",
            Look::Lab {
                image: "virtio-iommu",
                cases: "virtio.rebind.separate.stock.off virtio.use.alone",
                count: 3,
            },
        ),
        look(
            "the lab in 64 bits",
            Look::Lab {
                image: "debian-arm64-6.12",
                cases: "arm64 arm64-lazy",
                count: 6,
            },
        ),
    ]
}

/// Returns the other guests that boot.
fn guests() -> [Check; 4] {
    [
        guest(
            "32 bits behind an IPMMU of Gen3",
            Boot {
                iommu: Some("ipmmu-gen3"),
                cpus: 4,
                more: &[More::Crowd],
                ..IPMMU
            },
        ),
        guest(
            "32 bits, a stock kernel",
            Boot {
                image: "debian-armmp-6.1",
                accel: "auto --time host",
                iommu: None,
                cpus: 1,
                more: &[],
                ..IPMMU
            },
        ),
        guest(
            "64 bits behind a virtio-iommu, lazily",
            Boot {
                words: "iommu.strict=0",
                ..STRICT
            },
        ),
        guest(
            "64 bits without an IOMMU",
            Boot {
                iommu: None,
                words: "",
                cpus: 1,
                ..STRICT
            },
        ),
    ]
}

/// Returns an arm64 Image (Linux, Documentation/arch/arm64/booting.rst) that waits for interrupts
/// and enables none.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the code begins at a small offset"
)]
fn asleep() -> Vec<u8> {
    /// Where its code is: behind the header, over which the first instruction branches.
    const CODE: usize = 0x40;
    let mut image = vec![0; CODE];
    image[..4].copy_from_slice(&(0x1400_0000 | (CODE as u32 / 4)).to_le_bytes());
    // The memory that it takes (`image_size`), and below the magic number. The offset from a
    // multiple of 2 MiB at which it is loaded stays 0.
    image[0x10..0x18].copy_from_slice(&0x1000u64.to_le_bytes());
    image[0x38..].copy_from_slice(b"ARM\x64\0\0\0\0");
    // wfi; b .-4
    for instruction in [0xd503_207fu32, 0x17ff_ffff] {
        image.extend(instruction.to_le_bytes());
    }
    image
}

impl Check {
    /// Returns its name.
    pub fn name(&self) -> String {
        self.name.to_owned()
    }

    /// Returns the image of its guest, if it has one.
    ///
    /// # Errors
    /// A sentence, when it cannot be obtained.
    pub fn guest(&self) -> anyhow::Result<Option<(&'static str, Image)>> {
        let name = match &self.kind {
            Kind::Guest(boot) => Some(boot.image),
            Kind::Program { guest, .. } => *guest,
            Kind::Look(look) => look.guest(),
            Kind::Same => Some(same::IMAGE),
        };
        name.map(|name| Ok((name, obtain(name)?))).transpose()
    }

    /// Returns whether it runs the program's unit tests.
    pub fn takes_tests(&self) -> bool {
        matches!(&self.kind, Kind::Program { script, .. } if script.contains("vmm-tests"))
    }

    /// Returns what it needs in the outer machine.
    ///
    /// # Errors
    /// A sentence.
    pub fn files(&self) -> anyhow::Result<Vec<GuestFile>> {
        Ok(match &self.kind {
            Kind::Guest(_) | Kind::Same => vec![GuestFile {
                path: "disks/in".into(),
                mode: 0o644,
                bytes: content(),
            }],
            Kind::Program { script, .. } if !script.contains(ASLEEP) => Vec::new(),
            Kind::Program { .. } => vec![GuestFile {
                path: ASLEEP.into(),
                mode: 0o644,
                bytes: asleep(),
            }],
            Kind::Look(look) => look.files()?,
        })
    }

    /// Returns the script of what the outer machine does for it.
    pub fn script(&self) -> String {
        let command = match &self.kind {
            Kind::Guest(boot) => boot.command(),
            // In a subshell, so that an `exit` does not end the script of this check before its
            // last line.
            Kind::Program { script, .. } => format!("(\n{script}\n)\nstatus=$?"),
            Kind::Look(look) => look.script(),
            Kind::Same => same::script(),
        };
        format!(
            "echo '{BEGIN}{}'\n{command}\necho \"{END}$status\"\n",
            self.name
        )
    }

    /// Checks whether it holds.
    ///
    /// # Errors
    /// It does not hold, and why.
    pub fn judge(&self, said: &CheckOutput) -> anyhow::Result<()> {
        let status = said.status.context("it did not come to an end")?;
        let wanted = match &self.kind {
            Kind::Guest(_) | Kind::Look(_) | Kind::Same => 0,
            Kind::Program { status, .. } => *status,
        };
        ensure!(status == wanted, "vmm exited with {status}, not {wanted}");
        match &self.kind {
            Kind::Guest(boot) => boot.judge(said),
            Kind::Look(look) => look.judge(said),
            Kind::Same => same::judge(said),
            Kind::Program { words, .. } if said.program(words) => Ok(()),
            Kind::Program { words, .. } => bail!("vmm did not say {words:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use guest_images::encode_command;

    use super::*;

    #[test]
    fn names_differ_and_command_lines_fit() {
        let mut checks = all(false);
        checks.extend(wide().into_iter().take(2));
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
}
