//! Calxeda's ECX-2000: stock kernels on their own device tree of it, with a disk behind AHCI.

use std::sync::{Arc, Mutex};

use integration::{Guest, Live, Run, disk};
use vmm::introspect::probe;
use vmm::{DiskConfig, Reason};

/// Reads and writes the disk from several cores at once, and says what the kernel has found.
const WORK: &str = "sha256sum /dev/sda; for i in 1 2 3 4; do dd if=/dev/sda bs=4k skip=$((i*50)) count=40 \
    2>/dev/null | sha256sum & done; wait; dd if=/dev/urandom of=/dev/sda bs=4k seek=9 count=5 conv=fsync \
    2>/dev/null; sync; sha256sum /dev/sda; grep Hardware /proc/cpuinfo; nproc; cat /proc/interrupts";

/// Runs a guest to its end, and returns how often a device had `dma_ops` when the kernel came to
/// choose them: those that the platform code's notifier has set.
fn finish(mut live: Live) -> (Run, usize) {
    let found = Arc::new(Mutex::new(0));
    let count = Arc::clone(&found);
    let probe = probe::parse("arch_setup_dma_ops if dev.dma_ops { print(dev.name) }");
    let sink = Box::new(move |_: &_, _: &_| *count.lock().unwrap() += 1);
    probe::attach(live.machine_mut(), vec![probe.expect("a probe")], sink);
    let run = live.finish();
    let found = *found.lock().unwrap();
    (run, found)
}

#[test]
fn four_cores_read_and_write_a_sata_disk_the_same_in_each_run_and_from_a_snapshot() {
    let noise = disk::noise(1 << 20, 21);
    let guest = Guest::ecx2000("debian-armmp-6.1")
        .cpus(4)
        .disk_config(DiskConfig {
            overlay: true,
            ..DiskConfig::new(noise.path())
        });
    let guest = guest.run(WORK);
    let (run, with_ops) = finish(guest.clone().start());
    assert_eq!(with_ops, 0, "since 6.0 a flag of the device is set instead");
    run.assert_good();
    let output = run.output(1);
    assert!(output.starts_with(&noise.sha256()), "{output}");
    run.assert_text(&["Hardware\t: Highbank\n", "\n4\n"]);
    let summary = &run.summary;
    assert_eq!((summary.exits.unmapped, summary.cpus), (0, 4));
    assert!(summary.disks[0].flushes > 0 && summary.disks[0].errors == 0);
    assert_eq!(summary.disks[0].bytes_written, 5 * 4096);
    // Stopped in the midst of the work, saved, and gone on with.
    let mut live = guest.start();
    live.run_until(&noise.sha256());
    let again = live.restored().finish();
    assert_eq!(again.text(), run.text());
    let facts = |run: &Run| {
        let summary = &run.summary;
        (
            summary.instructions,
            summary.guest_ns,
            summary.disks.clone(),
        )
    };
    assert_eq!(facts(&again), facts(&run));
}

#[test]
fn an_old_kernel_mounts_its_root_from_it_and_resets_through_the_system_registers() {
    let root = disk::ext4(&[("hello", b"from the disk\n")]);
    let guest = Guest::ecx2000("debian-armmp-5.10").disk(&root);
    let guest = guest.run(
        "mount -t ext4 /dev/sda /mnt && cat /mnt/hello && echo written >/mnt/new && umount /mnt",
    );
    let guest = guest.run("dmesg | grep -c 'failed to boot'; reboot -f");
    let (run, with_ops) = finish(guest.start());
    assert_eq!(run.reason, Reason::Reset, "{}", run.text());
    run.assert_text(&["from the disk\n"]);
    // Newer kernels do not come far without: they send interrupts to the core that they are on.
    assert!(!run.text().contains("GIC CPU mask not found"));
    disk::assert_ext4_intact(&root);
    assert_eq!(disk::ext4_file(&root, "/new"), "written\n");
    // Until 5.19 the notifier sets the operations of SATA, before its driver is bound.
    assert_eq!(with_ops, 1);
    let mmio = &run.summary.exits.mmio;
    // The notifier has set the coherency of SATA and of both Ethernet controllers.
    assert!(mmio["sregs"].writes >= 4, "{:?}", mmio["sregs"]);
    assert!(mmio["timer"].reads > 0 && mmio["sata"].writes > 0);
}
