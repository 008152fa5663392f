//! A report in columns of text, at most 100 wide: for a terminal or a mail.

use std::io::{self, Write};

use super::describe::{bytes, count, mark, outcome, place, seconds, summary};
use crate::{Decisive, Event, EventId, Finding, Kind, Lane, Observation, Report, Run, visible};

/// Columns of a line.
const WIDTH: usize = 100;
/// Lines of one run's timeline: a mail does not want all of a long one.
const MAX_TIMELINE_LINES: usize = 300;
/// The column of subjects in the comparison.
const SUBJECT: usize = 18;
/// A column of the comparison that is narrower than this cannot be read; runs then stand below each
/// other.
const MIN_COLUMN: usize = 24;

/// Writes `report` as text.
///
/// # Errors
/// `out` cannot be written.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for line in wrap(&report.title, WIDTH) {
        writeln!(out, "{line}")?;
    }
    let width = report.title.chars().count().min(WIDTH);
    writeln!(out, "{}\n", "=".repeat(width))?;
    let verdict = format!(
        "{}. {}",
        outcome(report.verdict.outcome),
        report.verdict.sentence
    );
    paragraph(out, "", &verdict)?;
    writeln!(out)?;
    compare(report, out)?;
    for run in &report.runs {
        decisive(run, out)?;
        changes(run, out)?;
    }
    machines(report, out)?;
    for run in &report.runs {
        timeline(run, out)?;
    }
    Ok(())
}

/// Writes the table of findings, runs side by side where they fit.
fn compare(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.runs.is_empty() {
        return Ok(());
    }
    let fits = (WIDTH - SUBJECT) / report.runs.len() > MIN_COLUMN;
    if fits {
        return compare_runs(&report.runs.iter().collect::<Vec<_>>(), report, out);
    }
    for run in &report.runs {
        compare_runs(&[run], report, out)?;
    }
    Ok(())
}

fn compare_runs(runs: &[&Run], report: &Report, out: &mut dyn Write) -> io::Result<()> {
    // A column of space is left between two runs.
    let width = (WIDTH - SUBJECT) / runs.len() - 1;
    let row = |subject: &str, cells: Vec<String>, out: &mut dyn Write| -> io::Result<()> {
        let mut columns = vec![wrap(subject, SUBJECT - 1)];
        columns.extend(cells.iter().map(|cell| wrap_lines(cell, width)));
        let height = columns.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            let mut text = String::new();
            for (index, column) in columns.iter().enumerate() {
                let cell = column.get(line).map_or("", String::as_str);
                let width = if index == 0 { SUBJECT } else { width + 1 };
                text.push_str(cell);
                let used = cell.chars().count();
                text.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
            }
            writeln!(out, "{}", text.trim_end())?;
        }
        Ok(())
    };
    let rule = |out: &mut dyn Write| writeln!(out, "{}", "-".repeat(WIDTH));
    rule(out)?;
    row(
        "",
        runs.iter().map(|run| run.name.to_uppercase()).collect(),
        out,
    )?;
    row(
        "",
        runs.iter().map(|run| run.behaviour.clone()).collect(),
        out,
    )?;
    rule(out)?;
    row(
        "verdict",
        runs.iter()
            .map(|run| {
                let word = outcome(run.verdict.outcome);
                let word = word.to_lowercase();
                format!("{}, {word}: {}", mark(run.health), run.verdict.sentence)
            })
            .collect(),
        out,
    )?;
    rule(out)?;
    for subject in report.subjects() {
        let cells = runs
            .iter()
            .map(|run| run.finding(subject).map_or_else(String::new, finding))
            .collect();
        row(subject, cells, out)?;
    }
    rule(out)?;
    writeln!(out)
}

/// Returns both sides of a finding, one a line.
fn finding(finding: &Finding) -> String {
    let side = |name: &str, observation: &Observation| {
        format!("{name} {}: {}", mark(observation.mark), observation.text)
    };
    format!(
        "{}\n{}",
        side("host ", &finding.hypervisor),
        side("guest", &finding.guest)
    )
}

