//! The requests of the guest's driver, as the library replays them.

use integration::capture;

/// Returns the number of requests with this first byte (viommu::virtio::spec::request_type).
fn of_type(text: &str, kind: u8) -> usize {
    let begin = format!("> {kind:02x}");
    text.lines().filter(|line| line.starts_with(&begin)).count()
}

#[test]
fn what_the_driver_says_can_be_recorded_and_repeats() {
    let text = capture::record(64);
    assert!(text.contains("\nfeatures 0x77\n"), "{text}");
    let [attach, detach, map, unmap, probe] = [1, 2, 3, 4, 5].map(|kind| of_type(&text, kind));
    // The driver detaches only what is removed from its bus, which is nothing here.
    assert_eq!((attach, detach, probe), (2, 0, 2), "{text}");
    assert!(map > 10 && unmap > 10, "{text}");
    // Each is answered with OK.
    let listed = |line: &str| line.starts_with("< 01001400") && line.ends_with(" 00*472");
    let fine = text
        .lines()
        .filter(|line| *line == "< 00000000" || listed(line));
    assert_eq!(fine.count(), attach + map + unmap + probe, "{text}");
    assert_eq!(capture::record(64), text);
}
