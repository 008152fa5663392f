//! From what was seen to a verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::Serialize;
use vmm_machine::{IommuModel, Reason};
use vmm_sanitizer::Kind as Mistake;

use super::evidence::Evidence;
use super::mistakes::Sanitized;
use super::ops;
use super::signs::{self, Signs};
use super::spec::{Expectation, Health};
use vmm_timeline::{Kind, Lane, Route};

/// The judgement on a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// The health of the guest in it.
    pub health: Health,
    /// The signs that were seen.
    pub signs: Signs,
    /// The differences from what was expected, each in a sentence.
    pub problems: Vec<String>,
}

impl Judgement {
    /// Compares what was seen behind such an IOMMU with what was expected, where mistakes with DMA
    /// of these kinds were looked for.
    pub fn new(
        signs: Signs,
        expect: &Expectation,
        iommu: IommuModel,
        looked_for: &BTreeSet<Mistake>,
    ) -> Self {
        let health = health(&signs, iommu);
        let mut problems = Vec::new();
        if health != expect.verdict {
            problems.push(format!(
                "it is {health}, and {} was expected",
                expect.verdict
            ));
        }
        for sign in expect.see.iter().filter(|sign| !signs.contains(*sign)) {
            problems.push(format!("not seen: {sign} ({})", signs::meaning(sign)));
        }
        let missed = expect.mistakes.iter().filter(|sign| {
            let kind = signs::mistake(sign);
            kind.is_some_and(|kind| looked_for.contains(&kind)) && !signs.contains(*sign)
        });
        for sign in missed {
            problems.push(format!("not found: {sign} ({})", signs::meaning(sign)));
        }
        let found = signs.iter().filter(|sign| signs::mistake(sign).is_some());
        for sign in found.filter(|sign| !expect.mistakes.contains(sign)) {
            problems.push(format!("found: {sign} ({})", signs::meaning(sign)));
        }
        for sign in expect.not.iter().filter(|sign| signs.contains(*sign)) {
            problems.push(format!("seen: {sign} ({})", signs::meaning(sign)));
        }
        Self {
            health,
            signs,
            problems,
        }
    }

