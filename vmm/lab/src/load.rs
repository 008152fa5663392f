//! Reads scenario files and makes cases of them: one boot each.

use std::path::Path;

use vmm_base::TextError;
use vmm_files::toml_file;
use vmm_machine::IommuModel;

use super::behaviour::{Behaviour, Behaviours};
use super::signs;
use super::spec::{Devlink, Expectation, MachineSpec, Scenario, Topology, Trigger};

pub use super::error::LabError;

/// The scenarios that are shipped.
const SHIPPED: [(&str, &str); 14] = [
    ("deferral", include_str!("scenarios/deferral.toml")),
    ("repeated", include_str!("scenarios/repeated.toml")),
    ("failing", include_str!("scenarios/failing.toml")),
    ("rebind", include_str!("scenarios/rebind.toml")),
    ("bugs", include_str!("scenarios/bugs.toml")),
    ("virtio", include_str!("scenarios/virtio.toml")),
    ("rockchip", include_str!("scenarios/rockchip.toml")),
    ("smmuv2", include_str!("scenarios/smmuv2.toml")),
    ("mvebu", include_str!("scenarios/mvebu.toml")),
    ("highbank", include_str!("scenarios/highbank.toml")),
    ("ecx2000", include_str!("scenarios/ecx2000.toml")),
    ("dmabounce", include_str!("scenarios/dmabounce.toml")),
    ("own-mapping", include_str!("scenarios/own-mapping.toml")),
    ("unmapped", include_str!("scenarios/unmapped.toml")),
];
/// The scenarios of arm64 kernels, which only KVM executes.
const SHIPPED_ARM64: [(&str, &str); 2] = [
    ("arm64", include_str!("scenarios/arm64.toml")),
    ("arm64-lazy", include_str!("scenarios/arm64-lazy.toml")),
];
/// The most cases that one file may make: far more than anyone waits for.
const MAX_CASES: usize = 1_000;
/// The most devices of a topology: their letters.
const MAX_DEVICES: usize = 8;

/// One boot, and what is expected of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// `scenario.topology.behaviour.on|off`.
    pub name: String,
    /// The name without the behaviour: cases that have it in common are compared.
    pub group: String,
    /// Its subject.
    pub title: String,
    /// The machine.
    pub machine: MachineSpec,
    /// Its devices.
    pub topology: Topology,
    /// The trigger.
    pub trigger: Trigger,
    /// The kernel parameter.
    pub fw_devlink: Devlink,
    /// The name of the behaviour.
    pub behaviour_name: String,
    /// The behaviour of the kernel.
    pub behaviour: Behaviour,
    /// The expectation.
    pub expect: Expectation,
}

/// Scenarios, ready to run.
#[derive(Clone, Debug)]
pub struct Lab {
    behaviours: Behaviours,
    cases: Vec<Case>,
    arm64: Vec<Case>,
}

impl Lab {
    /// Returns the scenarios that are shipped.
    ///
    /// # Errors
    /// None: a test reads them.
    pub fn shipped() -> Result<Self, LabError> {
        let mut lab = Self {
            behaviours: Behaviours::shipped()?,
            cases: Vec::new(),
            arm64: Vec::new(),
        };
        for (name, text) in SHIPPED {
            let cases = expand(name, name, text, &lab.behaviours)?;
            lab.cases.extend(cases);
        }
        for (name, text) in SHIPPED_ARM64 {
            let cases = expand(name, name, text, &lab.behaviours)?;
            lab.arm64.extend(cases);
        }
        Ok(lab)
    }

    /// Returns all cases that the emulated processor can execute.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Returns all cases of arm64 kernels, which take KVM.
    pub fn arm64(&self) -> &[Case] {
        &self.arm64
    }

    /// Returns whether `name` is that of a file, and not of scenarios that are shipped.
    pub fn is_file(name: &str) -> bool {
        name.ends_with(".toml") || name.contains('/')
    }

