//! Host code does what the interpreter does: random instructions of every encoding, side by side.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests' memory lies in the low 4 GiB, and words are cut into halfwords"
)]
#![expect(unsafe_code, reason = "a bus of tests passes on what another promises")]

mod common;
mod programs;

use std::sync::Arc;

use arm32::CodePages;
use arm32::bus::{Bus, BusFault, RamPage, Size};
use arm32::core::Core;
use arm32::cpu::CoreExit;
use arm32::state::CpuState;
use arm32_isa::{ENCODINGS, Set};
use common::{BASE, DEVICE, FlatBus, RAM, TestClock};
use programs::{LENGTH, go_round, program};
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Where the program is, and where its exceptions lead.
const CODE: u32 = BASE + 0x1000;
const VECTORS: u32 = BASE + 0x2000;

/// Chooses the registers of VFP and Advanced SIMD, which are enabled for most programs: data of
/// every kind, and an FPSCR with and without what host code asks for.
fn enable_bank(s: &mut CpuState, random: &mut impl RngCore) {
    match random.next_u32() % 4 {
        0 => s.fp.d.fill_with(|| half_way(random, true)),
        1 => s.fp.d.fill_with(|| half_way(random, false)),
        _ => s.fp.d.fill_with(|| datum(random)),
    }
    let bits = random.next_u32();
    s.fp.write_fpscr(match bits % 4 {
        0 => random.next_u32(),
        1 => random.next_u32() & !0x03c0_0000,
        _ => random.next_u32() & !0x03c0_0000 | 0x10,
    });
    s.fpexc = if bits >> 2 & 15 == 0 { 0 } else { 1 << 30 };
    s.cp15.cpacr = match bits >> 6 & 15 {
        0 => 0x0050_0000,
        1 => 0x80f0_0000,
        2 => 0,
        _ => 0x00f0_0000,
    };
}

/// Returns a double, or two singles: zeros, infinities, NaNs, denormals, numbers next to the ends
/// of the range, small integers, and anything.
fn datum(random: &mut impl RngCore) -> u64 {
    let single = |random: &mut dyn RngCore| {
        let bits = random.next_u32();
        let sign = bits & 1 << 31;
        sign | match bits % 12 {
            0 => 0,
            1 => 0x7f80_0000,
            2 => 0x7f80_0000 | bits >> 8 & 0x7f_ffff,
            3 => bits >> 9 & 0x7f_ffff,
            4 => 0x0080_0000 + (bits >> 8 & 1),
            5 => 0x7f7f_ffff - (bits >> 8 & 1),
            6 => 0x4b00_0000 + (bits >> 8 & 0x1ff),
            7 | 8 => ((bits >> 8 & 0xff) as f32).to_bits(),
            9 => ((bits >> 8 & 0xffff) as f32 / 3.0).to_bits(),
            _ => random.next_u32() & 0x7fff_ffff,
        }
    };
    if random.next_u32() & 1 == 0 {
        return u64::from(single(random)) << 32 | u64::from(single(random));
    }
    let bits = random.next_u64();
    let sign = bits & 1 << 63;
    sign | match bits % 12 {
        0 => 0,
        1 => 0x7ff << 52,
        2 => 0x7ff << 52 | bits >> 12 & 0xf_ffff_ffff_ffff,
        3 => bits >> 13 & 0xf_ffff_ffff_ffff,
        4 => (1 << 52) + (bits >> 8 & 1),
        5 => (0x7ff << 52) - 1 - (bits >> 8 & 1),
        6 => 0x41df_ffff_ff00_0000 + (bits >> 8 & 0x1ff_ffff),
        7 | 8 => ((bits >> 8 & 0xff) as f64).to_bits(),
        9 => ((bits >> 8 & 0xffff) as f64 / 3.0).to_bits(),
        _ => random.next_u64() & !(1 << 63),
    }
}

/// Returns a double, or two singles, of which products and quotients are at the ends of the range:
/// some of them round to the smallest normal number, or do not to the largest.
fn half_way(random: &mut impl RngCore, double: bool) -> u64 {
    let mut number = |fraction: u32, exponents: [u64; 2]| {
        let bits = random.next_u64();
        let ones = (1 << fraction) - 1;
        let mantissa = [0, 0, ones, ones, ones - 1, 1, bits & ones, bits & ones];
        let exponent = exponents[(bits >> 60 & 1) as usize] + (bits >> 61 & 3);
        let sign = bits >> 56 & 1;
        let all = if double { 0x7ff } else { 0xff };
        (sign * (all + 1) + exponent) << fraction | mantissa[(bits >> 57 & 7) as usize]
    };
    if double {
        number(52, [0x1fe, 0x5fd])
    } else {
        number(23, [0x3e, 0xbd]) << 32 | number(23, [0x3e, 0xbd])
    }
}

