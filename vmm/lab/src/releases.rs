//! The verdicts on kernels that nothing is changed in, as a table: scenarios by release.

use guest_images::catalog;

use super::load::Case;

/// The behaviour that changes nothing.
const STOCK: &str = "stock";
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

/// A line of the table: one setting, on the kernels of one kind.
struct Row<'c> {
    first: &'c Case,
    /// Where the names of its cases agree, up to a dot.
    name: String,
    /// Releases, each with a text for each of its runs.
    cells: Vec<(&'static str, Vec<&'c str>)>,
}

/// Returns the table of [`runs`], each with a text for it, such as a verdict. Texts of one line and
/// release that differ, as those of settings of `fw_devlink` may, stand beside each other.
pub fn table(runs: &[(&Case, String)]) -> String {
    let mut rows: Vec<Row<'_>> = Vec::new();
    let mut releases: Vec<&'static str> = Vec::new();
    for (case, text) in runs {
        let (_, release) = kernel(case);
        if !releases.contains(&release) {
            releases.push(release);
        }
        let index = rows.iter().position(|row| is_of_row(row.first, case));
        let index = index.unwrap_or_else(|| {
            rows.push(Row {
                first: case,
                name: setting(case).to_owned(),
                cells: Vec::new(),
            });
            rows.len() - 1
        });
        rows[index].add(case, release, text);
    }
    releases.sort_by_key(|release| number(release));
    let head = ["IOMMU", "kernel", "scenario"].map(str::to_owned);
    let mut lines = vec![line(
        head.into_iter()
            .chain(releases.iter().map(ToString::to_string)),
    )];
    lines.extend(rows.iter().map(|row| {
        let cells = releases.iter().map(|release| row.cell(release));
        let facts = [
            row.first.topology.iommu.name().to_owned(),
            kernel(row.first).0.to_owned(),
            row.name.clone(),
        ];
        line(facts.into_iter().chain(cells))
    }));
    lines.concat()
}

impl<'c> Row<'c> {
    fn add(&mut self, case: &Case, release: &'static str, text: &'c str) {
        self.name = common(&self.name, setting(case)).to_owned();
        match self.cells.iter_mut().find(|cell| cell.0 == release) {
            Some((_, texts)) if texts.contains(&text) => {}
            Some((_, texts)) => texts.push(text),
            None => self.cells.push((release, vec![text])),
        }
    }

    fn cell(&self, release: &str) -> String {
        let cell = self.cells.iter().find(|cell| cell.0 == release);
        cell.map_or(NOTHING.into(), |(_, texts)| texts.join("/"))
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
        let verdicts: Vec<(&Case, String)> = runs
            .iter()
            .map(|case| {
                // One of the two settings of fw_devlink with another verdict.
                let odd = case.name == "rebind.shared.stock.on (ipmmu-6.12)";
                let text = if odd {
                    "broken".into()
                } else {
                    case.expect.verdict.to_string()
                };
                (case, text)
            })
            .collect();
        let text = table(&verdicts);
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
