//! Parsing of flattened device trees.

use dtoolkit::fdt::Fdt;

use super::TreeError;

/// The longest name of a property by the specification (Devicetree Specification 2.2.4.1). Linux
/// takes longer ones, and trees of boards have them.
const MAX_NAME: usize = 31;
/// Where a header says where the names of properties begin, and how many bytes they have
/// (Devicetree Specification 5.2).
const STRINGS: [usize; 2] = [12, 32];

/// Returns the device tree in `dtb`, checked in full.
///
/// # Errors
/// It is none.
pub fn parse(dtb: &[u8]) -> Result<Fdt<'_>, TreeError> {
    let malformed = |error: dtoolkit::error::FdtParseError| TreeError::Malformed(error.to_string());
    let strict = Fdt::new(dtb);
    let (Err(_), Some(shortened)) = (&strict, with_short_names(dtb)) else {
        return strict.map_err(malformed);
    };
    // The one difference between the two is the length of names, which nothing depends on.
    Fdt::new(&shortened).map_err(malformed)?;
    Ok(Fdt::new_unchecked(dtb))
}

/// Returns `dtb` with all names of properties cut to [`MAX_NAME`], if any was longer and all are
/// ASCII.
fn with_short_names(dtb: &[u8]) -> Option<Vec<u8>> {
    let word = |at: usize| {
        let bytes = dtb.get(at..at.checked_add(4)?)?;
        usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()
    };
    let [start, size] = STRINGS.map(word);
    let (start, size) = (start?, size?);
    let mut copy = dtb.to_vec();
    let names = copy.get_mut(start..start.checked_add(size)?)?;
    if !names.is_ascii() {
        return None;
    }
    let (mut length, mut any) = (0, false);
    for byte in names {
        length = if *byte == 0 { 0 } else { length + 1 };
        if length > MAX_NAME {
            (*byte, length, any) = (0, 0, true);
        }
    }
    any.then_some(copy)
}

#[cfg(test)]
mod tests {
    use dtoolkit::model::{DeviceTree, DeviceTreeProperty};
    use dtoolkit::{Node, Property};
    use proptest::prelude::*;

    use super::*;

    fn tree(name: &str) -> Vec<u8> {
        let mut tree = DeviceTree::new();
        for name in ["a", name, "b"] {
            let property = DeviceTreeProperty::new_unchecked(name, "value");
            tree.root.add_property(property);
        }
        tree.to_dtb()
    }

    #[test]
    fn a_name_that_linux_takes_is_no_mistake() {
        let name = "simple-audio-card,bitclock-master";
        assert!(Fdt::new(&tree(name)).is_err());
        let dtb = tree(name);
        let tree = DeviceTree::from_fdt(&parse(&dtb).unwrap());
        assert_eq!(tree.root.property(name).unwrap().value(), b"value\0");
        assert_eq!(tree.to_dtb(), dtb);
    }

    #[test]
    fn other_mistakes_stay_mistakes() {
        assert!(parse(&tree(&"long\u{e4}".repeat(9))).is_err());
        assert!(parse(&tree(&"long name".repeat(9))).is_err());
        assert!(parse(&[]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_parsed_can_be_read(at in 0_usize..200, byte: u8, cut in 0_usize..300) {
            let mut dtb = tree("simple-audio-card,bitclock-master");
            if let Some(place) = dtb.get_mut(at) {
                *place = byte;
            }
            dtb.truncate(cut);
            if let Ok(fdt) = parse(&dtb) {
                let tree = DeviceTree::from_fdt(&fdt);
                prop_assert!(parse(&tree.to_dtb()).is_ok());
            }
        }
    }
}
