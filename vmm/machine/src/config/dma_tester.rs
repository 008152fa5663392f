//! What a user may say about the DMA tester.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vmm_base::TextError;
use vmm_devices::dma_tester::script::{MAX_STEPS, Step, StepAddress, Trigger};
use vmm_devices::dma_tester::spec::MAX_REQUESTERS;
use vmm_files::toml_file;

use super::{Config, ConfigError, IommuModel, Port, PortConfig};

/// The DMA tester.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DmaTesterConfig {
    /// Where each requester stands; if there is none, one stands where any device does that says
    /// nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub iommu: Vec<PortConfig>,
    /// What it does without a driver of the guest's, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub script: Vec<Step>,
}

/// `true`, or `iommu=PORT` for each requester.
impl FromStr for DmaTesterConfig {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let mut tester = Self::default();
        if text == "true" {
            return Ok(tester);
        }
        for option in text.split(',') {
            let Some(("iommu", port)) = option.split_once('=') else {
                let sentence = format!(
                    "{option:?} is not an option of the DMA tester: use true, or iommu=NAME:N for each requester"
                );
                return Err(sentence.into());
            };
            tester.iommu.push(port.parse()?);
        }
        Ok(tester)
    }
}

/// The file of a script.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    step: Vec<Step>,
}

impl DmaTesterConfig {
    /// The name of the device.
    pub(crate) const NAME: &'static str = "dma-tester";

    /// Reads the script in the file `path`. Whether it fits a machine is checked with the rest of
    /// the configuration.
    ///
    /// # Errors
    /// Why it is none, as a sentence.
    pub fn read_script(path: &Path) -> Result<Vec<Step>, TextError> {
        let fail = |why: String| format!("cannot use the DMA script {}: {why}", path.display());
        let text = toml_file::read(path).map_err(|error| fail(error.to_string()))?;
        Self::parse_script(&text).map_err(|why| fail(why.to_string()).into())
    }

    /// Parses a script.
    ///
    /// # Errors
    /// Why it is none, as a sentence.
    pub fn parse_script(text: &str) -> Result<Vec<Step>, TextError> {
        let Script { step } = toml_file::parse(text).map_err(|mistake| mistake.to_string())?;
        match step.len() {
            0 => Err("it has no steps: write them as [[step]]".into()),
            1..=MAX_STEPS => Ok(step),
            steps => Err(format!("it has {steps} steps, and may have {MAX_STEPS}").into()),
        }
    }

    /// Returns how many requesters it has.
    pub fn requesters(&self) -> usize {
        self.iommu.len().max(1)
    }

    /// Returns where each requester shall stand.
    pub(super) fn wishes(&self) -> Vec<Option<&PortConfig>> {
        match self.iommu.as_slice() {
            [] => vec![None],
            ports => ports.iter().map(Some).collect(),
        }
    }
}

impl Config {
    /// Returns where the requesters of the DMA tester stand, if there is one. The configuration is
    /// valid.
    pub(crate) fn requesters(&self) -> Option<Vec<Option<Port>>> {
        let number = self.dma_tester.as_ref()?.requesters();
        // Behind all other devices: `wishes` has them last.
        let ports = self.ports().unwrap_or_default();
        Some(ports[ports.len().saturating_sub(number)..].to_vec())
    }

