//! `vmm demo`, README's first command.

use crate::run;

#[test]
fn the_demo_shows_two_guests_and_that_runs_repeat() {
    let ended = run(&["demo"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let shown = &ended.stdout;
    for words in [
        "1. A stock Debian kernel",
        "  | guest: ready",
        "2. A kernel with IOMMU drivers",
        "the host's checksum of the disk",
        "ok They agree.",
        "ok They agree, to the last instruction and byte.",
        "What next",
    ] {
        assert!(
            shown.contains(words),
            "the demo does not show {words:?}:\n{shown}"
        );
    }
    assert_eq!(shown.matches("| guest: ready").count(), 2, "{shown}");
    assert!(!shown.contains('\x1b'), "colours in a pipe:\n{shown}");
}
