//! A scenario of the lab, or its behaviours, in any text: cases, or a sentence.

use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use vmm::lab::behaviour::Behaviours;
use vmm::lab::judge::Judgement;
use vmm::lab::load::expand;
use vmm::lab::signs::meaning;
use vmm::sanitizer::Kind;

use super::text::Input;

const GOOD: &[&str] = &[
    include_str!("../../../vmm/lab/src/scenarios/bugs.toml"),
    include_str!("../../../vmm/lab/src/scenarios/virtio.toml"),
    include_str!("../../../vmm/lab/src/scenarios/failing.toml"),
    include_str!("../../../vmm/lab/src/scenarios/rebind.toml"),
    include_str!("../../../vmm/lab/src/scenarios/arm64-lazy.toml"),
];
const BEHAVIOURS: &[&str] = &[include_str!("../../../vmm/lab/src/behaviours.toml")];
const WORDS: &[&str] = &[
    "A",
    "B",
    "H",
    "stock",
    "guard-absent",
    "on",
    "off",
    "broken",
    "good",
    "hang",
    "oops",
    "ipmmu",
    "virtio",
    "work",
    "rebind",
    "late_clocks",
    "unbind",
    "bind",
    "true",
    "false",
    "ipmmu0",
    "viommu0",
    "31",
    "\"\"",
    "[]",
    "{}",
    "subject",
    "coherent",
    "broken",
    "clocks",
    "teardowns",
    "not",
    "see",
    "image",
    "debian-armmp",
    "a-fault",
    "mistakes",
    "b-leak",
    "b-hangs",
    "detached",
];
const LINES: &[&str] = &[
    "[machine]",
    "[[row]]",
    "image = \"virtio-iommu\"",
    "iommu = \"virtio\"",
    "fw-devlink = [\"on\", \"off\"]",
    "fails = 3",
    "device = [{ role = \"A\", port = \"ipmmu0:3\" }]",
];

#[derive(Arbitrary, Debug)]
enum Case<'a> {
    Scenario(Input<'a>),
    Behaviours(Input<'a>),
    Sign(&'a str),
}

fn shipped() -> &'static Behaviours {
    static SHIPPED: OnceLock<Behaviours> = OnceLock::new();
    SHIPPED.get_or_init(|| Behaviours::shipped().expect("those that are shipped"))
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    match Case::arbitrary_take_rest(Unstructured::new(data)) {
        Ok(Case::Scenario(input)) => {
            let text = input.text(GOOD, WORDS, LINES);
            match expand("fuzz", "fuzz.toml", &text, shipped()) {
                Ok(cases) => {
                    for case in cases {
                        // Seeing all that shall be seen leaves nothing to be missed.
                        let expect = &case.expect;
                        let seen = expect.see.iter().chain(&expect.mistakes).cloned().collect();
                        let kinds = Kind::ALL.into();
                        let problems =
                            Judgement::new(seen, expect, case.topology.iommu, &kinds).problems;
                        assert!(
                            !problems
                                .iter()
                                .any(|p| p.starts_with("not seen") || p.contains("found: ")),
                            "{problems:?}"
                        );
                    }
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        Ok(Case::Behaviours(input)) => {
            match Behaviours::read("fuzz.toml", &input.text(BEHAVIOURS, WORDS, LINES)) {
                Ok(behaviours) => assert!(
                    behaviours
                        .names()
                        .all(|name| behaviours.get(name).is_some())
                ),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        Ok(Case::Sign(sign)) => drop(meaning(sign)),
        Err(_) => {}
    }
}
