//! The text.

use vmm::timeline::export;
use vmm::timeline::{Kind, Report};

use crate::sample;

fn text(report: &Report) -> String {
    let mut out = Vec::new();
    export::text::write(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn tells_the_story_in_a_hundred_columns() {
    let text = text(&sample::report(0));
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
        assert_eq!(line.trim_end(), line);
    }
    let position = |part: &str| {
        text.find(part)
            .unwrap_or_else(|| panic!("no '{part}' in\n{text}"))
    };
    let order = [
        "As expected. Without the guard",
        "STOCK",
        "Decisive events: stock",
        "Nothing: the image ran as it is.",
        "Decisive events: guard absent",
        "uTLB 3 is disabled, and never enabled again.",
        "dev->archdata.dma_ops_setup of e6720000.dma-controller, by behaviour 'guard-absent'",
        "Machine: stock, guard absent",
        "9b1f0c3a5d7e8f60718293a4b5c6d7e8f90123456789abcdef0123456789abcd",
        "Timeline: stock",
        "Timeline: guard absent",
    ];
    let positions = order.map(position);
    assert!(positions.is_sorted(), "{positions:?}");
    assert!(text.contains("UNTRANSLATED onto the bus"));
    assert!(text.contains("0x0 -> 0x1"));
}

#[test]
fn is_the_same_each_time_and_says_what_it_leaves_out() {
    let long = text(&sample::report(20_000));
    assert_eq!(long, text(&sample::report(20_000)));
    assert!(long.contains("events left out here"));
    assert!(long.lines().count() < 1_000);
    assert!(
        long.contains("IMUCTR(3) = 0x00000000: uTLB 3 disabled"),
        "decisive events stay"
    );
}

#[test]
fn many_runs_stand_below_each_other() {
    let mut report = sample::report(0);
    let two = report.runs.clone();
    for _ in 0..50 {
        report.runs.extend(two.clone());
    }
    let text = text(&report);
    assert!(text.lines().all(|line| line.chars().count() <= 100));
    let heads = |name: &str| text.lines().filter(|line| line.trim() == name).count();
    assert_eq!((heads("STOCK"), heads("GUARD ABSENT")), (51, 51));
}

#[test]
fn a_guest_cannot_command_the_terminal() {
    let mut report = sample::report(0);
    for event in &mut report.runs[1].timeline.events {
        if let Kind::Console { text } = &mut event.kind {
            *text = "\x1b[2J\u{202e}evil\r\nforged line".to_owned();
        }
    }
    report.runs[1].name = "\x1b]0;owned\x07".to_owned();
    let text = text(&report);
    assert!(!text.contains(['\x1b', '\x07', '\r', '\u{202e}']));
    assert!(!text.lines().any(|line| line.starts_with("forged")));
}
