//! Who gave a device its DMA operations and its mapping: by what `arch_setup_dma_ops` found, and
//! what it and `arch_teardown_dma_ops` left.

use vmm_introspect::probe::Hit;

use super::evidence::Evidence;

/// The function in which 32-bit ARM kernels choose the DMA operations of a device, and make its
/// mapping.
pub(super) const SETUP: &str = "arch_setup_dma_ops";

/// The function in which they take down what that made, and should leave alone what it did not.
pub(super) const TEARDOWN: &str = "arch_teardown_dma_ops";

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

/// Returns whether the kernel took from a device a mapping that it had not made: one that it found
/// when it came to choose the device's operations.
pub(super) fn lost_a_foreign_mapping(evidence: &Evidence<'_>, device: &str) -> bool {
    let steps = evidence.hits_about(device).filter_map(|(probe, hit)| {
        let mapping = number(hit, "dev.archdata.mapping")?;
        let site = &probe.site;
        Some(match (site.symbol.as_str(), site.at_return) {
            (SETUP, false) => Step::SetupBegins(mapping),
            (SETUP, true) => Step::SetupEnds(mapping),
            (TEARDOWN, false) => Step::TeardownBegins(mapping),
            (TEARDOWN, true) => Step::TeardownEnds(mapping),
            _ => return None,
        })
    });
    foreign_went(steps)
}

/// A moment in the life of a device, and the mapping that it is attached to then: 0 for none.
#[derive(Clone, Copy, Debug)]
enum Step {
    SetupBegins(i128),
    SetupEnds(i128),
    TeardownBegins(i128),
    TeardownEnds(i128),
}

/// Returns whether a mapping that a setup found, and no setup before had made, goes in a teardown.
fn foreign_went(steps: impl Iterator<Item = Step>) -> bool {
    let (mut own, mut foreign) = (0, false);
    for step in steps {
        match step {
            // Newer kernels set up a device twice: when its IOMMU is found, and for its driver.
            Step::SetupBegins(mapping) => foreign = mapping != 0 && mapping != own,
            Step::SetupEnds(mapping) if !foreign => own = mapping,
            // Who made it may have taken it back.
            Step::TeardownBegins(mapping) => foreign &= mapping != 0,
            Step::TeardownEnds(0) if foreign => return true,
            // What is made next may be at the same address.
            Step::TeardownEnds(0) => own = 0,
            Step::SetupEnds(_) | Step::TeardownEnds(_) => {}
        }
    }
    false
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

    #[test]
    fn only_a_mapping_that_was_found_can_be_taken() {
        use Step::{SetupBegins, SetupEnds, TeardownBegins, TeardownEnds};
        let made = [SetupBegins(0), SetupEnds(7)];
        let again = [SetupBegins(7), SetupEnds(7)];
        let taken = [TeardownBegins(7), TeardownEnds(0)];
        let left = [TeardownBegins(7), TeardownEnds(7)];
        let given_up = [TeardownBegins(0), TeardownEnds(0)];
        for (steps, expected) in [
            (&[][..], false),
            // The kernel's own.
            (&[made, taken, made, taken][..], false),
            (&[made, again, taken], false),
            // Somebody else's, which is at the same address as the kernel's was.
            (&[again, left, again, left], false),
            (&[again, taken], true),
            (&[made, taken, again, taken], true),
            // Given up by who made it.
            (&[again, given_up], false),
            (&[again, left, made, taken], false),
        ] {
            let steps = steps.iter().flatten().copied();
            assert_eq!(
                foreign_went(steps.clone()),
                expected,
                "{:?}",
                steps.collect::<Vec<_>>()
            );
        }
    }
}
