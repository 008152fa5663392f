//! Tests of pins and grace periods by one thread.

use std::sync::Arc;

use proptest::prelude::*;

use super::pins::SLOTS;
use super::*;

fn registry() -> (Arc<Registry>, Handle, Handle) {
    let registry = Arc::new(Registry::default());
    let (a, b) = (registry.register(), registry.register());
    (registry, a, b)
}

#[test]
fn is_over_at_once_when_nobody_is_pinned() {
    let (registry, ..) = registry();
    assert!(registry.begin().is_over());
}

#[test]
fn waits_for_pins_taken_before_and_only_for_those() {
    let (registry, a, b) = registry();
    let early = a.pin(&registry);
    let mut grace = registry.begin();
    let late = b.pin(&registry);
    assert!(!grace.is_over());
    drop(early);
    assert!(grace.is_over());
    let again = a.pin(&registry);
    assert!(grace.is_over(), "once over, it stays so");
    drop((late, again));
}

#[test]
fn a_slot_pinned_anew_is_another_pin() {
    let (registry, a, _b) = registry();
    let first = a.pin(&registry);
    let mut grace = registry.begin();
    drop(first);
    let _second = a.pin(&registry);
    assert!(grace.is_over());
}

#[test]
fn many_pins_of_one_handle_are_each_waited_for() {
    let (registry, a, _b) = registry();
    let mut pins: Vec<_> = (0..3 * SLOTS).map(|_| a.pin(&registry)).collect();
    let claim = a.claim(&registry);
    let mut grace = registry.begin();
    while let Some(pin) = pins.pop() {
        assert!(!grace.is_over());
        drop(pin);
    }
    assert!(!grace.is_over());
    a.release(&claim);
    assert!(grace.is_over());
}

#[test]
fn of_pins_without_a_slot_only_those_from_before_are_waited_for() {
    let (registry, a, _b) = registry();
    let slots: Vec<_> = (0..SLOTS).map(|_| a.pin(&registry)).collect();
    let early = a.pin(&registry);
    let mut first = registry.begin();
    let late = a.pin(&registry);
    let mut second = registry.begin();
    drop(slots);
    assert!(!first.is_over() && !second.is_over());
    drop(early);
    // Takes a slot, or the place of `early`.
    let pins: Vec<_> = (0..=SLOTS).map(|_| a.pin(&registry)).collect();
    assert!(first.is_over() && !second.is_over());
    drop(late);
    assert!(second.is_over());
    drop(pins);
}

#[test]
fn handles_that_are_idle_from_one_grace_period_to_the_next_leave_the_list() {
    let (registry, a, b) = registry();
    assert_eq!(registry.listed().0, 0, "never pinned");
    drop((a.pin(&registry), b.pin(&registry)));
    let held = b.pin(&registry);
    assert_eq!(registry.listed().0, 2);
    // Pinned since the last grace period.
    assert!(!registry.begin().is_over());
    assert_eq!(registry.listed().0, 2);
    for _ in 0..3 {
        assert!(!registry.begin().is_over());
        assert_eq!(registry.listed().0, 1, "one is pinned");
    }
    // Back at once, and waited for.
    let pin = a.pin(&registry);
    let mut grace = registry.begin();
    drop(held);
    assert!(!grace.is_over());
    drop(pin);
    assert!(grace.is_over());
}

#[test]
fn a_handle_that_leaves_the_list_keeps_no_memory_of_many_pins_and_counts_on() {
    let (registry, a, _b) = registry();
    let pins: Vec<_> = (0..100).map(|_| a.pin(&registry)).collect();
    let mut grace = registry.begin();
    drop(pins);
    for _ in 0..3 {
        assert!(registry.begin().is_over());
    }
    assert_eq!(registry.listed().0, 0);
    let pins: Vec<_> = (0..100).map(|_| a.pin(&registry)).collect();
    assert!(grace.is_over(), "these come after it");
    assert!(!registry.begin().is_over());
    drop(pins);
}

