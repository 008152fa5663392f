//! What a user may say about IOMMUs, and which device stands where behind them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use viommu::virtio::VirtioIommuConfig;

use super::{Config, ConfigError, VirtioIommuOptions};

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
    const fn prefix(self) -> &'static str {
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

/// `MODEL`, `MODEL,name=NAME`, `virtio,bypass=BOOL`.
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
                Some(("bypass", value)) => {
                    let value = value
                        .parse()
                        .map_err(|_| format!("bypass={value} is neither true nor false"))?;
                    iommu.virtio.get_or_insert_default().bypass = value;
                }
                _ => {
                    return Err(format!(
                        "{option:?} is not an option of an IOMMU: use name=NAME, or bypass=BOOL for virtio"
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

/// Where a device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Which IOMMU, counted from 0.
    pub iommu: usize,
    /// Which micro-TLB of it.
    pub utlb: u32,
}

impl Config {
    /// The IOMMUs that the machine has: their names and kinds.
    pub fn iommu_list(&self) -> Vec<(String, IommuModel)> {
        let named = self.present_iommus().enumerate().map(|(index, iommu)| {
            let default = || format!("{}{index}", iommu.model.prefix());
            (iommu.name.clone().unwrap_or_else(default), iommu.model)
        });
        named.collect()
    }

    fn present_iommus(&self) -> impl Iterator<Item = &IommuConfig> {
        let present = |iommu: &&IommuConfig| iommu.model != IommuModel::None;
        self.iommus.iter().filter(present)
    }

    /// What virtio-iommu `index` of [`iommu_list`](Self::iommu_list) is, with the endpoints that devices of this
    /// configuration have.
    ///
    /// # Errors
    /// As [`ports`](Self::ports).
    pub fn virtio_iommu(&self, index: usize) -> Result<VirtioIommuConfig, ConfigError> {
        let ports = self.ports()?;
        let behind = ports.into_iter().flatten().filter(|p| p.iommu == index);
        let endpoints: BTreeSet<u32> = behind.map(|port| port.utlb).collect();
        let options = self.present_iommus().nth(index);
        let options = options.and_then(|iommu| iommu.virtio.clone());
        Ok(options.unwrap_or_default().device(endpoints))
    }

    /// Where each device that accesses memory stands: the disks in their order, then the entropy device, if there is
    /// one.
    ///
    /// A device that says nothing is behind the first IOMMU, if there is any, on the lowest micro-TLB that no
    /// other device has; those that name one have it first.
    ///
    /// # Errors
    /// A port that does not exist, as a sentence.
    pub fn ports(&self) -> Result<Vec<Option<Port>>, ConfigError> {
        let iommus = self.iommu_list();
        let wishes = self.wishes();
        let mut taken = Vec::new();
        for (device, wish) in &wishes {
            if let Some(PortConfig::At {
                iommu: name,
                utlb: Some(utlb),
            }) = wish
            {
                let iommu = find(&iommus, device, name)?;
                if *utlb >= iommus[iommu].1.utlbs() {
                    return Err(ConfigError::NoUtlb {
                        device: device.clone(),
                        iommu: name.clone(),
                        utlb: *utlb,
                        last: iommus[iommu].1.utlbs() - 1,
                        what: iommus[iommu].1.port(),
                    });
                }
                taken.push(Port { iommu, utlb: *utlb });
            }
        }
        let mut ports = Vec::new();
        for (device, wish) in &wishes {
            let (iommu, utlb) = match wish {
                Some(PortConfig::None) => (None, None),
                None => ((!iommus.is_empty()).then_some(0), None),
                Some(PortConfig::At { iommu, utlb }) => {
                    (Some(find(&iommus, device, iommu)?), *utlb)
                }
            };
            let Some(iommu) = iommu else {
                ports.push(None);
                continue;
            };
            let utlb = match utlb {
                Some(utlb) => utlb,
                None => (0..iommus[iommu].1.utlbs())
                    .find(|utlb| !taken.contains(&Port { iommu, utlb: *utlb }))
                    .ok_or_else(|| ConfigError::UtlbsTaken {
                        device: device.clone(),
                        iommu: iommus[iommu].0.clone(),
                        what: iommus[iommu].1.port(),
                    })?,
            };
            let port = Port { iommu, utlb };
            taken.push(port);
            ports.push(Some(port));
        }
        Ok(ports)
    }

    /// Names of the devices that access memory, and where they shall stand.
    fn wishes(&self) -> Vec<(String, Option<&PortConfig>)> {
        let disks = self.disks.iter().enumerate();
        let disks = disks.map(|(index, disk)| (format!("disk{index}"), disk.iommu.as_ref()));
        let rng = self
            .rng
            .then(|| ("rng".to_owned(), self.rng_iommu.as_ref()));
        disks.chain(rng).collect()
    }

    pub(super) fn validate_iommus(&self) -> Result<(), ConfigError> {
        let none = self.iommus.iter().find(|i| i.model == IommuModel::None);
        if none.is_some() && self.iommus.len() > 1 {
            return Err(ConfigError::IommuNoneAmongOthers);
        }
        if let Some(name) = none.and_then(|none| none.name.clone()) {
            return Err(ConfigError::IommuNoneNamed(name));
        }
        let iommus = self.iommu_list();
        if iommus.len() > MAX_IOMMUS {
            return Err(ConfigError::TooManyIommus(iommus.len()));
        }
        for (index, (name, model)) in iommus.iter().enumerate() {
            let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if name.is_empty()
                || name.len() > MAX_IOMMU_NAME
                || !name.chars().all(fine)
                || name == "none"
            {
                return Err(ConfigError::IommuName(name.clone()));
            }
            if iommus[..index].iter().any(|(other, _)| other == name) {
                return Err(ConfigError::IommuNameTwice(name.clone()));
            }
            if *model != iommus[0].1 {
                return Err(ConfigError::IommuModelsMixed);
            }
        }
        self.ports()?;
        for (index, iommu) in self.present_iommus().enumerate() {
            let name = || iommus[index].0.clone();
            match (&iommu.virtio, iommu.model) {
                (_, IommuModel::Virtio) => {
                    let device = self.virtio_iommu(index)?;
                    let checked = iommu.virtio.iter().try_for_each(VirtioIommuOptions::check);
                    let checked = checked.and_then(|()| device.check().map_err(|e| e.to_string()));
                    checked.map_err(|why| ConfigError::VirtioIommu { name: name(), why })?;
                }
                (Some(_), _) => return Err(ConfigError::VirtioOptions(name())),
                (None, _) => {}
            }
        }
        Ok(())
    }
}

fn find(iommus: &[(String, IommuModel)], device: &str, name: &str) -> Result<usize, ConfigError> {
    let position = iommus.iter().position(|(other, _)| other == name);
    position.ok_or_else(|| {
        let names: Vec<&str> = iommus.iter().map(|(name, _)| name.as_str()).collect();
        if names.is_empty() {
            return ConfigError::NoIommus {
                device: device.into(),
                iommu: name.into(),
            };
        }
        ConfigError::UnknownIommu {
            device: device.into(),
            iommu: name.into(),
            have: names.join(", "),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::DiskConfig;
    use super::*;

    fn config(iommus: &[&str], disks: &[&str]) -> Config {
        Config {
            kernel: "k".into(),
            iommus: iommus.iter().map(|text| text.parse().unwrap()).collect(),
            disks: disks.iter().map(|text| text.parse().unwrap()).collect(),
            ..Config::default()
        }
    }

    fn ports(iommus: &[&str], disks: &[&str]) -> Vec<Option<(usize, u32)>> {
        let config = config(iommus, disks);
        config.validate().unwrap();
        let ports = config.ports().unwrap();
        ports
            .iter()
            .map(|port| port.map(|port| (port.iommu, port.utlb)))
            .collect()
    }

    #[test]
    fn without_iommus_all_devices_stand_outside() {
        assert_eq!(ports(&[], &["a"]), [None, None]);
        assert_eq!(ports(&["none"], &["a", "b,iommu=none"]), [None; 3]);
    }

    #[test]
    fn each_device_gets_a_utlb_of_its_own_unless_it_shares() {
        assert_eq!(
            ports(&["ipmmu"], &["a", "b"]),
            [Some((0, 0)), Some((0, 1)), Some((0, 2))]
        );
        assert_eq!(
            ports(
                &["ipmmu"],
                &["a", "b,iommu=ipmmu0:0", "c,iommu=ipmmu0:0", "d,iommu=none"]
            ),
            [Some((0, 1)), Some((0, 0)), Some((0, 0)), None, Some((0, 2))]
        );
        assert_eq!(
            ports(
                &["ipmmu-gen3", "ipmmu-gen3,name=second"],
                &["a,iommu=second", "b,iommu=second:47", "c"]
            ),
            [Some((1, 0)), Some((1, 47)), Some((0, 0)), Some((0, 1))]
        );
    }

    #[test]
    fn each_mistake_has_its_sentence() {
        let nine = ["ipmmu"; 9];
        let long = format!("ipmmu,name={}", "x".repeat(17));
        let all: Vec<String> = (0..32).map(|n| format!("d,iommu=ipmmu0:{n}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let cases: [(&[&str], &[&str], &str); 15] = [
            (&[], &["a,iommu=ipmmu0:3"], "the machine has no IOMMU"),
            (
                &["ipmmu"],
                &["a,iommu=other"],
                "no IOMMU \"other\": there is ipmmu0",
            ),
            (
                &["ipmmu", "ipmmu"],
                &["a,iommu=x:1"],
                "there is ipmmu0, ipmmu1",
            ),
            (&["ipmmu"], &["a,iommu=ipmmu0:32"], "uTLBs 0 to 31"),
            (&["ipmmu", "none"], &[], "none"),
            (&nine, &[], "at most 8"),
            (&["ipmmu,name=a b"], &[], "name"),
            (&["ipmmu,name="], &[], "name"),
            (&[&long], &[], "name"),
            (&["ipmmu,name=ipmmu1", "ipmmu"], &[], "two IOMMUs"),
            (&["none,name=x"], &[], "cannot be named \"x\""),
            (
                &["ipmmu,name=disk0"],
                &["a"],
                "two devices would be named \"disk0\"",
            ),
            (
                &["ipmmu,name=rng"],
                &[],
                "two devices would be named \"rng\"",
            ),
            (
                &["ipmmu"],
                &["a,clock=ipmmu0"],
                "two devices would be named \"ipmmu0\"",
            ),
            (&["ipmmu", "ipmmu-gen3"], &[], "all IOMMUs"),
        ];
        for (iommus, disks, words) in cases {
            let error = config(iommus, disks).validate().unwrap_err().to_string();
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        }
        let full = config(&["ipmmu"], &all);
        let error = full.ports().unwrap_err().to_string();
        assert!(error.contains("every uTLB of ipmmu0"), "{error}");
    }

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
