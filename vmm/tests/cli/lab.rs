//! `vmm lab` and `vmm boot --probe`: exit codes, as `git bisect run` reads them, and files.

use std::fs;
use std::path::Path;

use crate::{assert_mistake, run};

/// A scenario of one case, which expects `verdict` of a stock kernel.
fn scenario(verdict: &str) -> String {
    format!(
        "title = 'T'\nabout = 'A'\n[topology.alone]\nabout = 'B'\n\
         device = [{{ role = 'B', port = 'ipmmu0:3', subject = true }}]\n\
         [trigger.rebind]\nabout = 'R'\nteardowns = 1\nsteps = ['work 0', 'rebind', 'work 1']\n\
         [[row]]\ntopology = 'alone'\ntrigger = 'rebind'\nfw-devlink = ['off']\n\
         expect.stock = {{ verdict = '{verdict}' }}\n"
    )
}

#[test]
fn the_list_names_cases_and_signs() {
    let ended = run(&["lab", "list"]);
    assert_eq!(ended.code, Some(0));
    ended.assert_stdout("deferral.shared.guard-absent.off ");
    let ended = run(&["lab", "list", "--signs"]);
    ended.assert_stdout("X-untranslated ");
    ended.assert_stdout("X-missing-invalidation ");
}

#[test]
fn the_table_of_releases_in_the_docs_is_what_the_scenarios_expect() {
    let ended = run(&["lab", "list", "--releases"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lab.md");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains(&ended.stdout), "{}", ended.stdout);
}

#[test]
fn a_table_of_releases_has_the_verdicts_on_unmodified_kernels() {
    let ended = run(&["lab", "matrix", "virtio.use", "--releases"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let row = ended
        .stdout
        .lines()
        .find(|line| line.starts_with("virtio "));
    let row: Vec<&str> = row.unwrap().split_whitespace().collect();
    assert_eq!(
        row,
        ["virtio", "virtio-iommu", "virtio.use.alone", "healthy"]
    );
    ended.assert_stdout("1 run (");
}

#[test]
fn a_mistake_is_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.toml");
    fs::write(&file, scenario("fine")).unwrap();
    let file = file.display().to_string();
    for (arguments, words) in [
        (
            &["lab", "run", "nonsense"][..],
            "there is no scenario \"nonsense\"",
        ),
        (&["lab", "run", &file], "unknown variant `fine`"),
        (&["lab", "run"], "required arguments"),
        (&["lab", "run", "--all", "--module", "x"], "--kernel"),
        (
            &["lab", "matrix", "--all", "--releases", "--image", "ipmmu"],
            "cannot be used with",
        ),
        (
            &["lab", "list", "--signs", "--releases"],
            "cannot be used with",
        ),
        (
            &["lab", "run", "--all", "--sanitize", "dma=x"],
            "\"x\" is not known: use missing-invalidation",
        ),
        (
            &["lab", "matrix", "virtio.use", "--shard", "1/2"],
            "--results",
        ),
        (
            &["lab", "matrix", "virtio.use", "--results", "r"],
            "--shard",
        ),
        (
            &["lab", "merge", "nowhere"],
            "cannot use the results nowhere",
        ),
        (
            &["lab", "merge", &file],
            "they are no results of `vmm lab matrix --shard`",
        ),
        (
            &["boot", "--image", "ipmmu", "--probe", "f {"],
            "cannot read the probe `f {`",
        ),
        (
            &["boot", "--image", "ipmmu", "--timeline", "t.pdf"],
            "t.pdf",
        ),
    ] {
        assert_mistake(arguments, words);
    }
}

#[test]
fn exit_codes_say_good_bad_and_cannot_tell() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (good, bad, results, junit) = (
        path("good.toml"),
        path("bad.toml"),
        path("r.json"),
        path("j.xml"),
    );
    fs::write(&good, scenario("healthy")).unwrap();
    fs::write(&bad, scenario("crashed")).unwrap();
    let kernel = path("kernel");
    // Waits for interrupts, of which none comes: it can never wake up.
    fs::write(&kernel, 0xe320_f003_u32.to_le_bytes().repeat(1024)).unwrap();

    let report = path("report");
    let ended = run(&[
        "lab", "run", &good, "--report", &report, "--json", &results, "--junit", &junit,
    ]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        fs::read_to_string(&results)
            .unwrap()
            .contains("\"health\": \"healthy\"")
    );
    assert!(
        fs::read_to_string(&junit)
            .unwrap()
            .contains("failures=\"0\" errors=\"0\"")
    );
    let page = format!("{report}/good.alone.off.html");
    assert!(fs::read_to_string(page).unwrap().contains("<html"));

    let ended = run(&["lab", "run", &bad, "--junit", &junit]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.assert_stdout("it is healthy, and crashed was expected");
    assert!(
        fs::read_to_string(&junit)
            .unwrap()
            .contains("failures=\"1\"")
    );

    // A mistake that is expected is to be found, by who looks for it.
    let expected = "'healthy', mistakes = ['b-leak']";
    fs::write(&bad, scenario("healthy").replace("'healthy'", expected)).unwrap();
    let sanitized = |options: &str| {
        let ended = run(&[
            "lab",
            "run",
            &bad,
            "--sanitize",
            options,
            "--json",
            &results,
            "--junit",
            &junit,
        ]);
        let results = fs::read_to_string(&results).unwrap();
        assert!(results.contains("\"sanitizer\": {"), "{results}");
        ended
    };
    assert_eq!(sanitized("dma=direction").code, Some(0));
    let ended = sanitized("dma");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.assert_stdout("not found: b-leak");
    let text = fs::read_to_string(&junit).unwrap();
    assert!(text.contains("not found: b-leak"), "{text}");

    let ended = run(&["lab", "run", &good, "--kernel", &kernel]);
    assert_eq!(ended.code, Some(125), "{ended:?}");
    ended.assert_stdout("not judged");

    let ended = run(&["lab", "matrix", &good, "--kernel", &kernel]);
    assert_eq!(ended.code, Some(125), "{ended:?}");
    let row = ended
        .stdout
        .lines()
        .find(|line| line.ends_with("?          "));
    assert!(row.is_some_and(|row| row.contains("healthy")), "{ended:?}");
}

/// Three shards of a matrix, merged in any order, print what one machine prints.
#[test]
fn three_shards_merged_are_one_matrix_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (good, bad) = (path("good.toml"), path("bad.toml"));
    fs::write(&good, scenario("healthy")).unwrap();
    let expected = "'healthy', mistakes = ['b-leak']";
    fs::write(&bad, scenario("healthy").replace("'healthy'", expected)).unwrap();
    let kernel = path("kernel");
    fs::write(&kernel, 0xe320_f003_u32.to_le_bytes().repeat(1024)).unwrap();
    let results = ["1", "2", "3"].map(|k| path(&format!("{k}.json")));
    let [first, second, third] = results.each_ref().map(String::as_str);
    for (matrix, code) in [
        // A kernel that does not boot is not judged. A mistake that is not found is a sign.
        (
            &[&*good, &*bad, "--kernel", &*kernel, "--sanitize", "dma"][..],
            125,
        ),
        (&["virtio.use", "--releases"], 0),
    ] {
        let whole = run(&[&["lab", "matrix"], matrix].concat());
        assert_eq!(whole.code, Some(code), "{whole:?}");
        for (k, results) in (1..=3).zip(&results) {
            let shard = format!("{k}/3");
            let part = ["--shard", &shard, "--results", results];
            let ended = run(&[&["lab", "matrix"], matrix, &part[..]].concat());
            assert!(
                ended.code.is_some_and(|code| code < 2 || code == 125),
                "{ended:?}"
            );
        }
        let merged = run(&["lab", "merge", third, first, second, first]);
        assert_eq!(merged.code, Some(code), "{merged:?}");
        assert_eq!(merged.stdout, whole.stdout);
        if code == 125 {
            whole.assert_stdout("not found: b-leak");
            let ended = run(&["lab", "merge", first, third]);
            assert_eq!(ended.code, Some(2), "{ended:?}");
            ended.assert_stderr("the first is of shard 2/3: name its results too");
        }
    }
}

#[test]
fn a_probe_tells_on_stderr_and_in_the_timeline() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.txt").display().to_string();
    let probe = "platform_probe@return if retval == 0 { print(_dev.name, retval) }";
    let common = ["boot", "--image", "ipmmu", "--quiet", "--console", "none"];
    let ended = run(&[&common[..], &["--probe", probe, "--timeline", &file]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended
            .stderr
            .lines()
            .all(|line| line.starts_with("probe 0.")),
        "{ended:?}"
    );
    ended.assert_stderr("_dev.name=\"a000000.virtio_mmio\" retval=0");
    let timeline = fs::read_to_string(&file).unwrap();
    assert!(timeline.contains("platform_probe"), "{timeline}");
    assert!(timeline.contains("Linux version"), "{timeline}");

    let ended = run(&[&common[..], &["--probe", "no_such_function"]].concat());
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
}
