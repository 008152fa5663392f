//! Devices that are other processes.

use std::thread;
use std::time::{Duration, Instant};

use integration::backend::Backend;
use integration::{Guest, Run, disk};
use vmm::{Discard, Limits, Machine, Reason};

/// The program that is a disk of this project's own.
const PROGRAM: &str = env!("CARGO_BIN_EXE_integration");
const MIB: usize = 1 << 20;

/// Reads the disk, writes a part of it, and reads it again.
const READ: &str = "sha256sum /dev/vda";
const WRITE: &str =
    "head -c 1048576 /dev/vda > /tmp/part && dd if=/tmp/part of=/dev/vda bs=64k seek=32 conv=fsync";

/// Asserts that what the guest read and wrote is what the disk holds.
fn assert_data(run: &Run, before: &[u8], after: &[u8]) {
    run.assert_good();
    assert_eq!(run.output(1), format!("{}  /dev/vda", disk::sha256(before)));
    let mut wanted = before.to_vec();
    wanted.copy_within(..MIB, 2 * MIB);
    assert!(wanted == after, "the disk holds something else");
    assert_eq!(run.output(3), format!("{}  /dev/vda", disk::sha256(after)));
}

fn transfers(guest: Guest) -> Guest {
    // The cache of the guest would answer.
    let drop = "echo 3 > /proc/sys/vm/drop_caches";
    guest.run(READ).run(WRITE).run(&format!("{drop}; {READ}"))
}

#[test]
fn a_debian_kernel_has_a_disk_of_qemus_storage_daemon() {
    let disk = disk::noise(4 * MIB, 51);
    let before = disk.bytes();
    let backend = Backend::qemu(&disk);
    let guest = Guest::image("debian-armmp").vhost_user(&backend.device("type=blk"));
    let run = transfers(guest).boot();
    assert_data(&run, &before, &disk.bytes());
}

#[test]
fn a_process_that_does_not_translate_stands_behind_no_iommu() {
    let disk = disk::noise(MIB, 52);
    let backend = Backend::qemu(&disk);
    let guest = Guest::image("ipmmu")
        .iommu("ipmmu")
        .vhost_user(&backend.device("type=blk"));
    let error = Machine::builder(guest.config(), Box::new(Discard))
        .build()
        .err();
    let error = error.expect("it does not translate").to_string();
    assert!(
        error.contains("VIRTIO_F_ACCESS_PLATFORM") && error.contains("iommu=none"),
        "{error}"
    );
}

#[test]
fn a_process_behind_a_virtio_iommu_and_behind_an_ipmmu() {
    for (image, iommu) in [("virtio-iommu", "virtio"), ("ipmmu", "ipmmu")] {
        let disk = disk::noise(4 * MIB, 53);
        let before = disk.bytes();
        let backend = Backend::own(PROGRAM, &disk, &[]);
        let guest = Guest::image(image)
            .iommu(iommu)
            .vhost_user(&backend.device("type=blk"));
        let run = transfers(guest).boot();
        assert_data(&run, &before, &disk.bytes());
        crate::iommu::assert_clean(&run);
        let behind = crate::iommu::utlb(&run, "vhost0");
        assert_eq!(behind.attaches, 1, "{iommu}: {behind:?}");
    }
}

#[test]
fn what_is_not_mapped_is_out_of_reach_and_a_fault() {
    for (image, iommu) in [("virtio-iommu", "virtio"), ("ipmmu", "ipmmu")] {
        let disk = disk::noise(MIB, 54);
        // The beginning of the guest's memory, which no driver maps at its own address.
        let backend = Backend::own(PROGRAM, &disk, &["--probe", "3221225472"]);
        let guest = Guest::image(image)
            .iommu(iommu)
            .vhost_user(&backend.device("type=blk"));
        let run = guest.run(READ).boot();
        run.assert_good();
        assert_eq!(run.output(1), format!("{}  /dev/vda", disk.sha256()));
        assert!(
            backend.output().contains("0xc0000000: refused"),
            "{}",
            backend.output()
        );
        let behind = crate::iommu::utlb(&run, "vhost0");
        assert!(behind.faults >= 1, "{iommu}: {behind:?}");
    }
}

#[test]
fn programs_run_from_pages_that_another_process_wrote() {
    let disk = disk::ext4(&[("empty", b"")]);
    let backend = Backend::own(PROGRAM, &disk, &[]);
    // Each time the kernel reads the program anew, into pages that held other code before.
    let run = Guest::image("ipmmu")
        .vhost_user(&backend.device("type=blk"))
        .run("dmesg -n 1; mkdir /tmp/m && mount -t ext4 /dev/vda /tmp/m && cp /bin/busybox /tmp/m/ && umount /tmp/m")
        .run(
            "for i in 1 2 3 4; do echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/vda /tmp/m; \
             /tmp/m/busybox sha256sum < /bin/busybox; umount /tmp/m; done",
        )
        .run("sha256sum < /bin/busybox")
        .boot();
    run.assert_good();
    let wanted = run.output(3);
    assert_eq!(run.output(2), [&*wanted; 4].join("\n"));
}

#[test]
fn a_process_that_is_killed_and_comes_again_goes_on() {
    let disk = disk::noise(4 * MIB, 55);
    let mut backend = Backend::own(PROGRAM, &disk, &[]);
    let guest = Guest::image("ipmmu")
        .vhost_user(&backend.device("type=blk"))
        .run("sha256sum /dev/vda; sync")
        .run("echo 3 > /proc/sys/vm/drop_caches; echo now; sleep 2; sha256sum /dev/vda");
    let mut live = guest.start();
    // No request is under way here.
    live.run_until("now\r\n");
    backend.kill_and_start(PROGRAM, &disk);
    let run = live.finish();
    run.assert_good();
    let sum = format!("{}  /dev/vda", disk.sha256());
    assert_eq!(run.output(1), sum);
    assert_eq!(run.output(2), format!("now\n{sum}"));
}

#[test]
fn a_guest_outlives_a_process_that_dies_with_a_request() {
    let disk = disk::noise(4 * MIB, 56);
    // After those that look for partitions.
    let backend = Backend::own(PROGRAM, &disk, &["--die-at", "8"]);
    let guest = Guest::image("ipmmu")
        .vhost_user(&backend.device("type=blk"))
        .run("(cat /dev/vda > /dev/null &) ; sleep 3; cat /proc/uptime > /dev/null; echo alive");
    let run = guest.boot();
    run.assert_good();
    assert!(run.output(1).contains("alive"), "{}", run.text());
}

#[test]
fn a_process_that_stops_answering_holds_nobody_up() {
    let disk = disk::noise(MIB, 57);
    let backend = Backend::own(PROGRAM, &disk, &[]);
    let guest = Guest::image("ipmmu")
        .vhost_user(&backend.device("type=blk"))
        .run(READ);
    let console = Box::new(Discard);
    let mut machine = Machine::builder(guest.config(), console).build().unwrap();
    // It stands still before the driver sets its rings up, so that the core that does waits.
    backend.suspend();
    let stop = machine.stop_handle();
    let asked = thread::spawn(move || {
        thread::sleep(Duration::from_secs(8));
        stop.stop();
        Instant::now()
    });
    let reason = machine.run(Limits::default()).reason;
    let late = asked.join().unwrap().elapsed();
    assert_eq!(reason, Reason::Stopped);
    // Far more than it takes, on a host that does other things too, and less than a reply may.
    assert!(late < Duration::from_secs(5), "{late:?}");
}
