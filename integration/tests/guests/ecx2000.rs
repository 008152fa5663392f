//! Calxeda's ECX-2000: stock kernels on their own device tree of it, with a disk behind AHCI.

use integration::{Guest, disk};
use vmm::{DiskConfig, Reason};

/// Reads and writes the disk from several cores at once, and says what the kernel has found.
const WORK: &str = "sha256sum /dev/sda; for i in 1 2 3 4; do dd if=/dev/sda bs=4k skip=$((i*50)) count=40 \
    2>/dev/null | sha256sum & done; wait; dd if=/dev/urandom of=/dev/sda bs=4k seek=9 count=5 conv=fsync \
    2>/dev/null; sync; sha256sum /dev/sda; grep Hardware /proc/cpuinfo; nproc; cat /proc/interrupts";

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
    let run = guest.clone().boot();
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
    run.assert_same(&live.restored().finish());
}

#[test]
fn an_old_kernel_mounts_its_root_from_it_and_resets_through_the_system_registers() {
    let root = disk::ext4(&[("hello", b"from the disk\n")]);
    let guest = Guest::ecx2000("debian-armmp-5.10").disk(&root);
    let guest = guest.run(
        "mount -t ext4 /dev/sda /mnt && cat /mnt/hello && echo written >/mnt/new && umount /mnt",
    );
    let run = guest
        .run("dmesg | grep -c 'failed to boot'; reboot -f")
        .boot();
    assert_eq!(run.reason, Reason::Reset, "{}", run.text());
    run.assert_text(&["from the disk\n"]);
    disk::assert_ext4_intact(&root);
    assert_eq!(disk::ext4_file(&root, "/new"), "written\n");
    let mmio = &run.summary.exits.mmio;
    // The notifier has set the coherency of SATA and of both Ethernet controllers.
    assert!(mmio["sregs"].writes >= 4, "{:?}", mmio["sregs"]);
    assert!(mmio["timer"].reads > 0 && mmio["sata"].writes > 0);
}
