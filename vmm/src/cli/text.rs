//! Words for people.

use std::io::Write;
use std::time::Duration;

use super::patience::Stderr;

/// Says on stderr what is wrong, on one line. A stderr that went away is no reason to fail.
pub fn complain(sentence: &str) {
    tell(sentence);
}

/// Says on stderr what is no result, on one line.
pub fn tell(sentence: &str) {
    // One piece, so that the lock of stderr keeps it apart from the lines of other threads.
    let line = format!("vmm: {}\n", printable(sentence));
    let _ = Stderr.write_all(line.as_bytes());
}

/// Returns `text` on one line, without what a terminal would obey: names of files may hold
/// anything.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Returns a count with a metric suffix: `950`, `12.3 k`, `3.35 G`.
pub fn count(n: u64) -> String {
    for (unit, suffix) in [(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")] {
        if n >= unit {
            let value = n as f64 / unit as f64;
            // Three significant digits, whatever the unit.
            let decimals = if value < 10.0 {
                2
            } else {
                usize::from(value < 100.0)
            };
            return format!("{value:.decimals$} {suffix}");
        }
    }
    n.to_string()
}

/// Returns a duration in nanoseconds as seconds or minutes.
pub fn seconds(ns: u64) -> String {
    let s = ns as f64 / 1e9;
    if s < 1.0 {
        format!("{:.0} ms", s * 1e3)
    } else if s < 120.0 {
        format!("{s:.1} s")
    } else {
        format!("{} min {} s", ns / 60_000_000_000, ns / 1_000_000_000 % 60)
    }
}

/// Returns how much longer something takes, said as roughly as it is known.
pub fn about(left: Duration) -> String {
    match left.as_secs() {
        0..20 => "a few seconds".into(),
        20..75 => "about a minute".into(),
        s => format!("about {} minutes", (s + 30) / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_holds_is_shown_and_not_obeyed() {
        assert_eq!(printable("a\nb\u{1b}[2J\u{e9}"), "a\\nb\\u{1b}[2J\u{e9}");
    }

    #[test]
    fn numbers_read_well() {
        let counts = [
            (950, "950"),
            (12_345, "12.3 k"),
            (3_351_000_000, "3.35 G"),
            (233_000_000, "233 M"),
        ];
        for (n, text) in counts {
            assert_eq!(count(n), text);
        }
        assert_eq!(seconds(12_000_000), "12 ms");
        assert_eq!(seconds(17_250_000_000), "17.2 s");
        assert_eq!(seconds(605_000_000_000), "10 min 5 s");
        assert_eq!(about(Duration::from_secs(3)), "a few seconds");
        assert_eq!(about(Duration::from_secs(290)), "about 5 minutes");
    }
}
