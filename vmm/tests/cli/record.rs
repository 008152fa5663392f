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
