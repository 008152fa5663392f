//! Which crate of the workspace may know which: its manifests say who knows whom, and this says who
//! may.
//!
//! ARCHITECTURE.md draws the same. Crates that only tests use (`[dev-dependencies]`) are left out:
//! they are in no program.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Every crate, lowest first, and those that it may know, with spaces between them.
const MAY_KNOW: &[(&str, &str)] = &[
    ("viommu", ""),
    ("viommu-vhost-user", "viommu"),
    ("vmm-base", ""),
    ("vmm-files", ""),
    ("arm32-isa", ""),
    ("arm32-fpu", "arm32-isa"),
    ("guest-images", ""),
    ("arm32", "arm32-fpu arm32-isa vmm-base"),
    ("vmm-faults", "viommu vmm-base vmm-files"),
    ("vmm-net", "vmm-base vmm-files"),
    (
        "vmm-devices",
        "viommu viommu-vhost-user vmm-base vmm-faults vmm-net",
    ),
    (
        "vmm-machine",
        "arm32 guest-images viommu vmm-base vmm-devices vmm-faults vmm-files vmm-net",
    ),
    ("vmm-introspect", "vmm-base vmm-machine"),
    (
        "vmm-timeline",
        "viommu vmm-base vmm-devices vmm-files vmm-introspect vmm-machine",
    ),
    (
        "vmm-sanitizer",
        "viommu vmm-base vmm-devices vmm-introspect vmm-machine vmm-timeline",
    ),
    ("vmm-gdb", "arm32 vmm-base vmm-machine"),
    (
        "vmm-inspect",
        "arm32 viommu vmm-base vmm-devices vmm-introspect vmm-machine",
    ),
    (
        "vmm-lab",
        "guest-images viommu vmm-base vmm-devices vmm-files vmm-introspect vmm-machine \
         vmm-sanitizer vmm-timeline",
    ),
    (
        "vmm-campaign",
        "arm32 guest-images vmm-base vmm-devices vmm-faults vmm-files vmm-introspect vmm-machine \
         vmm-sanitizer vmm-timeline",
    ),
    (
        "vmm",
        "guest-images viommu vmm-base vmm-campaign vmm-devices vmm-faults vmm-files vmm-gdb \
         vmm-inspect vmm-introspect vmm-lab vmm-machine vmm-sanitizer vmm-timeline",
    ),
    ("arm32-difftest", "arm32 arm32-isa"),
    ("integration", "guest-images viommu viommu-vhost-user vmm"),
    ("benches", "guest-images viommu vmm"),
    ("xtask", ""),
];

/// An arrow from the crate that knows to the one that is known.
type Arrow = (String, String);

/// Returns the crates of the workspace, and the arrows between them.
fn workspace() -> (BTreeSet<String>, Vec<Arrow>) {
    let cargo = env!("CARGO");
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("there are crates");
    let name = |value: &Value| value["name"].as_str().expect("it has a name").to_owned();
    let names: BTreeSet<String> = packages.iter().map(name).collect();
    let mut arrows = Vec::new();
    for package in packages {
        for dependency in package["dependencies"].as_array().expect("a list") {
            let to = name(dependency);
            if dependency["kind"] != "dev" && names.contains(&to) {
                arrows.push((name(package), to));
            }
        }
    }
    (names, arrows)
}

/// Returns the arrows that are not allowed.
fn wrong(arrows: &[Arrow]) -> Vec<&Arrow> {
    let may: BTreeMap<_, _> = MAY_KNOW.iter().copied().collect();
    let allowed = |(from, to): &&Arrow| {
        may.get(from.as_str())
            .is_some_and(|known| known.split(' ').any(|known| known == to))
    };
    arrows.iter().filter(|arrow| !allowed(arrow)).collect()
}

#[test]
fn every_arrow_between_crates_is_allowed() {
    let (names, arrows) = workspace();
    assert!(arrows.len() > 10, "few arrows: {arrows:?}");
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !MAY_KNOW.iter().any(|(known, _)| known == name))
        .collect();
    assert!(
        missing.is_empty(),
        "give these crates a place in this list: {missing:?}"
    );
    assert_eq!(wrong(&arrows), Vec::<&Arrow>::new());
}

#[test]
fn an_arrow_that_is_not_allowed_is_found() {
    let (_, mut arrows) = workspace();
    let upwards = ("viommu".to_owned(), "vmm".to_owned());
    arrows.push(upwards.clone());
    assert_eq!(wrong(&arrows), [&upwards]);
}

/// What the list allows leads downwards only.
#[test]
fn nobody_may_know_what_is_above() {
    for (place, (name, known)) in MAY_KNOW.iter().enumerate() {
        for other in known.split_whitespace() {
            let below = MAY_KNOW[..place].iter().any(|(name, _)| *name == other);
            assert!(below, "{name} may know {other}, which is not below it");
        }
    }
}
