//! Mistakes with DMA that a sanitizer finds in runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmm_faults::Account;
use vmm_faults::spec::{DiskFault, Fault};
use vmm_introspect::types::vmlinux::TypesFrom;
use vmm_machine::{IommuSink, Machine};
use vmm_sanitizer::{DmaApi, Findings, Kind, Options, Report, Sanitizer, Tell, counted};
use vmm_timeline::recording::Recording;

use super::error::CampaignError;
use super::run::Task;

/// Most reports that a record keeps. A mistake that is made in one place is one report.
const MAX_KEPT: usize = 16;

/// The mistakes with DMA in a run, from the beginning of its scenario on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistakes {
    /// How many there were of each kind.
    pub counts: BTreeMap<Kind, u64>,
    /// The first reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<Report>,
}

impl Mistakes {
    /// Returns whether there was none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Keeps the first of what was found in a run of `task`. What devices access after a fault that
    /// leads them astray is no mistake of the guest's, nor is what they translate after one that
    /// has an IOMMU remember something else than the guest has told it.
    pub(super) fn of(findings: &Findings, task: &Task, account: &Account) -> Self {
        let astray = since(task, account, leads_astray);
        let misled = since(task, account, misleads_translation);
        if astray.or(misled).is_none() {
            return Self {
                counts: findings.counts.clone(),
                reports: findings.reports.iter().take(MAX_KEPT).cloned().collect(),
            };
        }
        let after = |at: u64, since: Option<u64>| since.is_some_and(|since| at >= since);
        let mut own = Self::default();
        // Of those that are in no report it is not known when they were.
        for report in &findings.reports {
            let of_translation = report.kind == Kind::MissingInvalidation;
            if report.access.is_some() && after(report.at, astray)
                || of_translation && after(report.at, misled)
            {
                continue;
            }
            let count = own.counts.entry(report.kind).or_default();
            *count = count.saturating_add(report.count);
            if own.reports.len() < MAX_KEPT {
                own.reports.push(report.clone());
            }
        }
        own
    }

    /// Returns lines that show them to a person. Whatever is the guest's in them is escaped.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.reports.iter().flat_map(Report::lines);
        lines.map(|line| line.escape_debug().to_string()).collect()
    }

    /// Returns how many there were, in words.
    pub fn sum(&self) -> String {
        counted(&self.counts)
    }
}

/// Returns whether a fault may have a device access what the guest has not given it for that: by
/// another address or at another time than it was told, or past an IOMMU that has lost what was
/// written to it.
const fn leads_astray(fault: &Fault) -> bool {
    match fault {
        Fault::Chain(_) | Fault::RegisterRead(_) | Fault::RegisterWrite(_) => true,
        Fault::Disk(fault) => matches!(
            fault,
            // One byte is read and written back by the device.
            DiskFault::Flip { .. } | DiskFault::LateData { .. } | DiskFault::Again { .. }
        ),
        Fault::Translation(_)
        | Fault::PageTable(_)
        | Fault::Flush(_)
        | Fault::Interrupt(_)
        | Fault::Queue(_)
        | Fault::Request(_)
        | Fault::Report(_)
        | Fault::Function(_) => false,
    }
}

/// Returns whether a fault may have an IOMMU translate as its tables do not say: an invalidation
/// that the guest asked for does not come, or a table was read as it is not.
const fn misleads_translation(fault: &Fault) -> bool {
    matches!(fault, Fault::Flush(_) | Fault::PageTable(_))
}

/// Returns when there was the first of the faults that `counts`, in nanoseconds since power-on, if
/// there was one.
fn since(task: &Task, account: &Account, counts: fn(&Fault) -> bool) -> Option<u64> {
    let leads = |rule: usize| {
        let rule = task.rules.get(rule);
        rule.is_some_and(|rule| counts(&rule.fault))
    };
    let mut told = account.told.iter();
    let first = told.find(|told| leads(told.rule));
    // Not all are told: the first one may be among the rest.
    let untold = || {
        let left = account.faults > account.told.len() as u64;
        let any = (0..task.rules.len()).any(leads);
        account.told.last().filter(|_| left && any)
    };
    first.or_else(untold).map(|told| told.at_ns)
}

/// The sanitizer of a machine.
pub struct Watch {
    sanitizer: Arc<Sanitizer>,
    api: DmaApi,
}

/// Returns who is told of reports: `recording`, if there is one.
fn tell(recording: Option<&Arc<Recording>>) -> Tell {
    let recording = recording.map(Arc::clone);
    Box::new(move |report| {
        if let Some(recording) = &recording {
            report.record(recording);
        }
    })
}

/// The sanitizer of a machine that is yet to be made.
pub(super) struct Unconnected<'w> {
    sanitizer: Arc<Sanitizer>,
    /// What is known of a machine that the new one goes on from.
    before: Option<&'w DmaApi>,
}

impl<'w> Unconnected<'w> {
    /// Creates that of a machine that boots.
    pub fn new(options: &Options, recording: Option<&Arc<Recording>>) -> Self {
        Self {
            sanitizer: Sanitizer::new(options.clone(), tell(recording)),
            before: None,
        }
    }

