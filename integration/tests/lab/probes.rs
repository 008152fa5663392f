//! Probes on an unmodified kernel, and the notation's examples.

use std::sync::{Arc, Mutex};

use integration::Guest;
use vmm::observe::probe::{Hit, Outcome, parse};

/// Boots with probes; what they saw, the console, and what became of them.
fn boot(probes: &[&str], guest: Guest) -> (Vec<Hit>, String, Outcome) {
    let probes = probes
        .iter()
        .map(|text| parse(text).expect("a probe"))
        .collect();
    let hits: Arc<Mutex<Vec<Hit>>> = Arc::default();
    let sink = Arc::clone(&hits);
    let mut live = guest.start();
    let outcome = live.machine_mut().probe(
        probes,
        Box::new(move |_, hit| sink.lock().expect("hits").push(hit.clone())),
    );
    let run = live.finish();
    let outcome = outcome.lock().expect("the outcome").clone();
    let hits = std::mem::take(&mut *hits.lock().expect("hits"));
    (hits, run.text(), outcome)
}

#[test]
fn arguments_fields_and_returns_are_read_by_name() {
    let guest = Guest::image("ipmmu").run("true");
    let (hits, _, outcome) = boot(
        &[
            "platform_probe { print(_dev.name, _dev.driver.name) }",
            "platform_probe@return if retval == 0 { print(_dev.name, retval) }",
        ],
        guest,
    );
    assert!(outcome.armed && outcome.error.is_none(), "{outcome:?}");
    let printed = |hit: &Hit, n: usize| hit.values[n].1.as_ref().expect("a value").to_string();
    let bound: Vec<String> = hits
        .iter()
        .filter(|hit| hit.probe == 1)
        .map(|hit| printed(hit, 0))
        .collect();
    assert!(
        bound.iter().any(|name| name.contains("virtio_mmio")),
        "{bound:?}"
    );
    let tried = hits
        .iter()
        .find(|hit| hit.probe == 0 && printed(hit, 0).contains("virtio_mmio"));
    assert_eq!(printed(tried.expect("a call"), 1), "\"virtio-mmio\"");
}

#[test]
fn a_probe_makes_a_call_fail() {
    let guest = Guest::image("ipmmu").run("echo there are $(ls /sys/bus/virtio/devices | wc -l)");
    let probe = r#"virtio_mmio_probe { return -ENODEV }"#;
    let (hits, text, _) = boot(&[probe], guest);
    assert!(!hits.is_empty() && hits.iter().all(|hit| !hit.actions.is_empty()));
    assert!(text.contains("there are 0"), "{text}");
}

#[test]
fn an_optional_probe_is_left_out_where_it_does_not_fit() {
    let guest = || Guest::image("ipmmu").run("true");
    let (_, text, outcome) = boot(&["?no_such_function { print(r0) }"], guest());
    assert!(outcome.armed && outcome.error.is_none());
    assert!(text.contains("guest: command 1 exited with 0"));
    let mut live = guest().start();
    let strict = vec![parse("no_such_function").expect("a probe")];
    let outcome = live.machine_mut().probe(strict, Box::new(|_, _| {}));
    drop(live.finish());
    let error = outcome.lock().expect("the outcome").error.clone();
    assert!(
        error
            .expect("an error")
            .to_string()
            .contains("no symbol `no_such_function`")
    );
}

#[test]
fn looking_changes_nothing() {
    let run = |probes: &[&str]| {
        let (_, text, _) = boot(probes, Guest::image("ipmmu").run("cat /proc/uptime"));
        text
    };
    let looks = [
        "really_probe@return { print(dev.name, retval) }",
        "?driver_bound { print(dev.name) }",
    ];
    assert_eq!(run(&[]), run(&looks));
}
