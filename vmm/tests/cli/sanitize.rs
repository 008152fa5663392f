//! `--sanitize`: reports on stderr, in the summary and in the timeline, and the exit code.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::run;

/// A run whose kernel leaves out the flush after each unmapping.
fn planted(directory: &Path, more: &[&str]) -> crate::Ended {
    let disk = directory.join("disk");
    fs::write(&disk, vec![0x5a; 1 << 20]).unwrap();
    let disk = format!("{},ro", disk.display());
    let boot = [
        "boot",
        "--image=ipmmu",
        "--iommu=ipmmu",
        "--rng=iommu=none",
        "--wall-timeout=900",
        "--timeout=60",
        "--disk",
        &disk,
        "--probe=ipmmu_iotlb_sync { return }",
        "--run=dd if=/dev/vda of=/dev/null bs=16k iflag=direct",
    ];
    run(&[&boot, more].concat())
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// IOMMUs in which faults can be injected keep their translations in a buffer of their own.
#[test]
fn a_mistake_is_found_where_faults_can_be_injected() {
    let directory = TempDir::new().unwrap();
    let plan = directory.path().join("never.toml");
    let text = "title = \"t\"\n[[fault]]\nwhere = \"flush\"\nwhat = \"ignored\"\nwhen = { at = \"3000s\" }\n";
    fs::write(&plan, text).unwrap();
    let faults = format!("--faults={}", plan.display());
    let ended = planted(directory.path(), &["--sanitize=dma", &faults]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    ended.assert_stderr("missing-invalidation: disk0 ");
}

#[test]
fn a_mistake_is_in_every_report_and_decides_the_exit_code() {
    let directory = TempDir::new().unwrap();
    let file = |name: &str| directory.path().join(name);
    let summary = format!("--json={}", file("run.json").display());
    let timeline = format!("--timeline={}", file("line.json").display());
    let record = format!("--record={}", file("run.rec").display());
    let all = ["--sanitize=dma", &summary, &timeline, &record];
    let ended = planted(directory.path(), &all);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    ended.assert_stderr("missing-invalidation: disk0 ");
    ended.assert_stderr("vmm: the sanitizer found mistakes, in ");

    let report = json(&file("run.json"));
    assert_eq!(
        (&report["outcome"], &report["exit_code"]),
        (&"dma-mistakes".into(), &4.into())
    );
    let found = &report["sanitizer"];
    let count = found["counts"]["missing-invalidation"].as_u64().unwrap();
    let first = &found["reports"][0];
    assert!(count > 0, "{found}");
    assert_eq!(first["kind"], "missing-invalidation");
    assert_eq!(first["device"], "disk0");
    assert!(
        first["physical"].as_str().unwrap().starts_with("0xc"),
        "{first}"
    );

    let line = fs::read_to_string(file("line.json")).unwrap();
    assert!(line.contains(r#""kind":"mistake","mistake":"missing-invalidation""#));

    // The same run again, looked at or not, from its recording.
    let replay = format!("--replay={}", file("run.rec").display());
    let again = format!("--json={}", file("again.json").display());
    let probe = "--probe=ipmmu_iotlb_sync { return }";
    let ended = run(&["boot", &replay, probe, "--sanitize=dma=stale", &again]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert_eq!(
        json(&file("again.json"))["instructions"],
        report["instructions"]
    );
    let ended = run(&["boot", &replay, probe]);
    assert_ne!(ended.code, Some(3), "{ended:?}");
    assert_ne!(ended.code, Some(4), "{ended:?}");
}

#[test]
fn a_run_without_mistakes_says_so() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run.json");
    let summary = format!("--json={}", path.display());
    let boot = [
        "boot",
        "--image=ipmmu",
        "--iommu=ipmmu",
        "--wall-timeout=900",
    ];
    let more = [
        "--sanitize=dma",
        &summary,
        "--run=head -c 64 /dev/hwrng >/dev/null",
    ];
    let ended = run(&[&boot[..], &more].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.assert_stderr("vmm: the sanitizer found no mistake");
    let found = &json(&path)["sanitizer"];
    assert_eq!(
        *found,
        serde_json::json!({"reports": [], "counts": {}, "beyond": 0})
    );
}

#[test]
fn what_is_not_known_is_told_in_one_sentence() {
    let ended = run(&["boot", "--image=ipmmu", "--sanitize=dma=leaks"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    ended.assert_stderr("\"leaks\" is not known: use missing-invalidation, ");
    let ended = run(&["boot", "--image=ipmmu", "--sanitize=dma", "--tier=both"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    ended.assert_stderr("leave --sanitize out");
}
