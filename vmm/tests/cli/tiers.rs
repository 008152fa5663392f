//! `--tier`: the interpreter and the translator do the same, and where they do not, that is told.

use std::fs;

use crate::{Ended, run};

/// A guest of four cores that race for the console.
const RACE: [&str; 7] = [
    "boot",
    "--image",
    "ipmmu",
    "--cpus",
    "4",
    "--run",
    "for i in 1 2 3 4; do (echo $i; cat /proc/interrupts) & done; wait",
];

fn boot(more: &[&str]) -> Ended {
    run(&[
        &["boot", "--image", "ipmmu", "--run", "cat /proc/cpuinfo"][..],
        more,
    ]
    .concat())
}

/// Returns the summary in a file, without what differs from run to run.
fn summary(path: &str) -> serde_json::Value {
    let mut summary: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for key in ["wall_ns", "mips"] {
        summary.as_object_mut().unwrap().remove(key).unwrap();
    }
    summary
}

#[test]
fn each_tier_and_both_are_the_same_run() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("summary.json");
    let json = json.to_str().unwrap();
    let with = |tier: &str| {
        let ended = run(&[&RACE[..], &["--json", json, "--tier", tier]].concat());
        assert_eq!(ended.code, Some(0), "{tier}: {ended:?}");
        (ended.stdout, summary(json), ended.stderr)
    };
    let (console, first, _) = with("interpreter");
    assert!(console.contains("CPU3"), "{console}");
    for tier in ["translate", "both"] {
        let (shown, found, stderr) = with(tier);
        assert_eq!((&shown, &found), (&console, &first), "{tier}");
        let compared = stderr.contains("the interpreter and the translator did the same for");
        assert_eq!(compared, tier == "both", "{stderr}");
    }
}

#[test]
fn the_first_instruction_that_differs_is_named() {
    // A machine whose sandbox is on looks for it with machines that are made in there.
    let ended = boot(&["--tier", "both", "--tier-differs-after", "30000007"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for words in [
        "differ after 30000007 instructions, and are equal after 30000006",
        "instruction 30000007: core 0 at 0x",
        "memory at 0x4ffffffc",
    ] {
        assert!(ended.stderr.contains(words), "{words}: {ended:?}");
    }
}

#[test]
fn a_restored_guest_runs_by_both() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("guest.snap");
    let file = file.to_str().unwrap();
    let of = ["--image", "ipmmu", "--run", "cat /proc/cpuinfo"];
    let at = ["--at-instruction", "20000000", "--console", "none"];
    let saved = run(&[&["snapshot", "save", file][..], &of, &at].concat());
    assert_eq!(saved.code, Some(0), "{saved:?}");
    let restored = run(&["snapshot", "restore", file]);
    let both = run(&["snapshot", "restore", file, "--tier", "both"]);
    assert_eq!((restored.code, both.code), (Some(0), Some(0)), "{both:?}");
    assert_eq!(restored.stdout, both.stdout);
    both.assert_stderr("did the same for");
}

#[test]
fn limits_and_expectations_end_both() {
    for (limit, code) in [
        (&["--timeout", "0.01"][..], 124),
        (&["--wall-timeout", "0.05"], 124),
        (&["--expect", "Linux version"], 0),
    ] {
        let ended = boot(&[&["--tier", "both"], limit].concat());
        assert_eq!(ended.code, Some(code), "{limit:?}: {ended:?}");
        ended.assert_stderr("did the same for");
    }
}

#[test]
fn what_two_machines_cannot_do_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (disk, record, page) = (path("disk"), path("run.rec"), path("page.html"));
    fs::write(&disk, [0; 512]).unwrap();
    for what in [
        &["--time", "host"][..],
        &["--record", &record],
        &["--gdb", "0"],
        &["--probe", "panic { stop }"],
        &["--timeline", &page],
        &["--shell"],
        &["--idle", "wait"],
        &["--disk", &disk],
    ] {
        let ended = boot(&[&["--tier", "both"], what].concat());
        assert_eq!(ended.code, Some(2), "{what:?}: {ended:?}");
        let words = ["--tier both runs two machines", what[0]];
        for words in words {
            assert!(ended.stderr.contains(words), "{what:?}: {ended:?}");
        }
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
    let saved = run(&[
        "snapshot",
        "save",
        &path("s"),
        "--at",
        "1",
        "--image",
        "ipmmu",
        "--tier",
        "both",
    ]);
    assert_eq!(saved.code, Some(2), "{saved:?}");
}
