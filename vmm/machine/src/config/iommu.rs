//! What a user may say about IOMMUs and about where devices stand behind them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vmm_base::TextError;

use super::VirtioIommuOptions;

/// The most IOMMUs a machine may have; an R-Car M2 has seven.
pub const MAX_IOMMUS: usize = 8;
/// The longest name of an IOMMU.
pub const MAX_IOMMU_NAME: usize = 16;

/// A kind of IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IommuModel {
    /// No IOMMU: says that a machine has none, where a file says otherwise.
    None,
    /// The IPMMU-VMSA of R-Car Gen2.
    Ipmmu,
    /// The IPMMU-VMSA of R-Car Gen3: each instance a cache IPMMU with uTLBs, all of them before one
    /// main IPMMU, which the machine adds.
    IpmmuGen3,
    /// The Rockchip IOMMU with addresses of 32 bits, of RK3288 and others.
    Rockchip,
    /// The Rockchip IOMMU with addresses of 40 bits, of RK3568.
    RockchipV2,
    /// The Arm SMMU of architecture version 2.
    #[serde(rename = "smmuv2")]
    SmmuV2,
    /// A virtio-iommu.
    Virtio,
    /// No IOMMU, but a bus bridge that stands where one would: devices reach the first 64 MiB of
    /// RAM through it and nothing else, and the kernel is told nothing of it.
    Bridge,
}

/// The endpoints that a virtio-iommu can have here, far more than there are devices: their numbers
/// are less.
pub const VIRTIO_IOMMU_ENDPOINTS: u32 = 256;

/// The facts that are the same for all IOMMUs of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelFacts {
    /// Its name on the command line and in files.
    pub name: &'static str,
    /// The hardware, where the name does not say it.
    pub hardware: Option<&'static str>,
    /// What an instance is called that has no name, before its number.
    pub prefix: &'static str,
    /// Number of ports of an instance: micro-TLBs, streams, or endpoints.
    pub ports: u32,
    /// What it calls the place where a device is connected.
    pub port_word: &'static str,
    /// What it calls an address space that ports are attached to.
    pub domain_word: &'static str,
    /// How many cells name a port in a device's `iommus`, after the IOMMU: 1, or 0 if there is one
    /// port.
    pub cells: u32,
    /// Whether it stands on a virtio-mmio transport.
    pub virtio: bool,
    /// Whether its driver, on 32-bit ARM, maps for all devices at once itself
    /// (`arm_iommu_attach_device` in drivers/iommu/ipmmu-vmsa.c). Else the kernel makes a mapping
    /// for each device with a driver, and takes it down when the driver goes
    /// (arch/arm/mm/dma-mapping.c, `arm_setup_iommu_dma_ops`).
    pub shared_mapping: bool,
    /// Whether a kernel is told of it. What it is not told of is no IOMMU to it.
    pub described: bool,
}

impl IommuModel {
    /// All models, in the order in which they are listed.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Ipmmu,
        Self::IpmmuGen3,
        Self::Rockchip,
        Self::RockchipV2,
        Self::SmmuV2,
        Self::Virtio,
        Self::Bridge,
    ];

    /// Returns what is the same for all IOMMUs of this model.
    pub const fn facts(self) -> ModelFacts {
        let ipmmu = ModelFacts {
            name: "ipmmu",
            hardware: Some("R-Car Gen2"),
            prefix: "ipmmu",
            // drivers/iommu/ipmmu-vmsa.c, `num_utlbs`.
            ports: 32,
            port_word: "uTLB",
            domain_word: "context",
            cells: 1,
            virtio: false,
            shared_mapping: true,
            described: true,
        };
        let rockchip = ModelFacts {
            name: "rockchip",
            hardware: Some("RK3288"),
            prefix: "rockchip",
            // drivers/iommu/rockchip-iommu.c: an MMU does not tell apart who accesses.
            ports: 1,
            port_word: "port",
            cells: 0,
            shared_mapping: false,
            ..ipmmu
        };
        match self {
            Self::None => ModelFacts {
                name: "none",
                hardware: None,
                ports: 0,
                shared_mapping: false,
                described: false,
                ..ipmmu
            },
            Self::Ipmmu => ipmmu,
            Self::IpmmuGen3 => ModelFacts {
                name: "ipmmu-gen3",
                hardware: Some("R-Car Gen3"),
                ports: 48,
                ..ipmmu
            },
            Self::Rockchip => rockchip,
            Self::RockchipV2 => ModelFacts {
                name: "rockchip-v2",
                hardware: Some("RK3568"),
                ..rockchip
            },
            Self::SmmuV2 => ModelFacts {
                name: "smmuv2",
                hardware: Some("Arm"),
                prefix: "smmu",
                // How many a chip has is its own; each has a number of its own here.
                ports: 32,
                port_word: "stream",
                domain_word: "bank",
                shared_mapping: false,
                ..ipmmu
            },
            Self::Virtio => ModelFacts {
                name: "virtio",
                hardware: None,
                prefix: "viommu",
                ports: VIRTIO_IOMMU_ENDPOINTS,
                port_word: "endpoint",
                domain_word: "domain",
                cells: 1,
                virtio: true,
                shared_mapping: false,
                described: true,
            },
            Self::Bridge => ModelFacts {
                name: "bridge",
                hardware: Some("no IOMMU: 64 MiB are in reach"),
                prefix: "bridge",
                port_word: "port",
                domain_word: "window",
                cells: 0,
                shared_mapping: false,
                described: false,
                ..ipmmu
            },
        }
    }

    /// Returns its name on the command line.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Returns the names of all models for a sentence, such as "none, ipmmu or virtio", with `word`
    /// for each.
    fn listed(word: impl FnMut(Self) -> String) -> String {
        let words = Self::ALL.map(word);
        match words.split_last() {
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }

    /// Returns the names of all models, with their hardware where that helps, as `--help` has them.
    pub fn described() -> String {
        Self::listed(|model| match model.facts().hardware {
            Some(hardware) => format!("{} ({hardware})", model.name()),
            None => model.name().to_owned(),
        })
    }
}

