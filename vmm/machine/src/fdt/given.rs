//! Device trees that exist, into which a boot loader writes what it alone knows: `/chosen`, and
//! where RAM is.

use dtoolkit::fdt::FdtNode;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node, Property};
use vmm_base::ByteSize;

use super::Chosen;
use crate::layout::Range;
use crate::loader::place::DTB_ROOM;

/// How deep nodes lie in each other at most; as many as Linux takes (drivers/of/fdt.c,
/// `FDT_MAX_DEPTH`).
const MAX_DEPTH: usize = 64;
/// The largest file: what a loader adds has to have room as well.
pub const MAX_BYTES: u64 = DTB_ROOM - (4 << 10);

/// The reason for which there is no device tree for a kernel.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A string of one that is generated holds a NUL.
    #[error("{0}")]
    Generated(vm_fdt::Error),
    /// The file is none.
    #[error("it is no flattened device tree (DTB): {0}")]
    Malformed(String),
    /// The file is too large.
    #[error("it is larger than a loader takes: {most} at most", most = ByteSize(MAX_BYTES))]
    Large,
    /// Its nodes lie too deep in each other.
    #[error("its nodes lie more than {MAX_DEPTH} deep in each other, and Linux takes no more")]
    Deep,
    /// It has not what the board has.
    #[error("it has no node {0}: give the board's own device tree")]
    NoNode(&'static str),
    /// Its addresses have a number of cells that makes no sense.
    #[error("its root has {name} = {value}: addresses and sizes of RAM have one or two cells")]
    Cells {
        /// The property.
        name: &'static str,
        /// Its value.
        value: u32,
    },
}

/// Checks that `dtb` is a device tree that [`complete`] can complete.
///
/// # Errors
/// It is not, and why.
pub fn check(dtb: &[u8]) -> Result<(), TreeError> {
    read(dtb).map(drop)
}

fn read(dtb: &[u8]) -> Result<DeviceTree, TreeError> {
    if dtb.len() as u64 > MAX_BYTES {
        return Err(TreeError::Large);
    }
    let fdt = super::parse(dtb)?;
    // Before the tree is made, which recurses.
    if is_deep(&fdt.root(), MAX_DEPTH) {
        return Err(TreeError::Deep);
    }
    let tree = DeviceTree::from_fdt(&fdt);
    for name in ["#address-cells", "#size-cells"] {
        cells(&tree.root, name)?;
    }
    Ok(tree)
}

fn is_deep(node: &FdtNode<'_>, left: usize) -> bool {
    match left.checked_sub(1) {
        None => true,
        Some(left) => node.children().any(|child| is_deep(&child, left)),
    }
}

/// Returns how many cells an address, or a size, below `node` has.
fn cells(node: &DeviceTreeNode, name: &'static str) -> Result<usize, TreeError> {
    let value = node.property(name);
    let value = match value.map(|property| <[u8; 4]>::try_from(property.value())) {
        Some(Ok(bytes)) => u32::from_be_bytes(bytes),
        // Without it, what the specification says (Devicetree Specification 2.3.5).
        _ if name == "#address-cells" => 2,
        _ => 1,
    };
    match value {
        1 => Ok(1),
        2 => Ok(2),
        _ => Err(TreeError::Cells { name, value }),
    }
}

/// Returns the device tree `dtb` with what `chosen` says in `/chosen`, `ram` as the only memory,
/// and the node at the path `console` as the kernel's console, if there is such a node. Nothing
/// else is touched.
///
/// # Errors
/// It is no device tree.
pub fn complete(
    dtb: &[u8],
    chosen: &Chosen<'_>,
    ram: Range,
    console: &str,
) -> Result<Vec<u8>, TreeError> {
    let mut tree = read(dtb)?;
    let has_console = tree.find_node(console).is_some();
    set_memory(&mut tree.root, ram)?;
    let node = "chosen";
    if tree.root.child_mut(node).is_none() {
        tree.root.add_child(DeviceTreeNode::new_unchecked(node));
    }
    if let Some(node) = tree.root.child_mut(node) {
        let mut set = |name: &str, value: Vec<u8>| {
            // In its place if it is there, and behind the others if not.
            node.add_property(DeviceTreeProperty::new_unchecked(name, value));
        };
        let text = |text: &str| [text.as_bytes(), &[0]].concat();
        set("bootargs", text(chosen.cmdline));
        if has_console {
            set("stdout-path", text(&format!("{console}:115200n8")));
        }
        set("rng-seed", chosen.rng_seed.to_vec());
        if let Some(initrd) = chosen.initrd {
            // Linux takes as many cells as there are (drivers/of/fdt.c,
            // `early_init_dt_check_for_initrd`).
            set("linux,initrd-start", initrd.base.to_be_bytes().to_vec());
            set("linux,initrd-end", initrd.end().to_be_bytes().to_vec());
        }
    }
    Ok(tree.to_dtb())
}

/// Makes `ram` the only memory: in the first node of memory that there is.
fn set_memory(root: &mut DeviceTreeNode, ram: Range) -> Result<(), TreeError> {
    let mut reg = Vec::new();
    for (name, value) in [("#address-cells", ram.base), ("#size-cells", ram.size)] {
        // RAM ends below 4 GiB, so that one cell is enough.
        let bytes = value.to_be_bytes();
        reg.extend_from_slice(&bytes[8 - 4 * cells(root, name)?..]);
    }
    let is_memory = |node: &&DeviceTreeNode| {
        let kind = node.property("device_type");
        kind.is_some_and(|kind| kind.value() == b"memory\0")
    };
    let nodes = root.children().filter(is_memory);
    let mut names: Vec<String> = nodes.map(|node| node.name().to_owned()).collect();
    if names.is_empty() {
        let name = format!("memory@{:x}", ram.base);
        let mut node = DeviceTreeNode::new_unchecked(name.as_str());
        let kind = DeviceTreeProperty::new_unchecked("device_type", "memory");
        node.add_property(kind);
        root.add_child(node);
        names.push(name);
    }
    let (first, others) = (&names[0], &names[1..]);
    if let Some(node) = root.child_mut(first) {
        node.add_property(DeviceTreeProperty::new_unchecked("reg", reg));
    }
    for other in others {
        root.remove_child(other);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
