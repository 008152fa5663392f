//! Pairs of machines of which one is made to differ.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::tests::{HI, OFF, UART, config, kernel, limited};
use crate::{Config, Discard};
use tempfile::NamedTempFile;

/// mov r3, #0x40000000; add r3, r3, #0x100000; back: add r0, r0, #1; str r0, [r3]; ldr r2, [r3]; b
/// back.
const COUNT: [u32; 6] = [
    0xe3a0_3101,
    0xe283_3601,
    0xe280_0001,
    0xe583_0000,
    0xe593_2000,
    0xeaff_fffb,
];
/// Where nobody reads.
const ELSEWHERE: u64 = 0x4020_0000;

fn run(machine: &mut Machine, limits: Limits) -> Reason {
    machine.run(limits).reason
}

fn another_register(machine: &mut Machine) {
    machine.cluster().unwrap().core(0).unwrap().set_reg(7, 42);
}

fn another_word(machine: &mut Machine) {
    let memory = machine.memory();
    memory.write_obj(42_u32, GuestAddress(ELSEWHERE)).unwrap();
}

struct World {
    pair: Pair,
    _file: NamedTempFile,
}

fn world(
    program: &[&[u32]],
    drive: impl Fn(&mut Machine, Tier, Limits) -> Reason + 'static,
) -> World {
    let file = kernel(program);
    let config = Config {
        cpus: 2,
        ..config(&file)
    };
    let machine = || {
        let builder = Machine::builder(&config, Box::new(Discard));
        builder.build().unwrap()
    };
    World {
        pair: Pair::driven(machine(), machine(), Box::new(drive)).unwrap(),
        _file: file,
    }
}

/// A pair of which the machine that translates is changed after `at` instructions.
fn counting(at: u64, change: fn(&mut Machine)) -> World {
    world(&[&COUNT], move |machine, tier, limits| match tier {
        Tier::Interpreter => run(machine, limits),
        Tier::Translator => changed(machine, limits, at, change),
    })
}

fn difference(world: &mut World, limits: Limits) -> Difference {
    let exit = world.pair.run(limits).unwrap();
    *exit.difference.expect("they were made to differ")
}

#[test]
fn machines_that_do_the_same_run_to_their_limit() {
    let mut world = world(&[&COUNT], |machine, _, limits| run(machine, limits));
    let exit = world.pair.run(limited(3_500_000)).unwrap();
    assert_eq!(
        (exit.reason, exit.difference),
        (Reason::InstructionLimit, None)
    );
    assert_eq!(world.pair.translating().summary().instructions, 3_500_000);
    // And go on from there.
    let exit = world.pair.run(limited(3_500_001)).unwrap();
    assert_eq!(
        (exit.reason, exit.difference),
        (Reason::InstructionLimit, None)
    );
    assert_eq!(world.pair.translating().summary().instructions, 3_500_001);
}

#[test]
fn the_guest_and_others_end_both() {
    let end = |limits, stopped| {
        let mut world = world(&[&[UART], &HI, &OFF], |machine, _, limits| {
            run(machine, limits)
        });
        if stopped {
            world.pair.translating().stop_handle().stop();
        }
        let exit = world.pair.run(limits).unwrap();
        assert_eq!(exit.difference, None);
        exit.reason
    };
    assert_eq!(end(Limits::default(), false), Reason::PowerOff);
    assert_eq!(end(limited(3), false), Reason::InstructionLimit);
    assert_eq!(end(Limits::default(), true), Reason::Stopped);
    let mut spinning = world(&[&COUNT], |machine, _, limits| run(machine, limits));
    let limits = Limits {
        wall: Some(Duration::ZERO),
        ..Limits::default()
    };
    let exit = spinning.pair.run(limits).unwrap();
    assert_eq!((exit.reason, exit.difference), (Reason::WallTimeout, None));
}

