//! What a run showed, row by row, from both sides.

use vmm_machine::{Config, GuestKernel, IommuModel};

use super::decisive::{self, event_id};
use super::evidence::{CRASHES, Evidence};
use super::judge::Judgement;
use super::mistakes::Sanitized;
use super::ops::TEARDOWN;
use super::signs;
use super::spec::Health;
use vmm_timeline::recording;
use vmm_timeline::{
    Device, Direction, Finding, GuestChange, Kind, Lane, Machine, Mark, Observation, Route, Run,
    State, Verdict, VerdictKind, visible,
};

/// Returns the run as a report shows it.
pub(super) fn run(
    evidence: &Evidence<'_>,
    judgement: &Judgement,
    config: &Config,
    kernel: &GuestKernel,
) -> Run {
    let case = evidence.case;
    let outcome = if judgement.is_expected() {
        VerdictKind::Expected
    } else {
        VerdictKind::Unexpected
    };
    let mut sentence = sentence(judgement, case.topology.iommu);
    if !judgement.is_expected() {
        sentence = format!(
            "{sentence} Not as expected: {}.",
            judgement.problems.join("; ")
        );
    }
    Run {
        name: case.behaviour_name.clone(),
        behaviour: case.behaviour.about.clone(),
        health: if judgement.health == Health::Healthy {
            Mark::Ok
        } else {
            Mark::Bad
        },
        verdict: Verdict::new(outcome, sentence),
        machine: machine(evidence, config, kernel),
        changes: changes(evidence),
        findings: findings(evidence, judgement),
        decisive: decisive::events(evidence),
        timeline: evidence.timeline.clone(),
    }
}

fn sentence(judgement: &Judgement, iommu: IommuModel) -> String {
    let what = match judgement.health {
        Health::Healthy if !iommu.facts().described => {
            "No DMA was refused, and every byte arrived."
        }
        Health::Healthy => "All DMA was translated, and every byte arrived.",
        Health::Detached => {
            "Every byte arrived, but translations were torn down under their users."
        }
        Health::Bypassed => "Every byte arrived, but past the IOMMU.",
        Health::Broken => "Accesses led nowhere, or data was lost or wrong.",
        Health::Crashed => "The kernel crashed.",
    };
    let signs: Vec<&str> = judgement.signs.iter().map(String::as_str).collect();
    match signs.as_slice() {
        [] => what.to_owned(),
        signs => format!("{what} Seen: {}.", signs.join(", ")),
    }
}

fn machine(evidence: &Evidence<'_>, config: &Config, kernel: &GuestKernel) -> Machine {
    let case = evidence.case;
    let kind = match case.topology.board.facts().sata_ports {
        0 => "a virtio disk",
        _ => "a SATA disk",
    };
    let version = evidence
        .line(&["Linux version "])
        // printk puts its time before the banner.
        .and_then(|line| line.split_once("Linux version "));
    let devices = evidence
        .disks
        .iter()
        .zip(&case.topology.device)
        .map(|(disk, device)| {
            let entry = evidence
                .board
                .devices
                .iter()
                .find(|e| e.linux_name() == disk.device);
            let port = entry.and_then(|entry| entry.iommu);
            let utlb = port.and_then(|port| {
                Some((evidence.board.iommu_name(port.iommu)?.to_owned(), port.utlb))
            });
            let late = if device.subject && !case.trigger.clocks.is_empty() {
                ", waits for a clock that comes late"
            } else if device.subject && case.trigger.broken {
                ", whose probe fails"
            } else {
                ""
            };
            Device {
                name: evidence
                    .names
                    .get(&disk.device)
                    .cloned()
                    .unwrap_or_default(),
                role: Some(device.role.to_string()),
                description: format!("{kind}{late}"),
                utlb,
            }
        });
    Machine {
        kernel: kernel.name.clone(),
        sha256: kernel.sha256.clone(),
        version: version.map(|(_, rest)| visible(rest)),
        command_line: config.cmdline.clone(),
        seed: config.seed,
        cpus: config.cpus.into(),
        memory: config.memory.0,
        devices: devices.collect(),
    }
}

/// Returns everything that probes changed.
fn changes(evidence: &Evidence<'_>) -> Vec<GuestChange> {
    let mut all = Vec::new();
    for hit in evidence.hits {
        let Some(probe) = evidence.probes.get(hit.probe) else {
            continue;
        };
        // The recording has the hit as an event with the same actions, at the same time.
        let event = evidence.events().find(|(_, _, event)| {
            event.at == hit.at
                && matches!(&event.kind, Kind::Probe { actions, .. } if *actions == hit.actions)
        });
        let event = event.map(|(index, _, _)| event_id(index));
        let owner = evidence
            .subject_of(hit)
            .map_or_else(String::new, |name| format!(", of {name}"));
        for mut change in recording::changes(probe, hit, &evidence.case.behaviour_name) {
            change.event = event;
            change.meaning.push_str(&owner);
            all.push(change);
        }
    }
    all
}

