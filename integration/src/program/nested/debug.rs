//! Checks of who looks into guests that KVM runs: probes, the lab, a debugger.

use anyhow::bail;
use guest_images::{Cache, GuestFile};
use integration::disk::{random_bytes, sha256};
use vmm::vcpu::Width;

use super::check_output::{CONSOLE, CheckOutput};
use super::debugger;
use super::obtain::obtain;

/// Where the outer machine has a cache of images for the lab.
const CACHE: &str = "cache";
/// How many times as long as on a real host everything may take in an emulated one.
const PATIENCE: u32 = 10;

/// A check of something that looks into a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Probes stop a kernel, read its arguments, wait for returns and modules, and end the run.
    Probes(Width),
    /// A debugger stops a core, steps it, reads and writes its registers and memory.
    Debugger(debugger::Guest),
    /// The lab judges a bug that probes bring back, and the same without them, as on the emulated
    /// processor.
    Lab {
        image: &'static str,
        cases: &'static str,
        /// How many these are.
        count: usize,
    },
    /// A guest is saved before it reads its disk, and goes on in another process, where a probe
    /// looks into it.
    Snapshot {
        image: &'static str,
        /// Its IOMMU.
        iommu: &'static str,
    },
}

/// Returns what a saved guest reads.
fn content() -> Vec<u8> {
    random_bytes(256 << 10, 23)
}

impl Look {
    /// Returns the image that it boots by name.
    pub const fn guest(self) -> Option<&'static str> {
        match self {
            Self::Probes(Width::Bits32) => Some("ipmmu"),
            Self::Probes(Width::Bits64) => Some("debian-arm64-6.12"),
            Self::Debugger(guest) => Some(guest.image),
            Self::Snapshot { image, .. } => Some(image),
            Self::Lab { .. } => None,
        }
    }

    /// Returns what it needs in the outer machine besides.
    ///
    /// # Errors
    /// A sentence.
    pub fn files(self) -> anyhow::Result<Vec<GuestFile>> {
        let image = match self {
            Self::Lab { image, .. } => image,
            Self::Snapshot { .. } => {
                return Ok(vec![GuestFile {
                    path: "disks/saved".into(),
                    mode: 0o644,
                    bytes: content(),
                }]);
            }
            Self::Probes(_) | Self::Debugger(_) => return Ok(Vec::new()),
        };
        // `portable` packs only what is in the cache.
        obtain(image)?;
        Cache::open()
            .and_then(|cache| cache.portable(image, CACHE))
            .map_err(anyhow::Error::msg)
    }

    /// Returns the script of what the outer machine does; it leaves the exit code in `status`.
    pub fn script(self) -> String {
        match self {
            Self::Probes(Width::Bits32) => probes(
                "vmm boot --accel kvm --cpus 2 --memory 128M --wall-timeout 300 \
                --kernel /guests/ipmmu/kernel \
                 --initrd /guests/ipmmu/initrd --cmdline quiet \
                 --probe start_kernel --probe 'do_one_initcall@return { print(fn, retval) }' \
                 --probe 'kernel_init { print(cpu) }' --probe 'driver_register { print(drv.name); stop }'",
            ),
            // The entropy device's driver is a module.
            Self::Probes(Width::Bits64) => probes(
                "vmm boot --accel kvm --cpus 2 --memory 256M --wall-timeout 300 \
                 --kernel /guests/debian-arm64-6.12/kernel --initrd /guests/debian-arm64-6.12/initrd \
                 --cmdline quiet --probe start_kernel --probe 'kernel_init { print(cpu) }' \
                 --probe 'platform_probe@return { print(_dev.name, retval) }' \
                 --probe 'virtio_rng:virtrng_probe { print((struct virtio_device)arg0.dev.name); stop }'",
            ),
            Self::Debugger(guest) => guest.script(),
            Self::Snapshot { image, iommu } => snapshot(image, iommu),
            Self::Lab { cases, .. } => format!(
                "VIOMMU_CACHE=/{CACHE} vmm lab run {cases} --accel kvm --patience {PATIENCE} --jobs 1 2>&1\nstatus=$?"
            ),
        }
    }

    /// Checks whether it holds.
    ///
    /// # Errors
    /// It does not hold, and why.
    pub fn judge(self, said: &CheckOutput) -> anyhow::Result<()> {
        let seen = |words: &str| said.lines.iter().any(|line| line.contains(words));
        let wanted: Vec<String> = match self {
            Self::Probes(Width::Bits32) => vec![
                " start_kernel cpu=0".into(),
                " driver_register cpu=".into(),
                "drv.name=\"".into(),
                "; ended the run".into(),
            ],
            Self::Probes(Width::Bits64) => vec![
                " start_kernel cpu=0".into(),
                " kernel_init cpu=".into(),
                " platform_probe@return cpu=".into(),
                " from=really_probe+0x".into(),
                "virtio_mmio\" retval=0".into(),
                " virtio_rng:virtrng_probe cpu=".into(),
                " from=virtio_dev_probe+0x".into(),
                ".dev.name=\"virtio".into(),
                "; ended the run".into(),
            ],
            Self::Snapshot { .. } => vec![
                format!("{}  /dev/vda", sha256(&content())),
                " blk_mq_start_request cpu=".into(),
            ],
            Self::Debugger(_) => debugger::FOUND
                .map(|what| format!("found: {what}"))
                .to_vec(),
            Self::Lab { count, .. } => vec![format!("{count} as expected, 0 not, 0 not judged")],
        };
        match wanted.iter().find(|words| !seen(words)) {
            Some(words) => bail!("{words:?} was not said"),
            None => Ok(()),
        }
    }
}

/// Runs a guest with probes. Should it come to no end, its console and where its cores stand tell
/// what it was doing.
fn probes(command: &str) -> String {
    format!(
        "rm -f /console\nVMM_LOG=error,vmm_machine=info {command} --console /console 2>&1\nstatus=$?\n\
         sed 's/^/{CONSOLE}/' /console"
    )
}

/// Saves a guest and has it go on.
fn snapshot(image: &str, iommu: &str) -> String {
    format!(
        "vmm snapshot save /saved --accel kvm --cpus 2 --memory 256M --wall-timeout 300 --kernel \
            /guests/{image}/kernel \
         --initrd /guests/{image}/initrd --console none --cmdline quiet --iommu {iommu} --disk /disks/saved,ro \
         --run 'sha256sum /dev/vda' --expect 'guest: ready' 2>&1 &&\n\
         vmm snapshot restore /saved --wall-timeout 300 --console /console --probe blk_mq_start_request 2>&1\n\
         status=$?\ncat /console\nrm -f /saved /console\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_missed() {
        let look = Look::Lab {
            image: "ipmmu",
            cases: "rebind",
            count: 2,
        };
        let said = |line: &str| CheckOutput {
            lines: vec![line.to_owned()],
            status: Some(0),
        };
        let all = "2 run (0 M instructions): 2 as expected, 0 not, 0 not judged";
        look.judge(&said(all)).unwrap();
        assert!(
            look.judge(&said("2 run: 1 as expected, 1 not, 0 not judged"))
                .is_err()
        );
        for width in [Width::Bits32, Width::Bits64] {
            assert!(Look::Probes(width).judge(&said("")).is_err());
        }
    }
}
