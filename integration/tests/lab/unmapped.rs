//! DMA to what the driver has unmapped, by a bus master that no driver has.

use vmm::devices::dma_tester::script::Expect;
use vmm::lab::Health;

use super::{case, expected, judge};

#[test]
fn dma_to_what_was_unmapped_is_refused_and_reported() {
    for name in ["unmapped.ipmmu.stock.on", "unmapped.virtio.stock.on"] {
        assert_eq!(expected(name).judgement.health, Health::Healthy);
    }
    // One that expects it to arrive is not met: the sign can be the other one.
    let mut wrong = case("unmapped.ipmmu.stock.on");
    wrong.trigger.dma_script[1].expect = Expect::Ok;
    let judged = judge(&wrong);
    assert!(judged.judgement.signs.contains("dma-unexpected"));
    assert_eq!(judged.judgement.health, Health::Broken);
}
