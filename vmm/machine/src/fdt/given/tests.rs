//! Trees of other boards, and files that are none.

use dtoolkit::fdt::Fdt;
use dtoolkit::model::DeviceTree;
use proptest::prelude::*;

use super::*;
use crate::fdt::SEED_BYTES;

const RAM: Range = Range::new(0, 256 << 20);

fn chosen(initrd: Option<Range>) -> Chosen<'static> {
    Chosen {
        cmdline: "console=ttyAMA0",
        initrd,
        rng_seed: &[7; SEED_BYTES],
    }
}

/// Returns a tree of a board with two nodes of memory, as the ECX-2000's.
fn board(cells: u32) -> DeviceTree {
    let mut tree = DeviceTree::new();
    let root = &mut tree.root;
    let set = |node: &mut DeviceTreeNode, name: &str, value: &[u8]| {
        node.add_property(DeviceTreeProperty::new_unchecked(name, value.to_vec()));
    };
    for name in ["#address-cells", "#size-cells"] {
        set(root, name, &cells.to_be_bytes());
    }
    for name in ["memory@0", "memory@200000000"] {
        let mut node = DeviceTreeNode::new_unchecked(name);
        set(&mut node, "name", b"memory\0");
        set(&mut node, "device_type", b"memory\0");
        set(&mut node, "reg", &[0xff; 16]);
        root.add_child(node);
    }
    let mut node = DeviceTreeNode::new_unchecked("chosen");
    set(&mut node, "bootargs", b"quiet\0");
    set(&mut node, "other", b"kept");
    root.add_child(node);
    let mut soc = DeviceTreeNode::new_unchecked("soc");
    soc.add_child(DeviceTreeNode::new_unchecked("serial@fff36000"));
    root.add_child(soc);
    tree
}

#[test]
fn memory_and_chosen_are_filled_in_and_nothing_else() {
    let before = board(2);
    let initrd = Some(Range::new(0x800_0000, 0x1234));
    let dtb = complete(
        &before.to_dtb(),
        &chosen(initrd),
        RAM,
        "/soc/serial@fff36000",
    );
    let dtb = dtb.unwrap();
    let mut after = DeviceTree::from_fdt(&Fdt::new(&dtb).unwrap());
    let value = |tree: &DeviceTree, path: &str, name: &str| {
        let node = tree.find_node(path).unwrap();
        node.property(name).map(|found| found.value().to_vec())
    };
    let reg = [0_u64.to_be_bytes(), (256_u64 << 20).to_be_bytes()].concat();
    assert_eq!(value(&after, "/memory@0", "reg"), Some(reg));
    assert!(after.root.child("memory@200000000").is_none());
    let bootargs = value(&after, "/chosen", "bootargs").unwrap();
    assert_eq!(bootargs, b"console=ttyAMA0\0");
    assert_eq!(value(&after, "/chosen", "other").unwrap(), b"kept");
    let console = value(&after, "/chosen", "stdout-path").unwrap();
    assert_eq!(console, b"/soc/serial@fff36000:115200n8\0");
    let end = value(&after, "/chosen", "linux,initrd-end").unwrap();
    assert_eq!(end, 0x800_1234_u64.to_be_bytes());
    assert_eq!(value(&after, "/chosen", "rng-seed").unwrap(), [7; 64]);
    // What is left without these nodes is the same.
    let mut before = before;
    for tree in [&mut before, &mut after] {
        for name in ["chosen", "memory@0", "memory@200000000"] {
            tree.root.remove_child(name);
        }
    }
    assert_eq!(before, after);
}

#[test]
fn a_tree_without_these_nodes_gets_them() {
    let mut tree = board(1);
    for name in ["chosen", "memory@0", "memory@200000000"] {
        tree.root.remove_child(name);
    }
    let dtb = complete(&tree.to_dtb(), &chosen(None), RAM, "/nowhere").unwrap();
    let after = DeviceTree::from_fdt(&Fdt::new(&dtb).unwrap());
    let memory = after.find_node("/memory@0").unwrap();
    let reg = memory.property("reg").unwrap();
    let reg = reg.value();
    assert_eq!(reg, [0, 0, 0, 0, 0x10, 0, 0, 0]);
    let chosen = after.find_node("/chosen").unwrap();
    assert!(chosen.property("bootargs").is_some());
    assert!(chosen.property("stdout-path").is_none());
    assert!(chosen.property("linux,initrd-start").is_none());
}

#[test]
fn what_is_no_tree_is_refused_with_a_reason() {
    let refused = |dtb: &[u8]| check(dtb).unwrap_err().to_string();
    assert!(refused(b"").contains("no flattened device tree"));
    assert!(refused(&[0; 4096]).contains("no flattened device tree"));
    let good = board(2).to_dtb();
    check(&good).unwrap();
    assert!(refused(&good[..good.len() - 1]).contains("no flattened device tree"));
    assert!(refused(&[&good[..], &[0; 61440]].concat()).contains("larger"));
    assert!(refused(&board(3).to_dtb()).contains("#address-cells = 3"));
    let nested = |depth: usize| {
        let mut node = DeviceTreeNode::new_unchecked("n");
        for _ in 0..depth {
            let mut above = DeviceTreeNode::new_unchecked("n");
            above.add_child(node);
            node = above;
        }
        let mut tree = board(2);
        tree.root.add_child(node);
        tree.to_dtb()
    };
    check(&nested(62)).unwrap();
    assert!(refused(&nested(63)).contains("more than 64 deep"));
    assert!(refused(&nested(2000)).contains("more than 64 deep"));
}

proptest! {
    #[test]
    fn damaged_trees_are_completed_or_refused(
        changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..8),
    ) {
        let mut dtb = board(2).to_dtb();
        for (at, byte) in changes {
            let at = usize::from(at) % dtb.len();
            dtb[at] = byte;
        }
        if let Ok(whole) = complete(&dtb, &chosen(None), RAM, "/soc/serial@fff36000") {
            prop_assert!(Fdt::new(&whole).is_ok());
        }
    }
}
