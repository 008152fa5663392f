//! Mistakes with DMA that a sanitizer found in a run: as signs, as lines, and as a row of a report.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use vmm_base::Seconds;
use vmm_introspect::types::vmlinux::TypesFrom;
use vmm_machine::board::Board;
use vmm_machine::{IommuSink, Machine};
use vmm_sanitizer::{AttachError, DmaApi, Findings, Kind, Options, Report, Sanitizer};
use vmm_timeline::recording::Recording;
use vmm_timeline::{Finding, Mark, Observation, visible};

use super::guest::Disk;
use super::signs::{self, Signs};

/// What a sanitizer says of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sanitized {
    /// What it found.
    #[serde(flatten)]
    pub findings: Findings,
    /// Why it did not follow the calls of the guest's kernel, so that kinds were not looked for;
    /// `None` if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_followed: Option<String>,
    /// The roles of the devices, by their names on the board.
    #[serde(skip)]
    roles: Vec<(String, char)>,
    /// The kinds that were looked for.
    #[serde(skip)]
    kinds: BTreeSet<Kind>,
}

impl Sanitized {
    /// Returns the sign of a mistake: one of its device, or of the machine if it has no role.
    fn sign(&self, report: &Report) -> String {
        let mut roles = self.roles.iter();
        match roles.find(|(name, _)| *name == report.device) {
            Some((_, role)) => signs::of(*role, report.kind.name()),
            None => report.kind.name().to_owned(),
        }
    }

    /// Returns the signs of all mistakes. Those that are counted only are the machine's.
    pub(super) fn signs(&self) -> Signs {
        let reports = &self.findings.reports;
        let kept: BTreeSet<Kind> = reports.iter().map(|report| report.kind).collect();
        let counted = self.findings.counts.keys();
        let counted = counted.filter(|kind| !kept.contains(kind));
        let signs = reports.iter().map(|report| self.sign(report));
        signs
            .chain(counted.map(|kind| kind.name().to_owned()))
            .collect()
    }

    /// Returns the kinds of which it can be said that there was no mistake, as far as an
    /// expectation is concerned: none where the kernel's calls were not followed.
    pub(super) fn looked_for(&self) -> BTreeSet<Kind> {
        match &self.not_followed {
            Some(_) => BTreeSet::new(),
            None => self.kinds.clone(),
        }
    }

    /// Returns lines that show what was found to a person: what happened, and who had to do with
    /// it. Whatever is the guest's in them is escaped.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for report in &self.findings.reports {
            let times = match report.count {
                1 => String::new(),
                many => format!(" ({many} times)"),
            };
            let what = format!("{}: {}{times}", self.sign(report), report.text);
            let at = Seconds(report.at);
            lines.push(format!("sanitize {at} {}", what.escape_debug()));
            // The first has the kind, and what is here already.
            let others = report.lines().into_iter().skip(1);
            lines.extend(others.map(|line| format!("sanitize   {}", line.escape_debug())));
        }
        if self.findings.beyond > 0 {
            let beyond = self.findings.beyond;
            lines.push(format!("sanitize {beyond} more are in no report"));
        }
        let why = self.not_followed.iter();
        lines.extend(why.map(|why| {
            format!(
                "sanitize the kernel's DMA API was not followed: {}",
                why.escape_debug()
            )
        }));
        lines
    }

    /// Returns the row of a report. The guest knows nothing of mistakes that it makes.
    pub(super) fn finding(&self) -> Finding {
        let reports = self.findings.reports.iter();
        let mut parts: Vec<String> = reports
            .map(|report| {
                format!(
                    "{}: {} ({})",
                    self.sign(report),
                    visible(&report.text),
                    report.count
                )
            })
            .collect();
        let mark = match (parts.is_empty(), &self.not_followed) {
            (false, _) => Mark::Bad,
            (true, Some(_)) => Mark::Note,
            (true, None) => Mark::Ok,
        };
        if parts.is_empty() {
            parts.push("none".into());
        }
        let why = self.not_followed.iter();
        parts.extend(
            why.map(|why| format!("the kernel's DMA API was not followed: {}", visible(why))),
        );
        Finding {
            subject: "mistakes with DMA".into(),
            hypervisor: Observation::new(mark, parts.join("; ")),
            guest: Observation::new(Mark::None, "sees none of it"),
        }
    }
}

