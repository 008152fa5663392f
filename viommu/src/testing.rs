//! Several vCPUs that map and unmap, devices that work and an unplugging, all at once on real
//! threads, through the doors that a guest has: whatever an IOMMU calls complete, nothing lands
//! through it afterwards, and nothing waits for ever.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vm_memory::{
    Bytes, GuestAddress, GuestAddressSpace, GuestMemory, GuestMemoryMmap, Permissions,
};

use crate::dma::DmaSpace;
use crate::test_support::{RAM, RAM_SIZE};

const PAGE: u64 = 0x1000;
/// vCPUs that map and unmap.
const VCPUS: u64 = 3;
/// Pages that each of them has. Each page is on one of two frames of its own in turn.
const PAGES: u64 = 4;
/// Changes that each vCPU makes.
const ROUNDS: u64 = 150;
/// Looks at a frame that nobody may write to.
const LOOKS: usize = 40;
/// What devices write.
const MARK: u32 = 0x5a5a_5a5a;
/// A thread that waits as long as this waits for ever.
const HANG: Duration = Duration::from_secs(120);

/// Devices that all vCPUs' pages are for.
pub const DEVICES: u64 = 3;
/// The device that comes and goes, with a page of its own.
pub const VISITOR: u64 = DEVICES;
/// The first IOVA.
pub const IOVA: u64 = 0x4000_0000;
/// Pages from there on.
pub const IOVAS: u64 = VCPUS * PAGES + 1;
/// Frames that are mapped.
const FRAMES: u64 = 2 * IOVAS;
/// The first frame.
const BUFFERS: u64 = RAM + 0x20_0000;
const _: () = assert!(BUFFERS + FRAMES * PAGE <= RAM + RAM_SIZE);

/// A guest's driver of an IOMMU, whose functions may be called by several vCPUs at once. What takes
/// something away returns when the IOMMU says that it is complete.
pub trait Driver: Sync {
    /// Returns the guest's memory.
    fn ram(&self) -> &GuestMemoryMmap<()>;
    /// Returns the physical address of frame `index`.
    fn frame(&self, index: u64) -> u64 {
        BUFFERS + index * PAGE
    }
    /// Returns what a device sees.
    fn space(&self, device: u64) -> DmaSpace;
    /// Maps the page at `iova`, where nothing is mapped, for all devices.
    fn map(&self, iova: u64, frame: u64);
    /// Unmaps the page at `iova`.
    fn unmap(&self, iova: u64);
    /// Remaps the page at `iova` to another frame.
    fn remap(&self, iova: u64, frame: u64);
    /// Takes all translations from a device.
    fn detach(&self, device: u64);
    /// Gives them to it.
    fn attach(&self, device: u64);
    /// Does short work of a vCPU: needless invalidations, faults that are handled.
    fn fuss(&self);
}

/// Waits until `done`, giving the processor away.
///
/// # Panics
/// When that never comes.
pub fn wait_until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < HANG, "a thread waits for ever");
        thread::yield_now();
    }
}

/// Sets its flag when dropped, so that threads which wait for it end though an assertion failed.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One way of a device to write [`MARK`] to two pages; an access to what is not mapped is refused.
type Write = fn(&DmaSpace, GuestAddress);

/// Looks up, dawdles, and only then writes.
fn late<G: GuestMemory>(memory: &G, iova: GuestAddress) {
    let slices = memory.get_slices(iova, 2 * PAGE as usize, Permissions::Write);
    let slices: Vec<_> = slices.unwrap().flatten().collect();
    thread::yield_now();
    for slice in slices {
        for offset in (0..slice.len()).step_by(PAGE as usize) {
            slice.write_obj(MARK, offset).unwrap();
        }
    }
}

const WRITES: [Write; 3] = [
    |space, iova| {
        let _ = space.write_obj(MARK, iova);
    },
    |space, iova| late(&space.pin(), iova),
    |space, iova| late(&*space.memory(), iova),
];

/// Frames are zero when they are mapped, and written to only by devices.
struct Crowd<'a, D> {
    driver: &'a D,
    written: AtomicU64,
    /// Set when all is over, or when a thread failed.
    stop: AtomicBool,
}

