//! Records what guests do to the registers of an IPMMU.

use std::sync::Arc;

use viommu::ipmmu::{IpmmuEvent, IpmmuObserver};

use super::recorder::Recorder;
use super::spec::{Address, Kind, Lane};

/// An observer of a [`viommu::ipmmu::Ipmmu`] that records register writes by meaning.
///
/// Flushes and faults are recorded by the [`UnitObserver`](super::UnitObserver) of the instance,
/// which sees what they do to translations; here they would only come a second time.
#[derive(Clone, Debug)]
pub struct RegisterObserver {
    recorder: Arc<Recorder>,
}

impl RegisterObserver {
    /// Creates an observer that records to `recorder`; lanes get the names of the instances.
    pub fn new(recorder: Arc<Recorder>) -> Self {
        Self { recorder }
    }
}

impl IpmmuObserver for RegisterObserver {
    fn event(&self, instance: &str, event: &IpmmuEvent) {
        let Some((lane, register, value)) = place(instance, event) else {
            return;
        };
        self.recorder.record(
            self.recorder.lane(lane),
            None,
            Kind::Register {
                register,
                value: value.map(Address),
                meaning: event.to_string(),
            },
        );
    }
}

/// Returns the lane, the register (by its name in drivers/iommu/ipmmu-vmsa.c) and the value of `event`, if it is
/// recorded here.
fn place(instance: &str, event: &IpmmuEvent) -> Option<(Lane, String, Option<u64>)> {
    let unit = instance.to_owned();
    let utlb = |number: usize| Lane::Utlb {
        unit: unit.clone(),
        utlb: u32::try_from(number).unwrap_or(u32::MAX),
        virtio: false,
    };
    let context = |number: usize| Lane::Context {
        unit: unit.clone(),
        context: u32::try_from(number).unwrap_or(u32::MAX),
        virtio: false,
    };
    Some(match *event {
        IpmmuEvent::UtlbEnabled { utlb: number, .. }
        | IpmmuEvent::UtlbBlocked { utlb: number, .. }
        | IpmmuEvent::UtlbDisabled { utlb: number }
        | IpmmuEvent::UtlbFlush { utlb: number } => {
            // The event tells what was written by its meaning, without the value.
            (utlb(number), format!("IMUCTR({number})"), None)
        }
        IpmmuEvent::Table {
            context: number,
            address,
        } => (
            context(number),
            format!("IMTTLBR0({number})"),
            Some(address),
        ),
        IpmmuEvent::ContextEnabled { context: number }
        | IpmmuEvent::ContextDisabled { context: number } => {
            (context(number), format!("IMCTR({number})"), None)
        }
        IpmmuEvent::FaultRecorded {
            context: number,
            status,
            ..
        } => (
            context(number),
            format!("IMSTR({number})"),
            Some(status.into()),
        ),
        IpmmuEvent::FaultCleared { context: number } => {
            (context(number), format!("IMSTR({number})"), None)
        }
        IpmmuEvent::Unimplemented {
            offset, written, ..
        } => (
            Lane::Unit { unit },
            format!("offset {offset:#x}"),
            written.map(u64::from),
        ),
        IpmmuEvent::PartialWrite { offset, .. } => {
            (Lane::Unit { unit }, format!("offset {offset:#x}"), None)
        }
        // Flushes and lost faults, which the unit's observer sees, and what later versions of the library add.
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Category, Limits};
    use super::*;

    #[test]
    fn records_by_meaning_in_the_lane_of_what_changes() {
        let recorder = Arc::new(Recorder::new(Limits::default(), || 7));
        let observer = RegisterObserver::new(Arc::clone(&recorder));
        for event in [
            IpmmuEvent::Table {
                context: 0,
                address: 0x8000_0000,
            },
            IpmmuEvent::UtlbEnabled {
                utlb: 3,
                context: 0,
            },
            IpmmuEvent::ContextFlush { context: 0 },
            IpmmuEvent::UtlbDisabled { utlb: 3 },
        ] {
            observer.event("mx", &event);
        }
        let timeline = recorder.timeline();
        let seen: Vec<(String, String, String)> = timeline
            .events
            .iter()
            .map(|event| {
                assert_eq!(event.kind.category(), Category::Register);
                match &event.kind {
                    Kind::Register {
                        register, meaning, ..
                    } => (
                        timeline.lane(event.lane).unwrap().to_string(),
                        register.clone(),
                        meaning.clone(),
                    ),
                    other => panic!("{other:?}"),
                }
            })
            .collect();
        let expected = [
            ("mx context 0", "IMTTLBR0(0)", "context 0 table 0x80000000"),
            ("mx uTLB 3", "IMUCTR(3)", "uTLB 3 enabled on context 0"),
            ("mx uTLB 3", "IMUCTR(3)", "uTLB 3 disabled"),
        ];
        let expected = expected
            .map(|(lane, register, meaning)| (lane.into(), register.into(), meaning.into()));
        assert_eq!(seen, expected);
    }
}
