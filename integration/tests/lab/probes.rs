//! Probes on an unmodified kernel, and the notation's examples.

use std::sync::{Arc, Mutex};

use integration::{Guest, disk};
use vmm::DiskConfig;
use vmm::introspect::probe::{self, Hit, ProbeResults, parse};

/// Boots with probes; what they saw, the console, and what became of them.
fn boot(probes: &[&str], guest: Guest) -> (Vec<Hit>, String, ProbeResults) {
    let probes = probes
        .iter()
        .map(|text| parse(text).expect("a probe"))
        .collect();
    let hits: Arc<Mutex<Vec<Hit>>> = Arc::default();
    let sink = Arc::clone(&hits);
    let mut live = guest.start();
    let outcome = probe::attach(
        live.machine_mut(),
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
    let outcome = probe::attach(live.machine_mut(), strict, Box::new(|_, _| {}));
    drop(live.finish());
    let error = outcome.lock().expect("the outcome").error.clone();
    assert!(
        error
            .expect("an error")
            .to_string()
            .contains("neither this kernel nor a module that it loaded has a `no_such_function`")
    );
}

#[test]
fn a_probe_waits_for_its_module() {
    let load = "modprobe clk_axi_clkgen; rmmod clk_axi_clkgen; modprobe clk_axi_clkgen";
    let disk = disk::noise(1 << 16, 1);
    let late = DiskConfig {
        clocks: vec!["late0".into()],
        ..DiskConfig::new(disk.path())
    };
    let guest = Guest::image("ipmmu").disk_config(late).run(load);
    let (hits, text, outcome) = boot(
        &[
            "axi_clkgen_probe { print((struct platform_device)arg0.name) }",
            "clk_axi_clkgen:axi_clkgen_probe@return { print(r0) }",
            "devm_clk_hw_register if caller { print(caller) }",
            "?clk_axi_clkgen:no_such_function",
        ],
        guest,
    );
    assert!(text.contains("guest: command 1 exited with 0"), "{text}");
    assert!(outcome.armed && outcome.error.is_none(), "{outcome:?}");
    let of = |probe| hits.iter().filter(move |hit| hit.probe == probe);
    assert_eq!((of(0).count(), of(1).count()), (2, 2), "loaded twice");
    let printed = |hit: &Hit| hit.values[0].1.as_ref().expect("a value").to_string();
    for hit in of(0) {
        assert!(printed(hit).contains("clock-controller"), "{hit:?}");
        // Who calls it is in the kernel, and what it calls sees the module.
        assert!(hit.caller.starts_with("platform_probe+"), "{hit:?}");
    }
    assert!(of(1).all(|hit| printed(hit) == "0"));
    let callers: Vec<&str> = of(2).map(|hit| hit.caller.as_str()).collect();
    assert!(!callers.is_empty());
    for caller in callers {
        assert!(
            caller.starts_with("axi_clkgen_probe+") && caller.ends_with(" [clk_axi_clkgen]"),
            "{caller}"
        );
    }
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
