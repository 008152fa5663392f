//! `--probe` and `--timeline` of `vmm boot`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use vmm::introspect::probe::{self, Hit, Probe};
use vmm::introspect::types::vmlinux::TypesFrom;
use vmm::timeline::export::{chrome, html, text};
use vmm::timeline::recording::{Recording, changes};
use vmm::timeline::{
    Device, GuestChange, Machine as Described, Mark, Report, Run, Verdict, VerdictKind,
};
use vmm::{Config, Machine};
use vmm_base::Seconds;
use vmm_machine::board::Entry;

use super::UserError;
use super::output::{self, Output};
use super::patience::Stderr;

/// Reads the probes; a mistake is a sentence.
pub fn parse(texts: &[String]) -> Result<Vec<Probe>, UserError> {
    let parse = |text: &String| {
        probe::parse(text)
            .map_err(|error| UserError::new(format!("cannot read the probe `{text}`: {error}")))
    };
    texts.iter().map(parse).collect()
}

/// A form of a timeline, by the end of its file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Html,
    Trace,
    Json,
}

impl Form {
    fn of(path: &Path) -> Result<Self, UserError> {
        let name = path.to_string_lossy();
        // The longer ending comes first: `.trace.json` ends with `.json` too.
        let forms = [
            (".trace.json", Self::Trace),
            (".json", Self::Json),
            (".txt", Self::Text),
            (".html", Self::Html),
        ];
        let form = forms.into_iter().find(|(end, _)| name.ends_with(end));
        form.map(|(_, form)| form).ok_or_else(|| {
            UserError::new(format!(
                "{name:?} does not say what form the timeline shall have: use .html, .txt, .json or .trace.json"
            ))
        })
    }
}

/// A timeline that is to be written.
pub struct Timeline {
    form: Form,
    output: Output,
    recording: Arc<Recording>,
}

impl Timeline {
    /// Finds out whether a timeline can be written to `path`.
    pub fn at(path: &Path) -> Result<Self, UserError> {
        Ok(Self {
            form: Form::of(path)?,
            output: Output::at(path, "timeline")?,
            recording: Arc::default(),
        })
    }

    /// Returns what records it.
    pub const fn recording(&self) -> &Arc<Recording> {
        &self.recording
    }

    /// Writes the timeline.
    pub fn write(
        mut self,
        config: &Config,
        image: Option<&str>,
        machine: &Machine,
        changes: Vec<GuestChange>,
    ) -> Result<(), UserError> {
        let report = report(&self.recording, config, image, machine, changes);
        // The forms are written in small pieces, and the output has no buffer of its own.
        let mut bytes = Vec::new();
        let path = self.output.path().display().to_string();
        let written = match self.form {
            Form::Text => text::write(&report, &mut bytes),
            Form::Html => html::write(&report, &mut bytes),
            Form::Trace => chrome::write(&report, &mut bytes),
            Form::Json => serde_json::to_writer(&mut bytes, &report).map_err(Into::into),
        };
        written
            .and_then(|()| self.output.write_all(&bytes))
            .and_then(|()| self.output.publish())
            .map(drop)
            .map_err(|error| {
                let why = output::reason(&error);
                UserError::new(format!("cannot write the timeline {path}: {why}"))
            })
    }
}

/// Returns a report on a run of which nothing was expected.
fn report(
    recording: &Recording,
    config: &Config,
    image: Option<&str>,
    machine: &Machine,
    changes: Vec<GuestChange>,
) -> Report {
    let told = "Nothing was expected of this run: see vmm lab for runs that are judged.";
    let verdict = Verdict::new(VerdictKind::Undecided, told);
    let kernel = std::path::absolute(&config.kernel).unwrap_or_else(|_| config.kernel.clone());
    let kernel = kernel.display().to_string();
    let mut report = Report::new(
        format!("A run of {}", image.unwrap_or(&kernel)),
        verdict.clone(),
    );
    let board = machine.board();
    let device = |entry: &Entry| {
        let port = entry.iommu?;
        Some(Device {
            name: entry.name.clone(),
            role: None,
            description: entry.linux_name(),
            utlb: Some((board.iommu_name(port.iommu)?.to_owned(), port.utlb)),
        })
    };
    report.runs.push(Run {
        name: image.unwrap_or("run").into(),
        behaviour: if changes.is_empty() {
            "Nothing was changed in the guest."
        } else {
            "Probes changed the guest."
        }
        .into(),
        health: Mark::Ok,
        verdict,
        machine: Described {
            // The machine has read the file already. If it is gone since, the report does without.
            sha256: guest_images::hash_file(&config.kernel).unwrap_or_default(),
            kernel: image.map_or(kernel, str::to_owned),
            version: None,
            command_line: config.cmdline.clone(),
            seed: config.seed,
            cpus: config.cpus.into(),
            memory: config.memory.0,
            devices: board.devices.iter().filter_map(device).collect(),
        },
        changes,
        findings: Vec::new(),
        decisive: Vec::new(),
        timeline: recording.timeline(),
    });
    report
}

