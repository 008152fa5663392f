//! `vmm inject`: its list, its mistakes, and that a campaign survives whatever ends it.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{assert_mistake, run, vmm};

/// A plan of which every run is short.
const PLAN: &str =
    "title = 'T'\n[[fault]]\nwhere = 'disk'\nwhat = 'flip'\nwhen = { probability = 0.1 }\n";
/// Now and then the driver is given one address for two buffers. A shard may have no such run.
const MISTAKES: &str = "title = 'T'\n[[fault]]\nwhere = 'function'\nwhat = 'error'\nvalue = 4096\n\
    function = 'dma_map_page_attrs'\nwhen = { probability = 0.05 }\n";

fn lines(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| bytes.iter().filter(|b| **b == b'\n').count())
}

/// The runs in a campaign's JSON.
pub fn records(path: &Path) -> serde_json::Value {
    let text = fs::read_to_string(path).expect("the results should be there");
    let results: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    results["records"].clone()
}

/// Waits until the journal has `count` lines.
fn wait(journal: &Path, count: usize, child: &mut Child) {
    let start = Instant::now();
    while lines(journal) < count {
        assert!(
            child.try_wait().expect("a child").is_none(),
            "it ended early"
        );
        assert!(
            start.elapsed() < Duration::from_secs(300),
            "it does not begin"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_list_names_plans_and_mistakes_are_sentences() {
    let ended = run(&["inject", "--list"]);
    assert_eq!(ended.code, Some(0));
    ended.assert_stdout("flush          copy ");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.toml");
    fs::write(&file, PLAN.replace("flip", "stuck")).unwrap();
    let file = file.display().to_string();
    let elsewhere = directory.path().join("elsewhere.toml");
    let text = "title = \"t\"\n[[fault]]\nwhere = \"disk\"\nwhat = \"flip\"\ndevice = \"disk7\"\n";
    fs::write(&elsewhere, text).unwrap();
    let elsewhere = elsewhere.display().to_string();
    for (arguments, words) in [
        (&["inject"][..], "required arguments"),
        (&["inject", "nonsense"], "there is no plan \"nonsense\""),
        (&["inject", &file], "line 2: unknown variant `stuck`"),
        (
            &["inject", &elsewhere],
            "fault 1: there is no device disk7: use one of gic, ",
        ),
        (&["inject", "none", "--runs", "0"], "runs nothing"),
        (&["inject", "none", "--resume"], "--journal or --report"),
        (
            &["inject", "none", "--shard", "1/2"],
            "--shard needs a journal",
        ),
        (
            &["inject", "none", "--shard", "3/2", "--journal", "j"],
            "there is no shard 3 of 2: use a number from 1 to 2",
        ),
        (&["inject", "none", "--shard", "1/2", "--run", "1"], "--run"),
        (&["inject", "merge"], "<JOURNAL>"),
        (
            &["inject", "merge", "nowhere"],
            "cannot read the journal nowhere",
        ),
        (
            &["inject", "merge", &file],
            "it is no journal of a campaign",
        ),
        (
            &["inject", "merge", &file, "--json", &file],
            "would overwrite the journal",
        ),
        (
            &["inject", "merge", "nowhere", "--journal", &file],
            "there is a journal at",
        ),
        (&["inject", "none", "--deny", "joy"], "use unaffected"),
        (&["inject", "none", "--timeline", "x.html"], "--run"),
        (
            &["inject", "none", "--journal", "/dev/full"],
            "cannot write the journal /dev/full",
        ),
    ] {
        assert_mistake(arguments, words);
    }
}

#[test]
fn a_campaign_that_is_killed_goes_on_and_comes_to_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("plan.toml"), PLAN).unwrap();
    let text = |name: &str| at(name).display().to_string();
    let plan = text("plan.toml");
    let whole = run(&[
        "inject",
        &plan,
        "--runs",
        "60",
        "--json",
        &text("whole.json"),
    ]);
    assert_eq!(whole.code, Some(0), "{whole:?}");

    let (journal, results) = (text("journal"), text("again.json"));
    let arguments = [
        "inject",
        &plan,
        "--runs",
        "60",
        "--journal",
        &journal,
        "--json",
        &results,
    ];
    let resumed: Vec<&str> = arguments.iter().copied().chain(["--resume"]).collect();
    // SIGKILL.
    let mut child = vmm(&arguments)
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    wait(&at("journal"), 5, &mut child);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(
        !at("again.json").exists(),
        "no half of a file is under its name"
    );
    let refused = run(&arguments);
    assert_eq!(refused.code, Some(2));
    refused.assert_stderr("by --resume");
    // Ctrl-C, and who asks politely.
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let before = lines(&at("journal"));
        let mut child = vmm(&resumed)
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        wait(&at("journal"), before + 3, &mut child);
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).expect("it runs");
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(code));
    }
    // Files that may not grow, as on a full disk.
    let before = fs::read(at("journal")).unwrap();
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$@\"";
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", script, "bash", env!("CARGO_BIN_EXE_vmm")]);
    let ended = shell.args(&resumed).output().expect("bash runs");
    assert_eq!(ended.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("File too large"), "{stderr}");
    assert_eq!(fs::read(at("journal")).unwrap(), before);
    // To the end.
    let ended = run(&resumed);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(records(&at("whole.json")), records(&at("again.json")));
    assert_eq!(lines(&at("journal")), 61);
}

