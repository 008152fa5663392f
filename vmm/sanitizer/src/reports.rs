//! All reports of a run: like ones counted, and never more than a limit.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vmm_timeline::Direction;

use crate::report::{Call, History, Report};
use crate::{Kind, Options, PAGE_BITS};

/// Most reports that are kept; others are counted. A mistake that is made in one place is one
/// report, however often it is made.
pub const MAX_REPORTS: usize = 256;

/// Is told of each report when it is made for the first time.
pub type Tell = Box<dyn Fn(&Report) + Send + Sync>;

/// The reports of a run, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// The reports, in the order in which they were made for the first time.
    pub reports: Vec<Report>,
    /// How many mistakes there were of each kind, those included that are not kept.
    pub counts: BTreeMap<Kind, u64>,
    /// How many mistakes are in no report, as there were [`MAX_REPORTS`] before.
    pub beyond: u64,
}

/// Returns how many mistakes there were of each kind, in words.
pub fn counted(counts: &BTreeMap<Kind, u64>) -> String {
    let counts = counts.iter().map(|(kind, count)| format!("{kind} {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

impl Findings {
    /// Returns whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Returns how many mistakes there were.
    pub fn total(&self) -> u64 {
        self.counts
            .values()
            .fold(0, |sum, n| sum.saturating_add(*n))
    }
}

/// What makes two mistakes alike.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Likeness {
    kind: Kind,
    device: String,
    write: Option<bool>,
    /// The calls that mapped, unmapped and freed, and the code that accessed.
    stacks: [Vec<String>; 4],
    /// The page, where no call tells mistakes apart.
    page: Option<u64>,
}

impl Likeness {
    fn of(report: &Report) -> Self {
        let stack = |call: &Option<Call>| call.as_ref().map(|call| call.stack.clone());
        let History {
            mapped,
            unmapped,
            freed,
            accessed,
        } = &report.history;
        let calls = [mapped, unmapped, freed, accessed];
        let mut stacks = calls.map(|call| stack(call).unwrap_or_default());
        // Of an access by the CPU only the function counts: many lead to `memcpy`.
        let [.., accessed] = &mut stacks;
        accessed.truncate(1);
        for text in accessed {
            let end = text.find('+').unwrap_or(text.len());
            text.truncate(end);
        }
        let known = stacks.iter().any(|stack| !stack.is_empty());
        Self {
            kind: report.kind,
            device: report.device.clone(),
            write: report.access.map(|access| access == Direction::Write),
            stacks,
            page: (!known).then_some(report.iova.0 >> PAGE_BITS),
        }
    }
}

#[derive(Default)]
struct Collected {
    findings: Findings,
    places: BTreeMap<Likeness, usize>,
}

/// Collects the reports of a run. Only kinds that are wanted are collected.
pub struct Reports {
    options: Options,
    tell: Tell,
    collected: Mutex<Collected>,
}

impl Reports {
    /// Creates an empty collection; `tell` is told of each report when it is made for the first
    /// time.
    pub fn new(options: Options, tell: Tell) -> Self {
        Self {
            options,
            tell,
            collected: Mutex::default(),
        }
    }

    /// Returns what is looked for.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        // Each change is whole before anything can panic.
        self.collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a report, or counts it if there was one like it, or if there are too many.
    pub fn add(&self, mut report: Report) {
        if !self.options.wants(report.kind) {
            return;
        }
        report.cut();
        let like = Likeness::of(&report);
        let mut collected = self.collected();
        let Collected { findings, places } = &mut *collected;
        let count = findings.counts.entry(report.kind).or_default();
        *count = count.saturating_add(report.count);
        if let Some(&place) = places.get(&like) {
            let first = &mut findings.reports[place];
            first.count = first.count.saturating_add(report.count);
            return;
        }
        if findings.reports.len() >= MAX_REPORTS {
            findings.beyond = findings.beyond.saturating_add(report.count);
            return;
        }
        places.insert(like, findings.reports.len());
        findings.reports.push(report.clone());
        // Told without the lock: who is told may take its time.
        drop(collected);
        (self.tell)(&report);
    }

    /// Forgets all reports, as if the run began here.
    pub fn clear(&self) {
        *self.collected() = Collected::default();
    }

    /// Returns what was found until now.
    pub fn findings(&self) -> Findings {
        self.collected().findings.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::report::{MAX_FRAMES, MAX_TEXT};

    fn reports(options: &str) -> (Reports, Arc<AtomicUsize>) {
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let tell = move |_: &Report| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let options = options.parse().unwrap();
        (Reports::new(options, Box::new(tell)), told)
    }

    fn report(iova: u64) -> Report {
        Report::new(
            Kind::MissingInvalidation,
            1,
            "disk0",
            iova,
            "disk0 did".into(),
        )
    }

    fn by(function: &str) -> History {
        History {
            mapped: Some(Call {
                at: 1,
                core: Some(0),
                stack: vec![function.into()],
            }),
            ..History::default()
        }
    }

    #[test]
    fn like_mistakes_are_one_report() {
        let (reports, told) = reports("dma");
        reports.add(report(0x1000));
        reports.add(report(0x1ff0));
        reports.add(report(0x2000));
        reports.add(report(0x1000).with_access(Direction::Write));
        let findings = reports.findings();
        assert_eq!(told.load(Ordering::Relaxed), 3);
        let counts: Vec<u64> = findings.reports.iter().map(|r| r.count).collect();
        assert_eq!(counts, [2, 1, 1]);
        assert_eq!(findings.total(), 4);
        assert_eq!(findings.counts[&Kind::MissingInvalidation], 4);
    }

    #[test]
    fn the_caller_tells_mistakes_apart_if_it_is_known() {
        let (reports, told) = reports("dma");
        reports.add(report(0x1000).with_history(by("a")));
        reports.add(report(0x9000).with_history(by("a")));
        reports.add(report(0x1000).with_history(by("b")));
        assert_eq!(told.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn accesses_by_one_function_are_alike() {
        let (reports, told) = reports("dma");
        for accessed in ["memcpy+0x10", "memcpy+0x20", "memset+0x20"] {
            let mut history = by("a");
            history.accessed = by(accessed).mapped;
            reports.add(report(0x1000).with_history(history));
        }
        assert_eq!(told.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (reports, told) = reports("dma");
        for page in 0..MAX_REPORTS as u64 + 10 {
            reports.add(report(page << PAGE_BITS));
        }
        assert_eq!(told.load(Ordering::Relaxed), MAX_REPORTS);
        let findings = reports.findings();
        assert_eq!((findings.reports.len(), findings.beyond), (MAX_REPORTS, 10));
        assert_eq!(findings.total(), MAX_REPORTS as u64 + 10);
    }

    #[test]
    fn long_texts_are_cut() {
        let (reports, _) = reports("dma");
        let mut long = report(0).with_history(by("f"));
        let call = long.history.mapped.as_mut().unwrap();
        call.stack = vec!["\u{e9}".repeat(MAX_TEXT); MAX_FRAMES + 1];
        long.text = "x".repeat(2 * MAX_TEXT);
        reports.add(long);
        let kept = &reports.findings().reports[0];
        assert_eq!(kept.text.len(), MAX_TEXT);
        let stack = &kept.history.mapped.as_ref().unwrap().stack;
        assert_eq!((stack.len(), stack[0].len()), (MAX_FRAMES, MAX_TEXT));
    }

    #[test]
    fn kinds_that_are_not_wanted_are_not_collected() {
        let (reports, told) = reports("dma=leak");
        reports.add(report(0));
        assert!(reports.findings().is_empty());
        assert_eq!(told.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn findings_are_data() {
        let (reports, _) = reports("dma");
        reports.add(report(0x1000).with_history(by("a")).with_physical(Some(7)));
        let findings = reports.findings();
        let text = serde_json::to_string(&findings).unwrap();
        assert!(text.contains(r#""kind":"missing-invalidation""#), "{text}");
        assert!(
            text.contains(r#""iova":"0x1000","physical":"0x7""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Findings>(&text).unwrap(), findings);
    }
}