    pub(crate) fn validate_dma_tester(&self) -> Result<(), ConfigError> {
        let Some(tester) = &self.dma_tester else {
            return Ok(());
        };
        let wrong = |why: TextError| Err(ConfigError::DmaTester(why));
        let requesters = tester.requesters();
        if requesters > MAX_REQUESTERS {
            let why = format!("it has {requesters} requesters, and may have {MAX_REQUESTERS}");
            return wrong(why.into());
        }
        if tester.script.len() > MAX_STEPS {
            return wrong(format!("its script has more than {MAX_STEPS} steps").into());
        }
        let models: BTreeSet<_> = self
            .iommu_list()
            .iter()
            .map(|(_, model)| model.name())
            .collect();
        let is_virtio = models.contains(IommuModel::Virtio.name());
        for (index, step) in tester.script.iter().enumerate() {
            step.check(index, requesters).or_else(wrong)?;
            let say = |why: &str| wrong(format!("step {} of its script {why}", index + 1).into());
            if step.on.is_some() && models.is_empty() {
                return say(
                    "waits for an event at an IOMMU, and the machine has none: add one with --iommu",
                );
            }
            let known = matches!(step.address, StepAddress::Known(_));
            match step.on {
                Some(Trigger::Map) if !is_virtio => {
                    return say("waits for map, which only a virtio-iommu is told of: use fill");
                }
                Some(Trigger::Unmap) if !is_virtio && !known => {
                    return say(
                        "waits for unmap, of which this IOMMU's page tables tell only where an address is known: use \
                         address = \"event\" or \"previous\"",
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(iommu: &str, script: &str) -> Result<(), String> {
        let script = DmaTesterConfig::parse_script(script).map_err(|why| why.to_string())?;
        let config = Config {
            kernel: "k".into(),
            iommus: vec![iommu.parse().unwrap()],
            dma_tester: Some(DmaTesterConfig {
                iommu: Vec::new(),
                script,
            }),
            ..Config::default()
        };
        config.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn requesters_stand_behind_all_other_devices() {
        let config = Config {
            kernel: "k".into(),
            iommus: vec!["ipmmu".parse().unwrap()],
            disks: vec!["d".parse().unwrap()],
            dma_tester: Some("iommu=ipmmu0:0,iommu=none,iommu=ipmmu0".parse().unwrap()),
            ..Config::default()
        };
        config.validate().unwrap();
        let at = |utlb| Some(Port { iommu: 0, utlb });
        assert_eq!(config.requesters(), Some(vec![at(0), None, at(3)]));
        let alone = Config {
            dma_tester: Some("true".parse().unwrap()),
            ..config
        };
        assert_eq!(alone.requesters(), Some(vec![at(2)]));
        assert!("iommu".parse::<DmaTesterConfig>().is_err());
        assert!("".parse::<DmaTesterConfig>().is_err());
    }

    #[test]
    fn each_mistake_in_a_script_has_its_sentence() {
        let step = |keys: &str| format!("[[step]]\nop = \"read\"\naddress = 4096\n{keys}");
        assert_eq!(config("ipmmu", &step("")), Ok(()));
        assert_eq!(
            config("ipmmu", &step("at = \"5ms\"\nexpect = \"fault\"")),
            Ok(())
        );
        let two = |keys: &str| format!("{}\n[[step]]\nop = \"read\"\n{keys}", step(""));
        let previous = two("on = \"unmap\"\naddress = \"previous\"");
        assert_eq!(config("ipmmu", &previous), Ok(()));
        let cases = [
            ("ipmmu", String::new(), "missing field `step`"),
            ("ipmmu", "step = []".into(), "has no steps"),
            ("ipmmu", step("length = 0"), "step 1 has a length of 0"),
            (
                "ipmmu",
                step("at = \"1s\"\non = \"fill\""),
                "both at and on",
            ),
            ("ipmmu", step("nth = 2"), "are about an event"),
            (
                "ipmmu",
                step("device = \"rng\"\non = \"flush\""),
                "only fill, fault and unmap",
            ),
            ("ipmmu", step("expect = \"data\""), "only op = \"compare\""),
            (
                "ipmmu",
                step("pattern = \"buffer\""),
                "which is the guest's",
            ),
            ("ipmmu", step("requester = 1"), "uses requester 1"),
            ("ipmmu", step("on = \"map\""), "only a virtio-iommu"),
            ("ipmmu", step("on = \"unmap\""), "where an address is known"),
            ("none", step("on = \"fill\""), "the machine has none"),
            (
                "ipmmu",
                two("address = \"event\""),
                "step 2 takes the address of its event",
            ),
            ("ipmmu", two("address = \"x\""), "an address is a number"),
            (
                "ipmmu",
                "[[step]]\nop = \"read\"\naddress = \"previous\"".into(),
                "is the first",
            ),
        ];
        for (iommu, script, words) in cases {
            let why = config(iommu, &script).unwrap_err();
            assert!(why.contains(words), "{why:?} lacks {words:?}");
        }
    }
}
