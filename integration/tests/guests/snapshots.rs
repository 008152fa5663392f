//! Guests that go on from a snapshot do what the one that was saved does.

use std::sync::Arc;

use integration::{Guest, disk};
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use sha2::{Digest, Sha256};
use vm_memory::{Bytes, GuestAddress};
use vmm::devices::uart::Capture;
use vmm::introspect::probe;
use vmm::machine::{Fork, MachineState, Snapshot};
use vmm::{Config, Discard, DiskConfig, Limits, Machine, Reason, Summary};

/// Cores that race for a disk, the entropy device and the console, and write.
const RACE: &str = "for i in 1 2 3 4; do (dd if=/dev/vda bs=4k skip=$((i*50)) count=50 2>/dev/null | sha256sum; \
    dd if=/dev/urandom of=/dev/vda bs=4k seek=$((i*9)) count=5 conv=fsync 2>/dev/null) & done; \
    head -c 100 /dev/hwrng | sha256sum; wait; sha256sum /dev/vda";

/// Patches the kernel's text: all functions for a tracer and back, one for a probe and back.
const PATCH: &str = "mount -t tracefs t /sys/kernel/tracing; cd /sys/kernel/tracing && echo function > current_tracer \
    && echo nop > current_tracer && echo 'p do_sys_openat2' > kprobe_events && echo 1 > events/kprobes/enable \
    && cat /proc/version && echo 0 > events/kprobes/enable && grep -q do_sys_openat2 trace";

/// A machine's end: what it counted, its console, its state, its memory.
struct End {
    summary: Summary,
    state: MachineState,
    memory: Vec<u8>,
}

fn end(machine: &mut Machine) -> End {
    let summary = Summary {
        wall_ns: 0,
        mips: 0.0,
        ..machine.summary()
    };
    let ram = machine.board().ram;
    let memory = machine.memory();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for at in (ram.base..ram.end()).step_by(buffer.len()) {
        memory.read_slice(&mut buffer, GuestAddress(at)).unwrap();
        hasher.update(&buffer);
    }
    End {
        summary,
        state: machine.snapshot().unwrap().state().clone(),
        memory: hasher.finalize().to_vec(),
    }
}

impl End {
    fn assert_same(&self, other: &Self, which: &str) {
        assert_eq!(self.summary, other.summary, "{which}");
        assert!(self.memory == other.memory, "{which}: memory differs");
        assert!(self.state == other.state, "{which}: the state differs");
    }
}

/// Runs to each of `stops` in turn and then to the end.
fn go_on(machine: &mut Machine, stops: &[u64]) {
    for stop in stops {
        to(machine, *stop);
    }
    let reason = machine.run(Limits::default()).reason;
    assert_eq!(reason, Reason::PowerOff);
}

fn to(machine: &mut Machine, instructions: u64) {
    let limits = Limits {
        instructions: Some(instructions),
        ..Limits::default()
    };
    assert_eq!(machine.run(limits).reason, Reason::InstructionLimit);
}

/// Returns a machine with a disk and an entropy device behind an IPMMU.
fn guest(cpus: u8, disk: &integration::Disk) -> Config {
    let overlay = DiskConfig {
        overlay: true,
        ..DiskConfig::new(disk.path())
    };
    let guest = Guest::image("ipmmu")
        .cpus(cpus)
        .iommu("ipmmu")
        .disk_config(overlay);
    guest.run(RACE).config().clone()
}

/// Returns the number of instructions that the guest takes in all.
fn length(config: &Config) -> u64 {
    let mut machine = Machine::builder(config, Box::new(Discard)).build().unwrap();
    go_on(&mut machine, &[]);
    machine.summary().instructions
}

/// Saves a guest at several moments, in the midst of its work, and has each go on from there.
fn at_any_moment(cpus: u8) {
    let disk = disk::noise(1 << 20, 11);
    let config = guest(cpus, &disk);
    let length = length(&config);
    // In the loader's work, in the kernel's, and while the commands run.
    let mut stops = vec![1_000_001, length / 2];
    stops.extend((1..=6).map(|n| length - n * n * 1_234_567));
    stops.sort_unstable();
    let console = Capture::default();
    let mut first = Machine::builder(&config, Box::new(console.clone()))
        .build()
        .unwrap();
    let mut saved = Vec::new();
    for stop in &stops {
        to(&mut first, *stop);
        saved.push((first.snapshot().unwrap(), console.bytes().len()));
    }
    go_on(&mut first, &[]);
    let wanted = end(&mut first);
    assert!(wanted.summary.disks[0].bytes_written > 0);
    for (index, (snapshot, shown)) in saved.iter().enumerate() {
        let which = format!("from instruction {}", stops[index]);
        let again = Capture::default();
        let mut machine = snapshot
            .machine(Fork::new(Box::new(again.clone())))
            .unwrap();
        go_on(&mut machine, &stops[index + 1..]);
        assert!(
            again.bytes() == console.bytes()[*shown..],
            "{which}: the console differs"
        );
        end(&mut machine).assert_same(&wanted, &which);
    }
    // By way of a file, and from a machine that went on from another.
    let (snapshot, _) = &saved[3];
    let mut file = Vec::new();
    snapshot.write(&mut file).unwrap();
    let mut machine = Snapshot::read(&*file)
        .unwrap()
        .machine(Fork::new(Box::new(Discard)))
        .unwrap();
    to(&mut machine, stops[4]);
    let mut machine = machine
        .into_snapshot()
        .unwrap()
        .machine(Fork::new(Box::new(Discard)))
        .unwrap();
    go_on(&mut machine, &stops[5..]);
    end(&mut machine).assert_same(&wanted, "from a file");
    assert_eq!(
        disk.sha256(),
        disk::noise(1 << 20, 11).sha256(),
        "the file stays"
    );
}

