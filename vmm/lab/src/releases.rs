//! The verdicts on kernels that nothing is changed in, as a table: scenarios by release.

use std::collections::{BTreeMap, BTreeSet};

use guest_images::catalog;
use serde::{Deserialize, Serialize};

use super::load::Case;

/// The behaviour that changes nothing.
const STOCK: &str = "stock";
/// Most releases of a table.
const MAX_RELEASES: usize = 64;
/// What stands where a scenario is not run.
const NOTHING: &str = "-";

/// Returns the runs of the table: each of `cases` that leaves the kernel as it is, on its own image
/// and on those that its scenario names besides.
pub fn runs(cases: &[Case]) -> Vec<Case> {
    let stock = cases.iter().filter(|case| case.behaviour_name == STOCK);
    let mut runs = Vec::new();
    for case in stock {
        runs.push(case.clone());
        for image in &case.machine.same_on {
            let mut other = case.clone();
            other.machine.image.clone_from(image);
            other.name = format!("{} ({image})", case.name);
            runs.push(other);
        }
    }
    runs
}

/// The table of [`runs`] without its texts: its lines, and where the text of each run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// What stands at the beginning of each line: IOMMU, kind of kernel, and setting.
    rows: Vec<[String; 3]>,
    /// The place of each run.
    runs: Vec<Place>,
}

/// The place of a run in the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    row: usize,
    release: String,
}

impl Layout {
    /// Creates the layout of the table of `runs`. A line is one setting, on the kernels of one
    /// kind.
    pub fn new(runs: &[Case]) -> Self {
        let mut first: Vec<&Case> = Vec::new();
        let mut rows: Vec<[String; 3]> = Vec::new();
        let mut places = Vec::new();
        for case in runs {
            let (kind, release) = kernel(case);
            let row = first.iter().position(|first| is_of_row(first, case));
            let row = row.unwrap_or_else(|| {
                first.push(case);
                let iommu = case.topology.iommu.name();
                rows.push([iommu, kind, setting(case)].map(str::to_owned));
                rows.len() - 1
            });
            // Where the names of its cases agree, up to a dot.
            let name = &mut rows[row][2];
            *name = common(name, setting(case)).to_owned();
            let release = release.to_owned();
            places.push(Place { row, release });
        }
        Self { rows, runs: places }
    }

    /// Returns whether this can be the layout of so many runs. One that was read from a file need
    /// not be.
    pub(super) fn fits(&self, runs: usize) -> bool {
        let releases: BTreeSet<&str> = self.runs.iter().map(|run| &*run.release).collect();
        let placed = self.runs.iter().all(|run| run.row < self.rows.len());
        placed
            && self.runs.len() == runs
            && self.rows.len() <= runs
            && releases.len() <= MAX_RELEASES
    }

    /// Returns the table, with a text for each run, such as a verdict. Texts of one line and
    /// release that differ, as those of settings of `fw_devlink` may, stand beside each other.
    pub fn table(&self, texts: &[String]) -> String {
        let mut releases: Vec<&str> = Vec::new();
        for Place { release, .. } in &self.runs {
            if !releases.contains(&release.as_str()) {
                releases.push(release);
            }
        }
        releases.sort_by_key(|release| number(release));
        let cells = self.cells(texts);
        let head = ["IOMMU", "kernel", "scenario"].map(str::to_owned);
        let columns = releases.iter().map(ToString::to_string);
        let mut lines = vec![line(head.into_iter().chain(columns))];
        lines.extend(self.rows.iter().enumerate().map(|(row, facts)| {
            let cells = releases
                .iter()
                .map(|release| match cells.get(&(row, *release)) {
                    Some(texts) => texts.join("/"),
                    None => NOTHING.into(),
                });
            line(facts.iter().cloned().chain(cells))
        }));
        lines.concat()
    }

