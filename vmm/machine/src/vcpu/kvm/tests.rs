//! Machines on this host's KVM. Each test says that it is skipped where the host has none.

mod debug;

use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvm_bindings::{
    KVM_DEV_ARM_VGIC_GRP_CPU_REGS, KVM_DEV_ARM_VGIC_GRP_DIST_REGS, KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO,
    KVM_DEV_ARM_VGIC_GRP_REDIST_REGS,
};
use tempfile::NamedTempFile;
use vm_memory::GuestAddress;
use vmm_devices::uart::Discard;

use super::debug::Shared;
use super::{Vm, spec, state};
use crate::board::Board;
use crate::loader::image::tests::arm64;
use crate::vcpu::{
    GicRegister, Halted, Irqchip, KvmError, KvmState, Resume, Stop, StopHandler, SystemError, Width,
};
use crate::{
    Accel, ByteSize, Config, IommuConfig, IommuModel, KernelFormat, Limits, Machine, Reason,
    StopHandle, TimeMode,
};
use vmm_devices::ram::GuestRam;

/// Returns whether this host's KVM runs guests of that width. Everything but that it has no KVM, or
/// no 32-bit guests, is an error.
fn runs(width: Width) -> bool {
    match Vm::open(width) {
        Ok(_) => true,
        Err(error @ (KvmError::Open(_) | KvmError::No32Bit)) => {
            eprintln!("skipped: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// What all cores of a guest do in the end.
#[derive(Clone, Copy, Debug)]
enum Guest {
    /// 64 bits: they execute instructions.
    Spin,
    /// 64 bits: they wait for interrupts.
    Sleep,
    /// 64 bits: they write to the console.
    Shout,
    /// 64 bits: they power the machine off, whoever comes first.
    Off,
    /// 32 bits, of one core: it executes instructions.
    Aarch32,
}

impl Guest {
    fn width(self) -> Width {
        match self {
            Self::Aarch32 => Width::Bits32,
            _ => Width::Bits64,
        }
    }

    /// Returns its kernel.
    fn image(self) -> Vec<u8> {
        let body: &[u32] = match self {
            // b .
            Self::Aarch32 => return 0xeaff_fffe_u32.to_le_bytes().to_vec(),
            Self::Spin => &[0x1400_0000],
            // wfi; b back
            Self::Sleep => &[0xd503_207f, 0x17ff_ffff],
            // mov x1, #0x09000000 (the UART); strb w0, [x1]; b back
            Self::Shout => &[0xd2a1_2001, 0x3900_0020, 0x17ff_ffff],
            // mov x0, #0x84000008 (PSCI SYSTEM_OFF); hvc #0
            Self::Off => &[0xd2b0_8000, 0xf280_0100, 0xd400_0002],
        };
        kernel(body)
    }
}

/// Returns a kernel of 64 bits that starts all cores, each of which then does that.
#[expect(clippy::cast_possible_truncation, reason = "a page is small")]
fn kernel(body: &[u32]) -> Vec<u8> {
    let mut image = arm64(0, 2 * PAGE);
    // b over the page that its header is in
    image[..4].copy_from_slice(&(0x1400_0000 | (PAGE as u32 / 4)).to_le_bytes());
    let words = START_OTHERS.iter().chain(body);
    image.extend(words.flat_map(|word| word.to_le_bytes()));
    image
}

/// Bytes before the first instruction of [`arm64`]'s image that is not its header's.
const PAGE: u64 = 4096;
/// Cores of a guest of 64 bits.
const CORES: u8 = 4;
/// Starts cores 3, 2 and 1 at what follows: mov x19, #3; mov x0, #0xc4000003 (PSCI CPU_ON); mov x1,
/// x19; adr x2, behind; hvc #0; subs x19, x19, #1; b.ne to the second.
const START_OTHERS: [u32; 8] = [
    0xd280_0073,
    0xd2b8_8000,
    0xf280_0060,
    0xaa13_03e1,
    0x1000_0082,
    0xd400_0002,
    0xf100_0673,
    0x54ff_ff41,
];

fn machine(guest: Guest) -> Machine {
    machine_of(&guest.image(), guest.width())
}

fn machine_of(image: &[u8], width: Width) -> Machine {
    let mut kernel = NamedTempFile::new().unwrap();
    kernel.write_all(image).unwrap();
    let wide = width == Width::Bits64;
    let config = Config {
        kernel: kernel.path().into(),
        kernel_format: KernelFormat::Image,
        memory: ByteSize(32 << 20),
        cpus: if wide { CORES } else { 1 },
        iommus: vec![IommuConfig::new(IommuModel::Virtio)],
        accel: Accel::Kvm,
        time: TimeMode::Host,
        ..Config::default()
    };
    Machine::builder(&config, Box::new(Discard))
        .build()
        .unwrap()
}

fn limited(time: Duration) -> Limits {
    Limits {
        wall: Some(time),
        ..Limits::default()
    }
}

/// How a machine comes to its end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It is gone before it runs.
    Unused,
    /// Its time is over, it goes on, and its time is over again.
    Deadline,
    /// Someone stops it.
    Handle,
    /// Its guest powers it off.
    Guest,
    /// Someone looks at it.
    Look,
}

/// Looks once.
struct Looker(Arc<AtomicUsize>);

impl StopHandler for Looker {
    fn stopped(&mut self, _stop: Stop, _halted: &mut Halted<'_>) -> Resume {
        Resume::Continue
    }

    fn interrupted(&mut self, _halted: &mut Halted<'_>) -> Resume {
        self.0.fetch_add(1, Ordering::Relaxed);
        Resume::End
    }
}

/// Time that cores get before they are stopped.
const MOMENT: Duration = Duration::from_millis(20);

/// Runs the machine, of which someone asks that in a moment.
fn run_until(machine: &mut Machine, ask: fn(&StopHandle)) -> Reason {
    let handle = machine.stop_handle();
    let asker = std::thread::spawn(move || {
        std::thread::sleep(MOMENT);
        ask(&handle);
    });
    let reason = machine.run(Limits::default()).reason;
    asker.join().unwrap();
    reason
}

fn run(guest: Guest, end: End) {
    let mut machine = machine(guest);
    let looks = Arc::new(AtomicUsize::new(0));
    let (reason, expected) = match end {
        End::Unused => return,
        End::Handle => (run_until(&mut machine, StopHandle::stop), Reason::Stopped),
        End::Look => {
            machine.observe(Box::new(Looker(Arc::clone(&looks))));
            (
                run_until(&mut machine, StopHandle::interrupt),
                Reason::Stopped,
            )
        }
        End::Deadline => {
            machine.run(limited(MOMENT));
            (machine.run(limited(MOMENT)).reason, Reason::WallTimeout)
        }
        End::Guest => (machine.run(Limits::default()).reason, Reason::PowerOff),
    };
    assert_eq!(reason, expected, "{guest:?} {end:?}");
    let looked = usize::from(matches!(end, End::Look));
    assert_eq!(looks.load(Ordering::Relaxed), looked);
}

/// Returns the threads and open files of this process.
fn owned() -> [usize; 2] {
    ["/proc/self/task", "/proc/self/fd"].map(|list| std::fs::read_dir(list).unwrap().count())
}

/// Returns whether this process comes to have no more than `before`: a thread that was joined is
/// listed for a moment yet.
fn settles(before: [usize; 2]) -> bool {
    (0..1000).any(|_| {
        let settled = owned() == before;
        if !settled {
            std::thread::sleep(Duration::from_millis(10));
        }
        settled
    })
}

/// Says that a test has a process to itself.
const ALONE: &str = "VIOMMU_TEST_ALONE";

#[test]
fn machines_leave_no_thread_and_no_file() {
    if !runs(Width::Bits64) {
        return;
    }
    // Other tests have threads and files, too.
    if std::env::var_os(ALONE).is_none() {
        let name = "vcpu::kvm::tests::machines_leave_no_thread_and_no_file";
        let mut alone = Command::new(std::env::current_exe().unwrap());
        alone.args([name, "--exact", "--nocapture", "--test-threads=1"]);
        assert!(alone.env(ALONE, "1").status().unwrap().success());
        return;
    }
    let before = owned();
    let mut ends = vec![(Guest::Off, End::Guest)];
    for guest in [Guest::Spin, Guest::Sleep, Guest::Shout] {
        ends.extend([End::Unused, End::Deadline, End::Handle, End::Look].map(|end| (guest, end)));
    }
    if runs(Width::Bits32) {
        ends.extend([End::Deadline, End::Look].map(|end| (Guest::Aarch32, end)));
    }
    for round in 0..5 {
        for (guest, end) in ends.iter().copied() {
            run(guest, end);
            assert!(
                settles(before),
                "{round}, {guest:?}, {end:?}: {:?}",
                owned()
            );
        }
    }
}

/// Creates a machine without devices.
fn bare(cpus: u8) -> (Vm, Vec<Shared>) {
    let mut vm = Vm::open(Width::Bits64).unwrap();
    let ram = GuestRam::from_ranges(&[(GuestAddress(1 << 30), 2 << 20)]).unwrap();
    let board = Board::on(vm.platform(), &Config::default());
    vm.populate(cpus, &board.gic, Arc::new(ram), &Arc::default())
        .unwrap();
    let cores = vm.take_cores().into_iter();
    let cores = cores.map(|core| Arc::new(Mutex::new(core))).collect();
    (vm, cores)
}

/// Returns the state of a machine that has not run.
fn fresh(cpus: u8) -> KvmState {
    let (vm, cores) = bare(cpus);
    state::save(&vm, &cores).unwrap()
}

/// Returns what is saved of a machine that went on from `state`.
fn restored(state: &KvmState) -> Result<KvmState, KvmError> {
    let (vm, cores) = bare(2);
    state::restore(&vm, &cores, state)?;
    state::save(&vm, &cores)
}

/// Returns the register of that number in that group.
fn register(state: &mut KvmState, group: u32, attr: u64) -> &mut GicRegister {
    let mut registers = state.gic.iter_mut();
    registers
        .find(|r| (r.group, r.attr) == (group, attr))
        .unwrap()
}

/// Changes what an interrupt controller that is new has in its registers.
fn stir(state: &mut KvmState) {
    const SHARED: u32 = KVM_DEV_ARM_VGIC_GRP_DIST_REGS;
    // Groups, enables, requests, activity, priorities and triggers of shared interrupts.
    let shared = [
        (0x84, 0xffff_00ff),
        (0x104, 0x0101_0000),
        (0x204, 0x0010_0000),
        (0x304, 0x0001_0000),
        (0x424, 0xa0a0_a0b0),
        (0xc08, 0x8),
    ];
    for (attr, value) in shared {
        register(state, SHARED, attr).value = value;
    }
    // The second core has all of the interrupts that cores send each other disabled but one, which
    // is on its way.
    let core = 1 << 32;
    let (own, frame) = match state.irqchip {
        Irqchip::GicV2 => (SHARED, core),
        Irqchip::GicV3 => (KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, core | 0x1_0000),
    };
    for (attr, value) in [(0x100, 0x0800_0008), (0x200, 8), (0x404, 0xa0a0_a0a0)] {
        register(state, own, frame | attr).value = value;
    }
    match state.irqchip {
        Irqchip::GicV2 => {
            // The first core sent it. Then targets, control, priority mask and an active priority.
            register(state, SHARED, 0).value = 1;
            register(state, SHARED, core | 0xf20).value = 1 << 24;
            register(state, SHARED, 0x824).value = 0x0201_0301;
            for (attr, value) in [(0, 1), (4, 0x1e), (0xd0, 0x10)] {
                register(state, KVM_DEV_ARM_VGIC_GRP_CPU_REGS, core | attr).value = value;
            }
        }
        Irqchip::GicV3 => {
            // One security state, affinity routing and the second group, a line that is high, and
            // where an interrupt goes.
            register(state, SHARED, 0).value = 0x52;
            register(state, KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO, 32).value = 4;
            register(state, SHARED, 0x6000 + 8 * 40).value = 1;
        }
    }
}

#[test]
fn what_is_saved_of_a_machine_that_goes_on_is_what_it_goes_on_from() {
    if !runs(Width::Bits64) {
        return;
    }
    let mut state = fresh(2);
    stir(&mut state);
    assert!(!state.cores[1].on);
    state.cores[1].on = true;
    if bare(1).0.tells_events() {
        state.cores[0].system_error = Some(SystemError { syndrome: None });
    }
    let x5 = spec::x(5);
    let mut registers = state.cores[1].registers.iter_mut();
    registers.find(|(id, _)| *id == x5).unwrap().1 = vec![1, 2, 3, 4, 5, 6, 7, 8];
    let mut again = restored(&state).unwrap();
    // Where the processor has a register for it, KVM makes up a syndrome.
    if let Some(error) = &mut again.cores[0].system_error {
        error.syndrome = None;
    }
    let count = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    for (now, before) in again.cores.iter_mut().zip(&state.cores) {
        for ((id, now), (_, before)) in now.registers.iter_mut().zip(&before.registers) {
            if spec::COUNTERS.contains(id) {
                assert!(count(now) >= count(before));
                now.clone_from(before);
            }
            assert_eq!(now, before, "register {id:#x}");
        }
    }
    for (now, before) in again.gic.iter().zip(&state.gic) {
        assert_eq!(now, before);
    }
    // And there is no more of anything.
    assert!(again == state);
}

#[test]
fn states_of_other_machines_are_refused() {
    if !runs(Width::Bits64) {
        return;
    }
    let refused = |why: &str, spoil: fn(&mut KvmState)| {
        let mut state = fresh(2);
        spoil(&mut state);
        let error = restored(&state).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    refused("this host has another interrupt controller", |state| {
        state.irqchip = match state.irqchip {
            Irqchip::GicV2 => Irqchip::GicV3,
            Irqchip::GicV3 => Irqchip::GicV2,
        };
    });
    refused("it has another number of cores", |state| {
        state.cores.truncate(1)
    });
    refused(
        "it has other registers of an interrupt controller",
        |state| {
            state.gic.truncate(1);
        },
    );
    refused("KVM failed to set up its interrupt controller", |state| {
        state.gic[0].value ^= 1;
    });
    refused("it has a register of the wrong size", |state| {
        state.cores[0].registers[0].1.truncate(1);
    });
    refused("KVM failed to read a register", |state| {
        state.cores[0].registers[0].0 |= 0xffff;
    });
}
