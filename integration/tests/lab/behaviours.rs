//! What each behaviour of a kernel does to devices that share a micro-TLB, or do not.

use vmm::lab::{Health, Judged};
use vmm::timeline::{ChangedLocation, Kind, Lane, Route};

use super::expected;

fn sees(judged: &Judged, signs: &[&str]) {
    for sign in signs {
        assert!(
            judged.judgement.signs.contains(*sign),
            "{sign} is not among {:?}",
            judged.judgement.signs
        );
    }
}

#[test]
fn stock_leaves_every_translation_as_it_is() {
    for name in [
        "deferral.shared.stock.off",
        "repeated.shared.stock.on",
        "failing.shared.stock.off",
        "rebind.shared.stock.off",
    ] {
        let judged = expected(name);
        assert_eq!(judged.judgement.health, Health::Healthy);
        assert!(judged.judgement.signs.is_empty() && judged.run.changes.is_empty());
    }
}

#[test]
fn without_the_guard_a_deferred_probe_takes_the_shared_utlb_from_its_neighbour() {
    let judged = expected("deferral.shared.guard-absent.off");
    sees(
        &judged,
        &["utlb-lost", "a-untranslated", "a-hangs", "attach-failed"],
    );
    // One flag, raised and lowered again, in the device that was deferred; nothing else was
    // changed.
    let changes = &judged.run.changes;
    assert!(!changes.is_empty());
    for change in changes {
        assert!(
            matches!(change.place, ChangedLocation::Memory { width: 1, .. }),
            "{change:?}"
        );
        assert!(
            change.meaning.contains("archdata.dma_ops_setup"),
            "{change:?}"
        );
        assert!(
            change.meaning.ends_with("of a001000.virtio_mmio"),
            "{change:?}"
        );
        assert!(change.event.is_some(), "{change:?}");
    }
    assert_eq!((changes[0].old.0 & 1, changes[0].new.0 & 1), (0, 1));
    // The order of events: A translated, the guard fell, A astray.
    let timeline = &judged.run.timeline;
    let a = |lane: &Lane| matches!(lane, Lane::Device { name } if name.starts_with('A'));
    let translated = timeline.find(0, |lane, kind| {
        a(lane)
            && matches!(
                kind,
                Kind::Dma {
                    route: Route::Context { .. },
                    ..
                }
            )
    });
    let astray = timeline.find(0, |lane, kind| {
        a(lane)
            && matches!(
                kind,
                Kind::Dma {
                    route: Route::Stray,
                    ..
                }
            )
    });
    let at = |event| timeline.event(event).expect("it is there").at;
    let (translated, astray) = (
        at(translated.expect("A worked")),
        at(astray.expect("A astray")),
    );
    assert!(translated < changes[0].at && changes[0].at < astray);
}

#[test]
fn without_the_guard_a_device_on_its_own_utlb_goes_past_the_iommu() {
    let judged = expected("deferral.separate.guard-absent.off");
    assert_eq!(judged.judgement.health, Health::Bypassed);
    sees(&judged, &["b-untranslated", "context-refused"]);
}

#[test]
fn without_the_guard_a_device_alone_works_by_luck() {
    let judged = expected("deferral.alone.guard-absent.off");
    assert_eq!(judged.judgement.health, Health::Detached);
    sees(&judged, &["mapping-freed", "table-replaced"]);
}

#[test]
fn without_the_guard_two_deferred_devices_crash_the_kernel() {
    let judged = expected("deferral.both.guard-absent.off");
    sees(&judged, &["mapping-freed", "oops"]);
}

#[test]
fn ops_that_are_kept_crash_at_the_first_mapping() {
    for name in [
        "deferral.separate.ops-kept.off",
        "rebind.shared.ops-kept.off",
    ] {
        let judged = expected(name);
        assert_eq!(judged.judgement.health, Health::Crashed, "{name}");
    }
}

#[test]
fn the_incomplete_patch_is_no_better_than_none() {
    for scenario in ["deferral.shared", "rebind.shared"] {
        let patch = expected(&format!("{scenario}.v8-07-11.off"));
        let none = expected(&format!("{scenario}.guard-absent.off"));
        assert_eq!(patch.judgement.signs, none.judgement.signs, "{scenario}");
    }
}

#[test]
fn ops_set_to_null_alone_sends_physical_addresses_through_live_translations() {
    let judged = expected("rebind.separate.ops-null.off");
    sees(&judged, &["b-fault", "attach-failed"]);
    assert!(!judged.judgement.signs.contains("utlb-disabled"));
}

#[test]
fn each_instance_and_gen3() {
    let instances = expected("deferral.instances.guard-absent.off");
    assert!(
        !instances
            .judgement
            .signs
            .iter()
            .any(|sign| sign.starts_with("a-"))
    );
    sees(
        &expected("deferral.gen3.guard-absent.off"),
        &["a-untranslated", "a-hangs"],
    );
}

#[test]
fn a_coherent_device_gets_garbage_from_a_stock_kernel() {
    sees(
        &expected("bugs.coherent.stock.off"),
        &["a-bus-error", "hang"],
    );
}