#[test]
fn the_first_instruction_after_which_a_register_differs_is_named() {
    // The first of all, others in the first slice, at the ends of slices, and behind memory that
    // was compared.
    for at in [1, 2, 777, 1_000_000, 1_000_001, 5_123_457] {
        let found = difference(&mut counting(at, another_register), limited(20_000_000));
        assert_eq!((found.equal, found.differ), (at - 1, at));
        assert_eq!(found.certainty, Certainty::Instruction);
        let [field] = &found.fields[..] else {
            panic!("{found:?}");
        };
        assert_eq!(field.name, "core 0, r[7]");
        assert_eq!((&*field.interpreted, &*field.translated), ("0x0", "0x2a"));
        let instruction = found.instruction.as_ref().unwrap();
        // Two instructions come before the loop of four.
        let index = usize::try_from(if at <= 2 { at - 1 } else { 2 + (at - 3) % 4 }).unwrap();
        let code = instruction.code.as_ref().unwrap();
        assert_eq!((instruction.core, code.word), (0, COUNT[index]));
        let text = found.to_string();
        assert!(
            text.contains(&format!("differ after {at} instructions")),
            "{text}"
        );
        assert!(
            text.contains(&format!("instruction {at}: core 0 at 0x")),
            "{text}"
        );
        assert!(text.contains(&code.text), "{text}");
    }
}

#[test]
fn memory_alone_that_differs_is_found_at_the_end_and_narrowed_down() {
    for at in [5_000_003, 5_999_999] {
        let found = difference(&mut counting(at, another_word), limited(6_000_000));
        assert_eq!((found.equal, found.differ), (at - 1, at));
        let [field] = &found.fields[..] else {
            panic!("{found:?}");
        };
        assert_eq!(field.name, "memory at 0x40200000");
        assert_eq!(field.translated, "0x0000002a");
    }
}

#[test]
fn an_end_that_differs_is_a_difference() {
    // The one that translates does not reach its last instruction.
    let mut world = world(&[&OFF], |machine, tier, limits| match tier {
        Tier::Interpreter => run(machine, limits),
        Tier::Translator => changed(machine, limits, 2, |machine| {
            let cluster = machine.cluster().unwrap();
            cluster.core(0).unwrap().set_reg(0, 0x8400_0000);
        }),
    });
    let found = difference(&mut world, limited(1_000));
    assert_eq!((found.equal, found.differ), (1, 2));
}

#[test]
fn what_only_a_piece_of_code_shows_is_told_as_that() {
    // The machines of the first way, of which there is one, do not differ.
    let forks = AtomicUsize::new(0);
    let mut world = world(&[&COUNT], move |machine, tier, limits| match tier {
        Tier::Translator
            if machine.origin().is_none() || forks.fetch_add(1, Ordering::Relaxed) > 0 =>
        {
            changed(machine, limits, 1_234_567, another_register)
        }
        _ => run(machine, limits),
    });
    let found = difference(&mut world, limited(20_000_000));
    assert_eq!(
        (found.differ, found.certainty),
        (1_234_567, Certainty::Block)
    );
}

#[test]
fn what_is_not_repeated_is_told_with_where_it_was() {
    let mut world = world(&[&COUNT], |machine, tier, limits| {
        match tier == Tier::Translator && machine.origin().is_none() {
            true => changed(machine, limits, 2_500_000, another_register),
            false => run(machine, limits),
        }
    });
    let found = difference(&mut world, limited(20_000_000));
    assert_eq!((found.equal, found.differ), (2_000_000, 3_000_000));
    assert_eq!(
        (found.certainty, &found.instruction),
        (Certainty::Unrepeated, &None)
    );
    assert_eq!(found.fields[0].name, "core 0, r[7]");
}

#[test]
fn a_search_ends_when_it_is_told_to() {
    let mut world = counting(1_500_000, another_register);
    let stop = world.pair.translating().stop_handle();
    let none: Drive = Box::new(|_, _, _| Reason::Stopped);
    let inner = std::mem::replace(&mut world.pair.drive, none);
    world.pair.drive = Box::new(move |machine, tier, limits| {
        // The first of the search's own machines: somebody types Ctrl-C meanwhile.
        if machine.origin().is_some() {
            stop.stop();
        }
        inner(machine, tier, limits)
    });
    let found = difference(&mut world, limited(20_000_000));
    assert_eq!(found.certainty, Certainty::Unfinished);
    assert_eq!((found.equal, found.differ), (1_000_000, 2_000_000));
}
