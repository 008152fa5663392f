//! The work that contenders do.

mod changes;
mod hits;
mod hotplug;
mod kinds;
mod queue;
mod scale;
mod threads;

use vm_memory::GuestMemoryMmap;

pub use changes::{FLUSH, MISS, REFILL};
pub use hits::{LOOKUP, READ, copy};
pub use threads::{ONE_THREAD, TWO_THREADS};

use super::peers::{Viommu, VmMemory, vm_memory_warm};
use super::rounds::Case;
use super::world::World;

/// Accesses that a device makes for one pin.
pub const BATCH: usize = 64;

/// The contenders on one world, each with every mapping in its cache.
pub struct Contenders<'w> {
    world: &'w World,
    viommu: Viommu,
    vm_memory: VmMemory,
    plain: &'w GuestMemoryMmap<()>,
}

impl<'w> Contenders<'w> {
    /// Returns all cases.
    ///
    /// # Panics
    /// If one of them does not lead where the mappings say.
    pub fn new(world: &'w World) -> Self {
        Self::behind(world, Viommu::new(world))
    }

    /// Returns among how many mappings they look things up.
    pub fn mappings(&self) -> u64 {
        self.world.mappings
    }

    /// Creates contenders with `viommu` in front of the same mappings, of whatever model.
    ///
    /// # Panics
    /// If one of them does not lead where the mappings say.
    pub fn behind(world: &'w World, viommu: Viommu) -> Self {
        world.label();
        viommu.warm_up(world);
        Self {
            world,
            viommu,
            vm_memory: vm_memory_warm(world),
            plain: &world.memory,
        }
    }
}

/// Returns what pairs of cases tell together: a name, the case with more of something, the case
/// with less.
pub fn compared() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    scale::COMPARED.into_iter().chain(hotplug::COMPARED)
}

/// Cases that take turns with each other.
pub struct Group {
    /// What they have in common.
    pub name: &'static str,
    /// Makes them.
    pub cases: for<'c> fn(&'c Contenders<'_>) -> Vec<Case<'c>>,
}

/// Lookups of, and accesses to, what is mapped.
pub const HITS: Group = Group {
    name: "hits",
    cases: hits::cases,
};

/// All cases.
pub const GROUPS: [Group; 9] = [
    HITS,
    Group {
        name: "kinds",
        cases: kinds::cases,
    },
    Group {
        name: "misses",
        cases: changes::misses,
    },
    Group {
        name: "changes",
        cases: changes::pairs,
    },
    Group {
        name: "flushes",
        cases: changes::flushes,
    },
    Group {
        name: "threads",
        cases: threads::cases,
    },
    Group {
        name: "queue",
        cases: queue::cases,
    },
    Group {
        name: "scale",
        cases: scale::cases,
    },
    Group {
        name: "hotplug",
        cases: hotplug::cases,
    },
];
