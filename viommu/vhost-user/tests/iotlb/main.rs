//! Front end and back end together, over a socket: what a device reaches, and when that ends.

mod common;
mod death;
mod driver;
mod processes;
mod relay;
mod stress;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{HANG, Machine, PAGE, PLAIN, RAM, SIZE, TRANSLATED, page, wait_until};
use viommu::{
    Attachment, CacheConfig, DomainId, EndpointId, Fault, FaultReason, Mapping, Miss, Model,
    Requester, TranslationUnit, UnitConfig,
};
use viommu_vhost_user::frontend::{CurrentBackend, Listener, Notice};
use vm_memory::{Bytes, GuestAddress, Permissions};

const IOVA: u64 = 0xdead_0000;

#[test]
fn a_device_reaches_what_is_mapped_and_nothing_else() {
    let mut machine = Machine::new(TRANSLATED);
    machine.map(IOVA, RAM + PAGE, Permissions::ReadWrite);
    machine.map(IOVA + PAGE, RAM, Permissions::Read);
    let (space, memory) = (machine.space.clone(), &machine.guest.memory);
    // Across both pages, which are not neighbours in memory.
    memory.write_obj(0x1122u16, GuestAddress(RAM)).unwrap();
    let across = GuestAddress(IOVA + PAGE - 2);
    assert_eq!(space.read_obj::<u32>(across).unwrap(), 0x1122 << 16);
    space.write_obj(7u32, GuestAddress(IOVA)).unwrap();
    assert_eq!(memory.read_obj::<u32>(GuestAddress(RAM + PAGE)).unwrap(), 7);
    let refused = [IOVA - 1, IOVA + 2 * PAGE, RAM, 0, u64::MAX];
    for iova in refused {
        assert!(
            space.read_obj::<u8>(GuestAddress(iova)).is_err(),
            "{iova:#x}"
        );
    }
    assert!(space.write_obj(1u8, GuestAddress(IOVA + PAGE)).is_err());
    machine.unmap(IOVA);
    assert!(space.read_obj::<u8>(GuestAddress(IOVA)).is_err());
    assert!(space.read_obj::<u8>(GuestAddress(IOVA + PAGE)).is_ok());
    machine.iommu.attach(Attachment::Blocked);
    machine.settle();
    assert!(space.read_obj::<u8>(GuestAddress(IOVA + PAGE)).is_err());
    machine.iommu.attach(Attachment::Bypass);
    machine.settle();
    assert!(space.read_obj::<u8>(GuestAddress(RAM + SIZE - 1)).is_ok());
    assert!(space.read_obj::<u8>(GuestAddress(RAM + SIZE)).is_err());
}

#[test]
fn without_access_platform_a_device_reaches_all_memory() {
    let mut machine = Machine::new(PLAIN);
    machine.map(IOVA, RAM, Permissions::ReadWrite);
    let space = &machine.space;
    assert!(space.write_obj(1u8, GuestAddress(RAM + SIZE - 1)).is_ok());
    assert!(space.read_obj::<u8>(GuestAddress(RAM + SIZE)).is_err());
    assert!(space.read_obj::<u8>(GuestAddress(IOVA)).is_err());
}

#[test]
fn an_unmapping_waits_for_an_access_and_nothing_else_does() {
    let mut machine = Machine::new(TRANSLATED);
    machine.map(IOVA, RAM, Permissions::ReadWrite);
    let space = machine.space.clone();
    let pinned = space.pin();
    machine.iommu.unmap(IOVA, IOVA + PAGE - 1);
    for _ in 0..50 {
        assert!(!machine.iommu.is_settled(), "an access is under way");
        thread::sleep(Duration::from_millis(1));
    }
    drop(pinned);
    wait_until(|| machine.iommu.is_settled());
    // A mapping where nothing was replaces nothing.
    let pinned = space.pin();
    machine.map(IOVA, RAM, Permissions::ReadWrite);
    drop(pinned);
}

#[test]
fn a_miss_is_answered_or_refused() {
    let mut machine = Machine::new(TRANSLATED);
    machine.map(IOVA, RAM, Permissions::Read);
    let mut channel = machine.frontend.open_channel().unwrap();
    // The back end forgets all with its memory; nobody tells it anew in this way.
    let memory = [(machine.guest.region, &*machine.guest.file)];
    let set_up = machine.frontend.set_up(&machine.offer, TRANSLATED, &memory);
    set_up.unwrap();
    let (space, seen) = (machine.space.clone(), machine.iommu.space());
    let device = thread::spawn(move || {
        let read = space.read_obj::<u8>(GuestAddress(IOVA)).is_ok();
        let write = space.write_obj(1u8, GuestAddress(IOVA)).is_err();
        (read, write)
    });
    let mut events = Vec::new();
    wait_until(|| {
        events.extend(channel.serve(Some(&seen)).unwrap());
        device.is_finished()
    });
    assert_eq!(device.join().unwrap(), (true, true));
    let (iova, wanted) = (IOVA, Permissions::Write);
    let expected = [Notice::Answered { iova }, Notice::Fault { iova, wanted }];
    assert_eq!(events, expected);
}