/// Writes exception vectors at `at`, each of which leads back to the program, in its instruction
/// set.
fn write_vectors(bus: &FlatBus, at: u32, thumb: bool) {
    // ldr pc, [pc, #24]
    bus.write_words(at.into(), &[0xe59f_f018; 8]);
    bus.write_words(u64::from(at) + 32, &[CODE | u32::from(thumb); 8]);
}

fn begun(code: &[u16], seed: u64, thumb: bool) -> (Core, Arc<FlatBus>) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let bus = FlatBus::new();
    let words: Vec<u32> = (0..0x1000).map(|_| random.next_u32()).collect();
    bus.write_words(RAM + 0x4000, &words);
    let code: Vec<u32> = code
        .chunks(2)
        .map(|pair| u32::from(pair[0]) | u32::from(*pair.get(1).unwrap_or(&0xbf00)) << 16)
        .collect();
    bus.write_words(CODE.into(), &code);
    write_vectors(&bus, VECTORS, thumb);
    let mut core = Core::new(0, 1, bus.clone(), Arc::<TestClock>::default());
    let s = &mut core.cpu.s;
    s.cp15.vbar = VECTORS;
    for r in &mut s.r[..15] {
        let bits = random.next_u32();
        *r = match bits % 4 {
            0 => random.next_u32(),
            1 => bits >> 24,
            2 => BASE + 0x4000 + (bits >> 4) % 0x3fff,
            _ => (BASE + 0x4000 + (bits >> 4) % 0x3fff) & !3,
        };
    }
    enable_bank(s, &mut random);
    s.set_cpsr(s.cpsr() & 0x07ff_ffdf | random.next_u32() & 0xf800_0000 | u32::from(thumb) << 5);
    s.r[15] = CODE;
    (core, bus)
}

/// Runs a program by the interpreter and as host code, in pieces, and compares all that there is
/// after each.
fn compare(random: &mut impl RngCore, code: &[u16], thumb: bool) {
    compare_from(random, code, thumb, |_, _| ());
}

/// Compares as [`compare`] does, from what `prepare` makes of both cores.
fn compare_from(
    random: &mut impl RngCore,
    code: &[u16],
    thumb: bool,
    prepare: impl Fn(&mut Core, &FlatBus),
) {
    let seed = random.next_u64();
    let (mut plain, plain_bus) = begun(code, seed, thumb);
    let (mut translating, bus) = begun(code, seed, thumb);
    prepare(&mut plain, &plain_bus);
    prepare(&mut translating, &bus);
    let times = 1 + random.next_u32() % 3;
    translating.translate_code_after(times).unwrap();
    for _ in 0..8 {
        let before = plain.cpu.s.clone();
        let budget = 1 + u64::from(random.next_u32()) % 60;
        let exit = plain.run(budget);
        let found = translating.run(budget);
        assert!(
            exit == found && plain.cpu.s == translating.cpu.s,
            "{budget} instructions of {code:04x?}\nfrom {before:x?}\n{exit:?} {:x?}\n{found:?} {:x?}",
            plain.cpu.s,
            translating.cpu.s
        );
    }
    assert!(plain_bus.bytes() == bus.bytes(), "{code:04x?}");
}

/// Compares a program of A32 that goes round.
fn compare_words(random: &mut impl RngCore, words: impl IntoIterator<Item = u32>) {
    let words = words.into_iter();
    let mut code: Vec<u16> = words
        .flat_map(|word| [word as u16, (word >> 16) as u16])
        .collect();
    go_round(&mut code, false);
    compare(random, &code, false);
}

#[test]
fn random_programs_of_every_encoding() {
    random_programs(1, |_, _| ());
}

/// Compares random programs, each from what `prepare` makes of both cores.
fn random_programs(seed: u64, prepare: impl Fn(&mut Core, &FlatBus)) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let cases = if cfg!(debug_assertions) { 100 } else { 1_500 };
    for _ in 0..cases {
        let thumb = random.next_u32().is_multiple_of(3);
        let code = program(&mut random, thumb);
        compare_from(&mut random, &code, thumb, &prepare);
    }
}

