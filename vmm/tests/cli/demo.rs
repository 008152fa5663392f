//! `vmm demo`, README's first command.

use crate::fakes::Fakes;
use crate::{Ended, run};

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

#[test]
fn the_stock_kernel_alone_loses_the_iommu_of_a_device_that_is_bound_again() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let ended = run(&["demo", "--stock-only", "--report", report.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for words in [
        "1. A stock Debian kernel",
        "| Linux ",
        "The guest powered off",
        "2. A driver unbound and bound again",
        "BAD B a001000.virtio_mmio accesses ",
        "ok stock: bypassed",
        "B's DMA",
        "past the IOMMU",
        "Failed to create",
        "nothing was changed in the guest",
        "demo-stock.html",
        "What next",
    ] {
        ended.assert_stdout(words);
    }
    assert!(!ended.stdout.contains("2017 and without"), "{ended:?}");
    let page = std::fs::read_to_string(report.join("demo-stock.html")).unwrap();
    assert!(page.contains("Rockchip"));
}

#[test]
fn a_kernel_that_cannot_be_fetched_ends_the_demo_in_one_sentence() {
    // The packages are there, and the package manager cannot fetch anything.
    let fakes = Fakes::bare_host(1000);
    std::fs::write(fakes.path("installed"), "").unwrap();
    for arguments in [&["demo"][..], &["demo", "--stock-only"]] {
        let mut command = fakes.vmm(arguments);
        let ended: Ended = command.current_dir(fakes.path("")).output().unwrap().into();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        ended.assert_stdout("1. A stock Debian kernel");
        // What it is about to do is told before, and is no sentence of the program's.
        let sentences = ended
            .stderr
            .lines()
            .filter(|line| line.starts_with("vmm: "));
        let sentences: Vec<&str> = sentences.collect();
        assert!(
            sentences.len() == 1 && sentences[0].contains("only pretends"),
            "{ended:?}"
        );
    }
}
