//! Guests that go back to any instruction of their run.

use integration::{Guest, disk};
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use sha2::{Digest, Sha256};
use vm_memory::{Bytes, GuestAddress};
use vmm::devices::uart::Capture;
use vmm::machine::{HISTORY_LIMIT, MachineState, Moved, Recorder, Recording, Tier};
use vmm::{Config, Discard, DiskConfig, Limits, Machine, Reason};

/// Writes to a disk, reads it, and takes random numbers.
const WORK: &str = "dd if=/dev/urandom of=/dev/vda bs=4k seek=3 count=40 conv=fsync 2>/dev/null; \
    for i in 1 2 3; do (dd if=/dev/vda bs=4k skip=$((i*50)) count=50 2>/dev/null | sha256sum) & done; \
    head -c 100 /dev/hwrng | sha256sum; wait; sha256sum /dev/vda";

/// Everything that a machine is: its state, but for what depends on where slices ended, its memory
/// and its disk.
struct Whole {
    state: MachineState,
    contents: Vec<u8>,
}

impl Whole {
    fn of(machine: &mut Machine) -> Self {
        let mut state = machine.snapshot().unwrap().state().clone();
        (state.run.slices, state.last) = (0, None);
        let (ram, memory) = (machine.board().ram, machine.memory());
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        for at in (ram.base..ram.end()).step_by(buffer.len()) {
            memory.read_slice(&mut buffer, GuestAddress(at)).unwrap();
            hasher.update(&buffer);
        }
        machine.read_disk(0, 0, &mut buffer).unwrap();
        hasher.update(&buffer);
        Self {
            state,
            contents: hasher.finalize().to_vec(),
        }
    }
}

fn config(cpus: u8, disk: &integration::Disk) -> Config {
    let overlay = DiskConfig {
        overlay: true,
        ..DiskConfig::new(disk.path())
    };
    let guest = Guest::image("ipmmu").cpus(cpus).iommu("ipmmu");
    guest.disk_config(overlay).run(WORK).config().clone()
}

fn to(machine: &mut Machine, instructions: u64) {
    let limits = Limits {
        instructions: Some(instructions),
        ..Limits::default()
    };
    assert_eq!(machine.run(limits).reason, Reason::InstructionLimit);
}

/// Goes to random places of a run, in any order, and compares each with a run straight to there.
fn goes_anywhere(cpus: u8, tier: Tier, places: usize) {
    let disk = disk::noise(1 << 20, 21);
    let config = config(cpus, &disk);
    let console = Capture::default();
    let build = |console: &Capture| {
        let machine = Machine::builder(&config, Box::new(console.clone()));
        machine.build().unwrap()
    };
    let mut first = build(&console);
    assert_eq!(first.run(Limits::default()).reason, Reason::PowerOff);
    let length = first.instructions();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(u64::from(cpus));
    let places: Vec<u64> = (0..places).map(|_| random.next_u64() % length).collect();
    let mut order = places.clone();
    order.sort_unstable();
    let mut straight = build(&Capture::default());
    let mut wanted = std::collections::BTreeMap::new();
    for place in order {
        to(&mut straight, place);
        wanted.insert(place, Whole::of(&mut straight));
    }
    let again = Capture::default();
    let mut machine = build(&again);
    machine.set_tier(tier).unwrap();
    machine.keep_history(HISTORY_LIMIT).unwrap();
    for place in &places {
        assert_eq!(machine.go_to(*place).unwrap(), None);
        let (found, wanted) = (Whole::of(&mut machine), &wanted[place]);
        assert!(
            found.contents == wanted.contents,
            "after {place}: memory or the disk"
        );
        assert!(found.state == wanted.state, "after {place}: the state");
    }
    assert_eq!(machine.run(Limits::default()).reason, Reason::PowerOff);
    assert_eq!(machine.instructions(), length);
    assert!(
        again.bytes() == console.bytes(),
        "the console shows everything once"
    );
    assert_eq!(disk.sha256(), disk::noise(1 << 20, 21).sha256());
}

#[test]
fn one_core_goes_anywhere() {
    goes_anywhere(1, Tier::Translator, 20);
}

#[test]
fn one_interpreted_core_goes_anywhere() {
    goes_anywhere(1, Tier::Interpreter, 8);
}

#[test]
fn four_cores_go_anywhere() {
    goes_anywhere(4, Tier::Translator, 20);
}

#[test]
fn four_interpreted_cores_go_anywhere() {
    goes_anywhere(4, Tier::Interpreter, 8);
}

/// A run in host time goes back in its replay, which does not differ from the recording after that.
#[test]
fn a_replay_goes_back() {
    let disk = disk::noise(1 << 20, 22);
    let mut config = config(2, &disk);
    config.time = vmm::TimeMode::Host;
    let console = Capture::default();
    let (mut machine, recorder) =
        Recorder::start(&config, Box::new(console.clone()), None, None, Vec::new()).unwrap();
    let sentence = machine.keep_history(HISTORY_LIMIT).unwrap_err().to_string();
    assert!(sentence.contains("is being recorded"), "{sentence}");
    assert_eq!(machine.run(Limits::default()).reason, Reason::PowerOff);
    let file = recorder.finish(&mut machine).unwrap();
    let length = machine.instructions();
    let mut recording = Recording::read(&*file).unwrap();
    recording.find_files(&Moved::default()).unwrap();
    let mut straight = recording.machine(Box::new(Discard), None).unwrap();
    to(&mut straight, length / 3);
    let wanted = Whole::of(&mut straight);
    let again = Capture::default();
    let mut replay = recording.machine(Box::new(again.clone()), None).unwrap();
    replay.keep_history(HISTORY_LIMIT).unwrap();
    for place in [length * 4 / 5, length / 2, length / 3] {
        assert_eq!(replay.go_to(place).unwrap(), None);
    }
    let found = Whole::of(&mut replay);
    assert!(found.contents == wanted.contents && found.state == wanted.state);
    let reason = replay.run(Limits::default()).reason;
    assert_eq!(replay.divergence(), None);
    assert_eq!(reason, Reason::PowerOff);
    assert!(again.bytes() == console.bytes());
}