/// Has the TLB hold translations of code and data that the guest's tables do not have any more, as
/// a guest may that has not invalidated them yet, in `normal` or strongly ordered memory.
fn keep_what_the_tables_lose(core: &mut Core, bus: &FlatBus, normal: bool) {
    /// Loads from r0, stores there, and goes round with the next page.
    const TOUCH: [u32; 4] = [0xe590_1000, 0xe580_1000, 0xe280_0a01, 0xeaff_fffb];
    const TABLE: u64 = RAM + 0x1_0000;
    const PROGRAM: u32 = CODE + 0xf00;
    let entry = TABLE + 4 * u64::from(BASE >> 20);
    // A section that everybody may read and write (DDI 0406C B3.5.1, B3.8.2).
    let memory = if normal { 0xc0e } else { 0xc02 };
    bus.write_words(entry, &[BASE & 0xfff0_0000 | memory]);
    bus.write_words(PROGRAM.into(), &TOUCH);
    let before = core.cpu.s.clone();
    let s = &mut core.cpu.s;
    (s.cp15.ttbr0, s.cp15.dacr) = (TABLE, 1);
    s.cp15.sctlr |= 1;
    s.psr.thumb = false;
    (s.r[0], s.r[15]) = (BASE + 0x4000, PROGRAM);
    core.cpu.select_tlb();
    core.run(4 * TOUCH.len() as u64);
    let s = &mut core.cpu.s;
    let cp15 = s.cp15.clone();
    // Everything else is as before, and exceptions lead to the page of the program.
    *s = before;
    s.cp15 = cp15;
    s.cp15.vbar = CODE + 0x800;
    write_vectors(bus, s.cp15.vbar, s.psr.thumb);
    bus.write_words(entry, &[0]);
}

/// Whether an access asks the TLB or the guest's tables shows where these disagree.
#[test]
fn translations_that_the_tables_have_no_more() {
    for (seed, normal) in [(3, false), (4, true)] {
        random_programs(seed, |core, bus| {
            keep_what_the_tables_lose(core, bus, normal)
        });
    }
}

/// LSL, LSR, ASR and ROR, each by every amount that a register can hold for them, and C behind it.
#[test]
fn shifts_by_registers_and_what_they_shift_out() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(6);
    for (kind, amount) in (0..4).flat_map(|kind| (0..256).map(move |amount| (kind, amount))) {
        // mov r1, #amount; movs r0, r2, KIND r1; adc r3, r3, r4
        let words = [0xe3a0_1000 | amount, 0xe1b0_0112 | kind << 5, 0xe0a3_3004];
        compare_words(&mut random, words);
    }
}

/// The flags that an instruction leaves alone are the guest's, whatever the host's are by then.
#[test]
fn every_condition_after_every_instruction() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(2);
    for encoding in ENCODINGS.iter().filter(|e| e.set == Set::A32) {
        for _ in 0..4 {
            let Some(word) = encoding.random(&mut random) else {
                continue;
            };
            let always = word & 0x0fff_ffff | 0xe000_0000;
            let word = if word >> 28 < 14 { always } else { word };
            // Right behind it, as the host's flags live no longer: an addition to a register of its
            // own, if the condition holds.
            let add = |cond: u32| cond << 28 | 0x0280_0001 | (cond % 13) << 16 | (cond % 13) << 12;
            let words = (0..14).flat_map(|cond| [word, add(cond)]);
            compare_words(&mut random, words);
        }
    }
}

/// Many instructions of each encoding of VFP and Advanced SIMD, over data of every kind.
#[test]
fn registers_of_vfp_and_advanced_simd() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
    let programs = if cfg!(debug_assertions) { 1 } else { 12 };
    let of_bank = |name: &str| name.starts_with('V');
    let encodings = ENCODINGS
        .iter()
        .filter(|e| e.set == Set::A32 && of_bank(e.name));
    for encoding in encodings {
        for _ in 0..programs {
            let words = (0..LENGTH).filter_map(|_| encoding.random(&mut random));
            let mut code: Vec<u16> = words
                .map(|word| match word >> 28 {
                    0..14 => word & 0x0fff_ffff | 0xe000_0000,
                    _ => word,
                })
                .flat_map(|word| [word as u16, (word >> 16) as u16])
                .collect();
            go_round(&mut code, false);
            compare_data(&mut random, &code, encoding.name);
        }
    }
}

