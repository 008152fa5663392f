//! What is added to the board's device tree.
//!
//! A boot loader adds the node of its PSCI. The rest is what a user has to add who wants to have
//! the IPMMU, as the tree has it disabled and no master behind it: the same as
//! `docs/koelsch-ipmmu.dtso`, which a test compares it with.

use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node, Property};

use super::layout::{DMAC0_NODE, IPMMU_NODE};
use crate::fdt::{self, TreeError};

/// Returns `dtb` with the firmware's node, and if `utlbs` names any, with IPMMU-DS enabled and the
/// first DMA controller behind these micro-TLBs of it.
///
/// # Errors
/// `dtb` is no device tree, or has no such nodes.
pub fn apply(dtb: &[u8], utlbs: &[u32]) -> Result<Vec<u8>, TreeError> {
    let mut tree = DeviceTree::from_fdt(&fdt::parse(dtb)?);
    let mut psci = DeviceTreeNode::new_unchecked("psci");
    // As `psci::answer` has it; a kernel that does not know 1.0 makes the calls of 0.2.
    set(&mut psci, "compatible", b"arm,psci-1.0\0arm,psci-0.2\0");
    set(&mut psci, "method", b"hvc\0");
    tree.root.add_child(psci);
    if !utlbs.is_empty() {
        ipmmu(&mut tree, utlbs)?;
    }
    Ok(tree.to_dtb())
}

/// Enables IPMMU-DS, and puts the DMA controller behind it.
fn ipmmu(tree: &mut DeviceTree, utlbs: &[u32]) -> Result<(), TreeError> {
    let free = phandles(&tree.root).max().unwrap_or(0).checked_add(1);
    let free = free.filter(|phandle| *phandle != u32::MAX);
    let free = free.ok_or_else(|| TreeError::Malformed("it has no free phandle".into()))?;
    let node = find(tree, IPMMU_NODE)?;
    let phandle = phandle(node).unwrap_or(free);
    set(node, "phandle", &phandle.to_be_bytes());
    set(node, "status", b"okay\0");
    let cells = utlbs.iter().flat_map(|utlb| [phandle, *utlb]);
    let bytes: Vec<u8> = cells.flat_map(u32::to_be_bytes).collect();
    set(find(tree, DMAC0_NODE)?, "iommus", &bytes);
    Ok(())
}

fn find<'t>(
    tree: &'t mut DeviceTree,
    path: &'static str,
) -> Result<&'t mut DeviceTreeNode, TreeError> {
    tree.find_node_mut(path).ok_or(TreeError::NoNode(path))
}

fn set(node: &mut DeviceTreeNode, name: &str, value: &[u8]) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, value.to_vec()));
}

fn phandle(node: &DeviceTreeNode) -> Option<u32> {
    let bytes = node.property("phandle")?.value().try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

/// Returns the phandles of a node and all below, whose depth `fdt::complete` has checked.
fn phandles(node: &DeviceTreeNode) -> Box<dyn Iterator<Item = u32> + '_> {
    let below = node.children().flat_map(phandles);
    Box::new(phandle(node).into_iter().chain(below))
}

#[cfg(test)]
mod tests;
