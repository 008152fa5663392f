//! A campaign as a page.

use std::io::{self, Write};

use vmm_timeline::junit::escaped;

use super::classify::Outcome;
use super::run::Record;
use super::summary::Summary;

/// Most runs that are shown one by one: the worst.
const MAX_SHOWN: usize = 1_000;

/// The page's appearance; colours from good to bad, for light and dark screens.
const STYLE: &str = include_str!("page.css");

/// Returns the class of an outcome in the style.
const fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unaffected => "good",
        Outcome::Recovered => "fair",
        Outcome::DeviceLost => "poor",
        Outcome::SilentCorruption | Outcome::Hang | Outcome::Crash => "bad",
        Outcome::VmmError => "ours",
    }
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
    let title = escaped(&format!("{}: {}", summary.plan, summary.title));
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    )?;
    writeln!(
        out,
        "<p>{} runs with seed {}, {} faults, {} runs without any.</p>",
        summary.runs, summary.seed, summary.faults, summary.faultless
    )?;
    bar(summary, out)?;
    groups(summary, out)?;
    let mut worst: Vec<&Record> = records
        .filter(|record| record.verdict.outcome != Outcome::Unaffected)
        .collect();
    worst.sort_by_key(|record| (std::cmp::Reverse(record.verdict.outcome), record.run));
    writeln!(out, "<h2>Runs</h2>")?;
    if worst.len() > MAX_SHOWN {
        writeln!(
            out,
            "<p>The {MAX_SHOWN} worst of {} that were affected.</p>",
            worst.len()
        )?;
    }
    for record in worst.iter().take(MAX_SHOWN) {
        run(summary, record, out)?;
    }
    writeln!(out, "</body></html>")
}

/// Writes the outcomes as parts of a bar.
fn bar(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "<div class=\"bar\">")?;
    for group in &summary.groups {
        write!(
            out,
            "<span class=\"{}\" style=\"flex-grow:{}\" title=\"{}: {}\"></span>",
            class(group.outcome),
            group.runs,
            group.outcome,
            group.runs
        )?;
    }
    writeln!(out, "</div>")
}

fn groups(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "<table><tr><th>Outcome</th><th>Runs</th><th>Why</th><th>To repeat the first</th></tr>"
    )?;
    for group in &summary.groups {
        for (index, reason) in group.reasons.iter().enumerate() {
            let name = if index == 0 { group.outcome.name() } else { "" };
            writeln!(
                out,
                "<tr><td class=\"{}\">{name}</td><td class=\"n\">{}</td><td>{}</td><td><code>{}</code></td></tr>",
                class(group.outcome),
                reason.runs,
                escaped(&reason.why),
                escaped(&summary.command(reason.example)),
            )?;
        }
    }
    writeln!(out, "</table>")
}

fn run(summary: &Summary, record: &Record, out: &mut dyn Write) -> io::Result<()> {
    let verdict = &record.verdict;
    writeln!(
        out,
        "<details><summary><span class=\"{}\">{}</span> run {}: {}</summary>",
        class(verdict.outcome),
        verdict.outcome,
        record.run,
        escaped(&verdict.why)
    )?;
    writeln!(
        out,
        "<p><code>{}</code></p><ul>",
        escaped(&summary.command(record.run))
    )?;
    for told in &record.told {
        let seconds = told.at_ns as f64 / 1e9;
        writeln!(
            out,
            "<li>{seconds:.6} s: {} (fault {} of the plan)</li>",
            escaped(&told.text),
            told.rule + 1
        )?;
    }
    writeln!(out, "</ul>")?;
    let words = if verdict.stack.is_empty() {
        &verdict.said
    } else {
        &verdict.stack
    };
    if !words.is_empty() {
        writeln!(
            out,
            "<pre>{}</pre>",
            words
                .iter()
                .map(|line| escaped(line) + "\n")
                .collect::<String>()
        )?;
    }
    writeln!(out, "</details>")
}
