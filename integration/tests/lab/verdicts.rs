//! Verdicts repeat, and can be wrong.

use std::sync::Arc;

use vmm::introspect::types::vmlinux::{TypesFrom, Vmlinux};
use vmm::lab::{Health, Host, Instruments, compare};
use vmm::timeline::{Kind, VerdictKind};

use super::{case, expected, judge};

#[test]
fn a_run_repeats_to_the_last_event() {
    for name in [
        "deferral.shared.guard-absent.off",
        "deferral.both.guard-absent.off",
    ] {
        let (first, second) = (expected(name), expected(name));
        assert_eq!(first.judgement, second.judgement, "{name}");
        assert_eq!(first.instructions, second.instructions, "{name}");
        assert_eq!(first.run.changes, second.run.changes, "{name}");
        assert!(
            first.run.timeline == second.run.timeline,
            "{name}: timelines differ"
        );
        assert!(!first.run.timeline.events.is_empty());
    }
}

#[test]
fn a_wrong_expectation_is_told() {
    let mut wrong = case("deferral.shared.guard-absent.off");
    wrong.expect.verdict = Health::Healthy;
    wrong.expect.see.clear();
    wrong.expect.not = vec!["a-untranslated".into()];
    let judged = judge(&wrong);
    assert_eq!(
        judged.judgement.problems.len(),
        2,
        "{:?}",
        judged.judgement.problems
    );
    assert_eq!(judged.run.verdict.outcome, VerdictKind::Unexpected);

    let mut wrong = case("deferral.shared.stock.off");
    wrong.expect.see = vec!["oops".into()];
    let judged = judge(&wrong);
    assert!(judged.judgement.problems[0].contains("not seen: oops"));
}

#[test]
fn a_comparison_puts_both_side_by_side() {
    let report = compare(
        &expected("deferral.shared.stock.off"),
        &expected("deferral.shared.guard-absent.off"),
    );
    assert_eq!(report.verdict.outcome, VerdictKind::Expected);
    assert_eq!(report.runs.len(), 2);
    let subjects = report.subjects();
    for subject in [
        "ipmmu0 uTLB 3",
        "A's DMA",
        "B's DMA",
        "stray accesses",
        "the kernel",
    ] {
        assert!(subjects.contains(&subject), "{subjects:?}");
        assert!(
            report.runs.iter().all(|run| run.finding(subject).is_some()),
            "{subject}"
        );
    }
    let sha256 = &report.runs[0].machine.sha256;
    assert_eq!((sha256.len(), sha256), (64, &report.runs[1].machine.sha256));
}

#[test]
fn a_kernel_that_is_none_is_not_judged() {
    let mut case = case("deferral.shared.stock.off");
    let mut broken = super::kernel(&case);
    let file = tempfile::NamedTempFile::new().expect("a file");
    // Branches to itself, where kernels begin: it loads, and does nothing.
    std::fs::write(file.path(), 0xeaff_fffe_u32.to_le_bytes().repeat(1024)).expect("a kernel");
    broken.path = file.path().into();
    case.machine.seconds = 1;
    let undecided = vmm::lab::run(&case, &broken).expect_err("nothing can be said");
    assert!(
        undecided.to_string().contains("kernel did not start"),
        "{undecided}"
    );
}

/// The kernel is the image's own, but for the marks by which its types are found.
#[test]
fn a_kernel_without_types_is_not_judged_and_says_what_to_give() {
    let case = case("deferral.shared.stock.off");
    let mut kernel = super::kernel(&case);
    let mut bytes = std::fs::read(&kernel.path).expect("a kernel");
    // The first bytes of a blob: the magic number and the version (include/uapi/linux/btf.h).
    let marks: Vec<usize> = (0..bytes.len())
        .filter(|&at| bytes[at..].starts_with(&[0x9f, 0xeb, 1]))
        .collect();
    assert!(!marks.is_empty(), "the image has types");
    marks.into_iter().for_each(|at| bytes[at] = 0);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("a kernel");
    kernel.path = file.path().into();
    let undecided = vmm::lab::run(&case, &kernel).expect_err("nothing can be said");
    assert_eq!(undecided, vmm::lab::Undecided::NoTypes);
    let sentence = undecided.to_string();
    assert!(
        sentence.contains("types are missing") && sentence.contains("give --vmlinux FILE"),
        "{sentence}"
    );
    // What the sentence asks for helps.
    let file = kernel.image.vmlinux.as_ref().expect("a vmlinux");
    let file = std::fs::read(file).expect("a file");
    let vmlinux = Vmlinux::parse(&file).expect("types");
    let instruments = Instruments {
        types: TypesFrom::File(Arc::new(vmlinux)),
        sanitize: None,
    };
    let judged = vmm::lab::run_on(Host::EMULATED, &case, &kernel, &instruments);
    let judgement = judged.expect("it is judged").judgement;
    assert!(judgement.is_expected(), "{judgement:?}");
}

/// As before v4.12-rc4: a structure of the same size that has another name for the flag.
#[test]
fn teardowns_are_counted_in_a_kernel_that_does_not_record_who_made_the_mapping() {
    let case = case("deferral.shared.stock.off");
    let kernel = super::kernel(&case);
    let file = kernel.image.vmlinux.as_ref().expect("a vmlinux");
    let mut file = std::fs::read(file).expect("a file");
    let name = b"\0dma_ops_setup\0";
    let places: Vec<usize> = (0..file.len() - name.len())
        .filter(|&at| file[at..].starts_with(name))
        .collect();
    assert!(!places.is_empty(), "the file has types");
    for at in places {
        file[at + 1] = b'x';
    }
    let vmlinux = Vmlinux::parse(&file).expect("types");
    assert!(
        vmlinux
            .types()
            .resolve("device", "archdata.dma_ops_setup")
            .is_err()
    );
    let instruments = Instruments {
        types: TypesFrom::File(Arc::new(vmlinux)),
        sanitize: None,
    };
    let judged =
        vmm::lab::run_on(Host::EMULATED, &case, &kernel, &instruments).expect("it is judged");
    assert!(judged.judgement.is_expected(), "{:?}", judged.judgement);
    let teardowns = judged.run.timeline.events.iter().filter(|event| {
        matches!(&event.kind, Kind::Probe { function, .. } if function == "arch_teardown_dma_ops")
    });
    assert!(teardowns.count() > 0);
}
