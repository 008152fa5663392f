//! What stands in a fault plan: types only. `docs/inject.md` explains the keys.

mod fault;
mod values;

use serde::{Deserialize, Serialize};

pub use fault::{
    ChainFault, DescriptorFault, DiskFault, Fault, FaultPoint, FlushFault, FunctionFault,
    InterruptFault, QueueFault, ReadFault, RegisterFault, ReportFault, RequestFault,
    TranslationFault, WriteFault,
};
pub use values::{Count, Mask, Nth, RequestStatus, Time};

/// A fault plan.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plan {
    /// What it is about, in one line.
    pub title: String,
    /// What happens, and which code of the guest it exercises.
    #[serde(default)]
    pub about: String,
    /// The scenario that it happens to.
    #[serde(default)]
    pub scenario: ScenarioName,
    /// What goes wrong.
    #[serde(default)]
    pub fault: Vec<Rule>,
}

/// What the guest is and does while faults happen.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum ScenarioName {
    /// A disk behind an IPMMU is copied, half of it onto the other half.
    #[default]
    Copy,
    /// The same, then its driver is taken away and given back, and it is copied again.
    Rebind,
    /// The same disk without an IOMMU.
    Plain,
    /// The same disk behind a virtio-iommu.
    Virtio,
    /// The same disk behind a Rockchip IOMMU, on a stock kernel of Debian.
    Rockchip,
    /// The same disk behind an SMMUv2, on a stock kernel of Debian.
    #[serde(rename = "smmuv2")]
    SmmuV2,
}

impl ScenarioName {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Copy,
        Self::Rebind,
        Self::Plain,
        Self::Virtio,
        Self::Rockchip,
        Self::SmmuV2,
    ];

    /// Returns the image that its guest is.
    pub const fn image(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-iommu",
            Self::Rockchip => "debian-armmp-6.12",
            Self::SmmuV2 => "debian-armmp-lpae-6.12",
            // Without an IOMMU as well: the image's kernel runs with one or without.
            _ => "ipmmu",
        }
    }

    /// Returns the name in a plan.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Rebind => "rebind",
            Self::Plain => "plain",
            Self::Virtio => "virtio",
            Self::Rockchip => "rockchip",
            Self::SmmuV2 => "smmuv2",
        }
    }
}

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rule {
    /// What, and where. All keys that are not a rule's own are this fault's, which refuses those
    /// that it has no use for.
    #[serde(flatten)]
    pub fault: Fault,
    /// Only at points of this device, such as `disk0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// When.
    #[serde(default)]
    pub when: When,
}

/// When a fault happens, counted among the points that a rule is about, from when the scenario
/// begins.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct When {
    /// At the n-th point. The first, if nothing else is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<Nth>,
    /// At every n-th point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// At each point with this probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Points count only from this time on, from when the scenario begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// Points count only after the guest has come to this function, each time anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// How often at most: once, unless `every` or `probability` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}