    /// Returns the texts of each line and release, each once.
    fn cells<'t>(&'t self, texts: &'t [String]) -> BTreeMap<(usize, &'t str), Vec<&'t str>> {
        let mut cells: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        for (place, text) in self.runs.iter().zip(texts) {
            let cell = cells.entry((place.row, &*place.release)).or_default();
            if !cell.contains(&text.as_str()) {
                cell.push(text);
            }
        }
        cells
    }
}

/// Returns whether both cases are of one line: they differ in the release only, or in `fw_devlink`.
fn is_of_row(first: &Case, case: &Case) -> bool {
    let setting = |case: &Case| {
        let topology = &case.topology;
        let scenario = case.name.split('.').next().map(str::to_owned);
        let devices = (topology.iommu, topology.instances, topology.device.clone());
        (scenario, case.trigger.clone(), devices)
    };
    setting(first) == setting(case) && kernel(first).0 == kernel(case).0
}

/// Returns the kind of a case's kernel, which is its image's name without the release, and the
/// release.
fn kernel(case: &Case) -> (&str, &'static str) {
    let name = case.machine.image.as_str();
    let Ok(spec) = catalog::find(name) else {
        return (name, "?");
    };
    let kind = spec.name.strip_suffix(spec.kernel);
    let kind = kind.and_then(|kind| kind.strip_suffix('-'));
    (kind.unwrap_or(spec.name), spec.kernel)
}

/// Returns the name of a case without behaviour and `fw_devlink`.
fn setting(case: &Case) -> &str {
    case.group
        .rsplit_once('.')
        .map_or(&case.group, |(name, _)| name)
}

/// Returns what both names begin with, up to a dot.
fn common<'n>(first: &'n str, second: &str) -> &'n str {
    if first == second {
        return first;
    }
    let parts = first.split('.').zip(second.split('.'));
    let same = parts.take_while(|(first, second)| first == second);
    // Each part but the last is followed by a dot.
    let length: usize = same.map(|(part, _)| part.len() + 1).sum();
    &first[..length.saturating_sub(1)]
}

/// Returns the numbers of a release, to sort by.
fn number(release: &str) -> Vec<u32> {
    release
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}

/// Returns a line of the table.
fn line(cells: impl Iterator<Item = String>) -> String {
    const WIDTHS: [usize; 3] = [10, 17, 24];
    let widths = WIDTHS.into_iter().chain(std::iter::repeat(9));
    let cells: Vec<String> = cells
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    format!("{}\n", cells.join(" ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Lab;

    #[test]
    fn lines_are_settings_and_columns_are_releases_in_order() {
        let lab = Lab::shipped().unwrap();
        let mut cases = lab.select("rockchip").unwrap();
        cases.extend(lab.select("rebind.shared").unwrap());
        let runs = runs(&cases);
        let verdict = |case: &Case| {
            // One of the two settings of fw_devlink with another verdict.
            let odd = case.name == "rebind.shared.stock.on (ipmmu-6.12)";
            match odd {
                true => "broken".into(),
                false => case.expect.verdict.to_string(),
            }
        };
        let verdicts: Vec<String> = runs.iter().map(verdict).collect();
        let text = Layout::new(&runs).table(&verdicts);
        let words: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            words,
            [
                vec!["IOMMU", "kernel", "scenario", "5.10", "6.1", "6.12", "7.2"],
                vec![
                    "rockchip",
                    "debian-armmp",
                    "rockchip",
                    "bypassed",
                    "bypassed",
                    "healthy",
                    "healthy"
                ],
                vec![
                    "ipmmu",
                    "ipmmu",
                    "rebind.shared",
                    "-",
                    "healthy",
                    "healthy/broken",
                    "-"
                ],
            ]
        );
        assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
    }

    #[test]
    fn a_behaviour_is_no_matter_of_releases() {
        let lab = Lab::shipped().unwrap();
        let runs = runs(lab.cases());
        assert!(runs.len() > 30 && runs.iter().all(|case| case.behaviour_name == STOCK));
        // Whatever image a scenario names, there is one.
        assert!(runs.iter().all(|case| kernel(case).1 != "?"));
    }
}
