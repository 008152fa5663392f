//! Guests in host time whose runs are recorded do the same again.

use integration::{Guest, disk};
use vmm::devices::uart::Capture;
use vmm::machine::{Recorder, Recording};
use vmm::{DiskConfig, Limits, Reason, Summary};

/// Returns the part of a summary that must be the same: not how often the run loop looked around.
fn facts(summary: Summary) -> Summary {
    let mut summary = Summary {
        wall_ns: 0,
        mips: 0.0,
        ..summary
    };
    (summary.exits.idle, summary.exits.slices) = (0, 0);
    summary
}

#[test]
fn four_cores_in_host_time_do_it_again() {
    let disk = disk::noise(1 << 20, 14);
    let overlay = DiskConfig {
        overlay: true,
        ..DiskConfig::new(disk.path())
    };
    let race = "for i in 1 2 3 4; do dd if=/dev/vda bs=4k skip=$((i*50)) count=50 2>/dev/null | sha256sum & done; \
        sleep 0.2; dd if=/dev/urandom of=/dev/vda bs=4k count=5 conv=fsync; wait; date; cat \
        /proc/interrupts /proc/uptime";
    let guest = Guest::image("ipmmu").cpus(4).host_time().iommu("ipmmu");
    let guest = guest.disk_config(overlay).run(race);
    let console = Capture::default();
    let started = Recorder::start(
        guest.config(),
        Box::new(console.clone()),
        None,
        None,
        Vec::new(),
    );
    let (mut machine, recorder) = started.unwrap();
    let input = machine.console_input();
    input.send(b"x");
    drop(input);
    assert_eq!(machine.run(Limits::default()).reason, Reason::PowerOff);
    let file = recorder.finish(&mut machine).unwrap();
    let wanted = facts(machine.summary());
    assert!(wanted.disks[0].bytes_written > 0 && !wanted.iommus.is_empty());
    drop(machine);
    let mut recording = Recording::read(&*file).unwrap();
    recording
        .find_files(&vmm::machine::Moved::default())
        .unwrap();
    for _ in 0..2 {
        let again = Capture::default();
        let mut machine = recording.machine(Box::new(again.clone()), None).unwrap();
        let reason = machine.run(Limits::default()).reason;
        assert_eq!(machine.divergence(), None);
        assert_eq!(reason, Reason::PowerOff);
        assert!(again.bytes() == console.bytes(), "the consoles differ");
        assert_eq!(facts(machine.summary()), wanted);
    }
}