/// One IOMMU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IommuConfig {
    /// Its kind.
    pub model: IommuModel,
    /// Its name; `ipmmuN`, `rockchipN`, `smmuN`, `viommuN` or `bridgeN` by default, where N counts
    /// the IOMMUs from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What a virtio-iommu is like, if not as by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtio: Option<VirtioIommuOptions>,
}

impl IommuConfig {
    /// Creates an IOMMU with its default name.
    pub const fn new(model: IommuModel) -> Self {
        Self {
            model,
            name: None,
            virtio: None,
        }
    }
}

/// `MODEL`, `MODEL,name=NAME`, `virtio,bypass=BOOL`, `virtio,indirect=BOOL`.
impl FromStr for IommuConfig {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let Some(model) = IommuModel::ALL
            .into_iter()
            .find(|model| model.name() == name)
        else {
            let known = IommuModel::listed(|model| model.name().to_owned());
            return Err(format!("{name:?} is not an IOMMU: use {known}").into());
        };
        let mut iommu = Self::new(model);
        for option in parts {
            match option.split_once('=') {
                Some(("name", _)) if iommu.name.is_some() => {
                    return Err(format!("{text:?} names the IOMMU twice").into());
                }
                Some(("name", name)) => iommu.name = Some(name.to_owned()),
                Some((option @ ("bypass" | "indirect"), value)) => {
                    let value = value
                        .parse()
                        .map_err(|_| format!("{option}={value} is neither true nor false"))?;
                    // Whether the model has such options is checked with the rest of the
                    // configuration.
                    let options = iommu.virtio.get_or_insert_default();
                    *match option {
                        "bypass" => &mut options.bypass,
                        _ => &mut options.indirect,
                    } = value;
                }
                _ => {
                    return Err(format!(
                        "{option:?} is not an option of an IOMMU: use name=NAME, or bypass=BOOL or \
                            indirect=BOOL for virtio"
                    )
                    .into());
                }
            }
        }
        Ok(iommu)
    }
}

/// Where a device shall stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortConfig {
    /// Outside every IOMMU.
    None,
    /// Behind an IOMMU.
    At {
        /// The IOMMU's name.
        iommu: String,
        /// The micro-TLB; the lowest that nobody else has, if none is named. Several devices may
        /// share one.
        utlb: Option<u32>,
    },
}

/// `none`, `NAME` or `NAME:UTLB`.
impl FromStr for PortConfig {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let (name, utlb) = match text.split_once(':') {
            None => (text, None),
            Some((name, number)) => {
                let number = number
                    .parse()
                    .map_err(|_| format!("{number:?} is not the number of a uTLB"))?;
                (name, Some(number))
            }
        };
        match (name, utlb) {
            ("", _) => Err(
                "an IOMMU is named by iommu=NAME, with a uTLB by iommu=NAME:N, and none by iommu=none"
                    .into(),
            ),
            ("none", None) => Ok(Self::None),
            ("none", Some(_)) => Err("iommu=none has no uTLB".into()),
            (name, utlb) => Ok(Self::At {
                iommu: name.to_owned(),
                utlb,
            }),
        }
    }
}

impl fmt::Display for PortConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::At { iommu, utlb: None } => f.write_str(iommu),
            Self::At {
                iommu,
                utlb: Some(utlb),
            } => write!(f, "{iommu}:{utlb}"),
        }
    }
}

impl Serialize for PortConfig {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortConfig {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::DiskConfig;
    use super::*;

    #[test]
    fn texts_parse_and_print() {
        for text in ["none", "ipmmu0", "ipmmu0:3"] {
            assert_eq!(text.parse::<PortConfig>().unwrap().to_string(), text);
        }
        for text in ["", ":3", "ipmmu0:", "ipmmu0:x", "none:1", "ipmmu0:-1"] {
            assert!(text.parse::<PortConfig>().is_err(), "{text}");
        }
        for text in ["", "smmu", "ipmmu,x", "ipmmu,nam=x", "ipmmu,name=x,name=y"] {
            assert!(text.parse::<IommuConfig>().is_err(), "{text}");
        }
        let disk: DiskConfig = "a,ro,iommu=ipmmu1:4".parse().unwrap();
        let port = "ipmmu1:4".parse().unwrap();
        assert_eq!((disk.read_only, disk.iommu), (true, Some(port)));
    }
}
