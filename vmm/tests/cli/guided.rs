//! `vmm inject --guided`: by one process, by one that goes on, and in shards.

use std::fs;
use std::path::Path;

use crate::inject::records;
use crate::{assert_mistake, run};

/// The first shard needs what the second makes of the first generation. `whole` is what one machine
/// prints, whose results are in `r.json`.
fn guided_shards_are_one_campaign(directory: &Path, whole: &str) {
    let text = |name: &str| directory.join(name).display().to_string();
    let journals = [text("1.jsonl"), text("2.jsonl")];
    let shard = |index: usize, code: i32| {
        let of = format!("{}/2", index + 1);
        let guided = ["inject", "flush", "--cover", "ipmmu_*", "--guided"];
        // One of these is its own, and the other may not be there yet.
        let files = ["--journal", &journals[index], "--others", &journals[0]];
        let more = [&journals[1], "--resume", "--runs", "48", "--shard", &of];
        let ended = run(&[&guided[..], &files, &more].concat());
        assert_eq!(ended.code, Some(code), "{ended:?}");
        ended
    };
    shard(0, 75).assert_stderr(
        "generation 1 of 2 lacks 16 runs of other shards, the first is run 1 of shard 2/2",
    );
    shard(1, 0);
    shard(0, 0);
    let json = text("merged.json");
    let merge = [
        "inject",
        "merge",
        &journals[0],
        &journals[1],
        "--json",
        &json,
    ];
    assert_eq!(run(&merge).stdout, whole);
    let read = |path: &str| fs::read(path).expect(path);
    assert!(read(&json) == read(&text("r.json")), "other results");
}

/// A guided campaign says which code it reached, goes on after an end in the middle of a
/// generation, and its commands name the points.
#[test]
fn a_guided_campaign_goes_on_and_its_commands_name_points() {
    let directory = tempfile::tempdir().unwrap();
    let text = |name: &str| directory.path().join(name).display().to_string();
    let campaign = |runs: &str, more: &[&str]| {
        let guided = [
            "inject", "flush", "--cover", "ipmmu_*", "--guided", "--runs", runs,
        ];
        let ended = run(&[&guided[..], more].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    };
    let whole = campaign("48", &["--jobs", "1", "--json", &text("r.json")]);
    assert!(
        whole.contains("\nCode: ") && whole.contains(" functions reached, "),
        "{whole}"
    );
    let journal = text("journal");
    campaign("40", &["--journal", &journal]);
    let resumed = campaign("48", &["--journal", &journal, "--resume", "--recheck", "2"]);
    let repeated = "\n2 runs were done again: each was what it had been\n";
    assert_eq!(resumed, format!("{whole}{repeated}"));
    let merged = run(&["inject", "merge", &journal]);
    assert_eq!(merged.stdout, whole);
    guided_shards_are_one_campaign(directory.path(), &whole);
    let line = whole
        .lines()
        .find(|line| line.contains("--points "))
        .expect("a command");
    let words: Vec<&str> = line.split_whitespace().collect();
    let number: usize = words[words.iter().position(|word| *word == "--run").unwrap() + 1]
        .parse()
        .unwrap();
    let arguments = words[1..words.len() - 2].to_vec();
    let again = run(&arguments);
    let record = &records(&directory.path().join("r.json"))[number];
    again.assert_stdout(&format!("digest {}\n", record["digest"].as_str().unwrap()));
    for (more, words) in [
        (&["--guided"][..], "--cover"),
        (&["--others", "j"], "--guided"),
        (
            &["--guided", "--cover", "f", "--others", "j"],
            "--others is for a shard of a guided campaign",
        ),
        (&["--points", "1:1"], "--run"),
        (&["--run", "1", "--points", "1"], "use FAULT:N"),
        (
            &["--run", "1", "--points", "9:1"],
            "names a fault that the plan does not have: it has 3",
        ),
        (
            &["--cover", "no_such_function"],
            "has no function no_such_function",
        ),
    ] {
        assert_mistake(&[&["inject", "flush"], more].concat(), words);
    }
}
