//! Recording a run and having it again.

use std::fs;

use serde_json::Value;

use crate::{TestDirectory, run};

/// Shows the low byte of the host's time 4096 times and powers off: mov r1, #0x09000000;
/// mov r4, #0x1000; mrrc p15, 1, r2, r3, c14; strb r2, [r1]; subs r4, r4, #1; bne back; then PSCI
/// SYSTEM_OFF.
pub const PROGRAM: [u32; 9] = [
    0xe3a0_1409,
    0xe3a0_4a01,
    0xec53_2f1e,
    0xe5c1_2000,
    0xe254_4001,
    0x1aff_fffb,
    0xe3a0_0484,
    0xe380_0008,
    0xe140_0070,
];

impl TestDirectory {
    /// Records a run in host time: its console, its summary, the recording.
    fn record(&self) -> (Vec<u8>, Value, String) {
        let (console, json, recording) =
            (self.path("console"), self.path("json"), self.path("rec"));
        let ended = run(&[
            "boot",
            "--kernel",
            &self.path("kernel"),
            "--kernel-format",
            "image",
            "--time",
            "host",
            "--console",
            &console,
            "--json",
            &json,
            "--record",
            &recording,
        ]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        (fs::read(console).unwrap(), self::json(&json), recording)
    }
}

fn json(path: &str) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_run_in_host_time_is_had_again() {
    let place = TestDirectory::with_kernel(&PROGRAM);
    let (shown, first, recording) = place.record();
    assert_eq!(shown.len(), 4096);
    let (console, json) = (place.path("again"), place.path("again.json"));
    let ended = run(&[
        "boot",
        "--replay",
        &recording,
        "--console",
        &console,
        "--json",
        &json,
    ]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(fs::read(console).unwrap() == shown);
    let second = self::json(&json);
    for key in [
        "instructions",
        "guest_ns",
        "interrupts",
        "console_bytes",
        "exit",
        "time",
    ] {
        assert_eq!(first[key], second[key], "{key}");
    }
}

#[test]
fn another_run_than_the_recorded_one_is_noticed_and_told() {
    let place = TestDirectory::with_kernel(&PROGRAM);
    let (_, _, recording) = place.record();
    let good = fs::read(&recording).unwrap();
    let refused = |words: &str, arguments: &[&str]| {
        let ended = run(&[&["boot", "--replay", &recording], arguments].concat());
        let right = ended.stderr.contains(words) && ended.stderr.lines().count() == 1;
        assert!(ended.code == Some(2) && right, "{words}: {ended:?}");
    };
    refused("a machine of its own", &["--cpus", "2"]);
    refused("cannot be used with", &["--record", "x"]);
    fs::write(&recording, &good[..good.len() - 9]).unwrap();
    refused("ends too early", &[]);
    fs::write(&recording, "no").unwrap();
    refused("not a recording", &[]);
    fs::write(&recording, &good).unwrap();
    fs::write(place.path("kernel"), [0; 64]).unwrap();
    refused("has changed", &[]);
}

#[test]
fn a_recording_that_cannot_be_written_is_an_error_and_the_run_goes_on() {
    let place = TestDirectory::with_kernel(&PROGRAM);
    let ended = run(&[
        "boot",
        "--kernel",
        &place.path("kernel"),
        "--kernel-format",
        "image",
        "--console",
        "none",
        "--record",
        "/dev/full",
    ]);
    assert!(
        ended.code == Some(2) && ended.stderr.contains("cannot"),
        "{ended:?}"
    );
}

/// Shows the low byte of a virtio slot's first register, the magic value, and powers off: mov r1,
/// #0x0a000000; ldr r2, [r1]; mov r1, #0x09000000; strb r2, [r1]; then PSCI SYSTEM_OFF.
const SHOW_REGISTER: [u32; 7] = [
    0xe3a0_140a,
    0xe591_2000,
    0xe3a0_1409,
    0xe5c1_2000,
    0xe3a0_0484,
    0xe380_0008,
    0xe140_0070,
];

/// The plan and its seed are in the recording.
#[test]
fn a_run_with_faults_is_recorded_with_them() {
    let place = TestDirectory::with_kernel(&SHOW_REGISTER);
    let (plan, recording, json) = (place.path("plan.toml"), place.path("rec"), place.path("j"));
    let text =
        "title = 'T'\n[[fault]]\nwhere = 'register-read'\nwhat = 'flip'\nregister = 'MagicValue'\n";
    let kernel = place.path("kernel");
    let boot = |more: &[&str]| {
        let machine = ["boot", "--kernel", &kernel, "--kernel-format", "image"];
        run(&[&machine[..], more].concat())
    };
    assert_eq!(boot(&[]).stdout, "v");
    let mut shown = std::collections::BTreeSet::new();
    for (time, seed) in [
        ("virtual", "1"),
        ("virtual", "2"),
        ("host", "3"),
        ("host", "4"),
    ] {
        fs::write(&plan, text).unwrap();
        let faults = ["--faults", &plan, "--faults-seed", seed];
        let ended = boot(&[&faults[..], &["--time", time, "--record", &recording]].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.assert_stderr("register-read of rng: flip (MagicValue, 0x74726976 to 0x");
        // It needs the plan no more.
        fs::remove_file(&plan).unwrap();
        let again = run(&["boot", "--replay", &recording, "--json", &json]);
        assert_eq!((again.code, &again.stdout), (Some(0), &ended.stdout));
        let told = &self::json(&json)["injected"];
        assert_eq!(told["faults"], 1, "{told}");
        shown.insert(told["told"][0]["text"].as_str().unwrap().to_owned());
    }
    assert!(shown.len() > 1, "the seed chooses the bit: {shown:?}");
    fs::write(&plan, text.replace("flip", "flop")).unwrap();
    let refused = |words: &str, ended: crate::Ended| {
        let right = ended.stderr.contains(words) && ended.stderr.lines().count() == 1;
        assert!(ended.code == Some(2) && right, "{words}: {ended:?}");
    };
    refused("unknown variant `flop`", boot(&["--faults", &plan]));
    refused(
        "cannot be used with",
        run(&["boot", "--replay", &recording, "--faults", "flush"]),
    );
    refused("--faults", boot(&["--faults-seed", "3"]));
    refused("there is no device disk0", boot(&["--faults", "queue"]));
    refused("not in memory at power-on", boot(&["--faults", "deferral"]));
    refused(
        "leave --faults out",
        boot(&["--faults", "flush", "--tier", "both"]),
    );
    refused(
        "would overwrite the fault plan",
        boot(&["--faults", &plan, "--json", &plan]),
    );
}
