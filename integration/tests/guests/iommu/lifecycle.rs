//! Devices that come and go leave nothing behind in the IPMMU.

use integration::{Guest, disk};

use super::{assert_clean, utlb};

/// How often a driver is unbound and bound.
const TIMES: u32 = 200;

/// A figure of /proc/meminfo in KiB, from a command's output.
fn figure(text: &str, name: &str) -> i64 {
    let line = text.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Unbinds and binds `device` of `driver` on `bus` over and over; what the IPMMU maps and what memory is free stay as
/// they were.
fn comes_and_goes(bus: &str, driver: &str, device: &str, proof: &str) {
    let disk = disk::noise(1 << 20, 41);
    let cycle = format!(
        "cd /sys/bus/{bus}/drivers/{driver}; i=0; while [ $i -lt COUNT ]; do \
         echo {device} >unbind && echo {device} >bind || exit 1; i=$((i+1)); done; {proof}"
    );
    let settle =
        "sync; echo 3 >/proc/sys/vm/drop_caches; sleep 1; grep -e MemFree -e Slab /proc/meminfo";
    let mut live = Guest::image("ipmmu")
        .iommu("ipmmu")
        .disk(&disk)
        .run(&cycle.replace("COUNT", "5"))
        .run(settle)
        .run(&cycle.replace("COUNT", &TIMES.to_string()))
        .run(settle)
        .start();
    live.run_until("guest: command 2 exited");
    let before = live.machine().summary().iommus[0].mappings;
    live.run_until("guest: command 4 exited");
    let after = live.machine().summary().iommus[0].mappings;
    let run = live.finish();
    assert_clean(&run);
    assert!(before > 0, "no mapping was seen:\n{}", run.text());
    assert_eq!(after, before, "mappings leak:\n{}", run.text());
    let checksum = format!("{}  /dev/vda", disk.sha256());
    for n in [1, 3] {
        assert!(run.output(n).contains(&checksum), "{}", run.output(n));
    }
    let free = |n| figure(&run.output(n), "MemFree:");
    let lost = free(2) - free(4);
    // A page a cycle would be 800 KiB.
    assert!(lost < 512, "{lost} KiB are gone:\n{}", run.text());
    // The driver attaches once: neither unbinding nor binding tells the IPMMU anything on this kernel.
    assert_eq!(
        (utlb(&run, "disk0").attaches, utlb(&run, "disk0").detaches),
        (1, 0)
    );
}

#[test]
fn the_block_driver_comes_and_goes() {
    comes_and_goes("virtio", "virtio_blk", "virtio0", "sha256sum /dev/vda");
}

#[test]
fn the_platform_device_comes_and_goes() {
    comes_and_goes(
        "platform",
        "virtio-mmio",
        "a000000.virtio_mmio",
        "sha256sum /dev/vda",
    );
}
