//! The functions of Linux's DMA API that are watched, by the age of the kernel: types and facts
//! only.
//!
//! Names and prototypes are those of include/linux/dma-mapping.h and kernel/dma/mapping.c, whose
//! functions are the same for all architectures since Linux 5.4. Which of them exist is told by the
//! kernel's symbols, so that no version is looked at:
//!
//! | | 5.10 | 6.1, 6.12 | 7.2 |
//! |---|---|---|---|
//! | one buffer | `dma_map_page_attrs` | the same | `dma_map_phys` |
//! | a list | `dma_map_sg_attrs` | `__dma_map_sg_attrs` | the same |
//! | a pool | `dma_pool_create` | the same | `dma_pool_create_node` |
//! | synchronising | `dma_sync_single_for_cpu` | the same; `__dma_sync_single_for_cpu` | the same |
//! | unbinding | `__device_release_driver` | `device_unbind_cleanup` | the same |

/// What one argument takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One register: a pointer, a `size_t`, an enumeration, an `unsigned long`.
    Word,
    /// A `dma_addr_t`: two registers with `CONFIG_ARCH_DMA_ADDR_T_64BIT`.
    DmaAddress,
    /// A `phys_addr_t`: two registers with `CONFIG_ARM_LPAE`.
    PhysicalAddress,
}

use Width::{DmaAddress, PhysicalAddress, Word};

/// Which addresses have 64 bits in a kernel, and so take two registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wide {
    /// `dma_addr_t` does.
    pub dma: bool,
    /// `phys_addr_t` does.
    pub physical: bool,
}

impl Wide {
    const fn has(self, width: Width) -> bool {
        match width {
            Word => false,
            DmaAddress => self.dma,
            PhysicalAddress => self.physical,
        }
    }
}

/// How a function is told which memory it maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// By a `struct page` and an offset from its first byte: these two arguments.
    Page(usize, usize),
    /// By a physical address: this argument.
    Physical(usize),
    /// It maps registers of another device.
    Registers,
}

/// To whom memory is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// To the CPU.
    Cpu,
    /// To the device.
    Device,
}

/// What memory is given back: by argument 0, unless another is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freed {
    /// It is a `struct page` that has no users any more, the first of two to the power of this
    /// argument: of one where there is no such argument.
    Pages(Option<usize>),
    /// It is a `struct page`, the first of as many, that loses a user, who need not be the last.
    OneUser(usize),
    /// It is a list of such pages without users, linked by `lru` of their `struct page`.
    List,
    /// It is a `struct folio_batch` of such pages.
    Batch,
    /// It is the address of memory that `kmalloc` or `kmem_cache_alloc` returned, in this argument.
    Object(usize),
}

/// What a function does. Numbers are those of arguments, from 0; argument 0 is the `struct device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Maps one buffer, and returns its `dma_addr_t`, or all ones.
    Map {
        /// The memory.
        memory: Memory,
        /// The number of bytes.
        size: usize,
        /// The direction.
        direction: usize,
        /// The attributes.
        attributes: usize,
    },
    /// Unmaps one buffer.
    Unmap {
        /// Its `dma_addr_t`.
        address: usize,
        /// The number of bytes.
        size: usize,
        /// The direction.
        direction: usize,
    },
    /// Maps a scatter list, and returns how many segments it has then, or 0, or an error.
    MapList {
        /// The list.
        list: usize,
        /// The direction.
        direction: usize,
        /// The attributes.
        attributes: usize,
    },
    /// Unmaps a scatter list.
    UnmapList {
        /// The list.
        list: usize,
    },
    /// Allocates memory that both sides access, and returns something that is not 0.
    Allocate {
        /// The number of bytes.
        size: usize,
        /// Where the `dma_addr_t` is stored.
        handle: usize,
        /// The direction, if it has one.
        direction: Option<usize>,
    },
    /// Frees such memory.
    Free {
        /// The number of bytes.
        size: usize,
        /// The `dma_addr_t`.
        handle: usize,
    },
    /// Hands a part of what is mapped over.
    Sync {
        /// Its `dma_addr_t`.
        address: usize,
        /// The number of bytes.
        size: usize,
        /// To whom.
        to: To,
    },
    /// Hands a scatter list over.
    SyncList {
        /// The list.
        list: usize,
        /// To whom.
        to: To,
    },
    /// Creates a pool of small blocks, and returns it. Argument 0 is its name.
    CreatePool {
        /// The `struct device`.
        device: usize,
        /// The number of bytes of each block.
        size: usize,
    },
    /// Destroys a pool, which is argument 0.
    DestroyPool,
    /// Allocates a block of a pool, which is argument 0, and returns something that is not 0.
    AllocateBlock {
        /// Where the `dma_addr_t` is stored.
        handle: usize,
    },
    /// Frees a block of a pool, which is argument 0.
    FreeBlock {
        /// The `dma_addr_t`.
        handle: usize,
    },
    /// Gives back memory that a device may still have.
    Release(Freed),
    /// Gives the device memory in a way that is not followed.
    Untold,
    /// Has unbound the driver of the device.
    Unbind,
}

