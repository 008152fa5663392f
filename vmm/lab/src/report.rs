//! Runs side by side.

use super::run::Judged;
use vmm_timeline::{Report, Verdict, VerdictKind};

/// Returns one report on several runs, the first being what the others are compared with.
pub fn report(title: impl Into<String>, judged: &[Judged]) -> Report {
    let wrong: Vec<&str> = judged
        .iter()
        .filter(|one| !one.judgement.is_expected())
        .map(|one| one.case.name.as_str())
        .collect();
    let healths = judged.iter().map(|one| {
        let name = &one.case.behaviour_name;
        format!("{name} is {}", one.judgement.health)
    });
    let healths: Vec<String> = healths.collect();
    let verdict = match wrong.as_slice() {
        [] => Verdict::new(VerdictKind::Expected, format!("{}.", healths.join(", "))),
        wrong => Verdict::new(
            VerdictKind::Unexpected,
            format!(
                "{}. Not as expected: {}.",
                healths.join(", "),
                wrong.join(", ")
            ),
        ),
    };
    let mut report = Report::new(title, verdict);
    report.runs = judged.iter().map(|one| one.run.clone()).collect();
    report
}

/// Returns the comparison of two runs, say of a stock kernel and of one without the guard.
pub fn compare(first: &Judged, second: &Judged) -> Report {
    let title = format!(
        "{}: {} against {}",
        first.case.title, first.case.behaviour_name, second.case.behaviour_name
    );
    report(title, &[first.clone(), second.clone()])
}