/// Files and standard output of a campaign, each with its name.
fn everything(directory: &Path, printed: &str) -> Vec<(String, Vec<u8>)> {
    let names = [
        "results.json",
        "results.xml",
        "report/index.html",
        "report/journal.jsonl",
    ];
    let read = |name: &str| fs::read(directory.join(name)).expect(name);
    let mut all: Vec<_> = names.map(|name| (name.to_owned(), read(name))).into();
    all.push(("table".into(), printed.into()));
    all
}

#[test]
fn three_shards_merged_are_one_campaign_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let text = |name: &str| directory.path().join(name).display().to_string();
    let plan = text("plan.toml");
    for (contents, mode, code) in [
        (MISTAKES, &["--runs", "20", "--sanitize", "dma"][..], 1),
        (PLAN, &["--systematic", "--runs", "7"], 0),
        (PLAN, &["--systematic", "pairs", "--runs", "13"], 0),
    ] {
        fs::write(directory.path().join("plan.toml"), contents).unwrap();
        let campaign = |more: &[&str]| {
            let ended = run(&[&["inject", &plan], mode, more].concat());
            assert!([Some(code), Some(0)].contains(&ended.code), "{ended:?}");
            ended.stdout
        };
        let outputs = |place: &str| {
            let at = |name: &str| format!("{}/{name}", text(place));
            fs::create_dir_all(directory.path().join(place)).unwrap();
            let files = [
                ("--json", "results.json"),
                ("--junit", "results.xml"),
                ("--report", "report"),
            ];
            files
                .map(|(flag, name)| [flag.to_owned(), at(name)])
                .concat()
        };
        let (one, merged) = (outputs("one"), outputs("merged"));
        let one: Vec<&str> = one.iter().map(String::as_str).collect();
        // One at a time, so that the journal is in the order of runs, as a merged one is.
        let printed = campaign(&[&["--jobs", "1"], &one[..]].concat());
        let whole = everything(&directory.path().join("one"), &printed);
        let tells = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("double-map");
        assert!(whole.iter().all(|(_, bytes)| tells(bytes) == (code == 1)));
        let journals: Vec<String> = (1..=3).map(|k| text(&format!("{k}.jsonl"))).collect();
        for (k, journal) in (1..=3).zip(&journals) {
            campaign(&["--shard", &format!("{k}/3"), "--journal", journal]);
        }
        let missing = run(&["inject", "merge", &journals[2], &journals[0]]);
        assert_eq!(missing.code, Some(2));
        missing.assert_stderr("is run 1 of shard 2/3: name its journal too");
        let mut arguments = vec!["inject", "merge", &journals[2], &journals[0], &journals[1]];
        arguments.extend(merged.iter().map(String::as_str));
        let ended = run(&arguments);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        let again = everything(&directory.path().join("merged"), &ended.stdout);
        for (one, other) in whole.iter().zip(&again) {
            assert!(one == other, "{} is another with {mode:?}", one.0);
        }
        // What was merged goes on like any other.
        let journal = format!("{}/report/journal.jsonl", text("merged"));
        campaign(&["--journal", &journal, "--resume", "--recheck", "3"]);
        for place in ["one", "merged"] {
            fs::remove_dir_all(directory.path().join(place)).unwrap();
        }
        journals
            .iter()
            .for_each(|journal| fs::remove_file(journal).unwrap());
    }
}