impl Effect {
    /// Returns whether it takes back what a device was given.
    pub const fn takes_back(self) -> bool {
        matches!(
            self,
            Self::Unmap { .. } | Self::UnmapList { .. } | Self::Free { .. }
        )
    }

    /// Returns whether it is known only when the function returns.
    pub const fn at_return(self) -> bool {
        // The device must not use any more what the driver begins to take back. And what belongs to
        // the CPU again does so before caches are cleaned, which may copy.
        let to_cpu = matches!(
            self,
            Self::Sync { to: To::Cpu, .. } | Self::SyncList { to: To::Cpu, .. }
        );
        let of_pool = matches!(self, Self::FreeBlock { .. } | Self::DestroyPool);
        // What has no users any more may have others when the function returns.
        let releases = self.releases() && !matches!(self, Self::Release(Freed::OneUser(_)));
        !self.takes_back() && !to_cpu && !of_pool && !releases && !matches!(self, Self::Untold)
    }

    /// Returns whether it gives back memory, whoever has it.
    pub const fn releases(self) -> bool {
        matches!(self, Self::Release(_))
    }

    /// Returns whether it only hands over what is mapped.
    pub const fn hands_over(self) -> bool {
        matches!(self, Self::Sync { .. } | Self::SyncList { .. })
    }
}

/// A function of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The function by which it does its work in kernels that have that: it is then not looked at
    /// itself, lest everything is seen twice.
    pub within: Option<&'static str>,
    /// What its arguments take.
    pub arguments: &'static [Width],
    /// What it does.
    pub effect: Effect,
}

impl Function {
    const fn new(name: &'static str, arguments: &'static [Width], effect: Effect) -> Self {
        Self {
            name,
            within: None,
            arguments,
            effect,
        }
    }

    /// Returns where the function is looked at.
    pub const fn point(&self) -> Point {
        match self.effect.at_return() {
            true => Point::Return,
            false => Point::Entry,
        }
    }

    const fn unless(self, within: &'static str) -> Self {
        Self {
            within: Some(within),
            ..self
        }
    }
}

/// Where a function is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before its first instruction.
    Entry,
    /// When it has returned.
    Return,
}

const MAP_PHYS: &str = "dma_map_phys";
const UNMAP_PHYS: &str = "dma_unmap_phys";
const MAP_LIST: &str = "__dma_map_sg_attrs";
const UNBIND: &str = "device_unbind_cleanup";

const fn unmap(name: &'static str) -> Function {
    let effect = Effect::Unmap {
        address: 1,
        size: 2,
        direction: 3,
    };
    Function::new(name, &[Word, DmaAddress, Word, Word, Word], effect)
}

const fn map_physical(name: &'static str, memory: Memory) -> Function {
    let effect = Effect::Map {
        memory,
        size: 2,
        direction: 3,
        attributes: 4,
    };
    Function::new(name, &[Word, PhysicalAddress, Word, Word, Word], effect)
}

const fn map_list(name: &'static str) -> Function {
    let effect = Effect::MapList {
        list: 1,
        direction: 3,
        attributes: 4,
    };
    Function::new(name, &[Word; 5], effect)
}

const fn sync(name: &'static str, to: To) -> Function {
    let effect = Effect::Sync {
        address: 1,
        size: 2,
        to,
    };
    Function::new(name, &[Word, DmaAddress, Word, Word], effect)
}

const fn sync_list(name: &'static str, to: To) -> Function {
    Function::new(name, &[Word; 4], Effect::SyncList { list: 1, to })
}

const fn create_pool(name: &'static str) -> Function {
    let effect = Effect::CreatePool { device: 1, size: 2 };
    Function::new(name, &[Word; 6], effect)
}

const fn releases(name: &'static str, freed: Freed) -> Function {
    Function::new(name, &[Word; 2], Effect::Release(freed))
}

const fn untold(name: &'static str) -> Function {
    Function::new(name, &[Word], Effect::Untold)
}

const fn unbind(name: &'static str) -> Function {
    Function::new(name, &[Word], Effect::Unbind)
}

