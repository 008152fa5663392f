//! The states that follow from events: what a micro-TLB or device was, from when to when.

use super::spec::{Event, Interval, Kind, Lane, LaneId, Route, State};

/// Returns the states of all lanes that have any, in the order of lanes and time; `end` is when the
/// last ones end.
pub(super) fn intervals(lanes: &[Lane], events: &[Event], end: u64) -> Vec<Interval> {
    let mut current: Vec<Option<(u64, State)>> = lanes
        .iter()
        .map(|lane| {
            // A micro-TLB comes out of reset disabled (drivers/iommu/ipmmu-vmsa.c never resets
            // IMUCTR).
            matches!(lane, Lane::Utlb { .. }).then_some((0, State::Disabled { lost: false }))
        })
        .collect();
    let mut ended: Vec<Interval> = Vec::new();
    let mut end_one = |lane: usize, from: u64, until: u64, state: State| {
        // A state that lasted no time at all cannot be seen.
        if let (true, Ok(lane)) = (until > from, u16::try_from(lane)) {
            ended.push(Interval {
                lane: LaneId(lane),
                from,
                until,
                state,
            });
        }
    };
    for event in events {
        let lane = usize::from(event.lane.0);
        let Some(slot) = current.get_mut(lane) else {
            continue;
        };
        let Some(next) = next_state(&event.kind, slot.as_ref().map(|(_, state)| state)) else {
            continue;
        };
        match slot.take() {
            // Told once more what it is already: the state goes on.
            Some((from, state)) if state == next => *slot = Some((from, state)),
            previous => {
                if let Some((from, state)) = previous {
                    end_one(lane, from, event.at, state);
                }
                *slot = Some((event.at, next));
            }
        }
    }
    for (lane, slot) in current.into_iter().enumerate() {
        if let Some((from, state)) = slot {
            end_one(lane, from, end, state);
        }
    }
    // States were collected in the order in which they ended.
    ended.sort_by_key(|interval| (interval.lane, interval.from));
    ended
}

/// Returns the state that `kind` leads to, if it changes any.
fn next_state(kind: &Kind, before: Option<&State>) -> Option<State> {
    Some(match kind {
        Kind::Attachment { to } => match to {
            Route::Context { context } => State::Enabled { context: *context },
            Route::Blocked => State::Blocked,
            Route::Stray => State::Disabled { lost: true },
            // Once a port has translated, passing untranslated means that something was lost, and
            // stays so.
            Route::Untranslated => State::Disabled {
                lost: matches!(
                    before,
                    Some(State::Enabled { .. } | State::Disabled { lost: true })
                ),
            },
        },
        Kind::Binding { driver } => match driver {
            Some(driver) => State::Bound {
                driver: driver.clone(),
            },
            None => State::Unbound,
        },
        _ => return None,
    })
}