/// An IOMMU whose mappings nobody is told of: one page leads to a frame that changes.
struct Tables {
    frame: AtomicU64,
    faults: AtomicU64,
}

impl Model for Tables {
    fn translate(
        &self,
        _: Requester,
        _: DomainId,
        iova: u64,
        _: Permissions,
    ) -> Result<Mapping, Miss> {
        match iova & !(PAGE - 1) {
            IOVA => Ok(page(
                IOVA,
                self.frame.load(Ordering::Relaxed),
                Permissions::ReadWrite,
            )),
            _ => Err(Miss::new(FaultReason::Translation)),
        }
    }

    fn fault(&self, _: &Fault) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn translations_that_are_asked_for_follow_the_tables() {
    let tables = Arc::new(Tables {
        frame: AtomicU64::new(RAM),
        faults: AtomicU64::new(0),
    });
    let guest = Arc::new(common::Guest::new().memory);
    let config = UnitConfig::new(1, 1).with_initial(Attachment::Domain(DomainId(0)));
    let cache = CacheConfig::default();
    let unit = TranslationUnit::with_cache(guest, Arc::clone(&tables) as _, &config, &cache, None);
    let machine = Machine::new(TRANSLATED);
    let seen = unit.space(EndpointId(0));
    let current = CurrentBackend::new(|| {});
    let listener = Listener::new(current.clone(), seen.clone());
    unit.add_listener(EndpointId(0), Box::new(listener));
    current.set(Some(&machine.frontend));
    for frame in [RAM, RAM + PAGE] {
        let value = u32::try_from(frame).unwrap();
        let at = GuestAddress(frame + 8);
        machine.guest.memory.write_obj(value, at).unwrap();
    }
    let (done, space) = (Arc::new(AtomicBool::new(false)), machine.space.clone());
    let device = {
        let (done, tables) = (Arc::clone(&done), Arc::clone(&tables));
        thread::spawn(move || {
            for round in 0..20 {
                let frame = RAM + round % 2 * PAGE;
                tables.frame.store(frame, Ordering::Relaxed);
                unit.invalidate_range(DomainId(0), IOVA, IOVA + PAGE - 1);
                // It is over when the back end has acknowledged it.
                let mut grace = unit.begin_grace_period();
                wait_until(|| grace.is_over());
                let read = space.read_obj::<u32>(GuestAddress(IOVA + 8));
                assert_eq!(u64::from(read.unwrap()), frame);
            }
            assert!(space.read_obj::<u32>(GuestAddress(0)).is_err());
            done.store(true, Ordering::Release);
        })
    };
    machine.serve_misses(&seen, || {
        done.load(Ordering::Acquire) || device.is_finished()
    });
    device.join().unwrap();
    assert_eq!(tables.faults.load(Ordering::Relaxed), 1);
}

#[test]
fn a_miss_that_nobody_answers_fails_in_time() {
    let timeout = Duration::from_millis(30);
    let machine = Machine::with_timeouts(TRANSLATED, timeout, HANG);
    // It is there, but nobody serves it.
    let channel = machine.frontend.open_channel().unwrap();
    assert!(machine.space.read_obj::<u8>(GuestAddress(IOVA)).is_err());
    drop(channel);
}

#[test]
fn memory_comes_and_goes() {
    let mut machine = Machine::new(TRANSLATED);
    let more = common::Guest::new();
    let mut region = more.region;
    region.address = RAM + SIZE;
    machine.map(IOVA, RAM + SIZE, Permissions::ReadWrite);
    let space = machine.space.clone();
    assert!(space.read_obj::<u8>(GuestAddress(IOVA)).is_err());
    let (frontend, offer) = (machine.frontend.clone(), machine.offer);
    frontend.add_memory(&offer, region, &more.file).unwrap();
    machine.iommu.backend.set(Some(&frontend));
    machine.settle();
    space.write_obj(5u8, GuestAddress(IOVA)).unwrap();
    assert_eq!(more.memory.read_obj::<u8>(GuestAddress(RAM)).unwrap(), 5);
    machine.map(IOVA + PAGE, RAM, Permissions::ReadWrite);
    frontend.remove_memory(&offer, region).unwrap();
    machine.iommu.backend.set(Some(&frontend));
    machine.settle();
    assert!(space.read_obj::<u8>(GuestAddress(IOVA + PAGE)).is_ok());
    assert!(space.read_obj::<u8>(GuestAddress(IOVA)).is_err());
    assert!(frontend.remove_memory(&offer, region).is_err());
    assert!(frontend.is_alive(), "a refusal is no failure");
}