/// All functions that are watched.
pub const FUNCTIONS: &[Function] = &[
    // Since 6.18; before, pages were mapped.
    map_physical(MAP_PHYS, Memory::Physical(1)),
    unmap(UNMAP_PHYS),
    Function::new(
        "dma_map_page_attrs",
        &[Word; 6],
        Effect::Map {
            memory: Memory::Page(1, 2),
            size: 3,
            direction: 4,
            attributes: 5,
        },
    )
    .unless(MAP_PHYS),
    unmap("dma_unmap_page_attrs").unless(UNMAP_PHYS),
    map_physical("dma_map_resource", Memory::Registers).unless(MAP_PHYS),
    unmap("dma_unmap_resource").unless(UNMAP_PHYS),
    // Since 5.15; `dma_map_sgtable` uses it too.
    map_list(MAP_LIST),
    map_list("dma_map_sg_attrs").unless(MAP_LIST),
    Function::new(
        "dma_unmap_sg_attrs",
        &[Word; 5],
        Effect::UnmapList { list: 1 },
    ),
    Function::new(
        "dma_alloc_attrs",
        &[Word; 5],
        Effect::Allocate {
            size: 1,
            handle: 2,
            direction: None,
        },
    ),
    Function::new(
        "dma_free_attrs",
        &[Word, Word, Word, DmaAddress, Word],
        Effect::Free { size: 1, handle: 3 },
    ),
    // Since 5.10.
    Function::new(
        "dma_alloc_pages",
        &[Word; 5],
        Effect::Allocate {
            size: 1,
            handle: 2,
            direction: Some(3),
        },
    ),
    Function::new(
        "dma_free_pages",
        &[Word, Word, Word, DmaAddress, Word],
        Effect::Free { size: 1, handle: 3 },
    ),
    // Since 6.15; before, the same without a node, which is an inline function now.
    create_pool("dma_pool_create_node"),
    create_pool("dma_pool_create").unless("dma_pool_create_node"),
    Function::new("dma_pool_destroy", &[Word], Effect::DestroyPool),
    Function::new(
        "dma_pool_alloc",
        &[Word; 3],
        Effect::AllocateBlock { handle: 2 },
    ),
    Function::new(
        "dma_pool_free",
        &[Word, Word, DmaAddress],
        Effect::FreeBlock { handle: 2 },
    ),
    // Since 6.10; before, the same without underscores, which are inline functions now.
    sync("__dma_sync_single_for_cpu", To::Cpu),
    sync("__dma_sync_single_for_device", To::Device),
    sync_list("__dma_sync_sg_for_cpu", To::Cpu),
    sync_list("__dma_sync_sg_for_device", To::Device),
    sync("dma_sync_single_for_cpu", To::Cpu).unless("__dma_sync_single_for_cpu"),
    sync("dma_sync_single_for_device", To::Device).unless("__dma_sync_single_for_device"),
    sync_list("dma_sync_sg_for_cpu", To::Cpu).unless("__dma_sync_sg_for_cpu"),
    sync_list("dma_sync_sg_for_device", To::Device).unless("__dma_sync_sg_for_device"),
    // Functions of mm/page_alloc.c and mm/swap.c. That which drops a user of pages has an inner one
    // in newer kernels, which `free_pages` calls as well.
    releases("___free_pages", Freed::OneUser(1)),
    releases("__free_pages", Freed::OneUser(1)).unless("___free_pages"),
    // By pages, and by folios.
    releases("__put_page", Freed::Pages(None)),
    releases("__folio_put", Freed::Pages(None)),
    // Until 4.14, until 6.14, and since then. The second has an order only since 5.14.
    releases("free_hot_cold_page", Freed::Pages(None)),
    releases("free_unref_page", Freed::Pages(None)),
    releases("free_frozen_pages", Freed::Pages(Some(1))),
    // Until 4.14, until 6.9, and since then.
    releases("free_hot_cold_page_list", Freed::List),
    releases("free_unref_page_list", Freed::List),
    releases("free_unref_folios", Freed::Batch),
    releases("kfree", Freed::Object(0)),
    releases("kmem_cache_free", Freed::Object(1)),
    // Since 5.13 and 6.16.
    untold("dma_alloc_noncontiguous"),
    untold("dma_iova_link"),
    // Since 5.19; before, the work was done in the function that is named after it.
    unbind(UNBIND),
    unbind("__device_release_driver").unless(UNBIND),
];

/// Returns where each word of the arguments of `function` is: the number of the first word of
/// argument `n`, and whether it has two. Arguments of eight bytes begin at an even word (AAPCS32
/// 6.5, stage C).
pub fn words(function: &Function, n: usize, wide: Wide) -> Option<(usize, bool)> {
    let mut next = 0;
    for (at, width) in function.arguments.iter().enumerate() {
        let two = wide.has(*width);
        if two {
            next += next % 2;
        }
        if at == n {
            return Some((next, two));
        }
        next += if two { 2 } else { 1 };
    }
    None
}

/// Most pages that one call may free, as a power of two: `ARCH_FORCE_MAX_ORDER` of arch/arm/Kconfig
/// is at most 11, and `FORCE_MAX_ZONEORDER` before 6.1 was 12.
pub const MAX_FREED_ORDER: u64 = 12;
/// Most entries of a list of pages that are followed. A `struct folio_batch` counts its own in a
/// byte, and has `PAGEVEC_SIZE`, which is 31 (include/linux/pagevec.h).
pub const MAX_FREED_ENTRIES: usize = 512;
/// `DMA_ATTR_SKIP_CPU_SYNC` of include/linux/dma-mapping.h: what is mapped belongs to the CPU until
/// it is synchronised for the device.
pub const SKIP_CPU_SYNC: u64 = 1 << 5;
/// `SG_CHAIN` of include/linux/scatterlist.h: this entry leads to another array of entries.
pub const SG_CHAIN: u32 = 1;
/// `SG_END`: this entry is the last.
pub const SG_END: u32 = 2;
/// Most entries of a scatter list that are followed: four mebibytes in pages of 4 KiB, and
/// `SG_MAX_SEGMENTS` of drivers/scsi.
pub const MAX_SEGMENTS: u64 = 2048;

#[cfg(test)]
mod tests;