/// Eight requests of the scenario: eight runs, and 28 of pairs.
#[test]
fn a_walk_says_how_many_runs_it_is_and_what_it_covered() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("plan.toml"), PLAN).unwrap();
    let (plan, json) = (at("plan.toml").display().to_string(), at("r.json"));
    let ended = run(&[
        "inject",
        &plan,
        "--systematic",
        "--json",
        &json.display().to_string(),
    ]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.assert_stderr("of which the plan's faults have 8: 8 runs\n");
    ended.assert_stdout("of which the plan's faults have 8; 8 of these injected");
    ended.assert_stdout("  1 disk of disk0: flip                               8 of 8 ");
    ended.assert_stdout("no fault of the plan: ");
    let results: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let coverage = &results["coverage"];
    assert_eq!(coverage["injected"], 8);
    assert_eq!(coverage["faults"][0]["site"]["device"], "disk0");
    let places = coverage["elsewhere"].as_array().unwrap().iter();
    let reads: Vec<_> = places
        .filter(|place| place["where"] == "register-read")
        .collect();
    assert!(
        reads.iter().any(|place| place["part"] == "IMCTR"),
        "{coverage}"
    );
    let ended = run(&["inject", &plan, "--systematic", "pairs", "--runs", "10"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.assert_stderr("have 8: 10 of 36 runs with those of pairs\n");
    ended.assert_stdout("2 of 28 pairs of points run, in 2 of which both faults happened");
    assert_mistake(
        &["inject", &plan, "--systematic", "pairs", "--run", "36"],
        "every point is 36 runs with those of pairs, so use a number from 0 to 35",
    );
    assert_mistake(
        &["inject", &plan, "--systematic", "all"],
        "use points or pairs",
    );
}

/// The command that a table prints repeats the run, in any directory: the plan's file and the
/// kernel's types are named.
#[test]
fn the_printed_command_repeats_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let plan = directory.path().join("my plan.toml");
    let text = "title = 'T'\nscenario = 'rebind'\n[[fault]]\nwhere = 'disk'\nwhat = 'io-error'\n\
                when = { probe = 'arch_teardown_dma_ops if dev.archdata.mapping' }\n";
    fs::write(&plan, text).unwrap();
    let plan = plan.display().to_string();
    let ended = run(&["inject", &plan, "--runs", "1", "--vmlinux", "ipmmu"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let line = ended
        .stdout
        .lines()
        .find(|line| line.contains("vmm inject"));
    let line = line.expect("a run that was affected").trim();
    let wanted = format!("vmm inject '{plan}' --vmlinux ipmmu --seed 1 --run 0");
    assert!(line.starts_with(&wanted), "{line}");
    let program = env!("CARGO_BIN_EXE_vmm");
    let script = line.replacen("vmm", program, 1);
    let mut shell = std::process::Command::new("sh");
    let again = shell.args(["-c", &script]).current_dir(&directory);
    let again = again.output().expect("a shell");
    let stdout = String::from_utf8_lossy(&again.stdout);
    assert!(
        again.status.success() && stdout.contains("disk of disk0: io-error"),
        "{again:?}"
    );
    assert!(directory.path().join("run-0.html").exists());
}

#[test]
fn a_campaign_leaves_a_page_and_results_and_each_run_can_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let text = |name: &str| at(name).display().to_string();
    let (report, json, junit) = (text("report"), text("r.json"), text("r.xml"));
    let ended = run(&[
        "inject",
        "corruption",
        "--runs",
        "4",
        "--seed",
        "9",
        "--deny",
        "silent-corruption",
        "--recheck",
        "2",
        "--report",
        &report,
        "--json",
        &json,
        "--junit",
        &junit,
    ]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.assert_stdout("silent corruption               4  100.0 %");
    let repeated = "2 runs were done again: each was what it had been\n";
    assert!(ended.stdout.ends_with(repeated), "{ended:?}");
    let page = fs::read_to_string(at("report/index.html")).unwrap();
    assert!(
        page.contains("vmm inject corruption --seed 9 --run 0"),
        "{page}"
    );
    assert_eq!(lines(&at("report/journal.jsonl")), 5);
    let xml = fs::read_to_string(at("r.xml")).unwrap();
    assert!(
        xml.contains("tests=\"4\" failures=\"4\" errors=\"0\""),
        "{xml}"
    );
    let record = &records(&at("r.json"))[2];
    let timeline = text("run.txt");
    let again = run(&[
        "inject",
        "corruption",
        "--seed",
        "9",
        "--run",
        "2",
        "--timeline",
        &timeline,
    ]);
    assert_eq!(again.code, Some(0), "{again:?}");
    let digest = format!("digest {}\n", record["digest"].as_str().unwrap());
    assert!(again.stdout.contains(&digest), "{again:?}\n{record}");
    assert!(fs::read_to_string(timeline).unwrap().contains("disk0"));
}

/// The lines of a journal with new chains, as somebody would make them who knows how
/// (docs/inject.md).
fn forge(lines: &str) -> String {
    use sha2::{Digest, Sha256};
    let mut chain = Sha256::digest("viommu-inject");
    let close = |line: &str| {
        let (body, _) = line.rsplit_once(",\"chain\":").expect("a chain");
        chain = Sha256::new()
            .chain_update(chain)
            .chain_update(body)
            .finalize();
        format!("{body},\"chain\":\"{chain:x}\"}}\n")
    };
    lines.lines().map(close).collect()
}

#[test]
fn a_journal_that_was_edited_is_found_out() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal").display().to_string();
    let resume = [
        "inject",
        "none",
        "--runs",
        "2",
        "--journal",
        &journal,
        "--resume",
        "--recheck",
        "2",
    ];
    let ended = run(&resume);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let written = fs::read_to_string(&journal).unwrap();
    assert_eq!(forge(&written), written);
    let edited = written.replacen("\"outcome\":\"unaffected\"", "\"outcome\":\"hang\"", 1);
    assert_ne!(edited, written);
    fs::write(&journal, &edited).unwrap();
    let ended = run(&resume);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    ended.assert_stderr(": line 2 is not what was written there");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    // Its advice is followed.
    let kept: String = edited.split_inclusive('\n').take(1).collect();
    ended.assert_stderr("(head -n 1)");
    fs::write(&journal, kept).unwrap();
    assert_eq!(run(&resume).code, Some(0));
    assert_eq!(fs::read_to_string(&journal).unwrap().lines().count(), 3);
    // A whole new chain is good in itself, and not what the runs do.
    fs::write(&journal, forge(&edited)).unwrap();
    let ended = run(&resume);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.assert_stdout("the outcome was hang and is unaffected");
}