fn decisive(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    heading(out, &format!("Decisive events: {}", run.name))?;
    if run.decisive.is_empty() {
        return writeln!(out, "None.\n");
    }
    for (item, number) in run.decisive.iter().zip(1_u32..) {
        decisive_one(run, item, number, out)?;
    }
    writeln!(out)
}

fn decisive_one(run: &Run, item: &Decisive, number: u32, out: &mut dyn Write) -> io::Result<()> {
    let Some(event) = run.timeline.event(item.event) else {
        return writeln!(out, "{number:>3}. (an event that is not in the timeline)");
    };
    let meaning = format!("{:>4} {}", mark(item.mark), item.meaning);
    let first = format!("{number:>3}. {} s  ", seconds(event.at));
    paragraph(out, &first, &meaning)?;
    let indent = " ".repeat(first.chars().count() + 5);
    paragraph(
        out,
        &indent,
        &format!("{}: {}", lane(run, event), summary(event)),
    )
}

fn changes(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    heading(out, &format!("Changed in the guest: {}", run.name))?;
    if run.changes.is_empty() {
        return writeln!(out, "Nothing: the image ran as it is.\n");
    }
    for change in &run.changes {
        let line = format!(
            "{}, by behaviour '{}': {}, {} -> {}",
            change.meaning,
            change.behaviour,
            place(&change.place),
            change.old,
            change.new
        );
        paragraph(out, &format!("{} s  ", seconds(change.at)), &line)?;
    }
    writeln!(out)
}

/// Writes the machines; one that several runs share is written once.
fn machines(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut shown = Vec::new();
    for run in &report.runs {
        if shown.contains(&&run.machine) {
            continue;
        }
        let names: Vec<&str> = report
            .runs
            .iter()
            .filter(|other| other.machine == run.machine)
            .map(|other| other.name.as_str())
            .collect();
        shown.push(&run.machine);
        heading(out, &format!("Machine: {}", names.join(", ")))?;
        machine(run, out)?;
    }
    Ok(())
}

fn machine(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let machine = &run.machine;
    paragraph(out, "kernel        ", &machine.kernel)?;
    paragraph(out, "SHA-256       ", &machine.sha256)?;
    if let Some(version) = &machine.version {
        paragraph(out, "version       ", version)?;
    }
    paragraph(out, "command line  ", &machine.command_line)?;
    let size = format!(
        "{}, {} of memory, seed {}",
        count(machine.cpus.into(), "core"),
        bytes(machine.memory),
        machine.seed
    );
    paragraph(out, "machine       ", &size)?;
    for device in &machine.devices {
        let port = device.utlb.as_ref().map_or_else(
            || "no IOMMU".to_owned(),
            |(unit, utlb)| format!("{unit} uTLB {utlb}"),
        );
        let line = format!("{} ({port}): {}", device.name, device.summary());
        paragraph(out, "device        ", &line)?;
    }
    writeln!(out)
}

fn timeline(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let all = &run.timeline.events;
    heading(
        out,
        &format!("Timeline: {}, {} events", run.name, all.len()),
    )?;
    let chosen = choose(run);
    let mut last = None;
    for index in &chosen {
        let expected: usize = last.map_or(0, |last: usize| last + 1);
        if *index > expected {
            writeln!(
                out,
                "      ... {} events left out here ...",
                index - expected
            )?;
        }
        last = Some(*index);
        line(run, *index, &all[*index], out)?;
    }
    let rest = all.len() - last.map_or(0, |last| last + 1);
    if rest > 0 {
        writeln!(out, "      ... {rest} events left out here ...")?;
    }
    for dropped in &run.timeline.dropped {
        let what = dropped.category.plural();
        let text = format!(
            "{} more {what} came when the recorder was full",
            dropped.count
        );
        writeln!(out, "      ({text})")?;
    }
    writeln!(out)
}