    /// Creates that of a machine that goes on from a snapshot of the one that `watch` was of.
    pub fn fork(watch: &'w Watch, recording: Option<&Arc<Recording>>) -> Self {
        Self {
            sanitizer: watch.sanitizer.fork(tell(recording)),
            before: Some(&watch.api),
        }
    }

    /// Returns the sink that the machine is to be given.
    pub fn sink(&self) -> Arc<dyn IommuSink> {
        self.sanitizer.sink()
    }

    /// Connects it to `machine`, which has not run.
    ///
    /// # Errors
    /// The calls of the kernel of such a machine cannot be followed.
    pub fn connect(self, machine: &mut Machine) -> Result<Watch, CampaignError> {
        let Self { sanitizer, before } = self;
        let api = match before {
            Some(before) => before.go_on(&sanitizer, machine, TypesFrom::Kernel),
            None => DmaApi::attach(&sanitizer, machine, TypesFrom::Kernel)
                .map_err(|why| CampaignError::NotFollowed(why.to_string()))?,
        };
        Ok(Watch { sanitizer, api })
    }
}

impl Watch {
    /// Has the scenario begin: what the guest did before is known, and not reported.
    ///
    /// # Errors
    /// The kernel's calls were not followed, so that it would be said of no run that it has made a
    /// mistake.
    pub(super) fn begin(&self) -> Result<(), CampaignError> {
        self.sanitizer.reports().clear();
        let problem = self.api.problem().map(CampaignError::NotFollowed);
        problem.map_or(Ok(()), Err)
    }

    /// Returns what was found in a run that has ended at this time.
    pub(super) fn finish(&self, at_ns: u64) -> Findings {
        self.sanitizer.finish(at_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmm_faults::{FaultRecord, plan};
    use vmm_sanitizer::Reports;
    use vmm_timeline::Direction;

    fn task(faults: &str) -> Task {
        let plan = plan::parse("test", &format!("title = \"t\"\n{faults}")).unwrap();
        Task {
            run: 0,
            seed: 0,
            rules: plan.fault,
            point: None,
            more: Vec::new(),
            survey: false,
        }
    }

    #[test]
    fn what_devices_do_that_are_led_astray_is_no_mistake() {
        let task = task(
            "[[fault]]\nwhere = \"queue\"\nwhat = \"lost\"\n\
             [[fault]]\nwhere = \"chain\"\nwhat = \"flip-address\"\n\
             [[fault]]\nwhere = \"flush\"\nwhat = \"ignored\"\n",
        );
        let reports = Reports::new("dma".parse().unwrap(), Box::new(|_| ()));
        for (kind, at, access) in [
            (Kind::OutsideMapping, 10, true),
            (Kind::Direction, 20, true),
            (Kind::Leak, 30, false),
            (Kind::MissingInvalidation, 40, true),
        ] {
            let report = Report::new(kind, at, "disk0", at << 12, String::new());
            reports.add(match access {
                true => report.with_access(Direction::Read),
                false => report,
            });
        }
        let findings = reports.findings();
        let told = |at_ns, rule| FaultRecord {
            at_ns,
            rule,
            text: String::new(),
        };
        for (list, faults, expected) in [
            (
                vec![],
                0,
                "missing-invalidation 1, outside-mapping 1, direction 1, leak 1",
            ),
            (
                vec![told(5, 0)],
                1,
                "missing-invalidation 1, outside-mapping 1, direction 1, leak 1",
            ),
            (
                vec![told(5, 0), told(15, 1)],
                2,
                "outside-mapping 1, leak 1",
            ),
            (vec![told(5, 1)], 1, "leak 1"),
            (
                vec![told(35, 2)],
                1,
                "outside-mapping 1, direction 1, leak 1",
            ),
            (
                vec![told(45, 2)],
                1,
                "missing-invalidation 1, outside-mapping 1, direction 1, leak 1",
            ),
            // What is not told may have been of the second rule.
            (vec![told(15, 0)], 2, "outside-mapping 1, leak 1"),
        ] {
            let account = Account {
                told: list,
                faults,
                ..Account::default()
            };
            let mistakes = Mistakes::of(&findings, &task, &account);
            assert_eq!(mistakes.sum(), expected, "{account:?}");
        }
    }

    #[test]
    fn a_record_keeps_the_first_reports_and_counts_all() {
        let reports = Reports::new("dma".parse().unwrap(), Box::new(|_| ()));
        for page in 0..MAX_KEPT as u64 + 5 {
            let text = format!("disk0 did {page}\u{1b}");
            reports.add(Report::new(Kind::Leak, 1, "disk0", page << 12, text));
        }
        let of = |findings: Findings| Mistakes::of(&findings, &task(""), &Account::default());
        let mistakes = of(reports.findings());
        assert!(!mistakes.is_empty());
        assert_eq!(mistakes.reports.len(), MAX_KEPT);
        assert_eq!(mistakes.sum(), "leak 21");
        assert_eq!(mistakes.lines()[1], "leak: disk0 did 1\\u{1b}");
        let text = serde_json::to_string(&mistakes).unwrap();
        assert_eq!(serde_json::from_str::<Mistakes>(&text).unwrap(), mistakes);
        assert!(of(Findings::default()).is_empty());
    }
}
