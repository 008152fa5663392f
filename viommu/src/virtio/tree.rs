//! An ordered map from addresses that is quick to look something up in when the processor's caches
//! have forgotten it.
//!
//! A B+ tree: values are in leaves, and an inner node knows the least key below each of its
//! children. A look-up among many thousand mappings meets three or four wide nodes, of which only
//! the leaf is likely to be cold, and in it the lines of the keys and of one value. Leaves that are
//! filled in ascending or descending order, as drivers do, are filled to the brim.

/// A map from addresses to `V`.
///
/// `LEAF` is how many entries a leaf has: as many as share four cache lines, the count of them
/// included. `FAN` is how many children an inner node has.
#[derive(Clone, Debug)]
pub(super) struct Tree<V, const LEAF: usize = 31, const FAN: usize = 64> {
    /// None if the map is empty.
    root: Option<Node<V, LEAF, FAN>>,
    len: usize,
}

/// A node that is not empty, but for a moment.
#[derive(Clone, Debug)]
enum Node<V, const LEAF: usize, const FAN: usize> {
    Leaf(Box<Leaf<V, LEAF>>),
    Inner(Box<Inner<V, LEAF, FAN>>),
}

/// Entries. Processors fetch cache lines in pairs: it begins with one.
#[derive(Clone, Debug)]
#[repr(C, align(128))]
struct Leaf<V, const LEAF: usize> {
    len: usize,
    /// Ascending, as far as `len`.
    keys: [u64; LEAF],
    values: [V; LEAF],
}

/// Nodes that are equally high.
#[derive(Clone, Debug)]
struct Inner<V, const LEAF: usize, const FAN: usize> {
    /// The least key of each child.
    keys: [u64; FAN],
    children: Vec<Node<V, LEAF, FAN>>,
}

/// Returns where to split a full node that gets one more thing at `at`. What comes in order leaves
/// full nodes behind.
const fn cut(at: usize, capacity: usize) -> usize {
    if at == 0 || at == capacity {
        at
    } else {
        capacity.div_ceil(2)
    }
}

impl<V, const LEAF: usize, const FAN: usize> Default for Tree<V, LEAF, FAN> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<V: Copy + Default, const LEAF: usize, const FAN: usize> Tree<V, LEAF, FAN> {
    /// Returns how many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the entry with the greatest key that is not beyond `key`.
    #[inline]
    pub fn floor(&self, key: u64) -> Option<(u64, &V)> {
        let mut node = self.root.as_ref()?;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.entry(leaf.up_to(key).checked_sub(1)?),
                Node::Inner(inner) => node = &inner.children[inner.child_of(key)],
            }
        }
    }

    /// Returns the entry with the least key that is not before `key`.
    pub fn ceiling(&self, key: u64) -> Option<(u64, &V)> {
        self.root.as_ref()?.ceiling(key)
    }

    /// Returns all entries by ascending key.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        let mut from = Some(0);
        std::iter::from_fn(move || {
            // A search for each entry: iterating is for saving, and needs no stack of nodes.
            let entry = self.ceiling(from?)?;
            from = entry.0.checked_add(1);
            Some(entry)
        })
    }

    /// Adds an entry. There must be none with this key.
    pub fn insert(&mut self, key: u64, value: V) {
        self.len += 1;
        let Some(root) = &mut self.root else {
            self.root = Some(Node::Leaf(Box::new(Leaf::of(key, value))));
            return;
        };
        let right = root.insert(key, value);
        if let Some(right) = right {
            // The left half: there is a root.
            let halves = self.root.take().into_iter().chain([right]).collect();
            self.root = Some(Node::Inner(Box::new(Inner::of(halves))));
        }
    }

    /// Removes all entries with keys in `first..=last`, in time proportional to their number;
    /// returns how many there were.
    pub fn remove(&mut self, first: u64, last: u64) -> usize {
        let Some(root) = &mut self.root else {
            return 0;
        };
        let removed = root.remove(first, last);
        self.len -= removed;
        if self.len == 0 {
            self.root = None;
        }
        // A root with one child would only make each look-up longer.
        while let Some(Node::Inner(inner)) = &mut self.root {
            if inner.children.len() != 1 {
                break;
            }
            self.root = inner.children.pop();
        }
        removed
    }
}