impl<D: Driver> Crowd<'_, D> {
    fn word(&self, frame: u64) -> u32 {
        let address = GuestAddress(self.driver.frame(frame));
        self.driver.ram().read_obj(address).unwrap()
    }

    fn clear(&self, frame: u64) {
        let address = GuestAddress(self.driver.frame(frame));
        self.driver.ram().write_obj(0u32, address).unwrap();
    }

    /// Asserts that nobody writes to `frame` from now on.
    fn is_left_alone(&self, frame: u64, after: &str) {
        self.clear(frame);
        for look in 0..LOOKS {
            if look % (LOOKS / 2) == 0 {
                thread::yield_now();
            }
            assert_eq!(self.word(frame), 0, "a write landed after {after}");
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits until a device has written to `frame`.
    fn is_in_use(&self, frame: u64) {
        wait_until(|| self.word(frame) != 0 || self.stopped());
    }

    /// Writes to every page as a device does, in turn and in every way.
    fn device(&self, number: u64, pages: impl Fn(u64) -> u64) {
        let space = self.driver.space(number);
        let mut turn = number;
        while !self.stopped() {
            let write = WRITES[(turn % WRITES.len() as u64) as usize];
            write(&space, GuestAddress(IOVA + pages(turn) * PAGE));
            self.written.fetch_add(1, Ordering::Relaxed);
            turn += 1;
        }
    }

    /// Unmaps the pages of a vCPU, and maps them again on another frame.
    fn vcpu(&self, number: u64) {
        for round in 0..ROUNDS {
            let page = number * PAGES + round % PAGES;
            let turn = round / PAGES % 2;
            let (old, new) = (2 * page + turn, 2 * page + (1 - turn));
            let iova = IOVA + page * PAGE;
            // A late write can be caught only while devices write to the page.
            self.is_in_use(old);
            self.clear(new);
            if round % 3 == 0 {
                self.driver.remap(iova, new);
                self.is_left_alone(old, "a page was remapped");
            } else {
                self.driver.unmap(iova);
                self.is_left_alone(old, "a page was unmapped");
                self.driver.map(iova, new);
            }
        }
    }

    /// Unplugs a device and plugs it in again, as a vCPU does.
    fn unplug(&self) {
        let frame = 2 * (IOVAS - 1);
        for _ in 0..ROUNDS {
            self.is_in_use(frame);
            self.driver.detach(VISITOR);
            self.is_left_alone(frame, "its device was detached");
            self.driver.attach(VISITOR);
        }
    }
}

/// Runs all of them at once. All devices are attached; nothing is mapped.
pub fn all_at_once(driver: &impl Driver) {
    let crowd = Crowd {
        driver,
        written: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    for page in 0..IOVAS {
        crowd.clear(2 * page);
        driver.map(IOVA + page * PAGE, 2 * page);
    }
    let at_work = AtomicU64::new(VCPUS + 1);
    thread::scope(|scope| {
        let (crowd, at_work) = (&crowd, &at_work);
        for device in 0..DEVICES {
            // The last page is the visitor's.
            // Writes go on into the next page, so they begin before the last of the others.
            scope.spawn(move || crowd.device(device, |turn| turn % (IOVAS - 2)));
        }
        scope.spawn(move || crowd.device(VISITOR, |_| IOVAS - 1));
        let work = |work: &dyn Fn()| {
            let failed = SetOnDrop(&crowd.stop);
            work();
            // The work is done: only a panic before this line stops the others.
            std::mem::forget(failed);
            at_work.fetch_sub(1, Ordering::Relaxed);
        };
        for number in 0..VCPUS {
            scope.spawn(move || work(&|| crowd.vcpu(number)));
        }
        scope.spawn(move || work(&|| crowd.unplug()));
        // Dropped when the closure ends, before the scope joins the devices.
        let _stop = SetOnDrop(&crowd.stop);
        while at_work.load(Ordering::Relaxed) > 0 && !crowd.stopped() {
            driver.fuss();
            thread::yield_now();
        }
    });
    assert!(crowd.written.into_inner() > VCPUS * ROUNDS);
}
