//! Records what guests do to the registers of IOMMUs.

use viommu::{Part, RegisterEvent};

use super::recorder::Recorder;
use super::spec::{Address, Kind, Lane};

/// Records `event` of the IOMMU of this name by meaning, in the lane of the part that changes.
///
/// Invalidations and faults that the [`UnitObserver`](super::UnitObserver) sees, with what they do
/// to translations, are recorded by that alone.
pub(super) fn record(recorder: &Recorder, unit: &str, event: &dyn RegisterEvent) {
    let Some(change) = event.register() else {
        return;
    };
    let unit = unit.to_owned();
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let lane = match change.part {
        Part::Whole => Lane::Unit { unit },
        Part::Port(port) => Lane::Utlb {
            unit,
            utlb: number(port),
            virtio: false,
        },
        Part::Domain(domain) => Lane::Context {
            unit,
            context: number(domain),
            virtio: false,
        },
    };
    let kind = Kind::Register {
        register: change.register,
        value: change.value.map(Address),
        meaning: event.to_string(),
    };
    recorder.record(recorder.lane(lane), None, kind);
}

#[cfg(test)]
mod tests {
    use viommu::ipmmu::IpmmuEvent;
    use viommu::rockchip::RockchipEvent;

    use super::super::{Category, Limits};
    use super::*;

    /// Returns what is recorded of these events of the IOMMU "mx": lane, register, and meaning.
    fn recorded(events: &[&dyn RegisterEvent]) -> Vec<String> {
        let recorder = Recorder::new(Limits::default(), || 7);
        for event in events {
            record(&recorder, "mx", *event);
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
        seen.collect()
    }

    #[test]
    fn an_ipmmu_is_recorded_in_the_lanes_of_its_ports_and_contexts() {
        let seen = recorded(&[
            &IpmmuEvent::Table {
                context: 0,
                address: 0x8000_0000,
            },
            &IpmmuEvent::UtlbEnabled {
                utlb: 3,
                context: 0,
            },
            &IpmmuEvent::ContextFlush { context: 0 },
            &IpmmuEvent::UtlbDisabled { utlb: 3 },
        ]);
        let expected = [
            "mx context 0: IMTTLBR0(0): context 0 table 0x80000000",
            "mx uTLB 3: IMUCTR(3): uTLB 3 enabled on context 0",
            "mx uTLB 3: IMUCTR(3): uTLB 3 disabled",
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_rockchip_iommu_is_recorded_in_its_own_lane() {
        let seen = recorded(&[
            &RockchipEvent::Directory {
                address: 0x8000_0000,
            },
            &RockchipEvent::PagingEnabled,
            &RockchipEvent::ZapLine { iova: 0x1000 },
            &RockchipEvent::Reset,
        ]);
        let expected = [
            "mx: DTE_ADDR: directory table 0x80000000",
            "mx: COMMAND: paging enabled",
            "mx: COMMAND: reset",
        ];
        assert_eq!(seen, expected);
    }
}
