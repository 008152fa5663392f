//! Devices that come and go leave nothing behind in the IPMMU.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use integration::{Guest, disk};
use viommu::Event;
use vmm::{IommuEvent, IommuInfo, IommuSink};

use super::{assert_clean, utlb};

/// How often a driver is unbound and bound.
const TIMES: u32 = 200;

/// Returns the free memory in KiB, from the output of [`SETTLE`]: what is free, and what is free
/// and set aside for the core.
fn free(text: &str) -> i64 {
    let number = |line: &str| line.split_whitespace().nth(1)?.parse::<i64>().ok();
    let sum = |word: &str| -> i64 {
        let lines = text
            .lines()
            .filter(|line| line.trim_start().starts_with(word));
        lines.filter_map(number).sum()
    };
    let (free, set_aside) = (sum("MemFree:"), sum("count:"));
    assert!(free > 0 && set_aside > 0, "{text}");
    free + 4 * set_aside
}

/// Frees what can be freed, and tells what is free.
const SETTLE: &str = "sync; echo 3 >/proc/sys/vm/drop_caches; sleep 1; grep MemFree /proc/meminfo; grep \
    count: /proc/zoneinfo";

/// The highest IOVA that a device used.
#[derive(Default)]
struct Highest(AtomicU64);

impl IommuSink for Highest {
    fn event(&self, _iommu: &IommuInfo, _at_ns: u64, event: &IommuEvent<'_>) {
        if let IommuEvent::Path(Event::Filled { mapping, .. }) = event {
            self.0.fetch_max(mapping.last, Ordering::Relaxed);
        }
    }
}

/// Makes `guest` unbind and bind a device of a driver on a bus over and over, and asserts that what
/// the IOMMU maps and what memory is free stay as they were.
pub(crate) fn comes_and_goes(guest: Guest, (bus, driver, device): (&str, &str, &str), proof: &str) {
    let disk = disk::noise(1 << 20, 41);
    let cycle = format!(
        "cd /sys/bus/{bus}/drivers/{driver}; i=0; while [ $i -lt COUNT ]; do \
         echo {device} >unbind && echo {device} >bind || exit 1; i=$((i+1)); done; {proof}"
    );
    let exited = |n| format!("guest: command {n} exited with 0\r\n");
    let highest = Arc::new(Highest::default());
    let mut live = guest
        .disk(&disk)
        // What the kernel allocates once and keeps.
        .run(&cycle.replace("COUNT", "50"))
        .run(SETTLE)
        .run(&cycle.replace("COUNT", &TIMES.to_string()))
        .run(SETTLE)
        .start_watched(Some(highest.clone()));
    live.run_until(&exited(2));
    let highest_before = highest.0.load(Ordering::Relaxed);
    let before = live.machine().summary().iommus[0].mappings;
    live.run_until(&exited(4));
    let after = live.machine().summary().iommus[0].mappings;
    let run = live.finish();
    assert_clean(&run);
    assert!(before > 0, "no mapping was seen:\n{}", run.text());
    assert_eq!(after, before, "mappings leak:\n{}", run.text());
    // The same IOVAs are given out again and again.
    assert!(highest_before > 0);
    assert_eq!(
        highest.0.load(Ordering::Relaxed),
        highest_before,
        "IOVAs leak"
    );
    let checksum = format!("{}  /dev/vda", disk.sha256());
    for n in [1, 3] {
        assert!(run.output(n).contains(&checksum), "{}", run.output(n));
    }
    let lost = free(&run.output(2)) - free(&run.output(4));
    // A page a cycle would be 800 KiB.
    assert!(lost < 512, "{lost} KiB are gone:\n{}", run.text());
    // The driver attaches once: neither unbinding nor binding tells the IOMMU anything on this
    // kernel.
    assert_eq!(
        (utlb(&run, "disk0").attaches, utlb(&run, "disk0").detaches),
        (1, 0)
    );
}

fn ipmmu() -> Guest {
    Guest::image("ipmmu").iommu("ipmmu")
}

#[test]
fn the_block_driver_comes_and_goes() {
    let proof = "sha256sum /dev/vda";
    comes_and_goes(ipmmu(), ("virtio", "virtio_blk", "virtio0"), proof);
}

#[test]
fn the_platform_device_comes_and_goes() {
    let device = ("platform", "virtio-mmio", "a000000.virtio_mmio");
    comes_and_goes(ipmmu(), device, "sha256sum /dev/vda");
}
