//! Saving a guest and going on from there.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::{TestDirectory, run, vmm};

/// Shows a count for ever: mov r1, #0x09000000; mov r0, #0x30; strb r0, [r1]; add r0, r0, #1; and
/// r0, r0, #0x3f; b to the strb.
pub const COUNT: [u32; 6] = [
    0xe3a0_1409,
    0xe3a0_0030,
    0xe5c1_0000,
    0xe280_0001,
    0xe200_003f,
    0xeaff_fffb,
];

impl TestDirectory {
    /// Creates one with [`COUNT`] for a kernel, and a disk.
    fn counting() -> Self {
        let directory = Self::with_kernel(&COUNT);
        fs::write(directory.path("disk"), vec![5; 1 << 16]).unwrap();
        directory
    }

    /// What `vmm snapshot save` wants, but for the moment.
    fn save(&self, name: &str) -> Vec<String> {
        let words = [
            "snapshot",
            "save",
            &self.path(name),
            "--kernel",
            &self.path("kernel"),
            "--kernel-format",
            "image",
            "--console",
            "none",
            "--disk",
            &format!("{},overlay", self.path("disk")),
        ];
        words.map(str::to_owned).to_vec()
    }

    fn saved(&self) -> String {
        let arguments = [self.save("snap"), vec!["--at-instruction=20000".into()]].concat();
        let ended = run(&texts(&arguments));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        self.path("snap")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

fn texts(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn json(path: &str) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_guest_is_saved_described_and_goes_on() {
    let place = TestDirectory::counting();
    let snapshot = place.saved();
    let ended = run(&["snapshot", "describe", &snapshot, "--json"]);
    let header: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(header["instructions"], 20_000, "{header}");
    assert!(
        run(&["snapshot", "describe", &snapshot])
            .stdout
            .contains("20.0 k")
    );
    let go_on = |name: &str| {
        let json = place.path(name);
        let arguments = [
            "snapshot",
            "restore",
            &snapshot,
            "--timeout",
            "0.000030",
            "--json",
            &json,
        ];
        let ended = run(&arguments);
        assert_eq!(ended.code, Some(124), "{ended:?}");
        (ended.stdout, self::json(&json))
    };
    let ((shown, first), (again, second)) = (go_on("a.json"), go_on("b.json"));
    // A quarter of the instructions show a byte.
    assert!((7_000..8_000).contains(&shown.len()), "{}", shown.len());
    assert!(shown == again);
    assert_eq!(first["instructions"], second["instructions"]);
    assert_eq!(first["guest_ns"], 50_000);
    assert_eq!(
        place.names(),
        ["a.json", "b.json", "disk", "kernel", "snap"]
    );
}

#[test]
fn every_moment_can_be_named() {
    let place = TestDirectory::counting();
    for moment in [
        &["--at=0.00001"][..],
        &["--expect=:;<"],
        &["--at-instruction=5"],
    ] {
        let moment: Vec<String> = moment.iter().map(|word| (*word).to_owned()).collect();
        let arguments = [place.save("snap"), moment].concat();
        let ended = run(&texts(&arguments));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        fs::remove_file(place.path("snap")).unwrap();
    }
    let ended = run(&texts(&place.save("snap")));
    assert_eq!(
        (ended.code, ended.stderr.lines().count()),
        (Some(2), 1),
        "{ended:?}"
    );
    let late = ["--at=9".to_owned(), "--timeout=0.0001".into()].to_vec();
    let ended = run(&texts(&[place.save("snap"), late].concat()));
    assert_eq!(ended.code, Some(124), "{ended:?}");
    assert_eq!(place.names(), ["disk", "kernel"]);
}

#[test]
fn files_that_are_no_snapshots_are_refused_in_one_sentence() {
    let place = TestDirectory::counting();
    let good = fs::read(place.saved()).unwrap();
    let mut newer = good.clone();
    newer[16] = 200;
    let mut damaged = good.clone();
    damaged[good.len() / 2] ^= 1;
    let bad = [
        ("kernel", None, "not a snapshot"),
        ("none", None, "No such file"),
        ("newer", Some(newer), "version 200"),
        (
            "short",
            Some(good[..good.len() - 1].to_vec()),
            "ends too early",
        ),
        ("damaged", Some(damaged), "damaged"),
    ];
    for (name, bytes, words) in bad {
        let path = place.path(name);
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        for command in ["restore", "describe"] {
            let ended = run(&["snapshot", command, &path]);
            let right = ended.stderr.contains(words) && ended.stderr.lines().count() == 1;
            assert!(
                ended.code == Some(2) && right,
                "{name} {command}: {ended:?}"
            );
        }
    }
    fs::write(place.path("disk"), vec![6; 1 << 16]).unwrap();
    let ended = run(&["snapshot", "restore", &place.path("snap")]);
    assert!(
        ended.code == Some(2) && ended.stderr.contains("has changed"),
        "{ended:?}"
    );
}

/// Runs `vmm` with files limited to a few blocks; what exceeds them is an error, whether their
/// signal is ignored or not.
fn limited(arguments: &[String], ignored: bool) -> std::process::Output {
    let trap = if ignored { "trap '' XFSZ;" } else { "" };
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{trap} ulimit -f 4; exec \"$@\""), "sh"]);
    command.arg(vmm(&[]).get_program()).args(arguments);
    command.output().unwrap()
}

#[test]
fn a_kill_at_any_moment_leaves_what_was_there_or_the_new_one_whole() {
    let place = TestDirectory::counting();
    let old = fs::read(place.saved()).unwrap();
    // More memory to write than the first one has, so that there is a while to be killed in.
    let later = [place.save("snap"), vec!["--at-instruction=3000000".into()]].concat();
    let arguments = texts(&later);
    let start = Instant::now();
    assert_eq!(run(&arguments).code, Some(0));
    let whole = start.elapsed();
    let new = fs::read(place.path("snap")).unwrap();
    assert!(new != old);
    let mut unfinished = 0;
    for part in 0..24 {
        fs::write(place.path("snap"), &old).unwrap();
        let mut child = vmm(&arguments).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * part / 20);
        child.kill().unwrap();
        child.wait().unwrap();
        let left = fs::read(place.path("snap")).unwrap();
        assert!(left == old || left == new, "{} bytes", left.len());
        unfinished += place.names().len() - 3;
    }
    // Only between a new file's first name and its place can a kill leave it, and then the next run
    // removes it.
    assert!(unfinished <= 2, "{:?}", place.names());
    assert_eq!(run(&arguments).code, Some(0));
    assert!(fs::read(place.path("snap")).unwrap() == new);
    assert_eq!(place.names(), ["disk", "kernel", "snap"]);
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    let place = TestDirectory::counting();
    let arguments = [place.save("snap"), vec!["--at-instruction=20000".into()]].concat();
    for ignored in [false, true] {
        let ended = limited(&arguments, ignored);
        assert_eq!(place.names(), ["disk", "kernel"], "{ended:?}");
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(told.contains("may not grow beyond the limit"), "{told}");
    }
    let before = fs::read(place.saved()).unwrap();
    for ignored in [false, true] {
        limited(&arguments, ignored);
        assert!(fs::read(place.path("snap")).unwrap() == before);
    }
    let full = [place.save("snap"), vec!["--at-instruction=20000".into()]].concat();
    let full: Vec<String> = full
        .into_iter()
        .map(|word| {
            if word == place.path("snap") {
                "/dev/full".into()
            } else {
                word
            }
        })
        .collect();
    let ended = run(&texts(&full));
    assert!(
        ended.code == Some(2) && ended.stderr.contains("No space left"),
        "{ended:?}"
    );
}
