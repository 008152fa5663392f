//! The vocabulary of what can be seen in a run.
//!
//! A sign of one device begins with its letter: `a-read-wrong`. The others concern the machine.

use std::collections::BTreeSet;

use vmm_base::TextError;
use vmm_sanitizer::Kind;

/// The side from which a sign is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The hypervisor, from outside.
    Hypervisor,
    /// The guest itself.
    Guest,
}

/// A sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// Its name, without the letter of a device.
    pub name: &'static str,
    /// The side that sees it.
    pub side: Side,
    /// Its meaning.
    pub meaning: &'static str,
}

const fn host(name: &'static str, meaning: &'static str) -> Sign {
    Sign {
        name,
        side: Side::Hypervisor,
        meaning,
    }
}

const fn guest(name: &'static str, meaning: &'static str) -> Sign {
    Sign {
        name,
        side: Side::Guest,
        meaning,
    }
}

/// Signs of the machine as a whole.
pub const MACHINE: [Sign; 13] = [
    host("utlb-disabled", "a uTLB that translated was disabled"),
    host(
        "utlb-lost",
        "a uTLB that translated was disabled and never enabled again",
    ),
    host("context-disabled", "a context that translated was disabled"),
    host(
        "table-replaced",
        "a context got another page table than it had",
    ),
    host("mapping-freed", "the kernel freed a mapping of IOVAs"),
    host(
        "dma-as-expected",
        "every step of the DMA tester's script met what it expects",
    ),
    host(
        "dma-unexpected",
        "a step of the DMA tester's script met something else, or never began",
    ),
    guest(
        "mapping-failed",
        "\"Failed to create ...-byte IOMMU mapping\"",
    ),
    guest("context-refused", "\"Unable to initialize IPMMU context\""),
    guest(
        "attach-failed",
        "\"Failed to attached device ... to IOMMU_mapping\"",
    ),
    guest(
        "detach-failed",
        "\"iommu driver failed to attach the default/blocking domain\"",
    ),
    guest("oops", "the kernel crashed"),
    guest("hang", "the guest did not come to its end"),
];

/// Signs of one device.
pub const DEVICE: [Sign; 13] = [
    host("untranslated", "its accesses reached memory past the IOMMU"),
    host("bus-error", "its accesses led to where no memory is"),
    host("fault", "the IOMMU, or a bridge, refused its accesses"),
    host(
        "data-wrong",
        "what the guest wrote is not what is on the disk",
    ),
    host(
        "leftover",
        "a page that it no longer uses is still mapped for it",
    ),
    host(
        "ops-before",
        "its dma_ops were set before the kernel came to choose them: behind an IOMMU it got no mapping",
    ),
    host(
        "other-ops",
        "a later probe gave it other dma_ops than it had",
    ),
    host(
        "mapping-taken",
        "the kernel took from it a mapping of IOVAs that it had not made",
    ),
    guest(
        "read-wrong",
        "what the guest read is not what is on the disk",
    ),
    guest("read-failed", "the guest's reading failed"),
    guest("write-failed", "the guest's writing failed"),
    guest("hangs", "the guest's access never ended"),
    guest(
        "absent",
        "there was no disk when there should have been one",
    ),
];

/// What the kernel says when an attachment fails, and the sign that it is.
pub(super) const COMPLAINTS: [(&[&str], &str); 4] = [
    // arch/arm/mm/dma-mapping.c, `arm_setup_iommu_dma_ops`.
    (&["-byte IOMMU mapping"], "mapping-failed"),
    (&["Unable to initialize IPMMU context"], "context-refused"),
    (
        // "attached": this is how the message of arch/arm/mm/dma-mapping.c is spelt.
        &["Failed to attached device", "Failed to attach device"],
        "attach-failed",
    ),
    (
        &["failed to attach the default/blocking domain"],
        "detach-failed",
    ),
];

/// The signs of a run.
pub type Signs = BTreeSet<String>;

/// Returns the name of a sign of the device with this role.
pub fn of(role: char, sign: &str) -> String {
    format!("{}-{sign}", role.to_ascii_lowercase())
}