fn seconds(ns: u64) -> String {
    format!("{}.{:06} s", ns / 1_000_000_000, ns % 1_000_000_000 / 1_000)
}

fn findings(evidence: &Evidence<'_>, judgement: &Judgement) -> Vec<Finding> {
    // Nothing happens to a bridge's ports.
    let mut rows = match evidence.case.topology.iommu.facts().described {
        true => utlbs(evidence, judgement),
        false => Vec::new(),
    };
    for device in &evidence.case.topology.device {
        rows.push(dma(evidence, judgement, device.role));
    }
    rows.push(stray(evidence, judgement));
    rows.push(mapping(evidence, judgement));
    rows.push(crash(evidence, judgement));
    rows.extend(evidence.sanitized.map(Sanitized::finding));
    rows
}

fn row(subject: impl Into<String>, host: Observation, guest: Observation) -> Finding {
    Finding {
        subject: subject.into(),
        hypervisor: host,
        guest,
    }
}

fn observed(bad: bool, text: impl Into<String>) -> Observation {
    Observation::new(if bad { Mark::Bad } else { Mark::Ok }, text)
}

/// Returns what each uTLB did, beside the kernel's complaints about attaching.
fn utlbs(evidence: &Evidence<'_>, judgement: &Judgement) -> Vec<Finding> {
    let timeline = &evidence.timeline;
    // The messages do not name the uTLB, so that they stand beside each.
    let words: Vec<&str> = signs::COMPLAINTS
        .iter()
        .flat_map(|(words, _)| *words)
        .copied()
        .collect();
    let complaint = evidence.line(&words);
    let said = signs::COMPLAINTS
        .iter()
        .any(|(_, sign)| judgement.signs.contains(*sign));
    let last = timeline
        .intervals
        .iter()
        .map(|interval| interval.until)
        .max();
    let end = evidence.powers_off_at().or(last).unwrap_or_default();
    let lanes = timeline.lanes.iter().enumerate();
    lanes
        .filter_map(|(number, lane)| match lane {
            // An SMMU has streams for many more devices than there are.
            Lane::Utlb { unit, utlb, .. } if evidence.has_devices(unit, *utlb) => {
                Some((number, lane, evidence.may_be_disabled(unit, *utlb)))
            }
            _ => None,
        })
        .map(|(number, lane, may_be_disabled)| {
            let states = timeline
                .intervals
                .iter()
                .filter(|i| usize::from(i.lane.0) == number);
            let mut bad = false;
            let parts: Vec<String> = states
                .map(|interval| {
                    let from = seconds(interval.from);
                    match interval.state {
                        State::Enabled { context } => format!("context {context} from {from}"),
                        State::Disabled { lost: false } => format!("disabled from {from}"),
                        State::Disabled { lost: true } => {
                            let stays = interval.until >= end;
                            bad |= interval.from < end && (stays || !may_be_disabled);
                            format!("disabled again from {from}")
                        }
                        // A uTLB has no driver, so that only `Blocked` is left.
                        _ => format!("blocked from {from}"),
                    }
                })
                .collect();
            let guest = match complaint {
                Some(line) if said => observed(true, format!("\"{}\"", visible(line))),
                _ => Observation::new(Mark::None, "no message"),
            };
            row(lane.to_string(), observed(bad, parts.join(", ")), guest)
        })
        .collect()
}

/// The numbers of accesses that a device made, by where they went.
#[derive(Default)]
struct Accesses {
    translated: u64,
    past: u64,
    errors: u64,
    faults: u64,
}

impl Accesses {
    fn of(evidence: &Evidence<'_>, role: char) -> Self {
        let mut all = Self::default();
        for (_, event) in evidence.of_device(role) {
            let count = event.kind.burst().map_or(1, |burst| burst.count);
            match event.kind {
                Kind::Dma {
                    route: Route::Context { .. },
                    ..
                } => all.translated += count,
                Kind::Dma { .. } => all.past += count,
                Kind::BusError { .. } => all.errors += count,
                Kind::Fault { .. } => all.faults += count,
                _ => {}
            }
        }
        all
    }
}

