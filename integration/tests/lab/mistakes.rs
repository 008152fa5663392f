//! Cases with a sanitizer that looks on: mistakes are signs, and change nothing else.

use vmm::lab::{Case, Host, Instruments, Judged};
use vmm::timeline::Kind;

use super::{case, expected, kernel};

/// A stock kernel with one disk, which reads and writes.
const HEALTHY: &str = "virtio.use.alone.stock.off";

/// Runs a case that is looked at for all mistakes.
fn sanitized(case: &Case) -> Judged {
    let instruments = Instruments {
        sanitize: Some("dma".parse().expect("options")),
        ..Instruments::default()
    };
    let judged = vmm::lab::run_on(Host::EMULATED, case, &kernel(case), &instruments);
    judged.expect("it is judged")
}

#[test]
fn a_healthy_case_is_the_same_run_without_a_mistake() {
    let (plain, judged) = (expected(HEALTHY), sanitized(&case(HEALTHY)));
    let found = judged.sanitized.expect("a sanitizer");
    assert!(found.findings.is_empty(), "{found:?}");
    assert_eq!(found.not_followed, None);
    assert_eq!(judged.judgement, plain.judgement);
    assert_eq!(judged.instructions, plain.instructions);
    assert!(judged.run.timeline == plain.run.timeline);
}

#[test]
fn a_planted_mistake_is_a_sign_an_event_and_not_as_expected() {
    let mut case = case(HEALTHY);
    let planted = "dma_map_page_attrs if size == 4096 { set(size, 2048) }";
    case.behaviour.probes.push(planted.into());
    let judged = sanitized(&case);
    let judgement = &judged.judgement;
    assert_eq!(judgement.health, case.expect.verdict, "{judgement:?}");
    assert!(
        judgement.signs.contains("b-outside-mapping"),
        "{judgement:?}"
    );
    let told = |words: &str| {
        let mut problems = judgement.problems.iter();
        problems.any(|problem| problem.starts_with(words))
    };
    assert!(told("found: b-outside-mapping"), "{judgement:?}");
    let row = judged.run.finding("mistakes with DMA").expect("a row");
    assert!(row.hypervisor.text.contains("b-outside-mapping"), "{row:?}");
    let mut events = judged.run.timeline.events.iter();
    assert!(events.any(|event| matches!(&event.kind, Kind::Mistake { .. })));

    // The same run is as expected by who expects just that.
    case.expect.mistakes = judgement
        .signs
        .iter()
        .filter(|sign| vmm::lab::signs::mistake(sign).is_some())
        .cloned()
        .collect();
    let again = sanitized(&case);
    assert!(again.judgement.is_expected(), "{:?}", again.judgement);
    assert_eq!(again.sanitized, judged.sanitized);
}
