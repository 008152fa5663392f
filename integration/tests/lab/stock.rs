//! Wholly stock kernels behind Rockchip IOMMUs and an SMMUv2, release by release.

use vmm::lab::{Health, Judged};
use vmm::timeline::Finding;

use super::expected;

/// The scenarios, and what B is connected to in them.
const SCENARIOS: [(&str, &str); 2] = [("rockchip", "rockchip1 uTLB 0"), ("smmuv2", "smmu0 uTLB 1")];

fn run(scenario: &str, release: &str) -> Judged {
    let judged = expected(&format!("{scenario}.{release}.stock.on"));
    assert!(judged.run.changes.is_empty(), "an unmodified kernel");
    judged
}

fn finding<'j>(judged: &'j Judged, subject: &str) -> &'j Finding {
    judged.run.finding(subject).expect("a row of the report")
}

#[test]
fn a_device_that_is_bound_again_goes_past_its_iommu_until_6_1() {
    for (scenario, port) in SCENARIOS {
        for release in ["linux-5-10", "linux-6-1"] {
            let judged = run(scenario, release);
            assert_eq!(judged.judgement.health, Health::Bypassed);
            let iommu = finding(&judged, port);
            assert_eq!(iommu.hypervisor.mark, vmm::timeline::Mark::Bad);
            assert_eq!(iommu.hypervisor.text.matches("context").count(), 1);
        }
    }
}

#[test]
fn a_device_that_is_bound_again_is_behind_its_iommu_again_from_6_12_on() {
    for (scenario, port) in SCENARIOS {
        for release in ["linux-6-12", "linux-7-2"] {
            let judged = run(scenario, release);
            assert_eq!(judged.judgement.health, Health::Healthy);
            // As it was, and after each bind.
            let states = &finding(&judged, port).hypervisor.text;
            assert_eq!(states.matches("context").count(), 3, "{states}");
        }
    }
}
