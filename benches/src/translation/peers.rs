//! The contenders.

#![expect(clippy::cast_possible_truncation, reason = "sizes are small")]

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use viommu::{Attachment, DmaSpace, DomainId, EndpointId, Model, TranslationUnit, UnitConfig};
use vm_memory::iommu::{Error, IotlbFails, IotlbIterator};
use vm_memory::{GuestAddress, GuestMemoryMmap, Iommu, IommuMemory, Iotlb, Permissions};

use super::models::Driver;
use super::table::{PAGE, PageTable};
use super::world::World;

/// The domain of every mapping.
pub const DOMAIN: DomainId = DomainId(0);

/// A contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// [`viommu::DmaSpace`].
    Viommu,
    /// `vm_memory::iommu`, the crate itself.
    VmMemory,
    /// Guest memory without an IOMMU.
    Mmap,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viommu => "viommu",
            Self::VmMemory => "vm-memory",
            Self::Mmap => "mmap",
        })
    }
}

/// viommu: a unit in front of a model, such as a world's page table, and the space of an endpoint.
#[derive(Clone)]
pub struct Viommu {
    /// Forgets translations.
    pub unit: Arc<TranslationUnit>,
    /// Accesses memory.
    pub space: DmaSpace,
    /// Invalidates by the registers of the model, where it has some.
    driver: Option<Arc<Driver>>,
}

impl Viommu {
    /// Creates one with nothing in its cache.
    pub fn new(world: &World) -> Self {
        let config = UnitConfig::new(1, 1).with_initial(Attachment::Domain(DOMAIN));
        let table: Arc<PageTable> = Arc::clone(&world.table);
        let unit = TranslationUnit::new(Arc::clone(&world.memory), table, &config, None);
        Self::behind(&unit, unit.space(EndpointId(0)))
    }

    /// Creates one that is invalidated by its unit.
    pub fn behind(unit: &Arc<TranslationUnit>, space: DmaSpace) -> Self {
        Self {
            unit: Arc::clone(unit),
            space,
            driver: None,
        }
    }

    /// Creates one that is invalidated by its registers.
    pub fn driven(unit: &Arc<TranslationUnit>, space: DmaSpace, driver: Driver) -> Self {
        Self {
            driver: Some(Arc::new(driver)),
            ..Self::behind(unit, space)
        }
    }

    /// Fills its cache, if it has one, with every mapping of `world`.
    pub fn warm_up(&self, world: &World) {
        world
            .each()
            .visit(world.mappings, |iova| resolve(&self.space.pin(), iova));
        world.check(&self.space);
    }

    /// Invalidates the page at `iova`, and waits until nobody uses it any more.
    pub fn invalidate(&self, iova: u64) {
        if let Some(driver) = &self.driver {
            return driver.invalidate(iova);
        }
        self.unit.invalidate_range(DOMAIN, iova, iova + (PAGE - 1));
        self.wait();
    }

    /// Invalidates everything, and waits until nobody uses it any more.
    pub fn flush(&self) {
        if let Some(driver) = &self.driver {
            return driver.flush();
        }
        self.unit.invalidate_all();
        self.wait();
    }

    fn wait(&self) {
        let mut grace = self.unit.begin_grace_period();
        while !grace.is_over() {
            // Readers pin for some microseconds.
            std::thread::yield_now();
        }
    }
}

/// vm-memory's `IommuMemory` over the same memory and the same page table.
pub type VmMemory = IommuMemory<GuestMemoryMmap<()>, TableIommu>;

/// An IOMMU as vm-memory's documentation suggests: an `Iotlb` behind a lock, which is filled from
/// the page table when a lookup fails.
#[derive(Debug)]
pub struct TableIommu {
    /// The cache.
    pub iotlb: RwLock<Iotlb>,
    table: Arc<PageTable>,
}

/// Creates an `IommuMemory` with nothing in its cache.
pub fn vm_memory(world: &World) -> VmMemory {
    let iommu = TableIommu {
        iotlb: RwLock::new(Iotlb::new()),
        table: Arc::clone(&world.table),
    };
    // A clone shares the memory, and `true` has all accesses translated.
    IommuMemory::new(GuestMemoryMmap::clone(&world.memory), iommu, true, ())
}

/// Creates an `IommuMemory` with every mapping of `world` in its cache.
pub fn vm_memory_warm(world: &World) -> VmMemory {
    let memory = vm_memory(world);
    world.each().visit(world.mappings, |iova| {
        memory.iommu().fill(iova);
    });
    world.check(&memory);
    memory
}

impl TableIommu {
    /// Returns the cache, for changes.
    pub fn change(&self) -> RwLockWriteGuard<'_, Iotlb> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.iotlb.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the cache, for lookups.
    pub fn cache(&self) -> RwLockReadGuard<'_, Iotlb> {
        self.iotlb.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Caches that the page at `iova` leads to `page`.
    ///
    /// # Panics
    /// If the cache refuses, which it does not.
    pub fn learn(&self, iova: GuestAddress, page: GuestAddress) {
        self.change()
            .set_mapping(iova, page, PAGE as usize, Permissions::ReadWrite)
            .expect("the cache takes any mapping");
    }

    /// Caches the mapping of `iova` in the page table.
    fn fill(&self, iova: GuestAddress) -> bool {
        let walked = self
            .table
            .translate(EndpointId(0).into(), DOMAIN, iova.0, Permissions::Read);
        let Ok(mapping) = walked else {
            return false;
        };
        let length = (mapping.last - mapping.first + 1) as usize;
        let (first, to) = (GuestAddress(mapping.first), GuestAddress(mapping.address));
        self.change()
            .set_mapping(first, to, length, mapping.permissions)
            .is_ok()
    }

    fn fill_all(&self, fails: &IotlbFails) -> Result<(), Error> {
        for range in fails.misses.iter().chain(&fails.access_fails) {
            let mut iova = range.base.0;
            while iova < range.base.0 + range.length as u64 {
                if !self.fill(GuestAddress(iova)) {
                    return Err(Error::CannotResolve {
                        iova_range: range.clone(),
                        reason: "it is not mapped".to_owned(),
                    });
                }
                // A miss may span pages, of which each has a mapping of its own.
                iova = (iova | (PAGE - 1)) + 1;
            }
        }
        Ok(())
    }
}

impl Iommu for TableIommu {
    type IotlbGuard<'a> = RwLockReadGuard<'a, Iotlb>;

    fn translate(
        &self,
        iova: GuestAddress,
        length: usize,
        access: Permissions,
    ) -> Result<IotlbIterator<Self::IotlbGuard<'_>>, Error> {
        // Until no invalidation comes between filling and looking up.
        loop {
            match Iotlb::lookup(self.cache(), iova, length, access) {
                Ok(found) => return Ok(found),
                Err(fails) => self.fill_all(&fails)?,
            }
        }
    }
}

/// Makes `memory` find the host memory of one access, without making it.
#[inline(never)]
pub fn resolve<M: vm_memory::GuestMemory>(memory: &M, address: GuestAddress) {
    let slice = memory
        .get_slices(address, super::world::ACCESS, Permissions::Read)
        .ok()
        .and_then(|mut slices| slices.next())
        .and_then(Result::ok)
        .expect("the address is mapped");
    std::hint::black_box(slice.ptr_guard().as_ptr());
}