/// Probes at work: what is known of them once the run is over.
pub struct Set {
    outcome: Arc<Mutex<probe::ProbeResults>>,
    changes: Arc<Mutex<Vec<GuestChange>>>,
}

/// The most changes that are kept for a timeline.
const MAX_CHANGES: usize = 10_000;

impl Set {
    /// Sets `probes` in `machine`, if there are any; each hit is a line on stderr, and an event of
    /// `recording`.
    ///
    /// # Errors
    /// The kernel is in memory already, and `types` are of another one.
    pub fn new(
        machine: &mut Machine,
        probes: Vec<Probe>,
        types: TypesFrom,
        recording: Option<Arc<Recording>>,
    ) -> Result<Option<Self>, UserError> {
        if probes.is_empty() {
            return Ok(None);
        }
        let changes: Arc<Mutex<Vec<GuestChange>>> = Arc::default();
        let kept = Arc::clone(&changes);
        let sink = move |probe: &Probe, hit: &Hit| {
            // A stderr that went away is no reason to stop.
            let _ = Stderr.write_all(format!("{}\n", line(probe, hit)).as_bytes());
            if let Some(recording) = &recording {
                recording.hit(probe, hit);
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                // A probe in a hot function would otherwise fill the memory with changes.
                if kept.len() < MAX_CHANGES {
                    kept.extend(self::changes(probe, hit, "probe"));
                }
            }
        };
        let outcome = probe::attach_with(machine, probes, types, Box::new(sink));
        let error = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error @ probe::ProbeError::Vmlinux(_)) = &error.error {
            return Err(UserError::new(error.to_string()));
        }
        drop(error);
        Ok(Some(Self { outcome, changes }))
    }

    /// Returns what was changed in the guest.
    ///
    /// # Errors
    /// The probes do not fit the kernel, or there was none.
    pub fn finish(self) -> Result<Vec<GuestChange>, UserError> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        // First: that no probe was set would only follow from it.
        if let Some(error) = &outcome.error {
            return Err(UserError::new(error.to_string()));
        }
        if !outcome.armed {
            return Err(UserError::new(
                "no probe was set: the kernel did not start, or nothing in memory looks like one",
            ));
        }
        Ok(std::mem::take(
            &mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

/// Returns
/// `probe SECONDS SITE cpu=N from=CALLER NAME=VALUE...; ACTION; ACTION [ADDRESS: OLD -> NEW]`.
fn line(probe: &Probe, hit: &Hit) -> String {
    let at = Seconds(hit.at);
    let mut line = format!("probe {at} {} cpu={}", probe.site, hit.core);
    if !hit.caller.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(line, " from={}", hit.caller);
    }
    for (name, value) in &hit.values {
        let _ = match value {
            Ok(value) => write!(line, " {name}={value}"),
            Err(error) => write!(line, " {name}=? ({error})"),
        };
    }
    for action in &hit.actions {
        let _ = write!(line, "; {action}");
    }
    for change in changes(probe, hit, "") {
        let _ = write!(
            line,
            " [{}: {} -> {}]",
            place(&change),
            change.old,
            change.new
        );
    }
    line
}

fn place(change: &GuestChange) -> String {
    use vmm::timeline::ChangedLocation;
    match &change.place {
        ChangedLocation::Memory { address, .. } => address.to_string(),
        ChangedLocation::Register { name } => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use vmm::introspect::probe::{Change, Written};
    use vmm::introspect::types::value::Value;

    use super::*;

    #[test]
    fn a_hit_is_one_line() {
        let probe = probe::parse("f@return { print(retval); set(dev.dma_ops, 0) }").unwrap();
        let hit = Hit {
            at: 1_000_000_002,
            core: 1,
            probe: 0,
            caller: "g+0x10".into(),
            values: vec![("retval".into(), Ok(Value::Signed(-517)))],
            changes: vec![Change {
                place: Written::Memory(0xc000_0000, 4),
                meaning: "dev.dma_ops".into(),
                old: 0x10,
                new: 0,
            }],
            actions: vec!["set dev.dma_ops to 0".into()],
        };
        assert_eq!(
            line(&probe, &hit),
            "probe 1.000000002 f@return cpu=1 from=g+0x10 retval=-517; set dev.dma_ops to 0 [0xc0000000: 0x10 -> 0x0]"
        );
    }

    #[test]
    fn the_name_of_a_file_says_its_form() {
        assert_eq!(Form::of(Path::new("a.trace.json")).unwrap(), Form::Trace);
        assert_eq!(Form::of(Path::new("a.json")).unwrap(), Form::Json);
        assert!(
            Form::of(Path::new("a.pdf"))
                .unwrap_err()
                .to_string()
                .contains("a.pdf")
        );
    }
}
