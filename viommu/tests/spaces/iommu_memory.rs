//! The adaptor, under the real `IommuMemory` of vm-memory.

use std::sync::Arc;

use super::common::{DOMAIN, ENDPOINT, PAGE, RAM, ram, unit};
use viommu::vm_memory_iommu::{IommuSpace, SpaceIommu};
use viommu::{Access, DmaSpace, FaultReason};
use vm_memory::Permissions::{Read, ReadWrite, Write};
use vm_memory::{
    Bytes, GuestAddress, GuestAddressSpace, GuestMemory, GuestMemoryMmap, IommuMemory,
};

type Memory = IommuMemory<GuestMemoryMmap<()>, SpaceIommu>;

fn over(space: DmaSpace) -> Arc<Memory> {
    IommuSpace::new(space, ()).memory()
}

fn lengths(memory: &Memory, iova: u64, count: usize) -> Option<Vec<usize>> {
    let slices = memory
        .get_slices(GuestAddress(iova), count, ReadWrite)
        .ok()?;
    slices
        .map(|slice| slice.ok().map(|slice| slice.len()))
        .collect()
}

#[test]
fn translates_across_pages_and_regions() {
    let ram = ram();
    let (unit, model) = unit(&ram, 64, None);
    let memory = over(unit.space(ENDPOINT));
    model.map_page(0x1000, RAM + 0xff000, ReadWrite);
    model.map_page(0x2000, RAM + 0x10_0000, ReadWrite);
    model.map_page(0x3000, RAM, ReadWrite);
    for _ in 0..2 {
        assert_eq!(lengths(&memory, 0x1ffc, 8), Some(vec![4, 4]));
        memory
            .write_slice(b"abcdefgh", GuestAddress(0x2ffc))
            .unwrap();
    }
    let mut data = [0; 4];
    ram.read_slice(&mut data, GuestAddress(RAM)).unwrap();
    assert_eq!(&data, b"efgh");
    assert_eq!(
        memory.read_obj::<[u8; 8]>(GuestAddress(0x2ffc)).unwrap(),
        *b"abcdefgh"
    );
}

#[test]
fn length_0_the_last_page_and_ranges_that_wrap() {
    let ram = ram();
    let (unit, model) = unit(&ram, 64, None);
    let memory = over(unit.space(ENDPOINT));
    let top = u64::MAX - (PAGE - 1);
    model.map(DOMAIN, top, u64::MAX, RAM, ReadWrite);
    model.map_page(0, RAM + PAGE, ReadWrite);
    for iova in [0, 0x5555, top, u64::MAX] {
        assert_eq!(lengths(&memory, iova, 0), Some(vec![]), "{iova:#x}");
        assert!(memory.check_range(GuestAddress(iova), 0, Write));
    }
    memory.write_obj(0x5au8, GuestAddress(u64::MAX)).unwrap();
    assert_eq!(ram.read_obj::<u8>(GuestAddress(RAM + 0xfff)).unwrap(), 0x5a);
    assert_eq!(
        lengths(&memory, top, PAGE as usize),
        Some(vec![PAGE as usize])
    );
    for (iova, count) in [
        (u64::MAX, 2),
        (top, PAGE as usize + 1),
        (u64::MAX, usize::MAX),
        (0, usize::MAX),
    ] {
        assert_eq!(lengths(&memory, iova, count), None, "{iova:#x}");
        assert!(!memory.check_range(GuestAddress(iova), count, Read));
    }
}

#[test]
fn faults_are_told_with_the_address_out_of_reach() {
    let ram = ram();
    let (unit, model) = unit(&ram, 64, None);
    let memory = over(unit.space(ENDPOINT));
    model.map_page(0x1000, RAM, Read);
    assert!(memory.read_obj::<u64>(GuestAddress(0x1ff8)).is_ok());
    let error = memory.read_obj::<u64>(GuestAddress(0x1ffc)).unwrap_err();
    assert!(error.to_string().contains("0x2000"), "{error}");
    assert!(memory.write_obj(0u8, GuestAddress(0x1004)).is_err());
    assert_eq!(
        model.take_faults(),
        [
            (0x2000, Access::Read, FaultReason::Translation),
            (0x1004, Access::Write, FaultReason::Permission)
        ]
    );
}

#[test]
fn spaces_without_a_unit() {
    let ram = ram();
    let open = over(DmaSpace::pass_through(ram.clone()));
    open.write_obj(9u8, GuestAddress(RAM)).unwrap();
    assert_eq!(ram.read_obj::<u8>(GuestAddress(RAM)).unwrap(), 9);
    assert_eq!(lengths(&open, u64::MAX, 1), None);
    assert_eq!(lengths(&open, u64::MAX, 2), None);
    let blocked = over(DmaSpace::blocked(ram.clone()));
    assert!(blocked.read_obj::<u8>(GuestAddress(RAM)).is_err());
    assert_eq!(lengths(&blocked, RAM, 0), Some(vec![]));
}

#[test]
fn the_memory_holds_a_pin_and_slices_borrow_from_it() {
    let ram = ram();
    let (unit, model) = unit(&ram, 64, None);
    model.map_page(0x1000, RAM, ReadWrite);
    let space = IommuSpace::new(unit.space(ENDPOINT), ());
    assert!(unit.begin_grace_period().is_over(), "nobody is at work");
    let memory = space.memory();
    let slices: Vec<_> = memory
        .get_slices(GuestAddress(0x1000), 4, Read)
        .unwrap()
        .collect();
    let mut grace = unit.begin_grace_period();
    assert!(!grace.is_over());
    drop(slices);
    let other = memory.clone();
    drop(memory);
    assert!(!grace.is_over());
    drop(other);
    assert!(grace.is_over());
}
