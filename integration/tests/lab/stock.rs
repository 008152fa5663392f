//! Wholly stock kernels behind Rockchip IOMMUs, release by release.

use vmm::lab::Health;
use vmm::timeline::Mark;

use super::expected;

#[test]
fn a_device_that_is_bound_again_goes_past_its_iommu_until_6_1() {
    for release in ["linux-5-10", "linux-6-1"] {
        let judged = expected(&format!("rockchip.{release}.stock.on"));
        assert_eq!(judged.judgement.health, Health::Bypassed);
        assert!(judged.run.changes.is_empty(), "an unmodified kernel");
        let iommu = judged.run.finding("rockchip1 uTLB 0").expect("a row");
        assert_eq!(iommu.hypervisor.mark, Mark::Bad);
        let said = &iommu.guest.text;
        assert!(
            said.contains("Failed to create 18446744073709551615-byte IOMMU mapping"),
            "{said}"
        );
    }
}

#[test]
fn a_device_that_is_bound_again_is_behind_its_iommu_again_from_6_12_on() {
    for release in ["linux-6-12", "linux-7-2"] {
        let judged = expected(&format!("rockchip.{release}.stock.on"));
        assert_eq!(judged.judgement.health, Health::Healthy);
        let iommu = judged.run.finding("rockchip1 uTLB 0").expect("a row");
        let states = &iommu.hypervisor.text;
        // As it was, and after each bind.
        assert_eq!(states.matches("context 0 from").count(), 3, "{states}");
    }
}
