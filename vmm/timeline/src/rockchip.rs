//! Records what guests do to the registers of a Rockchip IOMMU.

use viommu::rockchip::{Register, RockchipEvent};

use super::recorder::Recorder;
use super::spec::{Address, Kind, Lane};

/// Records `event` of the IOMMU of this name by meaning, in its lane.
///
/// Invalidations and faults are recorded by the [`UnitObserver`](super::UnitObserver), which sees what they do to
/// translations; here they would only come a second time.
pub(super) fn record(recorder: &Recorder, unit: &str, event: &RockchipEvent) {
    let Some((register, value)) = place(event) else {
        return;
    };
    let lane = recorder.lane(Lane::Unit { unit: unit.into() });
    let kind = Kind::Register {
        register,
        value: value.map(Address),
        meaning: event.to_string(),
    };
    recorder.record(lane, None, kind);
}

/// Returns the register (by its name in drivers/iommu/rockchip-iommu.c) and the value of `event`, if it is recorded
/// here.
fn place(event: &RockchipEvent) -> Option<(String, Option<u64>)> {
    let named = |register: Register, value| Some((register.name().to_owned(), value));
    match *event {
        RockchipEvent::Directory { address } => named(Register::DteAddr, Some(address)),
        // The event tells the command by its meaning.
        RockchipEvent::PagingEnabled
        | RockchipEvent::PagingDisabled
        | RockchipEvent::StallRequested
        | RockchipEvent::StallEnded
        | RockchipEvent::Reset
        | RockchipEvent::FaultDone => named(Register::Command, None),
        RockchipEvent::UnknownCommand { number, .. } => {
            named(Register::Command, Some(number.into()))
        }
        RockchipEvent::Stalled => named(Register::Status, None),
        RockchipEvent::PageFault { iova, .. } => named(Register::PageFaultAddr, Some(iova.into())),
        RockchipEvent::InterruptsCleared { interrupts } => {
            named(Register::IntClear, Some(interrupts.into()))
        }
        RockchipEvent::StatusShown { interrupts } => {
            named(Register::IntRawstat, Some(interrupts.into()))
        }
        RockchipEvent::Unimplemented {
            offset, written, ..
        } => Some((format!("offset {offset:#x}"), written.map(u64::from))),
        RockchipEvent::PartialWrite { offset, .. } => Some((format!("offset {offset:#x}"), None)),
        // Invalidations and other faults, which the unit's observer sees, and what later versions of the library add.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Category, Limits};
    use super::*;

    #[test]
    fn records_by_meaning_in_the_lane_of_the_iommu() {
        let recorder = Recorder::new(Limits::default(), || 7);
        for event in [
            RockchipEvent::Directory {
                address: 0x8000_0000,
            },
            RockchipEvent::PagingEnabled,
            RockchipEvent::ZapLine { iova: 0x1000 },
            RockchipEvent::Reset,
        ] {
            record(&recorder, "mmu", &event);
        }
        let timeline = recorder.timeline();
        let seen = timeline.events.iter().map(|event| {
            assert_eq!(event.kind.category(), Category::Register);
            let lane = timeline.lane(event.lane).unwrap().to_string();
            match &event.kind {
                Kind::Register {
                    register, meaning, ..
                } => format!("{lane}: {register}: {meaning}"),
                other => panic!("{other:?}"),
            }
        });
        let expected = [
            "mmu: DTE_ADDR: directory table 0x80000000",
            "mmu: COMMAND: paging enabled",
            "mmu: COMMAND: reset",
        ];
        assert_eq!(seen.collect::<Vec<_>>(), expected);
    }
}