impl<V: Copy + Default, const LEAF: usize, const FAN: usize> Node<V, LEAF, FAN> {
    /// Returns the least key.
    fn first(&self) -> u64 {
        match self {
            Self::Leaf(leaf) => leaf.keys[0],
            Self::Inner(inner) => inner.keys[0],
        }
    }

    /// Returns how many entries or children it has, and how many it can have.
    fn width(&self) -> (usize, usize) {
        match self {
            Self::Leaf(leaf) => (leaf.len, LEAF),
            Self::Inner(inner) => (inner.children.len(), FAN),
        }
    }

    /// Returns how many entries are in it and below it.
    fn count(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len,
            Self::Inner(inner) => inner.children.iter().map(Self::count).sum(),
        }
    }

    fn ceiling(&self, key: u64) -> Option<(u64, &V)> {
        match self {
            Self::Leaf(leaf) => leaf.entry(leaf.before(key)),
            Self::Inner(inner) => {
                let at = inner.child_of(key);
                // The child's last key may be before `key`; then the next child begins with the
                // answer.
                let within = inner.children[at].ceiling(key);
                within.or_else(|| inner.children.get(at + 1)?.ceiling(key))
            }
        }
    }

    /// Adds an entry. If there is no room, the greater part of the node is returned.
    fn insert(&mut self, key: u64, value: V) -> Option<Self> {
        match self {
            Self::Leaf(leaf) => Some(Self::Leaf(Box::new(leaf.insert(key, value)?))),
            Self::Inner(inner) => {
                let at = inner.child_of(key);
                let right = inner.children[at].insert(key, value);
                inner.keys[at] = inner.children[at].first();
                Some(Self::Inner(Box::new(inner.insert(at + 1, right?)?)))
            }
        }
    }

    /// Removes the entries in `first..=last`: returns how many there were. The node may be empty
    /// then.
    fn remove(&mut self, first: u64, last: u64) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.remove(first, last),
            Self::Inner(inner) => inner.remove(first, last),
        }
    }

    /// Adds all of a sibling that comes after it, for which there must be room.
    fn append(&mut self, sibling: Self) {
        match (self, sibling) {
            (Self::Leaf(left), Self::Leaf(right)) => left.append(&right),
            (Self::Inner(left), Self::Inner(mut right)) => {
                let from = left.children.len();
                let count = right.children.len();
                left.keys[from..from + count].copy_from_slice(&right.keys[..count]);
                left.children.append(&mut right.children);
            }
            _ => unreachable!("siblings are equally high"),
        }
    }
}

impl<V: Copy + Default, const LEAF: usize> Leaf<V, LEAF> {
    fn of(key: u64, value: V) -> Self {
        let mut leaf = Self::default();
        leaf.put(0, key, value);
        leaf
    }

    /// Returns how many keys are not beyond `key`.
    #[inline]
    fn up_to(&self, key: u64) -> usize {
        self.keys[..self.len].partition_point(|other| *other <= key)
    }

    /// Returns how many keys are before `key`.
    fn before(&self, key: u64) -> usize {
        self.keys[..self.len].partition_point(|other| *other < key)
    }

    #[inline]
    fn entry(&self, at: usize) -> Option<(u64, &V)> {
        let keys = &self.keys[..self.len];
        Some((*keys.get(at)?, self.values.get(at)?))
    }

    /// Puts an entry at its place, for which there must be room.
    fn put(&mut self, at: usize, key: u64, value: V) {
        self.keys.copy_within(at..self.len, at + 1);
        self.values.copy_within(at..self.len, at + 1);
        self.keys[at] = key;
        self.values[at] = value;
        self.len += 1;
    }

    fn append(&mut self, other: &Self) {
        let to = self.len..self.len + other.len;
        self.keys[to.clone()].copy_from_slice(&other.keys[..other.len]);
        self.values[to].copy_from_slice(&other.values[..other.len]);
        self.len += other.len;
    }

    fn insert(&mut self, key: u64, value: V) -> Option<Self> {
        let at = self.before(key);
        if self.len < LEAF {
            self.put(at, key, value);
            return None;
        }
        let cut = cut(at, LEAF);
        let mut right = Self::default();
        right.keys[..LEAF - cut].copy_from_slice(&self.keys[cut..]);
        right.values[..LEAF - cut].copy_from_slice(&self.values[cut..]);
        (self.len, right.len) = (cut, LEAF - cut);
        if at > cut || cut == LEAF {
            right.put(at - cut, key, value);
        } else {
            self.put(at, key, value);
        }
        Some(right)
    }

