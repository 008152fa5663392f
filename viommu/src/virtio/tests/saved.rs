//! Saving and restoring.

use super::harness::*;
use crate::test_support::through_json;
use crate::virtio::spec::*;
use crate::virtio::{AnswerState, EndpointConfig, MappingState, RestoreError, VirtioIommuState};

/// Creates a machine with something of everything.
fn busy() -> Machine {
    let mut machine = Machine::usual();
    machine.iommu.write_config(36, &[1]);
    machine.ok(attach(5, EP));
    machine.ok(map_rw(5, 0, 0xfff, RAM));
    machine.ok(map(5, u64::MAX - 0xfff, u64::MAX, RAM, map_flag::READ));
    machine.ok(attach_with(2, OTHER, attach_flag::BYPASS, 0));
    machine.writes(EP, 0x7000);
    machine
}

#[test]
fn what_is_saved_is_what_is_restored() {
    let machine = busy();
    let saved = machine.iommu.save();
    let read = through_json(&saved);
    let mut other = Machine::new(config());
    other.iommu.restore(&read).unwrap();
    assert_eq!(other.iommu.save(), saved);
    assert!(other.writes(EP, 0xfff) && other.reads(EP, u64::MAX - 1));
    assert!(!other.writes(EP, u64::MAX - 1) && other.writes(OTHER, RAM));
    assert_eq!(other.iommu.config_space()[36], 1);
    assert_eq!(other.iommu.waiting_reports(), 2);
    other.ok(unmap(5, 0, 0xfff));
    other.ok(detach(2, OTHER));
}

/// What the cache holds is by slot: so a cache can be saved beside the state, and goes on to hit.
#[test]
fn slots_are_kept() {
    let mut machine = busy();
    // The slots of the domains that were there first are free again, in another order.
    machine.ok(attach(9, EP));
    machine.ok(map_rw(9, 0, 0xfff, RAM));
    machine.ok(detach(2, OTHER));
    machine.ok(attach(9, OTHER));
    assert!(machine.writes(EP, 0x10));
    let (saved, cache) = (machine.iommu.save(), machine.iommu.unit().save_cache());
    let mut other = Machine::new(config());
    other.iommu.restore(&saved).unwrap();
    other.iommu.unit().restore_cache(&cache).unwrap();
    assert_eq!(other.iommu.save(), saved);
    let hits = |machine: &Machine| machine.iommu.unit().counters().hits;
    let before = hits(&other);
    assert!(other.writes(EP, 0x20));
    assert_eq!(hits(&other), before + 1);
    for machine in [&mut machine, &mut other] {
        machine.ok(attach(3, OTHER));
        machine.ok(map_rw(3, 0, 0xfff, RAM + 0x1000));
        assert!(machine.writes(OTHER, 0x30));
    }
    assert_eq!(other.iommu.save(), machine.iommu.save());
}

/// As of a machine whose configuration got a device since.
#[test]
fn an_endpoint_that_was_not_saved_is_as_after_a_reset() {
    let mut machine = busy();
    assert!(machine.writes(EP, 0x10));
    let (saved, cache) = (machine.iommu.save(), machine.iommu.unit().save_cache());
    let mut config = config();
    // First, so that the others are in other places.
    config.endpoints.insert(0, EndpointConfig::new(77));
    let mut other = Machine::new(config);
    other.iommu.restore(&saved).unwrap();
    other.iommu.unit().restore_cache(&cache).unwrap();
    assert_eq!(other.iommu.domain_of(EP), Some(5));
    assert_eq!(other.iommu.domain_of(77), None);
    assert!(other.writes(EP, 0x10) && !other.writes(EP, u64::MAX));
    // The field `bypass` was saved as 1.
    assert!(other.writes(77, RAM));
    // All slots are there once: one more than were saved.
    let again = other.iommu.save();
    assert_eq!(again.free.len(), saved.free.len() + 1);
    other.ok(attach(5, 77));
    assert!(other.writes(77, 0x10));
    other.ok(attach(6, 77));
    assert!(!other.writes(77, 0x10));
    // A machine without it cannot go on with it.
    assert_eq!(
        machine.iommu.restore(&other.iommu.save()),
        Err(RestoreError::Endpoints)
    );
}

#[test]
fn restoring_forgets_what_was_cached() {
    let mut machine = busy();
    let saved = Machine::usual().iommu.save();
    assert!(machine.reads(EP, 0));
    machine.iommu.restore(&saved).unwrap();
    assert!(!machine.reads(EP, 0));
    machine.ok(attach(5, EP));
    assert!(!machine.reads(EP, 0));
}

