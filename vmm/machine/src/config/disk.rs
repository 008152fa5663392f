//! What a user may say about a disk.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vmm_base::TextError;

use super::PortConfig;

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DiskConfig {
    /// The file with the raw contents.
    pub path: PathBuf,
    /// Whether the guest may not write it.
    #[serde(default)]
    pub read_only: bool,
    /// Whether what the guest writes stays in memory and ends with the run; the file is then only
    /// read.
    #[serde(default, skip_serializing_if = "is_false")]
    pub overlay: bool,
    /// Whether the file is taken for raw contents even if it looks like an image of another form,
    /// such as qcow2.
    #[serde(default, skip_serializing_if = "is_false")]
    pub raw: bool,
    /// Number of request queues, 1 to [`MAX_DISK_QUEUES`](super::MAX_DISK_QUEUES).
    #[serde(default = "one")]
    pub queues: u16,
    /// Where it stands; see [`Config::ports`](super::Config::ports) for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iommu: Option<PortConfig>,
    /// Clock generators that its node names in `assigned-clocks`, in that order. Each name makes
    /// one generator, which devices may share, and whose driver is a module: the device's probe is
    /// deferred until that is loaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clocks: Vec<String>,
    /// Whether its registers show no virtio device, so that its driver's probe fails.
    #[serde(default, skip_serializing_if = "is_false")]
    pub broken: bool,
    /// Whether its node says `dma-coherent`, which is no help behind an IOMMU: Linux's allocator of
    /// coherent memory takes another way there (arch/arm/mm/dma-mapping.c, `__iommu_alloc_simple`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub coherent: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

const fn one() -> u16 {
    1
}

impl DiskConfig {
    /// Creates a writable disk with one queue, behind the first IOMMU if there is one.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            read_only: false,
            overlay: false,
            raw: false,
            queues: 1,
            iommu: None,
            clocks: Vec::new(),
            broken: false,
            coherent: false,
        }
    }
}

/// `FILE`, `FILE,ro`, `FILE,overlay`, `FILE,raw`, `FILE,queues=N`, `FILE,iommu=PORT`,
/// `FILE,clock=NAME`, `FILE,broken`, `FILE,coherent`, in any combination.
impl FromStr for DiskConfig {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        // A file whose name has a comma can be named in a `machine.toml` only.
        let mut parts = text.split(',');
        let path = parts.next().unwrap_or_default();
        if path.is_empty() {
            return Err("a disk needs a file name".into());
        }
        let mut disk = Self::new(path);
        let mut single = Vec::new();
        for option in parts {
            // Clocks are listed one by one; everything else is said once.
            let key = option.split_once('=').map_or(option, |(key, _)| key);
            if key != "clock" && single.contains(&key) {
                return Err(format!("{text:?} says {key} twice").into());
            }
            single.push(key);
            match option.split_once('=') {
                None if option == "ro" => disk.read_only = true,
                None if option == "overlay" => disk.overlay = true,
                None if option == "raw" => disk.raw = true,
                None if option == "broken" => disk.broken = true,
                None if option == "coherent" => disk.coherent = true,
                Some(("clock", name)) => disk.clocks.push(name.to_owned()),
                // Their range is checked with the rest of the configuration.
                Some(("queues", n)) => {
                    disk.queues = n.parse().map_err(|_| {
                        format!(
                            "{n:?} is not a number of queues: use 1 to {}",
                            super::MAX_DISK_QUEUES
                        )
                    })?;
                }
                Some(("iommu", port)) => disk.iommu = Some(port.parse()?),
                _ => {
                    return Err(format!(
                        "{option:?} is not a disk option: use ro, overlay, raw, queues=N, iommu=NAME:N, clock=NAME, \
                         broken or coherent"
                    ).into());
                }
            }
        }
        Ok(disk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_parse() {
        assert_eq!("a.img".parse(), Ok(DiskConfig::new("a.img")));
        let full = DiskConfig {
            path: "a".into(),
            read_only: true,
            overlay: false,
            raw: true,
            queues: 4,
            iommu: None,
            clocks: vec!["c0".into(), "c1".into()],
            broken: true,
            coherent: true,
        };
        let text = "a,ro,raw,queues=4,clock=c0,broken,clock=c1,coherent";
        assert_eq!(text.parse(), Ok(full));
        for text in [
            "",
            ",ro",
            "a,rw",
            "a,queues=x",
            "a,ro,ro",
            "a,queues=1,queues=2",
            "a,iommu=none,iommu=ipmmu0",
        ] {
            assert!(text.parse::<DiskConfig>().is_err(), "{text}");
        }
    }
}
