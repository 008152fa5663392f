//! Scenario files, without a guest.

use super::behaviour::Behaviours;
use super::error::LabError;
use super::load::{Lab, expand};

const SMALL: &str = "
title = 'T'
about = 'A'
[topology.alone]
about = 'B alone'
device = [{ role = 'B', port = 'ipmmu0:3', subject = true }]
[trigger.deferral]
about = 'late'
clocks = ['late0']
steps = ['work 0']
[[row]]
topology = 'alone'
trigger = 'deferral'
fw-devlink = ['on', 'off']
expect.stock = { verdict = 'healthy', not = ['b-bus-error'] }
expect.guard-absent = { verdict = 'detached' }
";

fn cases(text: &str) -> Result<Vec<String>, LabError> {
    let behaviours = Behaviours::shipped().unwrap();
    let cases = expand("small", "small.toml", text, &behaviours)?;
    Ok(cases.into_iter().map(|case| case.name).collect())
}

#[test]
fn a_file_expands_to_named_cases() {
    assert_eq!(
        cases(SMALL).unwrap(),
        [
            "small.alone.stock.off",
            "small.alone.guard-absent.off",
            "small.alone.stock.on",
            "small.alone.guard-absent.on"
        ]
    );
}

#[test]
fn mistakes_are_told_with_their_file() {
    for (old, new, words) in [
        ("title = 'T'", "t = 'T'", "line 2: unknown field `t`"),
        ("'healthy'", "'well'", "unknown variant `well`"),
        ("'b-bus-error'", "'c-bus-error'", "is no sign"),
        ("not = [", "mistakes = ['leak'], not = [", "is no mistake"),
        ("'b-bus-error'", "'b-leak'", "is no sign"),
        ("topology = 'alone'", "topology = 'x'", "no topology \"x\""),
        ("trigger = 'deferral'", "trigger = 'x'", "no trigger \"x\""),
        ("expect.guard-absent", "expect.x", "no behaviour \"x\""),
        ("role = 'B'", "role = 'b'", "a capital letter"),
        (
            ", port = 'ipmmu0:3'",
            "",
            "B of the topology alone has no port",
        ),
        (
            "about = 'B alone'",
            "about = ''\niommu = 'none'",
            "B of the topology alone has a port",
        ),
        ("['on', 'off']", "['on', 'on']", "two rows make the case"),
        ("['on', 'off']", "[]", "no fw-devlink"),
        ("[topology.alone]", "[topology.'a b']", "is no name"),
    ] {
        assert!(SMALL.contains(old), "{old}");
        let error = cases(&SMALL.replace(old, new)).unwrap_err().to_string();
        assert!(
            error.contains(words) && error.contains("small.toml"),
            "{error}"
        );
    }
}

#[test]
fn the_shipped_scenarios_are_well_formed_and_are_selected_by_name() {
    let lab = Lab::shipped().unwrap();
    let all = lab.cases();
    assert!(all.len() > 40, "{}", all.len());
    let mut names: Vec<&str> = all.iter().map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all.len(), "two cases have one name");
    assert_eq!(lab.select(&all[0].name).unwrap().len(), 1);
    let shared = lab.select("deferral.shared").unwrap();
    assert!(
        shared.len() > 1
            && shared
                .iter()
                .all(|c| c.name.starts_with("deferral.shared."))
    );
    assert!(lab.select("deferral.share").is_err());
    let arm64 = lab.select("arm64").unwrap();
    assert_eq!(
        arm64.len() + lab.select("arm64-lazy").unwrap().len(),
        lab.arm64().len()
    );
    assert!(
        arm64.iter().all(|case| case.behaviour.probes.is_empty()),
        "nobody could set them"
    );
    assert!(
        lab.select("no/such.toml")
            .unwrap_err()
            .to_string()
            .contains("cannot read")
    );
}
