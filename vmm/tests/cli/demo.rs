//! `vmm demo`, README's first command.

use crate::run;

#[test]
fn the_demo_compares_the_fix_with_its_absence_and_writes_a_report() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let ended = run(&["demo", "--report", report.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let shown = &ended.stdout;
    for words in [
        "A deferred probe, with the fix of 2017 and without",
        "ok stock: healthy",
        "ok guard-absent: broken",
        "BAD",
        "the decisive events",
        "nothing was changed in the guest",
        "had the same timeline, to the nanosecond",
        "What next",
    ] {
        assert!(
            shown.contains(words),
            "the demo does not show {words:?}:\n{shown}"
        );
    }
    assert!(!shown.contains('\x1b'), "colours in a pipe:\n{shown}");
    let page = std::fs::read_to_string(report.join("demo.html")).unwrap();
    assert!(page.contains("guard-absent"));
}