    /// Returns the cases that `name` means: a case, the beginning of the names of several up to a
    /// dot, or a file.
    ///
    /// # Errors
    /// There are none, or the file is wrong.
    pub fn select(&self, name: &str) -> Result<Vec<Case>, LabError> {
        let path = Path::new(name);
        if Self::is_file(name) {
            let text = toml_file::read_named(path)?;
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            return expand(stem.unwrap_or("scenario"), name, &text, &self.behaviours);
        }
        let begins = |case: &&Case| {
            // Up to a dot, or `rebind` would mean scenarios whose names begin so, too.
            let rest = case.name.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let cases: Vec<Case> = self
            .cases
            .iter()
            .chain(&self.arm64)
            .filter(begins)
            .cloned()
            .collect();
        if cases.is_empty() {
            return Err(LabError::Unknown(name.into()));
        }
        Ok(cases)
    }
}

/// Makes the cases of the scenario `name` in `text`, which came from `file`.
///
/// # Errors
/// The scenario cannot be used: what is wrong with it.
pub fn expand(
    name: &str,
    file: &str,
    text: &str,
    behaviours: &Behaviours,
) -> Result<Vec<Case>, LabError> {
    let scenario: Scenario = toml_file::parse_named(file, text)?;
    let fail = |what: TextError| LabError::Meaning {
        file: file.into(),
        what,
    };
    check(&scenario).map_err(fail)?;
    let mut cases = Vec::new();
    for row in &scenario.row {
        let topology = scenario.topology.get(&row.topology);
        let topology = topology
            .ok_or_else(|| fail(format!("there is no topology {:?}", row.topology).into()))?;
        let mut machine = scenario.machine.clone();
        machine.image = topology.image.clone().unwrap_or(machine.image);
        let trigger = scenario.trigger.get(&row.trigger);
        let trigger =
            trigger.ok_or_else(|| fail(format!("there is no trigger {:?}", row.trigger).into()))?;
        if topology.dma_tester.is_empty() && !trigger.dma_script.is_empty() {
            let (topology, trigger) = (&row.topology, &row.trigger);
            let why = format!(
                "the trigger {trigger} has a dma-script, and the topology {topology} no DMA tester: add \
                 dma-tester = [\"NAME:N\"] to it"
            );
            return Err(fail(why.into()));
        }
        for (behaviour_name, expect) in &row.expect {
            let behaviour = behaviours.get(behaviour_name);
            let behaviour = behaviour
                .ok_or_else(|| fail(format!("there is no behaviour {behaviour_name:?}").into()))?;
            let roles: Vec<char> = topology.device.iter().map(|device| device.role).collect();
            for sign in expect.see.iter().chain(&expect.not) {
                signs::check(sign, &roles).map_err(fail)?;
            }
            for sign in &expect.mistakes {
                signs::check_mistake(sign, &roles).map_err(fail)?;
            }
            for fw_devlink in &row.fw_devlink {
                // A scenario with one trigger need not repeat its name.
                let trigger_name = match scenario.trigger.len() {
                    1 => String::new(),
                    _ => format!(".{}", row.trigger),
                };
                let group = format!("{name}{trigger_name}.{}", row.topology);
                cases.push(Case {
                    name: format!("{group}.{behaviour_name}.{fw_devlink}"),
                    group: format!("{group}.{fw_devlink}"),
                    title: scenario.title.clone(),
                    machine: machine.clone(),
                    topology: topology.clone(),
                    trigger: trigger.clone(),
                    fw_devlink: *fw_devlink,
                    behaviour_name: behaviour_name.clone(),
                    behaviour: behaviour.clone(),
                    expect: expect.clone(),
                });
            }
        }
        // Looked at in each round, before a file of many rows has made millions.
        if cases.len() > MAX_CASES {
            return Err(fail(format!("it makes more than {MAX_CASES} cases").into()));
        }
    }
    // Stock first, as the others are compared with it; then in the order of the file.
    cases.sort_by_key(|case| (case.group.clone(), case.behaviour_name != "stock"));
    if let Some(twice) = cases.iter().enumerate().find(|(index, case)| {
        let others = &cases[index + 1..];
        others.iter().any(|other| other.name == case.name)
    }) {
        return Err(fail(
            format!("two rows make the case {}", twice.1.name).into(),
        ));
    }
    Ok(cases)
}

/// Checks what the types cannot express.
fn check(scenario: &Scenario) -> Result<(), TextError> {
    let plain = |name: &String| -> Result<(), TextError> {
        // Names are joined to names of cases by dots, at which `select` takes them apart.
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || !name.chars().all(good) {
            return Err(format!("{name:?} is no name: use small letters, digits and -").into());
        }
        Ok(())
    };
    scenario.topology.keys().try_for_each(plain)?;
    scenario.trigger.keys().try_for_each(plain)?;
    for (name, topology) in &scenario.topology {
        let devices = &topology.device;
        if devices.is_empty() || devices.len() > MAX_DEVICES {
            return Err(format!("the topology {name} needs 1 to {MAX_DEVICES} devices").into());
        }
        for (index, device) in devices.iter().enumerate() {
            let (role, is_behind) = (device.role, topology.iommu != IommuModel::None);
            if device.port.is_some() != is_behind {
                return Err(if is_behind {
                    format!("{role} of the topology {name} has no port: add port = \"NAME:N\"")
                } else {
                    format!("{role} of the topology {name} has a port, and there is no IOMMU: leave it out")
                }
                .into());
            }
            let twice = devices[..index]
                .iter()
                .any(|other| other.role == device.role);
            if !device.role.is_ascii_uppercase() || twice {
                return Err(format!(
                    "the topology {name} has a device with role {:?}: use a capital letter for each",
                    device.role
                ).into());
            }
        }
    }
    for row in &scenario.row {
        if row.fw_devlink.is_empty() || row.expect.is_empty() {
            return Err(format!(
                "the row of {} and {} has no fw-devlink or expects nothing",
                row.topology, row.trigger
            )
            .into());
        }
    }
    Ok(())
}
