//! Network interfaces.

use integration::{Guest, disk};
use vmm::devices::uart::Capture;
use vmm::machine::{Fork, Snapshot};
use vmm::{Limits, Machine, Reason};

/// A folder with one file of that size.
fn folder(bytes: usize) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a directory");
    let file = disk::noise(bytes, 61).bytes();
    std::fs::write(folder.path().join("file"), &file).expect("a file");
    let sum = disk::sha256(&file);
    (folder, sum)
}

/// The frames that the guest receives are written by the interface through the IOMMU, into buffers
/// that are mapped for as long as one frame takes.
#[test]
fn a_debian_kernel_reads_a_file_of_the_built_in_peer_behind_an_iommu() {
    let (folder, sum) = folder(2 << 20);
    let net = format!("peer,folder={}", folder.path().display());
    let guest = Guest::image("debian-armmp")
        .iommu("rockchip")
        .rng_at("none")
        .net(&net)
        .run("ip -4 -o addr show dev eth0 | awk '{ print $4 }'")
        .run("wget -q -O - http://peer/file | sha256sum")
        .run("ping -c 3 -i 0.2 10.0.2.2 | grep -c 'bytes from'")
        .run("tftp -g -r file -l /tmp/file 10.0.2.2 && sha256sum /tmp/file")
        .run("wget -q -O - http://peer/none; echo hello | nc -w 1 peer 7");
    let (run, again) = (guest.clone().boot(), guest.boot());
    run.assert_good();
    assert_eq!(run.output(1), "10.0.2.15/24");
    assert_eq!(run.output(2), format!("{sum}  -"));
    assert_eq!(run.output(3), "3");
    assert_eq!(run.output(4), format!("{sum}  /tmp/file"));
    assert!(run.output(5).ends_with("hello"), "{}", run.output(5));
    let iommu = &run.summary.iommus[0];
    assert!(iommu.hits > 3000 && iommu.flushes > 1000, "{iommu:?}");
    run.assert_same(&again);
}

/// Runs for so many instructions more; whether it was the guest that ended the run.
fn ends_within(machine: &mut Machine, instructions: u64) -> bool {
    let limits = Limits {
        instructions: Some(machine.summary().instructions + instructions),
        ..Limits::default()
    };
    machine.run(limits).reason == Reason::PowerOff
}

/// A connection of the peer's is part of the machine: what was saved in the midst of a download
/// goes on with it.
#[test]
fn a_download_goes_on_from_a_snapshot() {
    let (folder, sum) = folder(4 << 20);
    let guest = Guest::image("debian-armmp")
        .net(&format!("peer,folder={}", folder.path().display()))
        .run("wget -q -O - http://peer/file | sha256sum");
    let console = Capture::default();
    let mut first = Machine::builder(guest.config(), Box::new(console.clone()))
        .build()
        .unwrap();
    while first.summary().nets[0].received_bytes < 1 << 20 {
        assert!(!ends_within(&mut first, 1_000_000));
    }
    let mut file = Vec::new();
    first.snapshot().unwrap().write(&mut file).unwrap();
    let shown = console.bytes().len();
    while !ends_within(&mut first, 1_000_000) {}
    let text = String::from_utf8_lossy(&console.bytes()).into_owned();
    assert!(text.contains(&format!("{sum}  -")), "{text}");
    let again = Capture::default();
    let snapshot = Snapshot::read(&*file).unwrap();
    let fork = || Fork::new(Box::new(again.clone()));
    let mut second = snapshot.machine(fork()).unwrap();
    let before = second.summary().nets[0].received_bytes;
    assert!((1 << 20..4 << 20).contains(&before), "{before}");
    while !ends_within(&mut second, 1_000_000) {}
    assert!(again.bytes() == console.bytes()[shown..]);
    assert_eq!(second.summary().nets, first.summary().nets);
    assert_eq!(second.summary().instructions, first.summary().instructions);
    // The same files, or none.
    std::fs::write(folder.path().join("file"), "other").unwrap();
    let error = snapshot.machine(fork()).err().expect("a sentence");
    assert!(error.to_string().contains("other files"), "{error}");
}