fn dma(evidence: &Evidence<'_>, judgement: &Judgement, role: char) -> Finding {
    let all = Accesses::of(evidence, role);
    let iommu = evidence.case.topology.iommu;
    let mut parts = vec![match iommu.facts().described {
        true => format!("{} accesses translated", all.translated),
        false if iommu == IommuModel::None => "nothing stands before it".to_owned(),
        false => format!("{} accesses through the bridge", all.translated),
    }];
    for (count, what) in [
        (all.past, "past the IOMMU"),
        (all.errors, "to where no memory is"),
        (all.faults, "refused"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let has = |sign: &str| judgement.signs.contains(&signs::of(role, sign));
    if has("data-wrong") {
        parts.push("the disk does not hold what was written".into());
    }
    let bad = all.past + all.errors + all.faults > 0 || has("data-wrong");
    let mut guest: Vec<String> = Vec::new();
    let mut guest_bad = false;
    for line in evidence.said() {
        let mut words = line.splitn(3, ' ');
        // Other lines of the script, such as `no clocks`, do not begin with a part and a letter.
        let (Some(part), Some(letter), Some(what)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        if letter.len() != 1 || !letter.starts_with(role) {
            continue;
        }
        // Nobody compares 64 digits by eye: the judge has done it.
        let what = match what.strip_prefix("sum ") {
            Some(_) if has("read-wrong") => "checksum differs",
            Some(_) => "checksum right",
            None => what,
        };
        guest_bad |= what.contains("hangs") || what.contains("failed") || what.contains("differs");
        guest.push(format!("{part}: {}", visible(what)));
    }
    // Only the judge knows whether there should have been a disk at that moment.
    guest_bad |= has("absent");
    let guest = match guest.as_slice() {
        [] => Observation::new(Mark::None, "nothing said"),
        lines => observed(guest_bad, lines.join(", ")),
    };
    row(
        format!("{role}'s DMA"),
        observed(bad, parts.join(", ")),
        guest,
    )
}

fn stray(evidence: &Evidence<'_>, judgement: &Judgement) -> Finding {
    let mut parts = Vec::new();
    for device in &evidence.case.topology.device {
        for (_, event) in evidence.of_device(device.role) {
            let Kind::Dma {
                burst,
                direction,
                route: Route::Stray | Route::Untranslated,
            } = &event.kind
            else {
                continue;
            };
            let does = match direction {
                Direction::Read => "reads",
                Direction::Write => "writes",
            };
            // The first access of each device tells enough.
            parts.push(format!("{} {does} {}", device.role, burst.first));
            break;
        }
    }
    let host = match parts.as_slice() {
        [] => observed(false, "none"),
        parts => observed(true, format!("first: {}", parts.join(", "))),
    };
    let failed = judgement.signs.iter().find(|sign| {
        let of_mapping = ["attach-failed", "mapping-failed"].contains(&sign.as_str());
        sign.ends_with("-failed") && !of_mapping || sign.ends_with("-hangs")
    });
    let guest = match failed {
        Some(sign) => observed(true, signs::meaning(sign)),
        None => Observation::new(Mark::None, "sees none of it"),
    };
    row("stray accesses", host, guest)
}

fn mapping(evidence: &Evidence<'_>, judgement: &Judgement) -> Finding {
    let has = |sign: &str| judgement.signs.contains(sign);
    let mut parts = Vec::new();
    if has("mapping-freed") {
        parts.push("one was freed".to_owned());
    }
    if has("table-replaced") {
        parts.push("a context got another's page table".to_owned());
    }
    if has("context-disabled") {
        parts.push("a context was disabled".to_owned());
    }
    parts.extend(evidence.leftovers.iter().map(|left| {
        format!(
            "{} has page {:#x} still mapped, to {:#x}, after arm_iommu_unmap_page",
            left.device, left.iova, left.address
        )
    }));
    let is_iommu = evidence.case.topology.iommu.facts().described;
    for device in &evidence.case.topology.device {
        let has = |sign: &str| has(&signs::of(device.role, sign));
        // Where nobody gets a mapping, it is only what the scenario begins with.
        if has("ops-before") && is_iommu {
            parts.push(format!(
                "{} got none: its dma_ops were set before",
                device.role
            ));
        }
        if has("other-ops") {
            parts.push(format!("{} got other dma_ops than it had", device.role));
        }
        if has("mapping-taken") {
            parts.push(format!(
                "the kernel took from {} one that it had not made",
                device.role
            ));
        }
    }
    let host = match parts.as_slice() {
        [] if !is_iommu => observed(false, "none: there is no IOMMU"),
        [] if evidence.case.topology.iommu == IommuModel::Virtio => {
            observed(false, "each device's own; what was given back is gone")
        }
        [] if !evidence.case.topology.iommu.facts().shared_mapping => {
            observed(false, "each device's own")
        }
        // The IPMMU's driver has one mapping for all devices.
        [] => observed(false, "one, which stays"),
        parts => observed(true, parts.join(", ")),
    };
    let teardowns: Vec<String> = evidence
        .disks
        .iter()
        .map(|disk| {
            let count = evidence.hits_of(TEARDOWN, false, &disk.device).count();
            format!("{} {count}", disk.role)
        })
        .collect();
    let guest = Observation::new(
        Mark::Note,
        format!("calls of arch_teardown_dma_ops: {}", teardowns.join(", ")),
    );
    row("mappings of IOVAs", host, guest)
}

fn crash(evidence: &Evidence<'_>, judgement: &Judgement) -> Finding {
    let guest = match evidence.line(&CRASHES) {
        Some(line) => observed(true, format!("\"{}\"", visible(line))),
        None => observed(false, "no oops"),
    };
    let host = if judgement.signs.contains("hang") {
        observed(true, format!("the run ended by {:?}", evidence.reason))
    } else {
        observed(
            evidence.crashed(),
            format!("the run ended by {:?}", evidence.reason),
        )
    };
    row("the kernel", host, guest)
}
