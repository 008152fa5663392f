//! A small number of cases of every kind;
//! `cargo run --release -p arm32-difftest -- --cases 1000000` runs many.

use arm32_difftest::case::{Case, Unit, Value, Word};
use arm32_difftest::compare;
use arm32_difftest::generate::{Generator, Kind, Sets};
use arm32_difftest::image::Image;
use arm32_difftest::layout::{self, Input, Output, SLOTS};
use arm32_difftest::ours::{Ours, word};
use arm32_difftest::qemu::Qemu;
use arm32_difftest::runner::{Runner, Summary, Tier};
use arm32_difftest::runtime::Runtime;

/// Batches of each kind and instruction set, in each tier: of all kinds and sets 110 592 cases.
const BATCHES: u64 = 12;

/// The tiers that this host has.
const TIERS: &[Tier] = if cfg!(all(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_os = "linux"
)) {
    &[Tier::Interpreter, Tier::Translate]
} else {
    &[Tier::Interpreter]
};

fn agree(kind: Kind) {
    let qemu = Qemu::find().unwrap_or_else(|error| panic!("{error}"));
    let mut summary = Summary::default();
    for sets in [Sets::A32, Sets::T32, Sets::Both] {
        let generator = Generator::new(kind, sets, 0xd1ff);
        for &tier in TIERS {
            let runner = Runner::new(qemu.clone(), tier);
            let mut runner = runner.unwrap_or_else(|error| panic!("{error}"));
            for batch in 0..BATCHES {
                let done = runner.batch(&generator, batch * u64::from(SLOTS), SLOTS, 1);
                summary.add(done.unwrap_or_else(|error| panic!("{error}")));
            }
        }
    }
    let reports: Vec<&str> = summary
        .differences
        .iter()
        .map(|d| d.report.as_str())
        .collect();
    assert!(reports.is_empty(), "{}", reports.concat());
    // Nearly all cases can be compared, and most end by themselves unless they shall not.
    let planned = (3 * TIERS.len()) as u64 * BATCHES * u64::from(SLOTS);
    assert!(
        summary.cases > planned * 99 / 100,
        "{} of {planned}",
        summary.cases
    );
    assert_eq!(
        summary.signals > planned / 2,
        kind == Kind::Undefined,
        "{} signals",
        summary.signals
    );
}

/// A test for each kind of case: by itself, so that they run at the same time and fail under their
/// own names.
macro_rules! agreements {
    ($($test:ident: $kind:ident,)+) => {
        $(#[test]
        fn $test() {
            agree(Kind::$kind);
        })+
    };
}

agreements! {
    integer_instructions_do_what_they_do_in_qemu: Integer,
    loads_and_stores_do_what_they_do_in_qemu: Memory,
    vfp_instructions_do_what_they_do_in_qemu: Vfp,
    advanced_simd_instructions_do_what_they_do_in_qemu: Neon,
    mixed_sequences_do_what_they_do_in_qemu: All,
    words_that_are_no_instructions_are_undefined_as_in_qemu: Undefined,
}

/// Returns an image of empty cases, with some inputs changed by `change`.
fn image(runtime: &Runtime, change: impl Fn(u32, &mut Case)) -> Image {
    let mut image = Image::new(runtime);
    for slot in 0..SLOTS {
        let mut case = Case::empty();
        change(slot, &mut case);
        case.store(slot, runtime, &mut image);
    }
    image
}

#[test]
fn every_part_of_the_state_is_compared() {
    let qemu = Qemu::find().unwrap_or_else(|error| panic!("{error}"));
    let runtime = Runtime::new();
    let theirs = qemu
        .run(&image(&runtime, |_, _| {}))
        .unwrap_or_else(|error| panic!("{error}"));
    // The same bit of another part of the state is set in each of the first slots, on our side
    // only.
    let words = Input::STRIDE / 4 + layout::SCRATCH_SIZE / 4;
    let changed = image(&runtime, |slot, case| {
        let at = slot as usize;
        match slot {
            0..15 => case.r[at] = 1 << 31,
            15 => case.cpsr = 1 << 31,
            16 => case.fpscr = 1 << 31,
            // The entry is not a state.
            18..82 => case.d[(at - 18) / 2] = 1 << (31 + 32 * (slot % 2)),
            _ if (82..words).contains(&slot) => case.scratch[4 * (at - 82) + 3] = 0x80,
            _ => {}
        }
    });
    let (ours, astray) = Ours::new(&changed, &runtime).run(&changed);
    assert!(astray.is_empty());
    for slot in 0..SLOTS {
        let same = slot == 17 || slot >= words;
        assert_eq!(
            compare::same(&ours, &theirs, slot),
            same,
            "slot {slot}: {}",
            compare::describe(&ours, &theirs, slot)
        );
    }
}

#[test]
fn branch_tables_are_read_in_the_endianness_of_data() {
    let qemu = Qemu::find().unwrap_or_else(|error| panic!("{error}"));
    let runtime = Runtime::new();
    let unit = |presets: &[(u8, u32)], word: Word| Unit {
        thumb: true,
        presets: presets
            .iter()
            .map(|(r, v)| (*r, Value::Const(*v)))
            .collect(),
        words: vec![Some(word)],
        ..Unit::default()
    };
    let program = image(&runtime, |slot, case| {
        // One halfword ahead, as big-endian data.
        case.scratch[..2].copy_from_slice(&[0, 1]);
        case.units = vec![
            unit(&[], Word::Narrow(0xb658)), // SETEND BE
            unit(
                &[(0, 0), (1, layout::scratch(slot))],
                Word::Wide(0xe8d1_f010),
            ), // TBH [r1, r0, LSL #1]
            unit(&[], Word::Narrow(0x2201)), // MOVS r2, #1
            unit(&[], Word::Narrow(0x2301)), // MOVS r3, #1
        ];
    });
    let theirs = qemu.run(&program).unwrap_or_else(|error| panic!("{error}"));
    let (ours, astray) = Ours::new(&program, &runtime).run(&program);
    assert!(astray.is_empty());
    for slot in 0..SLOTS {
        assert!(
            compare::same(&ours, &theirs, slot),
            "{}",
            compare::describe(&ours, &theirs, slot)
        );
        let register = |n: u32| {
            word(
                &ours,
                layout::output(slot) - layout::OUTPUT + Output::R + 4 * n,
            )
        };
        assert_eq!((register(2), register(3)), (0, 1), "slot {slot}");
    }
}
