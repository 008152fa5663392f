//! Devices with mappings of their own, behind a virtio-iommu: the other path of 32-bit ARM.

use vmm::lab::{Health, Judged};
use vmm::timeline::{Kind, Mark, Value};

use super::expected;

fn finding<'j>(judged: &'j Judged, subject: &str) -> (Mark, &'j str, Mark, &'j str) {
    let finding = judged.run.finding(subject).expect("a row of the report");
    let (host, guest) = (&finding.hypervisor, &finding.guest);
    (host.mark, &host.text, guest.mark, &guest.text)
}

/// Linux 6.1 tears down what it set up, as it should, but the driver has nothing to attach the
/// device to instead.
#[test]
fn a_driver_that_is_unbound_leaves_its_device_attached() {
    let judged = expected("virtio.rebind.separate.stock.off");
    assert_eq!(judged.judgement.health, Health::Broken);
    assert!(judged.run.changes.is_empty(), "an unmodified kernel");
    let (host, accesses, ..) = finding(&judged, "B's DMA");
    assert!(
        host == Mark::Bad && accesses.contains("refused"),
        "{accesses}"
    );
    let (host, accesses, guest, said) = finding(&judged, "A's DMA");
    assert!(
        host == Mark::Ok && !accesses.contains("refused"),
        "{accesses}"
    );
    assert!(
        guest == Mark::Ok && said.contains("checksum right"),
        "{said}"
    );
}

#[test]
fn a_deferral_does_the_same_and_the_guard_is_no_part_of_it() {
    let stock = expected("virtio.deferral.separate.stock.off");
    let without = expected("virtio.deferral.separate.guard-absent.off");
    assert_eq!(stock.judgement, without.judgement);
    assert!(stock.judgement.signs.contains("detach-failed"));
    // At teardown the flag was set, by nobody but the kernel: this mapping is its own.
    let found_set = stock.run.timeline.events.iter().any(|event| {
        matches!(&event.kind, Kind::Probe { function, arguments, .. }
        if function == "arch_teardown_dma_ops"
            && arguments.iter().any(|argument| {
                argument.name == "dev.archdata.dma_ops_setup" && argument.value == Value::Number(1)
            }))
    });
    assert!(found_set && stock.run.changes.is_empty());
}

#[test]
fn the_page_at_iova_0_stays_mapped() {
    let stock = expected("virtio.use.alone.stock.off");
    assert_eq!(stock.judgement.health, Health::Healthy);
    let judged = expected("virtio.use.alone.streaming-first.off");
    let (host, mappings, ..) = finding(&judged, "mappings of IOVAs");
    assert_eq!(host, Mark::Bad);
    assert!(mappings.contains("has page 0x0 still mapped"), "{mappings}");
    // The guest does not notice.
    let (host, _, guest, said) = finding(&judged, "B's DMA");
    assert!(
        host == Mark::Ok && guest == Mark::Ok && said.contains("checksum right"),
        "{said}"
    );
}