#[test]
fn a_dropped_handle_is_forgotten_but_not_its_counts() {
    let (registry, a, b) = registry();
    a.counters.hits.add_one();
    b.counters.hits.add_one();
    let clone = a.clone();
    drop(a);
    assert_eq!(registry.handles(), 2, "another user has it");
    drop(clone);
    drop(registry.register());
    assert_eq!(registry.handles(), 1);
    assert_eq!(registry.counters().hits, 2);
    drop(b);
}

#[test]
fn a_handle_given_out_again_is_not_taken_for_its_old_pins() {
    let (registry, a, b) = registry();
    // Guards that are leaked are never ended, even if nobody can reach memory through them.
    for _ in 0..2 * SLOTS {
        std::mem::forget(a.pin(&registry));
    }
    let mut grace = registry.begin();
    assert!(!grace.is_over());
    drop(a);
    let again = registry.register();
    let _pins: Vec<_> = (0..2 * SLOTS).map(|_| again.pin(&registry)).collect();
    assert!(grace.is_over());
    assert!(!registry.begin().is_over());
    drop(b);
}

#[test]
fn handles_outlive_their_registry() {
    let (registry, a, b) = registry();
    let pin = a.pin(&registry);
    let mut grace = registry.begin();
    drop(registry);
    assert!(!grace.is_over());
    drop(pin);
    assert!(grace.is_over());
    drop((a, b));
}

#[test]
fn gives_up_when_told() {
    let (registry, a, _b) = registry();
    let pin = a.pin(&registry);
    let mut grace = registry.begin();
    let mut asked = 0;
    assert!(!grace.wait_until(|| {
        asked += 1;
        asked == 100
    }));
    drop(pin);
    assert!(grace.wait_until(|| false));
}

#[test]
fn idle_handles_take_little_memory_however_busy_they_were() {
    let registry = Arc::new(Registry::default());
    let handles: Vec<_> = (0..4096).map(|_| registry.register()).collect();
    let bytes = registry.bytes();
    assert!(bytes <= 4096 * 140, "{bytes}");
    for handle in &handles {
        drop(handle.pin(&registry));
    }
    assert!(registry.listed().1 >= 4096);
    for _ in 0..2 {
        assert!(registry.begin().is_over());
    }
    assert_eq!(registry.listed().0, 0);
    assert!(registry.bytes() < bytes + 4096, "{}", registry.bytes());
}

/// What happens to some handles.
#[derive(Clone, Debug)]
enum Step {
    Pin(usize),
    /// Ends one of the pins.
    End(usize),
    Begin,
    /// Gives the handle up, if it is not pinned, and takes another.
    Renew(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Step::Pin),
        4 => any::<usize>().prop_map(Step::End),
        3 => Just(Step::Begin),
        1 => (0..3_usize).prop_map(Step::Renew),
    ]
}

proptest! {
    /// A grace period is over when all pins that were there at its beginning have ended, and not
    /// before.
    #[test]
    fn grace_periods_wait_for_exactly_what_was_pinned(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let registry = Arc::new(Registry::default());
        let mut handles: Vec<_> = (0..3).map(|_| registry.register()).collect();
        let mut pins: Vec<(u32, usize, Claim)> = Vec::new();
        let mut periods: Vec<(GracePeriod, Vec<u32>)> = Vec::new();
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Pin(handle) => {
                    pins.push((number, handle, handles[handle].claim(&registry)));
                }
                Step::End(_) if pins.is_empty() => {}
                Step::End(which) => {
                    let (_, handle, claim) = pins.swap_remove(which % pins.len());
                    handles[handle].release(&claim);
                }
                Step::Begin => {
                    let now = pins.iter().map(|(number, ..)| *number).collect();
                    periods.push((registry.begin(), now));
                }
                Step::Renew(handle) => {
                    if pins.iter().all(|(_, other, _)| *other != handle) {
                        handles[handle] = registry.register();
                    }
                }
            }
            for (period, at_first) in &mut periods {
                at_first.retain(|pin| pins.iter().any(|(number, ..)| number == pin));
                prop_assert_eq!(period.is_over(), at_first.is_empty());
            }
        }
    }
}
