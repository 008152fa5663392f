//! A disk behind an IOMMU whose device does what it should not, or loses its driver.

use integration::{Disk, Guest, Run, disk};
use vm_memory::{Bytes, GuestAddress};

use crate::copies::MIB;

/// In the range of every kernel's mappings, far from where it begins to use IOVAs, and where no RAM
/// is.
pub const UNMAPPED: u64 = 0xbfff_f000;

/// Has the device of a guest's only disk write to `times` places from [`UNMAPPED`] on, which is
/// refused, while the guest waits; asserts that the guest carries on. `guest` makes one with the
/// disk.
pub fn stray(seed: u64, times: u64, guest: impl FnOnce(&Disk) -> Guest) -> Run {
    let disk = disk::noise(MIB, seed);
    let mut live = guest(&disk)
        .run("sha256sum /dev/vda")
        .run("sleep 1; echo 3 >/proc/sys/vm/drop_caches; sha256sum /dev/vda")
        .start();
    live.run_until("guest: command 1 exited with 0\r\n");
    let dma = live.machine().dma_space("disk0").expect("there is a disk");
    for n in 0..times {
        let at = GuestAddress(UNMAPPED + 16 * n);
        assert!(dma.write_obj(0x5a5a_5a5a_u32, at).is_err());
    }
    let run = live.finish();
    run.assert_good();
    assert_eq!(run.output(1), format!("{}  /dev/vda", disk.sha256()));
    assert_eq!(run.output(2), run.output(1));
    run
}

/// Unbinds the device of a guest's only disk and binds it again, `times` times, and reads it after
/// each. `guest` makes one with the disk.
pub fn rebound(seed: u64, times: usize, guest: impl FnOnce(&Disk) -> Guest) -> Run {
    let disk = disk::noise(MIB, seed);
    let again = format!(
        "cd /sys/bus/platform/drivers/virtio-mmio; for i in $(seq {times}); do \
         echo a000000.virtio_mmio >unbind && echo a000000.virtio_mmio >bind && sha256sum /dev/vda; done | uniq -c"
    );
    let run = guest(&disk).run(&again).boot();
    run.assert_good();
    let output = run.output(1);
    let words: Vec<&str> = output.split_whitespace().collect();
    assert_eq!(words, [&times.to_string(), &disk.sha256(), "/dev/vda"]);
    run
}
