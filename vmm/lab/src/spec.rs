//! What is in a scenario file: types only. `docs/lab.md` explains the keys.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use vmm_devices::dma_tester::script::Step;
use vmm_machine::{BoardModel, ByteSize, IommuModel, PortConfig};

/// A scenario file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// Its subject, in one line.
    pub title: String,
    /// An account of what happens and why it matters.
    pub about: String,
    /// The machine, without its devices.
    #[serde(default)]
    pub machine: MachineSpec,
    /// Devices and how they are connected, by name.
    pub topology: BTreeMap<String, Topology>,
    /// The triggers, by name.
    pub trigger: BTreeMap<String, Trigger>,
    /// The rows: what is run, and what is expected of it.
    pub row: Vec<Row>,
}

/// The machine of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MachineSpec {
    /// The image: the kernel unless the user brings one, and the initial file system.
    pub image: String,
    /// Images of other releases whose kernels, unmodified, give the same verdicts.
    pub same_on: Vec<String>,
    /// Number of cores.
    pub cpus: u8,
    /// Size of RAM.
    pub memory: ByteSize,
    /// The address of RAM, if it is not the machine's default.
    pub memory_base: Option<ByteSize>,
    /// Words for the kernel's command line.
    pub cmdline: String,
    /// Virtual seconds after which the guest is not waited for any longer.
    pub seconds: u32,
}

impl Default for MachineSpec {
    fn default() -> Self {
        Self {
            image: "ipmmu".into(),
            same_on: Vec::new(),
            cpus: 1,
            memory: ByteSize(64 << 20),
            memory_base: None,
            cmdline: String::new(),
            seconds: 12,
        }
    }
}

/// IOMMUs and the devices behind them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Topology {
    /// A description in words.
    pub about: String,
    /// The image, if it is not the machine's.
    pub image: Option<String>,
    /// The board.
    #[serde(default)]
    pub board: BoardModel,
    /// The IOMMUs' model; `none` if there is none.
    #[serde(default = "ipmmu")]
    pub iommu: IommuModel,
    /// The number of IOMMUs, named `ipmmu0` and so on.
    #[serde(default = "one")]
    pub instances: u8,
    /// The devices, in the order of the device tree.
    pub device: Vec<DeviceSpec>,
    /// The ports of the DMA tester's requesters, if there is a DMA tester.
    #[serde(default)]
    pub dma_tester: Vec<PortConfig>,
}

const fn ipmmu() -> IommuModel {
    IommuModel::Ipmmu
}

const fn one() -> u8 {
    1
}

/// A disk with contents known to the host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DeviceSpec {
    /// The part that it plays: a capital letter.
    pub role: char,
    /// The port that it is connected to, such as `ipmmu0:3`, if there is an IOMMU.
    pub port: Option<PortConfig>,
    /// Whether it is the one that the trigger happens to.
    #[serde(default)]
    pub subject: bool,
    /// Whether its node says `dma-coherent`.
    #[serde(default)]
    pub coherent: bool,
}

/// The events that happen to the subjects.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Trigger {
    /// A description in words.
    pub about: String,
    /// Late clocks that each subject waits for.
    #[serde(default)]
    pub clocks: Vec<String>,
    /// Whether the probe of the subjects fails.
    #[serde(default)]
    pub broken: bool,
    /// The number of times that the teardown of each subject must have been seen at least:
    /// otherwise the trigger did not happen, and nothing can be said about this kernel.
    #[serde(default)]
    pub teardowns: u32,
    /// What the DMA tester does meanwhile, as in a file of `--dma-script`.
    #[serde(default)]
    pub dma_script: Vec<Step>,
    /// Shell commands that the guest runs, in order; see `guest.sh` for what they can use.
    pub steps: Vec<String>,
}

/// One topology and trigger with several behaviours.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Row {
    /// A key of [`Scenario::topology`].
    pub topology: String,
    /// A key of [`Scenario::trigger`].
    pub trigger: String,
    /// Settings of `fw_devlink` to run it with, each a row of its own.
    pub fw_devlink: Vec<Devlink>,
    /// The expectation of each behaviour.
    pub expect: BTreeMap<String, Expectation>,
}

/// The kernel parameter `fw_devlink`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Devlink {
    /// Consumers wait for their suppliers before they are probed.
    On,
    /// Consumers do not wait: the order of 2017.
    Off,
}

impl fmt::Display for Devlink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// The expectation of a run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expectation {
    /// The verdict on the run.
    pub verdict: Health,
    /// Signs that must be seen.
    #[serde(default)]
    pub see: Vec<String>,
    /// Signs that must not be seen. Others may be, as long as the verdict stays.
    #[serde(default)]
    pub not: Vec<String>,
    /// Signs of mistakes with DMA that a sanitizer must find, and no other, if one looks for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<String>,
}

/// The health of a run, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// All DMA was translated, every byte arrived, nothing was torn down.
    Healthy,
    /// Every byte arrived, but a device's translation was torn down and made anew, or what others
    /// use was freed.
    Detached,
    /// Every byte arrived, but a device that belongs behind the IOMMU accessed memory past it.
    Bypassed,
    /// Data was lost or wrong, or accesses failed.
    Broken,
    /// The kernel crashed.
    Crashed,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Detached => "detached",
            Self::Bypassed => "bypassed",
            Self::Broken => "broken",
            Self::Crashed => "crashed",
        })
    }
}
