//! A device of wholly stock kernels that is attached to a mapping of somebody else's making.

use vmm::lab::Health;

use super::expected;

#[test]
fn a_teardown_takes_a_mapping_that_the_kernel_did_not_make() {
    for (release, health) in [
        ("linux-6-1", Health::Bypassed),
        ("linux-6-12", Health::Detached),
    ] {
        let stock = expected(&format!("own-mapping.after.{release}.stock.on"));
        assert_eq!(stock.judgement.health, health);
        assert!(stock.judgement.signs.contains("b-mapping-taken"));
        assert!(stock.run.changes.is_empty(), "an unmodified kernel");
        let mappings = stock.run.finding("mappings of IOVAs").expect("a row");
        let words = "the kernel took from B one that it had not made";
        assert!(mappings.hypervisor.text.contains(words), "{mappings:?}");
    }
    let lowered = expected("own-mapping.after.linux-6-1.flag-lowered.on");
    assert_eq!(lowered.judgement.health, Health::Healthy);
    // Of B only, and once for each mapping that went.
    let changes = &lowered.run.changes;
    assert!(!changes.is_empty());
    let of_b = |meaning: &str| meaning.ends_with("of a001000.virtio_mmio");
    assert!(changes.iter().all(|change| of_b(&change.meaning)));
}

#[test]
fn a_mapping_that_its_maker_gives_up_is_not_taken() {
    // The kernel fails to make its own, which is not used.
    let judged = expected("own-mapping.probe.linux-6-1.stock.on");
    assert!(judged.judgement.signs.contains("mapping-failed"));
    let dma = judged.run.finding("B's DMA").expect("a row");
    assert_eq!(dma.hypervisor.mark, vmm::timeline::Mark::Ok, "{dma:?}");
}
