//! What a user may say about IOMMUs and about where devices stand behind them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
    /// The IPMMU-VMSA of R-Car Gen3: each instance a cache IPMMU with uTLBs, all of them before one main IPMMU,
    /// which the machine adds.
    IpmmuGen3,
    /// A virtio-iommu.
    Virtio,
}

/// The endpoints that a virtio-iommu can have here, far more than there are devices: their numbers are less.
pub const VIRTIO_IOMMU_ENDPOINTS: u32 = 256;

impl IommuModel {
    /// Number of micro-TLBs of an instance (drivers/iommu/ipmmu-vmsa.c, `num_utlbs`), or of endpoints.
    pub const fn utlbs(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Ipmmu => 32,
            Self::IpmmuGen3 => 48,
            Self::Virtio => VIRTIO_IOMMU_ENDPOINTS,
        }
    }

    /// What it calls the place where a device is connected.
    pub const fn port(self) -> &'static str {
        match self {
            Self::Virtio => "endpoint",
            _ => "uTLB",
        }
    }

    /// What an instance is called that has no name, before its number.
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::Virtio => "viommu",
            _ => "ipmmu",
        }
    }

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Ipmmu => "ipmmu",
            Self::IpmmuGen3 => "ipmmu-gen3",
            Self::Virtio => "virtio",
        }
    }
}

/// One IOMMU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IommuConfig {
    /// Its kind.
    pub model: IommuModel,
    /// Its name; `ipmmuN` or `viommuN` by default, where N counts the IOMMUs from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What a virtio-iommu is like, if not as by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtio: Option<VirtioIommuOptions>,
}

impl IommuConfig {
    /// An IOMMU with its default name.
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
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let model = match parts.next().unwrap_or_default() {
            "none" => IommuModel::None,
            "ipmmu" => IommuModel::Ipmmu,
            "ipmmu-gen3" => IommuModel::IpmmuGen3,
            "virtio" => IommuModel::Virtio,
            other => {
                return Err(format!(
                    "{other:?} is not an IOMMU: use none, ipmmu, ipmmu-gen3 or virtio"
                ));
            }
        };
        let mut iommu = Self::new(model);
        for option in parts {
            match option.split_once('=') {
                Some(("name", _)) if iommu.name.is_some() => {
                    return Err(format!("{text:?} names the IOMMU twice"));
                }
                Some(("name", name)) => iommu.name = Some(name.to_owned()),
                Some((option @ ("bypass" | "indirect"), value)) => {
                    let value = value
                        .parse()
                        .map_err(|_| format!("{option}={value} is neither true nor false"))?;
                    let options = iommu.virtio.get_or_insert_default();
                    *match option {
                        "bypass" => &mut options.bypass,
                        _ => &mut options.indirect,
                    } = value;
                }
                _ => {
                    return Err(format!(
                        "{option:?} is not an option of an IOMMU: use name=NAME, or bypass=BOOL or indirect=BOOL for virtio"
                    ));
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
        /// The micro-TLB; the lowest that nobody else has, if none is named. Several devices may share one.
        utlb: Option<u32>,
    },
}

/// `none`, `NAME` or `NAME:UTLB`.
impl FromStr for PortConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
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
