//! The events of a run that tell its story.

use super::evidence::{CRASHES, Evidence};
use super::ops::{SETUP, TEARDOWN};
use vmm_timeline::{
    Address, Argument, Decisive, Event, EventId, Kind, Lane, Mark, Point, Route, Value,
};

/// Decisive events that are named in a report: as many as one reads.
const MAX_DECISIVE: usize = 10;

/// Returns the number of an event in its timeline.
pub(super) fn event_id(index: usize) -> EventId {
    // A timeline has far fewer events.
    EventId(u32::try_from(index).unwrap_or(u32::MAX))
}

/// Returns the events that tell the story.
pub(super) fn events(evidence: &Evidence<'_>) -> Vec<Decisive> {
    let mut list: Vec<Decisive> = Vec::new();
    let mut seen: Vec<(usize, &'static str)> = Vec::new();
    let mut translated = false;
    let end = evidence.powers_off_at().unwrap_or(u64::MAX);
    for (index, lane, event) in evidence.events() {
        let Some((key, mut mark, meaning)) =
            attachment(evidence, lane, event, end).or_else(|| meaning(lane, event, translated))
        else {
            continue;
        };
        translated |= key == "attached";
        // Where nobody gets a mapping it is only what the scenario begins with.
        if key == "ops-before" && !evidence.case.topology.iommu.facts().described {
            mark = Mark::Note;
        }
        // The first of its kind in each lane tells it.
        let at = (usize::from(event.lane.0), key);
        if seen.contains(&at) || list.len() >= MAX_DECISIVE {
            continue;
        }
        seen.push(at);
        list.push(Decisive {
            event: event_id(index),
            mark,
            meaning,
        });
    }
    list
}

/// What an event means for the story: a key for its kind, how it is marked, and a sentence.
type Meaning = (&'static str, Mark, String);

/// Returns what it means that a port is attached or disabled, in a run that comes to its end at
/// `end`.
fn attachment(evidence: &Evidence<'_>, lane: &Lane, event: &Event, end: u64) -> Option<Meaning> {
    let (Kind::Attachment { to }, Lane::Utlb { unit, utlb, .. }) = (&event.kind, lane) else {
        return None;
    };
    if !evidence.case.topology.iommu.facts().described {
        // A bridge's ports lead where they always do.
        return None;
    }
    let (key, mark, meaning) = match to {
        Route::Context { context } => {
            let meaning = format!("{lane} translates through context {context}.");
            ("attached", Mark::Ok, meaning)
        }
        Route::Stray if event.at >= end => return None,
        Route::Stray if evidence.may_be_disabled(unit, *utlb) => {
            let meaning = format!("{lane} is disabled: its device has no driver any more.");
            ("detached", Mark::Note, meaning)
        }
        Route::Stray => {
            let meaning =
                format!("{lane} is disabled: what is behind it is not translated any more.");
            ("lost", Mark::Bad, meaning)
        }
        _ => return None,
    };
    Some((key, mark, meaning))
}

/// Returns what any other event means, if anything.
fn meaning(lane: &Lane, event: &Event, translated: bool) -> Option<Meaning> {
    Some(match (&event.kind, lane) {
        (
            Kind::Probe {
                function,
                point,
                arguments,
                actions,
                ..
            },
            _,
        ) => return hit_meaning(function, *point, arguments, actions),
        (
            Kind::Dma {
                route: Route::Stray | Route::Untranslated,
                burst,
                ..
            },
            Lane::Device { name },
        ) => (
            "stray",
            Mark::Bad,
            format!("{name} accesses {} past the IOMMU.", burst.first),
        ),
        (
            Kind::Dma {
                route: Route::Context { .. },
                ..
            },
            Lane::Device { name },
        ) if translated => (
            "dma",
            Mark::Ok,
            format!("{name} accesses memory through its translation."),
        ),
        (Kind::BusError { burst, .. }, _) => (
            "error",
            Mark::Bad,
            format!("No memory is at {}: the access fails.", burst.first),
        ),
        (Kind::Fault { burst, reason, .. }, _) => (
            "fault",
            Mark::Bad,
            format!("{} is refused: {reason}.", burst.first),
        ),
        (Kind::Mistake { text, .. }, _) => {
            ("mistake", Mark::Bad, format!("A mistake with DMA: {text}."))
        }
        (Kind::Console { text }, _) => return console_meaning(text),
        _ => return None,
    })
}

/// Returns what it means that a probe was hit.
fn hit_meaning(
    function: &str,
    point: Point,
    arguments: &[Argument],
    actions: &[String],
) -> Option<Meaning> {
    // What was done to the guest is the cause of the rest, whatever the function.
    if !actions.is_empty() {
        let sentence = format!("At {function}: {}.", actions.join(", "));
        return Some(("acted", Mark::Bad, sentence));
    }
    Some(match (function, point) {
        ("release_iommu_mapping", _) => (
            "freed",
            Mark::Bad,
            "The last reference to a mapping is gone: it is freed.".into(),
        ),
        (TEARDOWN, Point::Entry) => {
            let sentence = format!("{} is not bound: its DMA is torn down.", named(arguments));
            ("teardown", Mark::Note, sentence)
        }
        (SETUP, Point::Entry) if had_ops(arguments) => {
            let sentence = format!(
                "{} has dma_ops already: it gets no mapping.",
                named(arguments)
            );
            ("ops-before", Mark::Bad, sentence)
        }
        ("arm_iommu_unmap_page", _) => {
            // The probe prints the device's name first, and the address last.
            let sentence = match arguments.iter().map(|a| &a.value).next_back() {
                Some(Value::Number(iova)) => {
                    format!("The page at {iova:#x} was given back, and stays mapped.")
                }
                _ => "A page was given back, and stays mapped.".into(),
            };
            ("leftover", Mark::Bad, sentence)
        }
        _ => return None,
    })
}

/// Returns the name of the device that a probe printed.
fn named(arguments: &[Argument]) -> &str {
    let name = arguments.iter().find(|a| a.name == "dev.name");
    match name.map(|a| &a.value) {
        Some(Value::Text(name)) => name,
        _ => "A device",
    }
}

/// Returns whether the device that a probe is about had DMA operations, and no mapping.
fn had_ops(arguments: &[Argument]) -> bool {
    let is_null = |name: &str| {
        let printed = arguments.iter().find(|argument| argument.name == name);
        match printed.map(|argument| &argument.value) {
            Some(Value::Pointer(Address(address), _)) => Some(*address == 0),
            _ => None,
        }
    };
    is_null("dev.dma_ops") == Some(false) && is_null("dev.archdata.mapping") == Some(true)
}

/// Returns what a line of the kernel's means.
fn console_meaning(text: &str) -> Option<Meaning> {
    Some(if CRASHES.iter().any(|words| text.contains(words)) {
        ("crash", Mark::Bad, "The kernel crashes.".into())
    } else if text.contains("failed to attach the default") {
        (
            "kept",
            Mark::Bad,
            "The device cannot be detached: its IOMMU goes on as before.".into(),
        )
    } else if text.contains("Failed to attach") {
        (
            "refused",
            Mark::Bad,
            "The device is not attached again.".into(),
        )
    } else {
        return None;
    })
}
