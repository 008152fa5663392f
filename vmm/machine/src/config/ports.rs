//! Which IOMMUs a machine has, and which device stands where behind them.

use std::collections::BTreeSet;

use viommu::virtio::VirtioIommuConfig;

use super::iommu::{MAX_IOMMU_NAME, MAX_IOMMUS};
use super::{
    Config, ConfigError, DmaTesterConfig, IommuConfig, IommuModel, PortConfig, VirtioIommuOptions,
};

/// The place of a device behind an IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Which IOMMU, counted from 0.
    pub iommu: usize,
    /// Which micro-TLB of it.
    pub utlb: u32,
}

impl Config {
    /// Returns the IOMMUs that the machine has: their names and kinds.
    pub fn iommu_list(&self) -> Vec<(String, IommuModel)> {
        let named = self.present_iommus().enumerate().map(|(index, iommu)| {
            // Counted over all, named or not: no two default names are the same.
            let default = || format!("{}{index}", iommu.model.facts().prefix);
            (iommu.name.clone().unwrap_or_else(default), iommu.model)
        });
        named.collect()
    }

    fn present_iommus(&self) -> impl Iterator<Item = &IommuConfig> {
        let present = |iommu: &&IommuConfig| iommu.model != IommuModel::None;
        self.iommus.iter().filter(present)
    }

    /// Returns what virtio-iommu `index` of [`iommu_list`](Self::iommu_list) is, with the endpoints
    /// that devices of this configuration have.
    ///
    /// # Errors
    /// As [`ports`](Self::ports).
    pub fn virtio_iommu(&self, index: usize) -> Result<VirtioIommuConfig, ConfigError> {
        let ports = self.ports()?;
        let behind = ports.into_iter().flatten().filter(|p| p.iommu == index);
        // A set, as devices may share an endpoint, and the device wants each number once.
        let endpoints: BTreeSet<u32> = behind.map(|port| port.utlb).collect();
        let options = self.present_iommus().nth(index);
        let options = options.and_then(|iommu| iommu.virtio.clone());
        Ok(options.unwrap_or_default().device(endpoints))
    }

    /// Returns where each device that accesses memory stands: the disks in their order, the devices
    /// in other processes in theirs, the network interfaces, then the entropy device, if there is
    /// one, and each requester of the DMA tester.
    ///
    /// A device that says nothing is behind the first IOMMU that has a micro-TLB which no other
    /// device has, on the lowest such; those that name one have it first.
    ///
    /// # Errors
    /// A port that does not exist, as a sentence.
    pub fn ports(&self) -> Result<Vec<Option<Port>>, ConfigError> {
        let iommus = self.iommu_list();
        let wishes = self.wishes();
        // Ports that are named come first: those that are given out by number below must not take
        // them.
        let mut taken = Vec::new();
        for (device, wish) in &wishes {
            if let Some(PortConfig::At {
                iommu: name,
                utlb: Some(utlb),
            }) = wish
            {
                let iommu = find(&iommus, device, name)?;
                if *utlb >= iommus[iommu].1.facts().ports {
                    return Err(ConfigError::NoUtlb {
                        device: device.clone(),
                        iommu: name.clone(),
                        utlb: *utlb,
                        last: iommus[iommu].1.facts().ports - 1,
                        what: iommus[iommu].1.facts().port_word,
                    });
                }
                taken.push(Port { iommu, utlb: *utlb });
            }
        }
        let mut ports = Vec::new();
        for (device, wish) in &wishes {
            let free = |iommu: usize| {
                let mut ports = 0..iommus[iommu].1.facts().ports;
                ports.find(|utlb| !taken.contains(&Port { iommu, utlb: *utlb }))
            };
            let (iommu, utlb) = match wish {
                Some(PortConfig::None) => (None, None),
                // If none has a free one, the first is named in the error below.
                None if !iommus.is_empty() => {
                    let first = (0..iommus.len()).find(|iommu| free(*iommu).is_some());
                    (first.or(Some(0)), None)
                }
                None => (None, None),
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
                None => free(iommu).ok_or_else(|| ConfigError::UtlbsTaken {
                    device: device.clone(),
                    iommu: iommus[iommu].0.clone(),
                    what: iommus[iommu].1.facts().port_word,
                })?,
            };
            let port = Port { iommu, utlb };
            // One that is named is in the list already, which does no harm.
            taken.push(port);
            ports.push(Some(port));
        }
        Ok(ports)
    }

    /// Returns the names of the devices that access memory, and where they shall stand.
    fn wishes(&self) -> Vec<(String, Option<&PortConfig>)> {
        let disks = self.disks.iter().enumerate();
        let disks = disks.map(|(index, disk)| (format!("disk{index}"), disk.iommu.as_ref()));
        let others = self.vhost_user.iter().enumerate();
        let others = others.map(|(index, other)| (format!("vhost{index}"), other.iommu.as_ref()));
        let nets = self.nets.iter().enumerate();
        let nets = nets.map(|(index, net)| (format!("net{index}"), net.iommu.as_ref()));
        let rng = self
            .rng
            .then(|| ("rng".to_owned(), self.rng_iommu.as_ref()));
        let tester = self.dma_tester.iter();
        let tester = tester.flat_map(DmaTesterConfig::wishes);
        let tester = tester.map(|wish| (DmaTesterConfig::NAME.to_owned(), wish));
        let disks = disks.chain(others).chain(nets);
        disks.chain(rng).chain(tester).collect()
    }

    pub(crate) fn validate_iommus(&self) -> Result<(), ConfigError> {
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
            // A colon separates a name from its port, a comma options, and `none` is no IOMMU.
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
        // Of all models: only those of a virtio-iommu are looked at again below.
        self.ports()?;
        for (index, iommu) in self.present_iommus().enumerate() {
            let name = || iommus[index].0.clone();
            match (&iommu.virtio, iommu.model) {
                (_, IommuModel::Virtio) => {
                    let device = self.virtio_iommu(index)?;
                    // Options first: in the device's mask of page sizes a wrong one cannot be told
                    // any more.
                    let checked = iommu.virtio.iter().try_for_each(VirtioIommuOptions::check);
                    let checked =
                        checked.and_then(|()| device.check().map_err(|e| e.to_string().into()));
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
    fn iommus_of_one_port_get_a_device_each() {
        assert_eq!(
            ports(&["rockchip", "rockchip"], &["a"]),
            [Some((0, 0)), Some((1, 0))]
        );
        assert_eq!(
            ports(
                &["rockchip-v2", "rockchip-v2"],
                &["a,iommu=rockchip1:0", "b,iommu=rockchip1:0"]
            ),
            [Some((1, 0)), Some((1, 0)), Some((0, 0))]
        );
        let error = config(&["rockchip"], &["a"]).ports().unwrap_err();
        let advice = "rng finds every port of rockchip0 taken";
        assert!(error.to_string().starts_with(advice), "{error}");
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
}