/// Returns the indices of the events to print, in order: all if they fit; otherwise the decisive
/// ones, then what explains, then the rest.
fn choose(run: &Run) -> Vec<usize> {
    let all = &run.timeline.events;
    let rank = |index: usize| {
        let decides = |item: &Decisive| item.event.0 as usize == index;
        let bulk = all[index].kind.category().is_bulk();
        let console = matches!(all[index].kind, Kind::Console { .. });
        match (run.decisive.iter().any(decides), bulk) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) if !console => 2,
            (false, true) => 3,
        }
    };
    let mut order: Vec<usize> = (0..all.len()).collect();
    if order.len() > MAX_TIMELINE_LINES {
        // Cached, as each rank is a search through the decisive events.
        order.sort_by_cached_key(|index| (rank(*index), *index));
        order.truncate(MAX_TIMELINE_LINES);
        order.sort_unstable();
    }
    order
}

fn line(run: &Run, index: usize, event: &Event, out: &mut dyn Write) -> io::Result<()> {
    let id = u32::try_from(index).ok().map(EventId);
    let flag = match run.decisive.iter().position(|item| Some(item.event) == id) {
        Some(number) => format!("#{}", number + 1),
        None => String::new(),
    };
    let core = event
        .core
        .map_or_else(|| "    ".to_owned(), |core| format!("cpu{core}"));
    // A longer name would push the text out of its column.
    let lane: String = lane(run, event).chars().take(20).collect();
    let start = format!("{flag:>3} {:>14} {core} {lane:<20} ", seconds(event.at));
    paragraph(out, &start, &summary(event))
}

fn lane(run: &Run, event: &Event) -> String {
    run.timeline
        .lane(event.lane)
        .map_or_else(|| "?".to_owned(), Lane::to_string)
}

fn heading(out: &mut dyn Write, text: &str) -> io::Result<()> {
    let lines = wrap(text, WIDTH);
    let longest = lines.iter().map(|line| line.chars().count()).max();
    for line in lines {
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out, "{}", "-".repeat(longest.unwrap_or(0)))
}

/// Writes `text` after `start`, further lines indented as far.
fn paragraph(out: &mut dyn Write, start: &str, text: &str) -> io::Result<()> {
    let start = visible(start);
    // At most half a line, or a long start would leave no room for the text.
    let indent = start.chars().count().min(WIDTH / 2);
    for (number, line) in wrap(text, WIDTH - indent).iter().enumerate() {
        let before = if number == 0 {
            start.clone()
        } else {
            " ".repeat(indent)
        };
        writeln!(out, "{}", format!("{before}{line}").trim_end())?;
    }
    Ok(())
}

/// Wraps each line of `text`; those after the first of each indented a little.
fn wrap_lines(text: &str, width: usize) -> Vec<String> {
    text.split('\n')
        .flat_map(|line| {
            // Leaves room for the indent of further lines.
            wrap(line, width.saturating_sub(2))
                .into_iter()
                .enumerate()
                .map(|(number, line)| {
                    if number > 0 {
                        format!("  {line}")
                    } else {
                        line
                    }
                })
        })
        .collect()
}

/// Breaks `text` into lines of at most `width` characters, at spaces where there are any.
fn wrap(text: &str, width: usize) -> Vec<String> {
    // Escapes first, as they take more columns than what they stand for.
    let text = visible(text);
    // With no width at all a word could be cut forever.
    let width = width.max(8);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let mut word: &str = word;
        let mut length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        // A word that is longer than a line is cut, by characters: text of the guest may have any.
        while length > width {
            let cut = word
                .char_indices()
                .nth(width)
                .map_or(word.len(), |(at, _)| at);
            lines.push(word[..cut].to_owned());
            word = &word[cut..];
            length -= width;
        }
        line.push_str(word);
        used += length;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wraps_at_spaces_and_cuts_what_has_none() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("0123456789abcdef x", 8), ["01234567", "89abcdef", "x"]);
        assert_eq!(wrap("", 8), [""]);
    }

    proptest! {
        #[test]
        fn wrapping_keeps_the_words_and_the_width(text in "[a-z ]{0,200}", width in 8_usize..40) {
            let lines = wrap(&text, width);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:?}");
            let letters = |text: &str| text.replace(' ', "");
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }
    }
}
