//! Tests of the tree.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use proptest::prelude::*;

use super::*;

/// Narrow, so that few entries make it high.
type Narrow = Tree<u64, 4, 4>;

/// Returns how high a node is, after a look at whether all in it is in order. Keys are in
/// `least..=most`.
fn check(node: &Node<u64, 4, 4>, least: u64, most: u64) -> usize {
    assert_ne!(node.width().0, 0);
    assert_eq!(node.first(), least);
    match node {
        Node::Leaf(leaf) => {
            let keys = &leaf.keys[..leaf.len];
            assert!(keys.is_sorted_by(|a, b| a < b));
            assert!(keys.iter().all(|key| *key <= most));
            0
        }
        Node::Inner(inner) => {
            let keys = &inner.keys[..inner.children.len()];
            assert!(keys.is_sorted_by(|a, b| a < b));
            let ends = keys[1..].iter().map(|key| key - 1).chain([most]);
            let heights = keys.iter().zip(ends).zip(&inner.children);
            let heights: Vec<_> = heights.map(|((k, end), c)| check(c, *k, end)).collect();
            assert!(heights.iter().all(|height| *height == heights[0]));
            heights[0] + 1
        }
    }
}

fn height(tree: &Narrow) -> usize {
    tree.root
        .as_ref()
        .map_or(0, |root| check(root, root.first(), u64::MAX))
}

#[test]
fn leaves_are_lines() {
    #[derive(Clone, Copy, Default)]
    struct Mapping(#[expect(dead_code, reason = "its size matters")] [u64; 3]);
    let leaf = Leaf::<Mapping, 31>::default();
    assert_eq!(size_of_val(&leaf), 1024);
    assert_eq!((&raw const leaf.values).addr() % 128, 0);
}

#[test]
fn what_comes_in_order_leaves_full_nodes() {
    let (mut up, mut down) = (Narrow::default(), Narrow::default());
    for key in 0..256 {
        up.insert(key, key);
        down.insert(u64::MAX - key, key);
    }
    assert_eq!(height(&up), 3);
    for tree in [&up, &down] {
        let mut leaves = 0;
        let mut nodes: Vec<_> = tree.root.iter().collect();
        while let Some(node) = nodes.pop() {
            match node {
                Node::Leaf(_) => leaves += 1,
                Node::Inner(inner) => nodes.extend(&inner.children),
            }
        }
        assert_eq!(leaves, 64);
        height(tree);
    }
}

#[test]
fn what_was_thinned_out_is_low() {
    let mut tree = Narrow::default();
    for key in 0..4096 {
        tree.insert(key, key);
    }
    for key in (0..4096).filter(|key| key % 256 != 0) {
        assert_eq!(tree.remove(key, key), 1);
    }
    assert_eq!(tree.len(), 16);
    assert!(height(&tree) <= 4, "{}", height(&tree));
}

proptest! {
    /// Against the standard library's.
    #[test]
    fn as_a_btree_map(steps in prop::collection::vec((0u8..8, 0u64..600, 0u64..40), 1..500)) {
        let mut tree = Narrow::default();
        let mut plain = BTreeMap::new();
        for (step, (kind, key, more)) in (0..).zip(steps) {
            // At both ends of the address space.
            let key = if key < 300 { key } else { u64::MAX - (key - 300) };
            let last = key.saturating_add(more);
            match kind {
                0 => {
                    let inside: Vec<_> = plain.range(key..=last).map(|(key, _)| *key).collect();
                    prop_assert_eq!(tree.remove(key, last), inside.len());
                    inside.iter().for_each(|key| { plain.remove(key); });
                }
                1 => prop_assert_eq!(tree.remove(key, key), usize::from(plain.remove(&key).is_some())),
                _ => for key in key..=last.min(key.saturating_add(3)) {
                    if let Entry::Vacant(vacant) = plain.entry(key) {
                        vacant.insert(step);
                        tree.insert(key, step);
                    }
                },
            }
            prop_assert_eq!(tree.len(), plain.len());
            height(&tree);
            for key in [key.saturating_sub(1), key, last] {
                let (floor, ceiling) = (plain.range(..=key).next_back(), plain.range(key..).next());
                prop_assert_eq!(tree.floor(key), floor.map(|(key, value)| (*key, value)));
                prop_assert_eq!(tree.ceiling(key), ceiling.map(|(key, value)| (*key, value)));
            }
        }
        prop_assert!(tree.iter().eq(plain.iter().map(|(key, value)| (*key, value))));
        prop_assert_eq!(tree.remove(0, u64::MAX), plain.len());
        prop_assert!(tree.root.is_none());
    }
}