#[test]
fn one_core_goes_on_from_any_moment() {
    at_any_moment(1);
}

#[test]
fn four_cores_go_on_from_any_moment() {
    at_any_moment(4);
}

#[test]
fn seeds_probes_and_watchers_are_each_machines_own() {
    let guest = Guest::image("ipmmu").iommu("ipmmu");
    let mut live = guest.run("head -c 100 /dev/hwrng | sha256sum").start();
    live.run_until("guest: ready");
    let snapshot = live.machine_mut().snapshot().unwrap();
    let config = snapshot.config();
    let run = |seed: Option<u64>, probed: bool| {
        let console = Capture::default();
        let mut fork = Fork::new(Box::new(console.clone()));
        fork.seed = seed;
        let mut machine = snapshot.machine(fork).unwrap();
        let outcome = probed.then(|| {
            let probe = probe::parse("virtio_read { print(r3) }").unwrap();
            probe::attach(&mut machine, vec![probe], Box::new(|_, _| ()))
        });
        go_on(&mut machine, &[]);
        if let Some(outcome) = outcome {
            let outcome = outcome.lock().unwrap();
            assert!(outcome.armed && outcome.hits[0] > 0, "{outcome:?}");
        }
        (console.bytes(), machine.summary().instructions)
    };
    let same = run(None, false);
    assert!(run(None, true) == same, "looking on changes nothing");
    assert!(
        run(Some(config.seed), false).0 != same.0,
        "the generator begins anew"
    );
    assert!(run(Some(5), false) == run(Some(5), false));
    assert!(run(Some(5), false).0 != run(Some(6), false).0);
    // From several threads at once.
    let snapshot = Arc::new(snapshot);
    let others: Vec<_> = (0..2)
        .map(|_| {
            let snapshot = Arc::clone(&snapshot);
            std::thread::spawn(move || {
                let console = Capture::default();
                let mut machine = snapshot
                    .machine(Fork::new(Box::new(console.clone())))
                    .unwrap();
                go_on(&mut machine, &[]);
                console.bytes()
            })
        })
        .collect();
    for other in others {
        assert!(other.join().unwrap() == same.0);
    }
}

#[test]
fn a_guest_in_host_time_goes_on_too() {
    let disk = disk::noise(1 << 20, 13);
    let guest = Guest::image("ipmmu")
        .host_time()
        .iommu("ipmmu")
        .read_only_disk(&disk);
    let mut live = guest.run("sha256sum /dev/vda").start();
    live.run_until("guest: ready");
    let snapshot = live.machine_mut().snapshot().unwrap();
    let console = Capture::default();
    let mut machine = snapshot
        .machine(Fork::new(Box::new(console.clone())))
        .unwrap();
    assert!(machine.summary().guest_ns >= snapshot.guest_ns());
    go_on(&mut machine, &[]);
    let text = String::from_utf8_lossy(&console.bytes()).into_owned();
    assert!(text.contains(&disk.sha256()), "{text}");
    live.finish().assert_good();
}

/// A kernel that loads modules and patches its text, ended and restored a thousand times on the
/// way: it does what the one does that has all of its code predecoded, to the bit.
#[test]
fn a_thousand_restores_on_the_way_change_nothing() {
    let config = Guest::image("debian-armmp-6.1").run(PATCH).config().clone();
    let console = Capture::default();
    let start = |console: &Capture| {
        let machine = Machine::builder(&config, Box::new(console.clone()));
        machine.build().unwrap()
    };
    let mut whole = start(&console);
    go_on(&mut whole, &[]);
    let text = String::from_utf8_lossy(&console.bytes()).into_owned();
    assert!(text.contains("guest: command 1 exited with 0"), "{text}");
    let length = whole.summary().instructions;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(15);
    let mut stops: Vec<u64> = (0..1000)
        .map(|_| 1 + random.next_u64() % (length - 1))
        .collect();
    stops.sort_unstable();
    let again = Capture::default();
    let mut parts = start(&again);
    for stop in &stops {
        to(&mut parts, *stop);
        let snapshot = parts.into_snapshot().unwrap();
        let fork = Fork::new(Box::new(again.clone()));
        parts = snapshot.machine(fork).unwrap();
    }
    go_on(&mut parts, &[]);
    assert!(again.bytes() == console.bytes(), "the consoles differ");
    let [whole, parts] = [&mut whole, &mut parts].map(|machine| {
        let mut end = end(machine);
        // Each stop ends one.
        end.summary.exits.slices = 0;
        end.state.run.slices = 0;
        end
    });
    whole.assert_same(&parts, "restored a thousand times");
}