    /// Returns whether all is as expected.
    pub fn is_expected(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Returns the worst that a sign means behind such an IOMMU.
fn health(signs: &Signs, iommu: IommuModel) -> Health {
    // A mistake is none of them: it may be without consequence in this run, and what follows from
    // it is seen for itself.
    let seen = signs.iter().filter(|sign| signs::mistake(sign).is_none());
    let worst = seen.map(|sign| match sign.as_str() {
        "oops" => Health::Crashed,
        "hang" => Health::Broken,
        "dma-as-expected" => Health::Healthy,
        "utlb-disabled" | "utlb-lost" | "context-disabled" | "table-replaced" | "mapping-freed"
        | "mapping-failed" | "context-refused" | "attach-failed" | "detach-failed" => {
            Health::Detached
        }
        // Signs of a device begin with its letter; those not named here are of lost data or failed
        // accesses.
        other => match other.split_once('-').map(|(_, rest)| rest) {
            Some("untranslated") => Health::Bypassed,
            // It costs a device its mapping, which it has only behind an IOMMU.
            Some("ops-before") if !iommu.facts().described => Health::Healthy,
            Some("leftover" | "mapping-taken" | "ops-before" | "other-ops") => Health::Detached,
            _ => Health::Broken,
        },
    });
    worst.max().unwrap_or(Health::Healthy)
}

/// Collects the signs of a run and compares them with what was expected.
///
/// # Errors
/// A disk's file cannot be read.
pub(super) fn judge(evidence: &Evidence<'_>) -> io::Result<Judgement> {
    let mut signs = Signs::new();
    registers(evidence, &mut signs);
    for device in &evidence.case.topology.device {
        accesses(evidence, device.role, &mut signs);
        let disk = evidence.disks.iter().find(|disk| disk.role == device.role);
        let Some(disk) = disk else { continue };
        let mut left = evidence.leftovers.iter();
        for (seen, sign) in [
            (left.any(|left| disk.device == left.device), "leftover"),
            (ops::were_set_before(evidence, &disk.device), "ops-before"),
            (ops::became_others(evidence, &disk.device), "other-ops"),
            (
                ops::lost_a_foreign_mapping(evidence, &disk.device),
                "mapping-taken",
            ),
        ] {
            if seen {
                signs.insert(signs::of(device.role, sign));
            }
        }
    }
    // The disks are read by the host: what the guest says of its writes is not taken for granted.
    data(evidence, &mut signs)?;
    messages(evidence, &mut signs);
    if !evidence.dma_script.is_empty() {
        let holds = evidence.dma_script.iter().all(|step| step.holds);
        let sign = if holds {
            "dma-as-expected"
        } else {
            "dma-unexpected"
        };
        signs.insert(sign.into());
    }
    let sanitized = evidence.sanitized;
    signs.extend(sanitized.iter().flat_map(|found| found.signs()));
    let looked_for = sanitized.map(Sanitized::looked_for).unwrap_or_default();
    let case = evidence.case;
    Ok(Judgement::new(
        signs,
        &case.expect,
        case.topology.iommu,
        &looked_for,
    ))
}

/// Collects the signs of uTLBs and contexts.
fn registers(evidence: &Evidence<'_>, signs: &mut Signs) {
    let (mut translating, mut lost) = (BTreeMap::new(), BTreeSet::new());
    let mut tables = BTreeMap::new();
    let mut enabled = BTreeMap::new();
    let shared_mapping = evidence.case.topology.iommu.facts().shared_mapping;
    let end = evidence.powers_off_at().unwrap_or(u64::MAX);
    let running = evidence.events().filter(|(.., event)| event.at < end);
    for (_, lane, event) in running {
        match (&event.kind, lane) {
            (Kind::Attachment { to }, Lane::Utlb { unit, utlb, .. }) => {
                let now = matches!(to, Route::Context { .. });
                let before = translating.insert(lane, now) == Some(true);
                if now {
                    lost.remove(lane);
                } else if before {
                    lost.insert(lane);
                    if !evidence.may_be_disabled(unit, *utlb) {
                        signs.insert("utlb-disabled".into());
                    }
                }
            }
            (
                Kind::Register {
                    register, value, ..
                },
                Lane::Context { .. },
            ) if register.starts_with("IMTTLBR0") => {
                // The first table of a context replaces nothing.
                let before = tables.insert(lane, *value);
                if before.is_some_and(|before| before != *value) {
                    signs.insert("table-replaced".into());
                }
            }
            (Kind::Register { meaning, .. }, Lane::Context { .. }) => {
                // Of IMCTR only the meaning is recorded, in words, and no value.
                if meaning.ends_with(" enabled") {
                    enabled.insert(lane, true);
                } else if meaning.ends_with(" disabled")
                    && enabled.get(lane) == Some(&true)
                    // One of a device's own goes with its driver; a port that loses it is seen
                    // above.
                    && shared_mapping
                {
                    signs.insert("context-disabled".into());
                }
            }
            (Kind::Probe { function, .. }, _)
                if function == "release_iommu_mapping" && shared_mapping =>
            {
                signs.insert("mapping-freed".into());
            }
            _ => {}
        }
    }
    // What was disabled and enabled again is a sign by itself; this one is of what stayed disabled.
    if !lost.is_empty() {
        signs.insert("utlb-lost".into());
    }
}

/// Collects the signs of a device's accesses.
fn accesses(evidence: &Evidence<'_>, role: char, signs: &mut Signs) {
    for (_, event) in evidence.of_device(role) {
        let sign = match &event.kind {
            Kind::Dma {
                route: Route::Stray | Route::Untranslated,
                ..
            } => "untranslated",
            Kind::BusError { .. } => "bus-error",
            Kind::Fault { .. } => "fault",
            _ => continue,
        };
        signs.insert(signs::of(role, sign));
    }
}

/// Collects the signs of the data, from what the guest said and from the disks.
fn data(evidence: &Evidence<'_>, signs: &mut Signs) -> io::Result<()> {
    for disk in evidence.disks {
        let role = disk.role;
        // A device that cannot be probed has no disk.
        let expected = !(evidence.case.trigger.broken && evidence.is_subject(role));
        let (written, intact) = disk.inspect()?;
        if !intact {
            signs.insert(signs::of(role, "data-wrong"));
        }
        for (part, written) in written.into_iter().enumerate() {
            let prefix = format!("{part} {role} ");
            let said: Vec<&str> = evidence
                .said()
                .filter_map(|line| line.strip_prefix(prefix.as_str()))
                .collect();
            // In the first part, before its clock comes, a subject has no disk.
            let waits =
                part == 0 && !evidence.case.trigger.clocks.is_empty() && evidence.is_subject(role);
            for line in said {
                let sign = if line == "absent" && expected && !waits {
                    "absent"
                } else if line.ends_with(" hangs") {
                    "hangs"
                } else if line.starts_with("read failed") {
                    "read-failed"
                } else if line.starts_with("write failed") {
                    "write-failed"
                } else if line
                    .strip_prefix("sum ")
                    .is_some_and(|sum| sum != disk.sum())
                {
                    "read-wrong"
                } else if line == "write done" && !written {
                    "data-wrong"
                } else {
                    continue;
                };
                signs.insert(signs::of(role, sign));
            }
        }
    }
    Ok(())
}

/// Collects the signs in what the kernel said.
fn messages(evidence: &Evidence<'_>, found: &mut Signs) {
    for (words, sign) in signs::COMPLAINTS {
        if evidence.line(words).is_some() {
            found.insert(sign.into());
        }
    }
    // A crash ends the run as well: one that crashed is not said to hang, too.
    if evidence.crashed() {
        found.insert("oops".into());
    } else if evidence.reason != Reason::PowerOff {
        // A guest that comes to its end powers off.
        found.insert("hang".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(list: &[&str]) -> Signs {
        list.iter().map(|sign| (*sign).to_owned()).collect()
    }

    #[test]
    fn the_worst_sign_decides() {
        for (list, expected) in [
            (&[][..], Health::Healthy),
            (&["utlb-disabled", "table-replaced"], Health::Detached),
            (&["a-ops-before", "b-other-ops"], Health::Detached),
            (&["b-mapping-taken"], Health::Detached),
            (&["utlb-disabled", "b-untranslated"], Health::Bypassed),
            (&["b-ops-before", "b-untranslated"], Health::Bypassed),
            (&["a-bus-error", "b-untranslated"], Health::Broken),
            (&["a-bus-error", "oops"], Health::Crashed),
        ] {
            let found = health(&signs(list), IommuModel::Rockchip);
            assert_eq!(found, expected, "{list:?}");
        }
    }

    #[test]
    fn without_an_iommu_operations_of_somebody_else_s_are_no_harm() {
        for (list, expected) in [
            (&["a-ops-before"][..], Health::Healthy),
            (&["a-ops-before", "b-other-ops"], Health::Detached),
            (&["a-ops-before", "b-fault"], Health::Broken),
        ] {
            assert_eq!(health(&signs(list), IommuModel::Bridge), expected);
        }
    }

    #[test]
    fn each_difference_is_a_problem() {
        let expect = Expectation {
            verdict: Health::Healthy,
            see: vec!["attach-failed".into()],
            not: vec!["oops".into()],
            mistakes: Vec::new(),
        };
        let judge =
            |signs, expect| Judgement::new(signs, expect, IommuModel::Ipmmu, &BTreeSet::new());
        let judgement = judge(signs(&["oops"]), &expect);
        assert_eq!(judgement.problems.len(), 3, "{:?}", judgement.problems);
        assert!(!judgement.is_expected());
        let fine = Expectation {
            verdict: Health::Crashed,
            see: vec!["oops".into()],
            not: vec!["hang".into()],
            mistakes: Vec::new(),
        };
        assert!(judge(signs(&["oops"]), &fine).is_expected());
    }

    #[test]
    fn mistakes_are_those_that_are_expected_and_change_no_verdict() {
        let expect = Expectation {
            verdict: Health::Healthy,
            see: Vec::new(),
            not: Vec::new(),
            mistakes: vec!["a-leak".into(), "b-direction".into()],
        };
        let problems = |list: &[&str], kinds: &[Mistake]| {
            let kinds = kinds.iter().copied().collect();
            Judgement::new(signs(list), &expect, IommuModel::Ipmmu, &kinds).problems
        };
        assert_eq!(problems(&["a-leak", "b-direction"], &Mistake::ALL), [""; 0]);
        // Nobody looked, or not for all of it.
        assert_eq!(problems(&[], &[]), [""; 0]);
        assert_eq!(problems(&["a-leak"], &[Mistake::Leak]), [""; 0]);
        let told = problems(&["b-leak", "double-map"], &Mistake::ALL);
        let begins: Vec<&str> = told.iter().filter_map(|p| p.split(" (").next()).collect();
        assert_eq!(
            begins,
            [
                "not found: a-leak",
                "not found: b-direction",
                "found: b-leak",
                "found: double-map"
            ]
        );
    }
}
