//! Copies of 32-bit cores: what comes in goes out, and what lies between.

#![expect(
    clippy::cast_possible_truncation,
    reason = "KVM tells of 32-bit registers as of the low halves of wider ones"
)]

use std::sync::Arc;

use arm32::state::Mode;
use arm32::{Cluster, Power};
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};
use vmm_base::HostClock;
use vmm_devices::virtio::deferred_work::DeferredWork;

use super::aarch32::Aarch32;
use super::{CoreRequest, Mirror, RegisterValues, spec};
use crate::bus::SystemBus;
use vmm_devices::ram::GuestRam;

const RAM: u64 = 0x4000_0000;

fn copies() -> (Aarch32, Arc<GuestRam>) {
    let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), 1 << 20)]).unwrap();
    let ram = Arc::new(ram);
    let bus = SystemBus::new(
        Arc::clone(&ram),
        Arc::new(DeferredWork::new(Arc::default())),
    );
    let clock = Arc::new(HostClock::starting_at(0));
    let cluster = Cluster::new(2, Arc::new(bus), clock);
    (Aarch32 { cluster }, ram)
}

/// Creates a core in Supervisor mode, every register different.
fn registers(copy: &Aarch32, cpsr: u32) -> RegisterValues {
    let numbered = (0..).zip(copy.wanted());
    let mut registers: RegisterValues = numbered.map(|(n, id)| (id, 0x1000 + n)).collect();
    registers.insert(spec::PSTATE, cpsr.into());
    registers.insert(spec::SCTLR, 0);
    registers
}

#[test]
fn registers_are_where_the_architecture_maps_them() {
    let (mut copy, _) = copies();
    let given = registers(&copy, 0x6000_00d3);
    copy.load(1, &given, Power::Off);
    let core = copy.cluster.core(1).unwrap();
    let x = |n| given[&spec::x(n)] as u32;
    assert_eq!(core.reg(7), x(7));
    assert_eq!(
        (core.reg(13), core.reg(14)),
        (x(19), x(18)),
        "Supervisor mode's own"
    );
    assert_eq!(core.state().reg_of_mode(13, Mode::Irq), x(17));
    assert_eq!(core.state().reg_of_mode(8, Mode::Fiq), x(24));
    assert_eq!(core.state().spsr(), given[&spec::spsr(0)] as u32);
    assert_eq!(core.cpsr(), 0x6000_00d3);
    assert_eq!(copy.cluster.power(1), Power::Off);
    assert_eq!(copy.pc(1), given[&spec::PC] as u64);
}

#[test]
fn wishes_are_passed_on() {
    let (mut copy, _) = copies();
    copy.cluster.insert_breakpoint(0xc000_8000);
    copy.cluster.set_step(1, true);
    copy.cluster.set_held(0, true);
    assert_passes_on(&mut copy, 0xc000_8000);
}

/// Asserts what is told of a breakpoint, and of two cores of which the first is held and the second
/// steps.
pub(super) fn assert_passes_on(copies: &mut impl Mirror, breakpoint: u64) {
    copies.set_current(1);
    assert_eq!(copies.shown().current(), 1);
    assert_eq!(copies.breakpoints(), [breakpoint]);
    let wish = |step, held| CoreRequest { step, held };
    assert_eq!(
        (copies.request(0), copies.request(1)),
        (wish(false, true), wish(true, false))
    );
}

#[test]
fn addresses_are_found_by_the_guests_tables() {
    let (mut copy, ram) = copies();
    let mut given = registers(&copy, 0xd3);
    copy.load(0, &given, Power::Running);
    assert_eq!(copy.locate(0, RAM), None, "nothing is mapped yet");
    // A table of sections: 0xc0000000 leads to the beginning of RAM.
    ram.write_obj(RAM as u32 | 0x402, GuestAddress(RAM + 0x4000 + 0xc00 * 4))
        .unwrap();
    given.insert(spec::SCTLR, 1);
    given.insert(spec::TTBR0, u128::from(RAM + 0x4000));
    given.insert(spec::TCR, 0);
    given.insert(spec::DACR32, 1);
    copy.load(0, &given, Power::Running);
    assert_eq!(copy.locate(0, 0xc001_2344), Some(RAM + 0x1_2344));
    assert_eq!(copy.locate(0, 0xd000_0000), None);
    assert_eq!(
        copy.locate(0, 0xffff_8000_8000_0000),
        None,
        "no address of 32 bits"
    );
}