    fn remove(&mut self, first: u64, last: u64) -> usize {
        let from = self.before(first);
        let inside = self.keys[from..self.len].iter();
        let to = from + inside.take_while(|key| **key <= last).count();
        self.keys.copy_within(to..self.len, from);
        self.values.copy_within(to..self.len, from);
        self.len -= to - from;
        to - from
    }
}

impl<V: Copy + Default, const LEAF: usize> Default for Leaf<V, LEAF> {
    fn default() -> Self {
        Self {
            len: 0,
            keys: [0; LEAF],
            values: [V::default(); LEAF],
        }
    }
}

impl<V: Copy + Default, const LEAF: usize, const FAN: usize> Inner<V, LEAF, FAN> {
    fn of(children: Vec<Node<V, LEAF, FAN>>) -> Self {
        let mut keys = [0; FAN];
        for (key, child) in keys.iter_mut().zip(&children) {
            *key = child.first();
        }
        Self { keys, children }
    }

    /// Returns the child that `key` is in, if it is anywhere: the first one for a key that is
    /// before all others.
    #[inline]
    fn child_of(&self, key: u64) -> usize {
        self.keys[..self.children.len()]
            .partition_point(|least| *least <= key)
            .saturating_sub(1)
    }

    /// Puts a child at its place, for which there must be room.
    fn put(&mut self, at: usize, child: Node<V, LEAF, FAN>) {
        self.keys.copy_within(at..self.children.len(), at + 1);
        self.keys[at] = child.first();
        self.children.insert(at, child);
    }

    fn insert(&mut self, at: usize, child: Node<V, LEAF, FAN>) -> Option<Self> {
        if self.children.len() < FAN {
            self.put(at, child);
            return None;
        }
        let cut = cut(at, FAN);
        let mut right = Self::of(self.children.split_off(cut));
        if at > cut || cut == FAN {
            right.put(at - cut, child);
        } else {
            self.put(at, child);
        }
        Some(right)
    }

    /// Removes children; returns how many entries were in them.
    fn drop_children(&mut self, range: std::ops::Range<usize>) -> usize {
        self.keys
            .copy_within(range.end..self.children.len(), range.start);
        self.children.drain(range).map(|child| child.count()).sum()
    }

    fn remove(&mut self, first: u64, last: u64) -> usize {
        let low = self.child_of(first);
        let beyond = &self.keys[low + 1..self.children.len()];
        let high = low + beyond.iter().take_while(|least| **least <= last).count();
        let mut removed = self.children[low].remove(first, last);
        if low < high {
            removed += self.children[high].remove(first, last);
            removed += self.drop_children(low + 1..high);
            // The right one first: mending may remove a child, which moves those after it.
            self.mend(low + 1);
        }
        self.mend(low);
        removed
    }

    /// Brings in order what is known of a child that lost something: one that is empty goes, and
    /// one that became small becomes one with a neighbour if both fit into one node with room to
    /// spare.
    fn mend(&mut self, at: usize) {
        let (width, capacity) = self.children[at].width();
        if width == 0 {
            self.drop_children(at..at + 1);
            return;
        }
        self.keys[at] = self.children[at].first();
        // Neighbours are likely to be cold: they are looked at only if need be.
        if width <= capacity / 2 {
            self.join(at);
            if let Some(before) = at.checked_sub(1) {
                self.join(before);
            }
        }
    }

    /// Joins a child with the next one, if both are small.
    fn join(&mut self, at: usize) {
        let Some([left, right]) = self.children.get(at..).and_then(<[_]>::first_chunk) else {
            return;
        };
        let ((left, capacity), (right, _)) = (left.width(), right.width());
        // Not filled up: a node that is split and joined in turn would be copied each time.
        if left + right > capacity / 4 * 3 {
            return;
        }
        let right = self.children.remove(at + 1);
        self.keys
            .copy_within(at + 2..self.children.len() + 1, at + 1);
        self.children[at].append(right);
        self.keys[at] = self.children[at].first();
    }
}

#[cfg(test)]
mod tests;
