//! What is done, and said, when a run has ended.

use std::sync::Arc;

use vmm::Machine;
use vmm::sanitizer::{DmaApi, Findings, Sanitizer};
use vmm_base::Reason;
use vmm_machine::Recorder;

use super::console::Watcher;
use super::deferred::Deferred;
use super::origin::{Moment, Origin};
use super::output::{self, Output};
use super::probes::{self, Timeline};
use super::report::{self, Verdict};
use super::settings::Settings;
use super::signals::Cause;
use super::{CommandExit, UserError, dma_script, faults, patience, sanitize, stdout, text};

/// What a run leaves.
pub struct Ending<'r> {
    /// What the user asked for.
    pub settings: &'r Settings,
    /// What the machine was made from.
    pub origin: &'r Origin,
    /// The machine, which stands still.
    pub machine: Machine,
    /// The recording of the run.
    pub recorder: Option<Recorder<Output>>,
    /// The probes that were set.
    pub probes: Option<probes::Set>,
    /// What looks for mistakes with DMA.
    pub sanitizer: Option<Arc<Sanitizer>>,
    /// The calls of the guest's kernel that it learns from.
    pub dma_api: Option<DmaApi>,
    /// The timeline that is to be written.
    pub timeline: Option<Timeline>,
    /// What was seen on the console.
    pub watcher: Watcher,
    /// The console's file.
    pub later: Option<Deferred>,
    /// The summary that is to be written.
    pub json: Option<Output>,
    /// The moment at which the machine is to be saved.
    pub save: Option<Moment>,
    /// Whether it ended because a machine of another tier did something else.
    pub tiers_differ: bool,
}

impl Ending<'_> {
    /// Writes what was asked for, and says how the run ended: for this `reason`, which `cause` may
    /// be behind.
    pub fn tell(mut self, reason: Reason, cause: Option<Cause>) -> Result<CommandExit, UserError> {
        let image = self.origin.config().image.as_deref();
        if patience::was_lost() {
            text::complain("nobody read the standard output: the end of the console is missing");
        }
        if let Some(recorder) = self.recorder.take() {
            keep(recorder, &mut self.machine)?;
        }
        let changes = self.probes.take();
        let changes = changes.map_or_else(|| Ok(Vec::new()), probes::Set::finish)?;
        let guest_ns = self.machine.summary().guest_ns;
        // Before the timeline, which has its reports.
        let findings = self.sanitizer.take();
        let findings = findings.map(|sanitizer| sanitizer.finish(guest_ns));
        if let Some(timeline) = self.timeline.take() {
            timeline.write(self.origin.config(), image, &self.machine, changes)?;
        }
        let mut verdict = self.verdict(reason, cause);
        let save = self.save.take();
        let save = save.map(|moment| (moment.is_now(reason, guest_ns, cause), moment));
        if let Some((is_now, _)) = &save {
            verdict = Moment::judge(*is_now, verdict);
        }
        if let Some(findings) = &findings {
            verdict = sanitize::judge(verdict, findings);
        }
        // A run that is saved goes on, and its script with it.
        if save.is_none() {
            verdict = dma_script::judge(verdict, &self.machine.summary());
        }
        let lost = self.later.as_ref().and_then(Deferred::failure);
        // The summary, written next, has the exit code that follows from the loss.
        let lost = lost.map(UserError::new).or_else(|| stdout::check().err());
        if lost.is_some() {
            verdict.outcome = CommandExit::UserError;
        }
        self.conclude(&verdict, image, findings.as_ref())?;
        if let Some(error) = lost {
            return Err(error);
        }
        // Last: the snapshot takes the machine's place.
        if let Some((true, moment)) = save {
            moment.write(&self.machine.into_snapshot()?)?;
        }
        Ok(verdict.outcome)
    }

    fn verdict(&self, reason: Reason, cause: Option<Cause>) -> Verdict {
        if self.tiers_differ {
            return Verdict {
                outcome: CommandExit::TiersDiffer,
                sentence: "the guest was stopped where the interpreter and the translator differ"
                    .into(),
            };
        }
        let commands = self.settings.run.len();
        let verdict = report::judge(reason, cause, &self.watcher, commands);
        match self.machine.divergence() {
            Some(divergence) => Verdict {
                outcome: CommandExit::Diverged,
                sentence: format!("this is not the recorded run: {divergence}"),
            },
            None => verdict,
        }
    }

    /// Says how the run ended, and writes its summary.
    fn conclude(
        &mut self,
        verdict: &Verdict,
        image: Option<&str>,
        findings: Option<&Findings>,
    ) -> Result<(), UserError> {
        let (summary, quiet) = (self.machine.summary(), self.settings.quiet == Some(true));
        if !quiet {
            text::complain(&report::line(verdict, &summary));
            let found = findings.map(sanitize::summary);
            found.iter().for_each(|found| text::complain(found));
            dma_script::tell(&summary);
        }
        // Also where little is said: it means that kinds were not looked for.
        let unwatched = self.dma_api.as_ref().and_then(DmaApi::problem);
        if let Some(why) = unwatched {
            text::complain(&sanitize::not_watched(&why));
        }
        let unwatched = self.dma_api.as_ref().map_or(0, DmaApi::unwatched);
        if unwatched > 0 {
            text::complain(&sanitize::beyond(unwatched));
        }
        let faults = self.machine.faults();
        if let Some(account) = faults.as_ref().filter(|_| !quiet) {
            faults::tell(account);
        }
        if let Some(mut output) = self.json.take() {
            let path = output.path().display().to_string();
            let written = report::write(
                &mut output,
                verdict,
                image,
                &self.watcher,
                &summary,
                (findings, faults.as_ref()),
            );
            let written = written.and_then(|()| output.publish());
            written.map_err(|error| {
                let why = output::reason(&error);
                UserError::new(format!("cannot write the summary {path}: {why}"))
            })?;
        }
        if !quiet {
            let config = self.origin.config();
            let (base, memory) = (config.ram().base, config.memory);
            let advice = self.watcher.seen().lowmem.advice(base, memory);
            advice.iter().for_each(|advice| text::complain(advice));
        }
        Ok(())
    }
}

/// Ends a recording and makes its file appear.
fn keep(recorder: Recorder<Output>, machine: &mut Machine) -> Result<(), UserError> {
    let written = recorder.finish(machine).and_then(Output::publish_durably);
    written.map_err(|error| {
        let why = output::reason(&error);
        UserError::new(format!("cannot write the recording: {why}"))
    })
}
