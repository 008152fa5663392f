//! The overlay as built in, against the one that is shown, applied by the tools of Devicetree.

use std::path::Path;
use std::process::Command;

use dtoolkit::fdt::Fdt;

use super::*;

/// Returns a tree with the nodes that are changed, and other phandles.
fn board() -> DeviceTree {
    let mut tree = DeviceTree::new();
    let mut soc = DeviceTreeNode::new_unchecked("soc");
    for (name, handle) in [
        ("clock-controller@e6150000", Some(7_u32)),
        ("iommu@e6740000", None),
        ("dma-controller@e6700000", Some(0x5f)),
        ("dma-controller@e6720000", Some(3)),
    ] {
        let mut node = DeviceTreeNode::new_unchecked(name);
        set(&mut node, "compatible", b"a\0");
        if name.starts_with("iommu") {
            set(&mut node, "#iommu-cells", &1_u32.to_be_bytes());
            set(&mut node, "status", b"disabled\0");
        }
        if let Some(handle) = handle {
            set(&mut node, "phandle", &handle.to_be_bytes());
        }
        soc.add_child(node);
    }
    tree.root.add_child(soc);
    tree
}

fn all() -> Vec<u32> {
    (0..15).collect()
}

/// Returns what nodes have, by path, in one order.
fn contents(dtb: &[u8]) -> Vec<(String, String, Vec<u8>)> {
    fn visit(node: &DeviceTreeNode, path: &str, all: &mut Vec<(String, String, Vec<u8>)>) {
        let path = format!("{path}/{}", node.name());
        for property in node.properties() {
            let value = property.value().to_vec();
            all.push((path.clone(), property.name().to_owned(), value));
        }
        node.children().for_each(|child| visit(child, &path, all));
    }
    let mut all = Vec::new();
    visit(
        &DeviceTree::from_fdt(&Fdt::new(dtb).unwrap()).root,
        "",
        &mut all,
    );
    all.sort();
    all
}

#[test]
fn it_is_the_overlay_that_is_shown() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/koelsch-ipmmu.dtso");
    std::fs::write(at("base.dtb"), board().to_dtb()).unwrap();
    let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
        let output = Command::new(program).args(arguments).output();
        let output = output.expect("the package device-tree-compiler is installed");
        assert!(output.status.success(), "{output:?}");
    };
    let (base, overlay, merged) = (at("base.dtb"), at("overlay.dtbo"), at("merged.dtb"));
    let word = std::ffi::OsStr::new;
    run(
        "dtc",
        &[
            word("-I"),
            word("dts"),
            word("-O"),
            word("dtb"),
            word("-o"),
            overlay.as_os_str(),
            shown.as_os_str(),
        ],
    );
    run(
        "fdtoverlay",
        &[
            word("-i"),
            base.as_os_str(),
            word("-o"),
            merged.as_os_str(),
            overlay.as_os_str(),
        ],
    );
    let merged = contents(&std::fs::read(merged).unwrap());
    let built_in = contents(&apply(&board().to_dtb(), &all()).unwrap());
    let (firmware, built_in): (Vec<_>, Vec<_>) = built_in
        .into_iter()
        .partition(|(path, ..)| path.ends_with("/psci"));
    assert_eq!(firmware.len(), 2);
    assert_eq!(built_in, merged);
}

#[test]
fn without_an_ipmmu_only_the_firmware_is_added() {
    let before = contents(&board().to_dtb());
    let mut after = contents(&apply(&board().to_dtb(), &[]).unwrap());
    after.retain(|(path, ..)| !path.ends_with("/psci"));
    assert_eq!(after, before);
}

#[test]
fn another_board_s_tree_is_a_sentence() {
    let mut other = board();
    other.root.remove_child("soc");
    let error = apply(&other.to_dtb(), &all()).unwrap_err().to_string();
    assert!(error.contains("/soc/iommu@e6740000"), "{error}");
    let mut full = board();
    set(&mut full.root, "phandle", &0xffff_fffe_u32.to_be_bytes());
    let error = apply(&full.to_dtb(), &all()).unwrap_err().to_string();
    assert!(error.contains("no free phandle"), "{error}");
    assert!(apply(b"no tree", &all()).is_err());
}
