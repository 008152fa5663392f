//! What became of a script of the DMA tester.

use vmm::Summary;
use vmm_machine::StepSummary;

use super::report::Verdict;
use super::{CommandExit, text};

/// Returns the verdict of a run whose script, if it had one, met these steps.
pub fn judge(verdict: Verdict, summary: &Summary) -> Verdict {
    let mut steps = summary.dma_script.iter().flatten().zip(1..);
    let Some((step, number)) = steps.find(|(step, _)| !step.holds) else {
        return verdict;
    };
    // What is wrong otherwise says why the script went wrong, too.
    if !matches!(verdict.outcome, CommandExit::Success | CommandExit::Timeout) {
        return verdict;
    }
    let (expected, outcome) = (expected(step), &step.outcome);
    Verdict {
        outcome: CommandExit::GuestFailure,
        sentence: format!(
            "{}, but step {number} of the DMA script was to be {expected} and was {outcome}",
            verdict.sentence
        ),
    }
}

/// Returns the word of a script for what was expected.
fn expected(step: &StepSummary) -> String {
    let word = serde_json::to_value(step.expect).unwrap_or_default();
    word.as_str().unwrap_or_default().to_owned()
}

/// Says what each step met.
pub fn tell(summary: &Summary) {
    for (step, number) in summary.dma_script.iter().flatten().zip(1..) {
        text::tell(&line(step, number));
    }
}

fn line(step: &StepSummary, number: u32) -> String {
    let op = serde_json::to_value(step.op).unwrap_or_default();
    let op = op.as_str().unwrap_or_default();
    let judged = match step.holds {
        true => "as expected".to_owned(),
        false => format!("expected {}", expected(step)),
    };
    let outcome = &step.outcome;
    let Some(result) = &step.result else {
        return format!("DMA script: step {number}, {op}: {outcome}, {judged}");
    };
    let at = text::seconds(result.begun_ns);
    let address = result
        .address
        .map_or(String::new(), |address| format!(" {address:#x}"));
    let bytes = result.met.moved;
    let first = match result.met.faults {
        0 => String::new(),
        _ => format!(" at {:#x}", result.met.fault),
    };
    format!(
        "DMA script: step {number}, {op}{address} after {at}: {outcome}{first}, {bytes} bytes moved, {judged}"
    )
}

#[cfg(test)]
mod tests {
    use vmm::devices::dma_tester::script::{Expect, StepResult};
    use vmm::devices::dma_tester::{Met, OperationKind};

    use super::*;

    #[test]
    fn steps_are_told_with_what_they_met() {
        let mut step = StepSummary {
            op: OperationKind::Read,
            expect: Expect::Fault,
            outcome: "fault".into(),
            holds: true,
            result: Some(StepResult {
                begun_ns: 1_500_000_000,
                address: Some(0x4000_0000),
                met: Met {
                    faults: 1,
                    reason: 16,
                    fault: 0x4000_1000,
                    moved: 4096,
                    ..Met::default()
                },
            }),
        };
        let told = line(&step, 2);
        assert!(
            told.starts_with("DMA script: step 2, read 0x40000000 after 1.5"),
            "{told}"
        );
        let end = ": fault at 0x40001000, 4096 bytes moved, as expected";
        assert!(told.ends_with(end), "{told}");
        step.result = None;
        (step.outcome, step.holds, step.expect) = ("not-begun".into(), false, Expect::BusError);
        assert_eq!(
            line(&step, 1),
            "DMA script: step 1, read: not-begun, expected bus-error"
        );
    }
}