#[test]
fn breakpoint_instructions_stop_in_both_states() {
    let (mut copy, _) = copies();
    let arm = registers(&copy, 0xd3);
    copy.load(0, &arm, Power::Running);
    let trap = |copy: &Aarch32, va| {
        let mut code = [0; 4];
        let bytes = copy.trap(0, va);
        code[..bytes.len()].copy_from_slice(bytes);
        (bytes.len(), copy.is_trap(0, code))
    };
    assert_eq!(trap(&copy, 0xc000_0000), (4, true));
    assert_eq!(trap(&copy, 0xc000_0002).0, 2);
    assert!(!copy.is_trap(0, 0xe1a0_0000_u32.to_le_bytes()));
    let thumb = registers(&copy, 0xf3);
    copy.load(0, &thumb, Power::Running);
    assert_eq!(trap(&copy, 0xc000_0000), (2, true));
    assert!(!copy.is_trap(0, 0xbf00_u32.to_le_bytes()));
}

#[test]
fn a_guests_own_breakpoint_is_an_exception_in_it() {
    let (mut copy, _) = copies();
    let mut given = registers(&copy, 0x13);
    given.insert(spec::PC, 0xc000_1000);
    given.insert(spec::VBAR, 0xc010_0000);
    copy.load(0, &given, Power::Running);
    copy.take_own_trap(0, 0xe120_0070_u32.to_le_bytes());
    let out = copy.store(0);
    assert_eq!(out[&spec::PC], 0xc010_000c);
    assert_eq!(out[&spec::PSTATE] & 0x1f, 0x17, "Abort mode");
    assert_eq!(out[&spec::x(20)], 0xc000_1004, "its link register");
    assert_eq!(out[&spec::spsr(1)], 0x13);
    assert_eq!(out[&spec::IFSR32] & 0xf, 2, "a debug event");
}

#[test]
fn interrupts_wait_while_one_instruction_is_executed() {
    let (mut copy, _) = copies();
    let given = registers(&copy, 0x53);
    copy.load(0, &given, Power::Running);
    for status in [
        0xe10f_3000,
        0xe121_f003,
        0xf10c_0080,
        0xe8fd_8000,
        0xe1b0_f00e_u32,
    ] {
        assert_eq!(copy.mask(0, status.to_le_bytes()), None, "{status:#x}");
    }
    let push = 0xe92d_4010_u32.to_le_bytes();
    let masked = copy.mask(0, push).unwrap();
    assert_eq!(copy.store(0)[&spec::PSTATE], 0xd3);
    copy.unmask(0, masked);
    assert_eq!(copy.store(0)[&spec::PSTATE], 0x53);
    // It made an abort, which has saved the mask.
    let masked = copy.mask(0, push).unwrap();
    copy.take_own_trap(0, push);
    copy.unmask(0, masked);
    let out = copy.store(0);
    assert_eq!(out[&spec::spsr(1)], 0x53);
    assert_eq!(out[&spec::PSTATE] & 0xc0, 0xc0);
}

proptest! {
    /// What observers leave alone comes back as it came, as far as it is copied.
    #[test]
    fn what_is_loaded_is_stored(words in prop::collection::vec(any::<u32>(), 100), mode in 0usize..7) {
        let modes = [0x10, 0x11, 0x12, 0x13, 0x17, 0x1b, 0x1f];
        let (mut copy, _) = copies();
        let given: RegisterValues = copy.wanted().into_iter().zip(words.iter().map(|w| u128::from(*w))).collect();
        let cpsr = given[&spec::PSTATE] as u32 & 0xf80f_fde0 & !0x0100_0000 | modes[mode];
        let mut given = given;
        given.insert(spec::PSTATE, cpsr.into());
        copy.load(0, &given, Power::Running);
        let out = copy.store(0);
        prop_assert_eq!(out.len(), given.len() - 1, "SP_hyp is nobody's");
        for (id, value) in &out {
            let same = *value == given[id];
            let floats = [spec::FPSR, spec::FPCR].contains(id);
            prop_assert!(same || floats, "{:#x}: {:#x}, {:#x}", id, value, given[id]);
        }
        // And again the same: nothing is lost on the way back.
        copy.load(1, &out, Power::Running);
        prop_assert_eq!(copy.store(1), out);
    }
}
