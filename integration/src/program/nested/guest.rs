//! What a guest does in a check, and whether it did.

use anyhow::{bail, ensure};
use guest_images::encode_command;
use integration::disk::{random_bytes, sha256};
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::Value;
use vmm::Config;

use super::check_output::{CONSOLE, CheckOutput};

/// Seed of the guests' entropy.
const SEED: u64 = 29;

/// Size of a disk.
const DISK: usize = 1 << 20;

/// The boot of a guest in a check.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    pub image: &'static str,
    /// What `--accel` says, and what goes with it.
    pub accel: &'static str,
    /// Which IOMMU its disks and its entropy device stand behind, as on the command line.
    pub iommu: Option<&'static str>,
    /// Words for its kernel's command line.
    pub words: &'static str,
    /// What its kernel calls its processor (`uname -m`).
    pub machine: &'static str,
    pub cpus: u8,
    /// What else it does.
    pub more: &'static [More],
}

/// A thing that a guest does besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// Take its disk from its driver and give it back.
    Rebind,
    /// Read the disk by several programs at once, and entropy, while the other disk is taken from
    /// its driver and given back again and again.
    Crowd,
    /// Access an unmapped physical address.
    Stray,
}

/// Returns what the guest's disk holds.
pub fn content() -> Vec<u8> {
    random_bytes(DISK, 17)
}

impl Boot {
    /// Returns what the guest does, in this order.
    pub fn commands(&self) -> Vec<String> {
        let mut commands = vec![
            "uname -m; grep -c ^processor /proc/cpuinfo",
            "sha256sum /dev/vda",
            // Flushed, as the file is compared after the machine has ended.
            "dd if=/dev/vda of=/dev/vdb bs=64k conv=fsync",
            r#"dd if=/dev/hwrng bs=32 count=1 2>/dev/null | hexdump -v -e '32/1 "%02x"'; echo"#,
        ];
        for more in self.more {
            commands.push(match more {
                // The disk's node comes back a moment after the driver, hence the sleep.
                More::Rebind => {
                    "d=$(readlink -f /sys/block/vda/device/..); cd /sys/bus/platform/drivers/virtio-mmio; \
                     echo ${d##*/} >unbind; echo ${d##*/} >bind; sleep 1; echo again $(sha256sum /dev/vda)"
                }
                // The access must fail: its external abort ends devmem by a signal.
                More::Stray => "! devmem 0xb000000 32",
                More::Crowd => {
                    "d=$(readlink -f /sys/block/vdb/device/..); cd /sys/bus/platform/drivers/virtio-mmio; \
                     for i in 1 2 3 4; do for j in 1 2; do \
                     dd if=/dev/vda bs=64k iflag=direct 2>/dev/null | sha256sum | sed s/^/crowd:/; done & done; \
                     dd if=/dev/hwrng of=/dev/null bs=64 count=9 & \
                     for i in 1 2 3; do echo ${d##*/} >unbind; echo ${d##*/} >bind; done; wait; sleep 1; \
                     sha256sum </dev/vdb | sed s/^/crowd:/"
                }
            });
        }
        commands.into_iter().map(str::to_owned).collect()
    }

    pub fn command(&self) -> String {
        let Self {
            image,
            accel,
            words,
            cpus,
            ..
        } = self;
        let iommu = self
            .iommu
            .map_or_else(String::new, |model| format!("--iommu {model}"));
        let commands: Vec<_> = self.commands().iter().map(|c| encode_command(c)).collect();
        format!(
            "dd if=/dev/zero of=/disks/out bs=64k count={} 2>/dev/null\n\
             vmm boot --accel {accel} --cpus {cpus} --memory 256M --wall-timeout 400 --json /summary \
             --console /console \
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

    pub fn judge(&self, said: &CheckOutput) -> anyhow::Result<()> {
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
                // Four programs read the disk twice each, and the other disk is read once, at the
                // end.
                !self.more.contains(&More::Crowd) || crowd == 9,
                "programs that read the disk at once read it wrongly",
            ),
        ];
        match wants.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => bail!("{why}"),
            None => self.judge_summary(&said.summary()?),
        }
    }

    /// Checks the program's summary: everything was translated, and nothing was refused.
    fn judge_summary(&self, summary: &Value) -> anyhow::Result<()> {
        ensure!(summary["kvm"] == true, "it was not run by KVM");
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
                "accesses to unmapped addresses were not those that were made",
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
                // Two disks and the entropy device.
                !virtio || sum("/virtio/requests/attach") >= 3,
                "a device was not attached",
            ),
            (
                !virtio || sum("/virtio/refused") == 0,
                "the virtio-iommu refused requests",
            ),
        ];
        match wants.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => bail!("{why}"),
            None => Ok(()),
        }
    }
}

/// Returns whether the guest read bytes that its entropy device is to have given it.
fn is_noise(said: &CheckOutput) -> bool {
    let mut stream = vec![0; 64 << 10];
    let config = Config {
        seed: SEED,
        ..Config::default()
    };
    Xoshiro256PlusPlus::seed_from_u64(vmm::noise_seed(&config)).fill_bytes(&mut stream);
    let stream: String = stream.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut lines = said.console();
    // 32 bytes from anywhere in the stream: the guest's kernel may have taken some before.
    lines.any(|line| line.len() == 64 && stream.contains(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: Boot = Boot {
        image: "debian-arm64-6.12",
        accel: "kvm",
        iommu: Some("virtio"),
        words: "",
        machine: "aarch64",
        cpus: 4,
        more: &[More::Rebind, More::Crowd],
    };

    #[test]
    fn a_summary_is_judged() {
        let good = r#"{"kvm": true, "exits": {"unmapped": 0},
            "iommus": [{"fills": 9, "utlbs": [{"faults": 0, "bus_errors": 0}],
            "virtio": {"refused": 0, "requests": {"map": 4, "unmap": 3, "attach": 3}}}]}"#;
        let judge = |text: &str| BOOT.judge_summary(&serde_json::from_str(text).unwrap());
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
