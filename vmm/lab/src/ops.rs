//! Who gave a device its DMA operations: by what `arch_setup_dma_ops` found, and what it left.

use vmm_introspect::probe::Hit;

use super::evidence::Evidence;

/// The function in which 32-bit ARM kernels choose the DMA operations of a device, and make its
/// mapping.
pub(super) const SETUP: &str = "arch_setup_dma_ops";

/// Returns whether a device had DMA operations already when the kernel came to choose them, and no
/// mapping: it gets none then. With a mapping it was the IOMMU's driver that set them.
pub(super) fn were_set_before(evidence: &Evidence<'_>, device: &str) -> bool {
    let mut found = evidence.hits_of(SETUP, false, device);
    found.any(|hit| {
        let ops = number(hit, "dev.dma_ops");
        ops.is_some_and(|ops| ops != 0) && number(hit, "dev.archdata.mapping") == Some(0)
    })
}

/// Returns whether a device that had DMA operations got others at a later probe.
pub(super) fn became_others(evidence: &Evidence<'_>, device: &str) -> bool {
    let left = evidence.hits_of(SETUP, true, device);
    changed(left.filter_map(|hit| number(hit, "dev.dma_ops")))
}

/// Returns whether something else follows the first of `values` that is not 0.
fn changed(values: impl Iterator<Item = i128>) -> bool {
    // A probe before there was an IOMMU may have left none.
    let mut values = values.skip_while(|ops| *ops == 0);
    let first = values.next();
    values.any(|ops| Some(ops) != first)
}

/// Returns the number that a hit printed under this name.
fn number(hit: &Hit, name: &str) -> Option<i128> {
    let value = hit.values.iter().find(|(printed, _)| printed == name)?;
    value.1.as_ref().ok()?.number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_operations_that_were_there_can_change() {
        for (values, expected) in [
            (&[][..], false),
            (&[0], false),
            (&[0, 7, 7], false),
            (&[7, 8], true),
            (&[0, 7, 0], true),
            (&[7, 7, 8, 7], true),
        ] {
            assert_eq!(changed(values.iter().copied()), expected, "{values:?}");
        }
    }
}