/// Checks that `sign` can be seen in a machine with these roles.
pub(super) fn check(sign: &str, roles: &[char]) -> Result<(), TextError> {
    let device = |role: &char| DEVICE.iter().any(|known| of(*role, known.name) == sign);
    if MACHINE.iter().any(|known| known.name == sign) || roles.iter().any(device) {
        return Ok(());
    }
    let machine = MACHINE.iter().map(|sign| sign.name.to_owned());
    let devices = DEVICE.iter().map(|sign| format!("X-{}", sign.name));
    let all: Vec<String> = machine.chain(devices).collect();
    Err(format!(
        "{sign:?} is no sign: there are {}, where X is the letter of a device",
        all.join(", ")
    )
    .into())
}

/// Checks that `sign` can be a mistake with DMA in a machine with these roles.
pub(super) fn check_mistake(sign: &str, roles: &[char]) -> Result<(), TextError> {
    let known = |role: &char| Kind::ALL.iter().any(|kind| of(*role, kind.name()) == sign);
    if roles.iter().any(known) {
        return Ok(());
    }
    let all = Kind::ALL.map(|kind| format!("X-{kind}"));
    Err(format!(
        "{sign:?} is no mistake: there are {}, where X is the letter of a device",
        all.join(", ")
    )
    .into())
}

/// Returns the kind of mistake with DMA that a sign is of, if it is of one.
pub fn mistake(sign: &str) -> Option<Kind> {
    let named = |name: &str| Kind::ALL.into_iter().find(|kind| kind.name() == name);
    // One of a device without a role has no letter.
    named(sign).or_else(|| named(sign.split_once('-')?.1))
}

/// Returns what a sign of a mistake with DMA means.
pub fn mistake_meaning(kind: Kind) -> String {
    format!("a sanitizer found a mistake with its DMA, of the kind {kind}")
}

/// Returns what a sign means, with the letter of its device.
pub fn meaning(sign: &str) -> String {
    if let Some(known) = MACHINE.iter().find(|known| known.name == sign) {
        return known.meaning.into();
    }
    if let Some(kind) = mistake(sign) {
        let meaning = mistake_meaning(kind);
        return match sign.split_once('-') {
            Some((role, rest)) if rest == kind.name() => {
                format!("{}: {meaning}", role.to_ascii_uppercase())
            }
            _ => meaning,
        };
    }
    let known = sign
        .split_once('-')
        .and_then(|(role, rest)| Some((role, DEVICE.iter().find(|known| known.name == rest)?)));
    known.map_or_else(
        || sign.to_owned(),
        |(role, known)| format!("{}: {}", role.to_ascii_uppercase(), known.meaning),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_explained() {
        check("oops", &['A']).unwrap();
        check("b-bus-error", &['A', 'B']).unwrap();
        assert!(
            check("c-bus-error", &['A', 'B'])
                .unwrap_err()
                .to_string()
                .contains("X-bus-error")
        );
        assert!(meaning("a-hangs").starts_with("A: the guest's access"));
        assert_eq!(meaning("nonsense"), "nonsense");
    }

    #[test]
    fn mistakes_are_signs_with_the_names_of_their_kinds() {
        for kind in Kind::ALL {
            let sign = of('B', kind.name());
            check_mistake(&sign, &['A', 'B']).unwrap();
            assert_eq!(
                (mistake(&sign), mistake(kind.name())),
                (Some(kind), Some(kind))
            );
            assert!(meaning(&sign).starts_with("B: a sanitizer found"));
            assert!(meaning(kind.name()).starts_with("a sanitizer found"));
            // They are asked for by themselves, as they are seen only where one looks for them.
            assert!(check(&sign, &['A', 'B']).is_err());
        }
        for sign in MACHINE {
            assert_eq!(mistake(sign.name), None);
        }
        for sign in DEVICE {
            assert_eq!(mistake(&of('A', sign.name)), None);
        }
        let refused = check_mistake("c-leak", &['A', 'B']).unwrap_err();
        assert!(refused.to_string().contains("X-double-map"), "{refused}");
        assert!(check_mistake("leak", &['A']).is_err());
    }
}
