//! A virtio-iommu goes on from a snapshot with its domains, mappings and cache.

use integration::disk;
use vmm::devices::uart::Capture;
use vmm::machine::Fork;
use vmm::{Limits, Reason};

use super::{assert_clean, guest};

#[test]
fn a_machine_that_goes_on_from_a_snapshot_is_the_same() {
    let disk = disk::noise(4 << 20, 111);
    let mut live = guest("virtio")
        .read_only_disk(&disk)
        .run("sha256sum /dev/vda")
        .run("dd if=/dev/vda bs=20k iflag=direct | sha256sum; dd if=/dev/hwrng bs=64 count=1 | hexdump")
        .start();
    live.run_until("guest: command 1 exited with 0\r\n");
    let snapshot = live.machine_mut().snapshot().expect("a snapshot");
    let console = Capture::default();
    let mut fork = snapshot
        .machine(Fork::new(Box::new(console.clone())))
        .expect("a machine that goes on");
    let reason = fork.run(Limits::default()).reason;
    let run = live.finish();
    assert_clean(&run);
    assert!(run.output(2).contains(&disk.sha256()), "{}", run.text());
    assert_eq!(reason, Reason::PowerOff);
    assert!(run.console.ends_with(&console.bytes()), "{}", run.text());
    let summary = fork.summary();
    assert_eq!(summary.iommus, run.summary.iommus);
    let work = |of: &vmm::Summary| (of.instructions, of.guest_ns, of.interrupts);
    assert_eq!(work(&summary), work(&run.summary));
}