/// Compares as [`compare`] does, with other data before each piece.
fn compare_data(random: &mut impl RngCore, code: &[u16], name: &str) {
    let seed = random.next_u64();
    let (mut plain, plain_bus) = begun(code, seed, false);
    let (mut translating, bus) = begun(code, seed, false);
    translating.translate_code_after(1).unwrap();
    for _ in 0..16 {
        enable_bank(&mut plain.cpu.s, random);
        let s = &mut translating.cpu.s;
        s.fp = plain.cpu.s.fp.clone();
        (s.fpexc, s.cp15.cpacr) = (plain.cpu.s.fpexc, plain.cpu.s.cp15.cpacr);
        let before = plain.cpu.s.fp.clone();
        let budget = 1 + u64::from(random.next_u32()) % u64::from(2 * LENGTH);
        let (exit, found) = (plain.run(budget), translating.run(budget));
        assert!(
            exit == found && plain.cpu.s == translating.cpu.s,
            "{name}, {budget} instructions of {code:04x?}\nfrom {before:x?}\n{:x?}\n{:x?}",
            plain.cpu.s.fp,
            translating.cpu.s.fp
        );
    }
    // All of the memory takes longer than the programs, and most of them store nothing. Stores have
    // the encodings of loads.
    if name.starts_with("VLD") {
        assert!(plain_bus.bytes() == bus.bytes(), "{name}: {code:04x?}");
    }
}

#[test]
fn thread_registers_in_every_mode() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    for _ in 0..300 {
        let mut code = Vec::new();
        for _ in 0..LENGTH {
            let n = random.next_u32();
            let (register, thread, cond) = (n >> 4 & 0xf, n >> 8 & 7, n >> 12 & 0xf);
            let cond = if cond < 14 { cond << 28 } else { 0xe000_0000 };
            let word = match n % 8 {
                // mrc and mcr p15, 0, REGISTER, c13, c0, THREAD
                0..=3 => 0x0e1d_0f10 | register << 12 | thread << 5 | cond,
                4 => 0x0e0d_0f10 | register << 12 | thread << 5 | cond,
                // adds, so that conditions differ; to User or System mode; an exception.
                5 => 0x0290_0001 | (register % 13) << 12 | cond,
                6 => 0xf102_0010 | if n >> 16 & 1 == 0 { 0 } else { 0xf },
                _ => 0x0f00_0000 | cond,
            };
            code.extend([word as u16, (word >> 16) as u16]);
        }
        go_round(&mut code, false);
        compare(&mut random, &code, false);
    }
}

/// The monitor, which is part of the state, and what is stored; the clock, which stands still in
/// none of them.
#[test]
fn exclusives_and_the_counter_in_every_mode() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(4);
    for _ in 0..600 {
        let mut code = Vec::new();
        for _ in 0..LENGTH {
            let n = random.next_u32();
            // Few registers, so that most stores are of what was loaded.
            let (rd, rt, base) = (n >> 4 & 3, 4 + (n >> 6 & 3), 8 + (n >> 8 & 1));
            let cond = n >> 12 & 0x3f;
            let cond = if cond < 14 { cond << 28 } else { 0xe000_0000 };
            // LDREX, LDREXD, LDREXB and LDREXH differ by these bits.
            let size = [0, 0, 0, 0, 0, 1, 2, 3][(n >> 18 & 7) as usize] << 21;
            let word = match n % 16 {
                0..=2 => 0x0190_0f9f | size | rt << 12 | base << 16 | cond,
                3..=6 => 0x0180_0f90 | size | rt | rd << 12 | base << 16 | cond,
                // mrrc p15, 0 or 1, RT, RT2, c14
                7..=9 => 0x0c50_0f0e | (n >> 9 & 1) << 4 | rt << 12 | (n >> 20 & 15) << 16 | cond,
                // clrex
                10 => 0xf57f_f01f,
                // bic BASE, BASE, #7; str to it
                11 => 0x03c0_0007 | base << 16 | base << 12 | cond,
                12 => 0x0580_0000 | base << 16 | rt << 12 | cond,
                // adds, so that conditions differ; to User or System mode; an exception.
                13 => 0x0290_0001 | rt << 16 | rt << 12 | cond,
                14 => 0xf102_0010 | if n >> 16 & 1 == 0 { 0 } else { 0xf },
                _ => 0x0f00_0000 | cond,
            };
            code.extend([word as u16, (word >> 16) as u16]);
        }
        go_round(&mut code, false);
        compare(&mut random, &code, false);
    }
}

