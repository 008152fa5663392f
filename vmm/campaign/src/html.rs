//! A campaign as a page.

use std::cmp::Reverse;
use std::io::{self, Write};

use askama::Template;

use super::classify::{Outcome, Verdict};
use super::run::Record;
use super::summary::Summary;

/// Most runs that are shown one by one: the worst.
const MAX_SHOWN: usize = 1_000;

/// The page's appearance; colours from good to bad, for light and dark screens.
const STYLE: &str = include_str!("page.css");

/// Returns the class of an outcome in the style.
fn class(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Unaffected => "good",
        Outcome::Recovered => "fair",
        Outcome::DeviceLost => "poor",
        Outcome::SilentCorruption | Outcome::Hang | Outcome::Crash => "bad",
        Outcome::VmmError => "ours",
    }
}

/// Returns what the guest said of it: the kernel's stack if there is one.
fn words(verdict: &Verdict) -> &[String] {
    if verdict.stack.is_empty() {
        &verdict.said
    } else {
        &verdict.stack
    }
}

fn seconds(ns: u64) -> String {
    format!("{:.6}", ns as f64 / 1e9)
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'r> {
    title: String,
    style: &'static str,
    summary: &'r Summary,
    /// The number of runs that were affected.
    affected: usize,
    /// The worst of them, the worst first.
    worst: Vec<&'r Record>,
}

/// Writes the page: it stands alone, and needs no script.
///
/// # Errors
/// `out` cannot be written.
pub fn write<'r>(
    summary: &Summary,
    records: impl Iterator<Item = &'r Record>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut worst: Vec<&Record> = records
        .filter(|record| {
            record.verdict.outcome != Outcome::Unaffected || !record.mistakes.is_empty()
        })
        .collect();
    worst.sort_by_key(|record| (Reverse(record.verdict.outcome), record.run));
    // Before the list is cut, as the page says how many there were in all.
    let affected = worst.len();
    worst.truncate(MAX_SHOWN);
    let page = Page {
        title: format!("{}: {}", summary.plan, summary.title),
        style: STYLE,
        summary,
        affected,
        worst,
    };
    page.write_into(out)
}