/// The sanitizer of a run.
pub(super) struct Watch {
    sanitizer: Arc<Sanitizer>,
    kinds: BTreeSet<Kind>,
    api: Option<Result<DmaApi, AttachError>>,
}

impl Watch {
    /// Creates the sanitizer of a machine that is yet to be made, whose reports are events of
    /// `recording`.
    pub fn new(options: &Options, recording: &Arc<Recording>) -> Self {
        let recording = Arc::clone(recording);
        let tell = move |report: &Report| {
            report.record(&recording);
        };
        Self {
            sanitizer: Sanitizer::new(options.clone(), Box::new(tell)),
            kinds: options.kinds.clone(),
            api: None,
        }
    }

    /// Returns the sink that the machine is to be given.
    pub fn sink(&self) -> Arc<dyn IommuSink> {
        self.sanitizer.sink()
    }

    /// Has it follow the calls of the kernel that `machine` is to boot. To be called when all
    /// probes are set: what they change is seen as the guest's own.
    pub fn attach(&mut self, machine: &mut Machine, types: TypesFrom) {
        self.api = Some(DmaApi::attach(&self.sanitizer, machine, types));
    }

    /// Returns what was found in the run of `machine`, which has ended.
    pub fn finish(&self, machine: &Machine, board: &Board, disks: &[Disk]) -> Sanitized {
        let findings = self.sanitizer.finish(machine.summary().guest_ns);
        let not_followed = match &self.api {
            Some(Ok(api)) => api.problem(),
            Some(Err(why)) => Some(why.to_string()),
            None => None,
        };
        let roles = board.devices.iter().filter_map(|entry| {
            let name = entry.linux_name();
            let disk = disks.iter().find(|disk| disk.device == name)?;
            Some((entry.name.clone(), disk.role))
        });
        Sanitized {
            findings,
            not_followed,
            roles: roles.collect(),
            kinds: self.kinds.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use vmm_sanitizer::Reports;

    use super::*;

    fn sanitized(reports: &[(Kind, &str)]) -> Sanitized {
        let all = Reports::new("dma".parse().unwrap(), Box::new(|_| ()));
        for (kind, device) in reports {
            all.add(Report::new(
                *kind,
                1_500_000_000,
                device,
                0x1000,
                format!("{device} did\u{1b}"),
            ));
        }
        Sanitized {
            findings: all.findings(),
            roles: vec![("disk0".into(), 'A'), ("disk1".into(), 'B')],
            kinds: Kind::ALL.into(),
            ..Sanitized::default()
        }
    }

    #[test]
    fn mistakes_are_signs_of_their_devices() {
        let found = sanitized(&[
            (Kind::Leak, "disk1"),
            (Kind::Leak, "disk1"),
            (Kind::Direction, "disk0"),
            (Kind::FreedPage, "rng0"),
        ]);
        let signs: Vec<String> = found.signs().into_iter().collect();
        assert_eq!(signs, ["a-direction", "b-leak", "freed-page"]);
        assert_eq!(
            found.lines()[0],
            "sanitize 1.500000000 b-leak: disk1 did\\u{1b} (2 times)"
        );
        assert_eq!(found.finding().hypervisor.mark, Mark::Bad);
    }

    #[test]
    fn what_is_only_counted_is_a_sign_too() {
        let mut found = sanitized(&[(Kind::Leak, "disk1")]);
        found.findings.counts.insert(Kind::DoubleMap, 3);
        found.findings.beyond = 3;
        let signs: Vec<String> = found.signs().into_iter().collect();
        assert_eq!(signs, ["b-leak", "double-map"]);
        assert_eq!(
            found.lines().last().unwrap(),
            "sanitize 3 more are in no report"
        );
    }

    #[test]
    fn calls_that_were_not_followed_are_told_and_prove_nothing() {
        let mut found = sanitized(&[]);
        assert_eq!(found.lines(), [""; 0]);
        assert_eq!(found.finding().hypervisor.mark, Mark::Ok);
        assert_eq!(found.looked_for().len(), Kind::ALL.len());
        found.not_followed = Some("no types".into());
        assert!(found.looked_for().is_empty());
        assert_eq!(
            found.lines(),
            ["sanitize the kernel's DMA API was not followed: no types"]
        );
        assert_eq!(found.finding().hypervisor.mark, Mark::Note);
    }
}