/// Masks, domains and events, with an interrupt that is pending and without, and where each value
/// of DACR has translations of its own.
#[test]
fn status_and_domains_in_every_mode() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(6);
    for case in 0..600 {
        let mut code = Vec::new();
        for _ in 0..LENGTH {
            let n = random.next_u32();
            let (low, domains, cond) = (n >> 4 & 3, 4 + (n >> 6 & 3), n >> 12 & 0x3f);
            let cond = if cond < 14 { cond << 28 } else { 0xe000_0000 };
            let word = match n % 16 {
                // mrs LOW, cpsr; msr cpsr_c, LOW
                0 | 1 => 0x010f_0000 | low << 12 | cond,
                2 | 3 => 0x0121_f000 | low | cond,
                // cpsie and cpsid of any of a, i and f
                4 | 5 => 0xf108_0000 | (n >> 8 & 1) << 18 | (n >> 18 & 7) << 6,
                // mcr and mrc p15, 0, DOMAINS or LOW, c3, c0, 0
                6..=9 => 0x0e03_0f10 | domains << 12 | cond,
                10 => 0x0e13_0f10 | low << 12 | cond,
                // sev
                11 => 0x0320_f004 | cond,
                // str and ldr LOW, [r8]
                12 => 0x0588_0000 | (n >> 8 & 1) << 20 | low << 12 | cond,
                // adds, so that conditions differ; to User or System mode; an exception.
                13 => 0x0290_0001 | low << 12 | cond,
                14 => 0xf102_0010 | if n >> 16 & 1 == 0 { 0 } else { 0xf },
                _ => 0x0f00_0000 | cond,
            };
            code.extend([word as u16, (word >> 16) as u16]);
        }
        go_round(&mut code, false);
        compare_from(&mut random, &code, false, |core, bus| {
            if case % 3 == 0 {
                keep_what_the_tables_lose(core, bus, true);
            }
            core.cpu.pins.set_irq(case % 4 == 0);
            // A client of the domain, its manager, and neither.
            let values = [1, 3, 1, u32::from(case % 5 != 0)];
            core.cpu.s.r[4..8].copy_from_slice(&values);
            core.cpu.s.r[8] = BASE + 0x4000;
        });
    }
}

/// A device whose every access is a bug of the machine.
struct Broken(Arc<FlatBus>);

// SAFETY: all memory is that of the bus within, which keeps these promises.
unsafe impl Bus for Broken {
    fn read(&self, _pa: u64, _size: Size) -> Result<u64, BusFault> {
        panic!("a bug")
    }

    fn write(&self, pa: u64, size: Size, value: u64) -> Result<(), BusFault> {
        self.0.write(pa, size, value)
    }

    fn ram(&self, pa: u64) -> Option<RamPage> {
        self.0.ram(pa)
    }

    fn code_pages(&self) -> &CodePages {
        self.0.code_pages()
    }

    fn physical(&self, host: usize) -> Option<u64> {
        self.0.physical(host)
    }

    fn ram_offset(&self) -> Option<u64> {
        self.0.ram_offset()
    }
}

#[test]
fn a_panic_goes_through_host_code() {
    let bus = FlatBus::new();
    // ldr r1, [r0]; add r2, r2, #1; b .-8
    bus.write_words(CODE.into(), &[0xe590_1000, 0xe282_2001, 0xeaff_fffc]);
    let broken = Arc::new(Broken(bus));
    let mut core = Core::new(0, 1, broken, Arc::<TestClock>::default());
    core.translate_code_after(1).unwrap();
    let s = &mut core.cpu.s;
    (s.r[0], s.r[15]) = (BASE, CODE);
    core.run(300);
    assert_eq!(core.cpu.s.r[2], 100);
    core.cpu.s.r[0] = DEVICE as u32;
    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| core.run(300)));
    assert_eq!(*run.unwrap_err().downcast_ref::<&str>().unwrap(), "a bug");
    // The core is as good as before.
    (core.cpu.s.r[0], core.cpu.s.r[15]) = (BASE, CODE);
    core.run(300);
    assert_eq!(core.cpu.s.r[2], 200);
}

#[test]
fn a_request_to_stop_is_seen_by_a_loop_of_host_code() {
    let (mut core, _) = begun(&[0xfffe, 0xeaff], 1, false);
    core.translate_code_after(1).unwrap();
    let pins = Arc::clone(&core.cpu.pins);
    let (exit, retired) = std::thread::scope(|scope| {
        scope.spawn(move || pins.request_stop());
        let exit = core.run(u64::MAX / 4);
        (exit, core.cpu.s.retired)
    });
    assert_eq!(exit, CoreExit::Requested, "after {retired}");
}