#[test]
fn requests_that_were_not_answered_are_answered_after() {
    let mut machine = busy();
    let dma = machine.dma(EP);
    let pin = dma.pin();
    let parts = [Part::In(unmap(5, 0, 0xfff)), Part::Out(1), Part::Out(3)];
    let (head, writable) = machine.requests.send(&parts);
    assert!(machine.serve().pending);
    let saved = machine.iommu.save();
    assert_eq!(saved.answers.len(), 1);
    drop(pin);
    // As if on another host: nothing of the batch is left but what was saved.
    machine.iommu.reset();
    machine.iommu.restore(&saved).unwrap();
    assert_eq!(machine.iommu.save(), saved);
    assert!(machine.poll().used);
    assert_eq!(machine.requests.take_used(), Some((u32::from(head), 4)));
    assert_eq!(machine.requests.bytes(&writable), [0; 4]);
}

/// Returns why a busy machine refuses its own state with a change; nothing changes by that.
fn refused(change: &dyn Fn(&mut VirtioIommuState)) -> RestoreError {
    let saved = busy().iommu.save();
    let mut state = saved.clone();
    change(&mut state);
    let mut other = busy();
    let error = other.iommu.restore(&state).unwrap_err();
    assert_eq!(other.iommu.save(), saved, "nothing changes");
    assert!(other.reads(EP, 0));
    error
}

fn invalid(change: &dyn Fn(&mut VirtioIommuState)) {
    assert!(matches!(refused(change), RestoreError::Invalid(_)));
}

#[test]
fn states_that_could_not_have_come_about_are_refused() {
    let version = refused(&|state| state.version += 1);
    assert_eq!(version, RestoreError::Version(2));
    assert!(version.to_string().contains("version 2"));
    let features = refused(&|state| state.features |= feature::BYPASS);
    assert_eq!(features, RestoreError::Features(feature::BYPASS));
    assert_eq!(
        refused(&|state| state.endpoints[0].id = 1),
        RestoreError::Endpoints
    );
    let twice = refused(&|state| state.endpoints[1] = state.endpoints[0]);
    assert_eq!(twice, RestoreError::Endpoints);
    invalid(&|state| state.domains.reverse());
    invalid(&|state| state.domains.insert(0, state.domains[0].clone()));
    invalid(&|state| state.reports[0].reason = 3);
    invalid(&|state| state.reports[0].flags = 0);
    let without = refused(&|state| state.features &= !feature::MAP_UNMAP);
    assert!(matches!(without, RestoreError::Mapping { domain: 5, .. }));
    let backwards = refused(&|state| {
        let mappings = state.domains[1].mappings.as_mut().unwrap();
        mappings.reverse();
    });
    assert!(matches!(backwards, RestoreError::Mapping { domain: 5, .. }));
    // A domain that nobody is attached to, and one that is missing.
    let alone = refused(&|state| state.endpoints[0].domain = None);
    assert_eq!(alone, RestoreError::Domain(5));
    let missing = refused(&|state| state.domains.retain(|domain| domain.id != 5));
    assert_eq!(missing, RestoreError::Domain(5));
    for bad in [
        MappingState {
            first: 1,
            last: 0xfff,
            address: RAM,
            flags: 3,
        },
        MappingState {
            first: 0,
            last: 0xfff,
            address: RAM,
            flags: 3,
        },
        MappingState {
            first: 0x2000,
            last: 0x1fff,
            address: RAM,
            flags: 3,
        },
        MappingState {
            first: 0x2000,
            last: 0x2fff,
            address: RAM,
            flags: 8,
        },
    ] {
        let mapping = refused(&|state| {
            let mappings = state.domains[1].mappings.as_mut().unwrap();
            mappings.push(bad);
        });
        assert_eq!(
            mapping,
            RestoreError::Mapping {
                domain: 5,
                first: bad.first
            }
        );
    }
    let moved = |state: &mut VirtioIommuState| state.domains[0].slot = state.domains[1].slot;
    assert!(matches!(refused(&moved), RestoreError::Invalid(_)));
    for free in [vec![], vec![0; 3], vec![u32::MAX]] {
        let slots = refused(&|state| state.free.clone_from(&free));
        assert!(matches!(slots, RestoreError::Invalid(_)));
    }
    let reports = refused(&|state| state.reports = vec![state.reports[0]; 129]);
    assert!(matches!(reports, RestoreError::Invalid(_)));
}

#[test]
fn answers_that_could_not_be_given_are_refused() {
    let answer = |written, tail| {
        invalid(&|state| {
            let head = 0;
            state.answers.push(AnswerState {
                head,
                written,
                tail,
            });
        });
    };
    let place = [(RAM, 4), (0, 0), (0, 0), (0, 0)];
    for (written, tail) in [
        (4, None),
        (0, Some((0, place))),
        (517, Some((0, place))),
        (4, Some((99, place))),
        (4, Some((0, [(RAM, 4); 4]))),
    ] {
        answer(written, tail);
    }
    invalid(&|state| {
        let answer = AnswerState {
            head: 0,
            written: 0,
            tail: None,
        };
        state.answers = vec![answer; (1 << 15) + 1];
    });
}
