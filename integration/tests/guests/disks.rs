//! virtio-blk as a guest's drivers use it.

use integration::{Guest, disk};
use vmm::{DiskConfig, Machine};

#[test]
fn several_disks_in_their_order() {
    let disks = [
        disk::noise(1 << 20, 1),
        disk::noise(3 << 20, 2),
        disk::noise(512, 3),
    ];
    let guest = disks.iter().fold(Guest::image("ipmmu"), Guest::disk);
    let run = guest.run("sha256sum /dev/vda /dev/vdb /dev/vdc").boot();
    run.assert_good();
    let wanted: Vec<String> = disks
        .iter()
        .zip(["vda", "vdb", "vdc"])
        .map(|(disk, name)| format!("{}  /dev/{name}", disk.sha256()))
        .collect();
    assert_eq!(run.output(1), wanted.join("\n"));
}

#[test]
fn what_is_written_is_on_the_file() {
    let (disk, source) = (disk::of(&vec![0; 2 << 20]), disk::noise(1 << 20, 5));
    let guest = Guest::image("ipmmu").disk(&disk).read_only_disk(&source);
    let run = guest
        .run("dd if=/dev/vdb of=/dev/vda bs=64k seek=3 conv=fsync")
        .boot();
    run.assert_good();
    let bytes = disk.bytes();
    let start = 3 * 65536;
    assert_eq!(bytes.len(), 2 << 20);
    assert_eq!(bytes[start..start + (1 << 20)], source.bytes());
    assert!(
        bytes[..start]
            .iter()
            .chain(&bytes[start + (1 << 20)..])
            .all(|byte| *byte == 0)
    );
    assert!(
        run.summary.disks[0].bytes_written >= 1 << 20,
        "{:?}",
        run.summary.disks
    );
    assert!(run.summary.disks[0].flushes >= 1, "{:?}", run.summary.disks);
}

#[test]
fn a_read_only_disk_stays_as_it_is() {
    let disk = disk::noise(1 << 20, 6);
    let before = disk.sha256();
    let guest = Guest::image("ipmmu").read_only_disk(&disk);
    let run = guest
        .run("cat /sys/block/vda/ro")
        .run("! dd if=/dev/zero of=/dev/vda bs=4k count=1 2>&1")
        .boot();
    run.assert_good();
    assert_eq!(run.output(1), "1");
    assert_eq!(disk.sha256(), before);
    assert_eq!(run.summary.disks[0].bytes_written, 0);
}

#[test]
fn several_queues_serve_several_cores() {
    let disk = disk::noise(4 << 20, 8);
    let config = DiskConfig {
        queues: 4,
        ..DiskConfig::new(disk.path())
    };
    let run = Guest::image("ipmmu")
        .cpus(4)
        .disk_config(config)
        .run("ls /sys/block/vda/mq")
        .run("sha256sum /dev/vda")
        .boot();
    run.assert_good();
    assert_eq!(
        run.output(1).split_whitespace().count(),
        4,
        "{}",
        run.output(1)
    );
    assert_eq!(run.output(2), format!("{}  /dev/vda", disk.sha256()));
}

#[test]
fn a_disk_in_use_is_refused_unless_both_only_read() {
    let disk = disk::noise(1 << 20, 4);
    let machine = |guest: Guest| Machine::builder(guest.config(), Box::new(vmm::Discard)).build();
    let writer = machine(Guest::image("ipmmu").disk(&disk)).unwrap();
    for guest in [
        Guest::image("ipmmu").disk(&disk),
        Guest::image("ipmmu").read_only_disk(&disk),
    ] {
        let error = machine(guest)
            .err()
            .expect("the disk is in use")
            .to_string();
        assert!(error.contains("in use by another program"), "{error}");
    }
    drop(writer);
    let _reader = machine(Guest::image("ipmmu").read_only_disk(&disk)).unwrap();
    machine(Guest::image("ipmmu").read_only_disk(&disk)).unwrap();
}

#[test]
fn drivers_that_use_the_dma_api_work_too() {
    let disk = disk::noise(1 << 20, 10);
    let run = Guest::image("ipmmu")
        .access_platform()
        .disk(&disk)
        .run("sha256sum /dev/vda")
        .boot();
    run.assert_good();
    assert_eq!(run.output(1), format!("{}  /dev/vda", disk.sha256()));
}
