//! Where blocks begin and end never shows, whatever the code: not even in what the architecture
//! leaves open.

mod common;

use arm32::core::Core;
use common::{BASE, core_with};
use proptest::prelude::*;

/// Where registers point: no code lies there.
const DATA: u32 = BASE + 0x8000;

/// Returns a core in the middle of `words`, with registers that point around in RAM.
fn started(
    words: &[u32],
    registers: &[u32],
    thumb: bool,
) -> (Core, std::sync::Arc<common::FlatBus>) {
    let (mut core, bus) = core_with(words);
    for (n, value) in (0..15).zip(registers) {
        core.cpu.s.r[n] = DATA + (value & 0xfffc);
    }
    core.cpu.s.psr.thumb = thumb;
    core.cpu.s.cp15.cpacr = 0x00f0_0000;
    core.cpu.s.fpexc = 1 << 30;
    core.cpu.s.cp15.vbar = BASE + 0x4000;
    (core, bus)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn single_steps_make_the_whole(
        words in prop::collection::vec(any::<u32>(), 24),
        registers in prop::collection::vec(any::<u32>(), 15),
        thumb in any::<bool>(),
    ) {
        const STEPS: u64 = 24;
        let (mut whole, whole_bus) = started(&words, &registers, thumb);
        while whole.cpu.s.retired < STEPS {
            let left = STEPS - whole.cpu.s.retired;
            whole.run(left);
        }
        let (mut steps, steps_bus) = started(&words, &registers, thumb);
        while steps.cpu.s.retired < STEPS {
            steps.run(1);
            // Code that changes without maintenance may be seen before or after.
            prop_assume!(steps.cpu.s.r[15] < DATA);
        }
        let code = |bus: &common::FlatBus| bus.bytes()[..(DATA - BASE) as usize].to_vec();
        prop_assume!(code(&steps_bus) == code(&core_with(&words).1));
        let (a, b) = (&whole.cpu.s, &steps.cpu.s);
        prop_assert!(a == b, "\nWORDS {:x?}\nREGS {:x?}\nA {:x?}\nB {:x?}", words, registers, a, b);
        prop_assert_eq!(whole_bus.bytes(), steps_bus.bytes());
    }
}
