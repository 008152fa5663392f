//! Pins in the order in which they were taken.

/// No node.
const NONE: usize = usize::MAX;

/// A pin, or a place for one.
#[derive(Debug)]
struct Node {
    serial: u64,
    /// The one before it; of a free node nothing.
    before: usize,
    /// The one after it; of a free node the next free one.
    after: usize,
}

/// Pins numbered in the order in which they were taken: a linked list in a vector, so that taking a
/// pin, ending one and looking at the oldest take constant time.
#[derive(Debug)]
pub(super) struct Order {
    nodes: Vec<Node>,
    free: usize,
    oldest: usize,
    newest: usize,
    /// The next number; none is used twice.
    next: u64,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            free: NONE,
            oldest: NONE,
            newest: NONE,
            next: 0,
        }
    }
}

impl Order {
    /// Adds a pin; returns its place and its number.
    pub fn add(&mut self) -> (usize, u64) {
        let node = Node {
            serial: self.next,
            before: self.newest,
            after: NONE,
        };
        // At a thousand million pins a second these last for centuries.
        self.next += 1;
        let place = if self.free == NONE {
            self.nodes.push(node);
            self.nodes.len() - 1
        } else {
            let place = self.free;
            self.free = self.nodes[place].after;
            self.nodes[place] = node;
            place
        };
        match self.newest {
            NONE => self.oldest = place,
            newest => self.nodes[newest].after = place,
        }
        self.newest = place;
        (place, self.next - 1)
    }

    /// Removes the pin at `place`, which must be there.
    pub fn remove(&mut self, place: usize) {
        let Node { before, after, .. } = self.nodes[place];
        match before {
            NONE => self.oldest = after,
            before => self.nodes[before].after = after,
        }
        match after {
            NONE => self.newest = before,
            after => self.nodes[after].before = before,
        }
        self.nodes[place].after = self.free;
        self.free = place;
    }

    /// Returns the number of the oldest pin.
    pub fn oldest(&self) -> Option<u64> {
        self.nodes.get(self.oldest).map(|node| node.serial)
    }

    /// Returns the number that the next pin has: all that are there have lower ones.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Removes all pins, and gives the memory back.
    pub fn clear(&mut self) {
        *self = Self {
            next: self.next,
            ..Self::default()
        };
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_list(steps in prop::collection::vec((any::<bool>(), any::<usize>()), 0..200)) {
            let mut order = Order::default();
            let mut model: Vec<(usize, u64)> = Vec::new();
            let mut most = 0;
            for (add, which) in steps {
                if add || model.is_empty() {
                    let (place, serial) = order.add();
                    prop_assert!(model.iter().all(|(other, _)| *other != place));
                    prop_assert!(model.iter().all(|(_, before)| *before < serial));
                    model.push((place, serial));
                    most = most.max(model.len());
                } else {
                    let (place, _) = model.remove(which % model.len());
                    order.remove(place);
                }
                prop_assert_eq!(order.oldest(), model.first().map(|(_, serial)| *serial));
                prop_assert!(model.iter().all(|(_, serial)| *serial < order.next()));
                // Places are used again.
                prop_assert!(order.nodes.len() <= most);
            }
            let next = order.next();
            order.clear();
            prop_assert_eq!((order.oldest(), order.next()), (None, next));
        }
    }
}
