//! A look through the tables sees what the processor would, but for what forbids the processor to.

mod common;

use arm32::cp15::{sctlr, ttbcr};
use arm32::mmu::{self, Access, FaultKind};
use arm32::state::CpuState;
use common::{BASE, FlatBus, RAM, RAM_SIZE};
use proptest::prelude::*;

/// Tables everywhere, with addresses that stay in RAM more often than not.
fn tables(words: &[u32], long: bool, big: bool) -> Vec<u32> {
    let word = |at: usize| {
        let word = words[(at * 7 + at / 1024) % words.len()];
        // The high half of long descriptors is mostly 0.
        if long && at % 2 == usize::from(!big) {
            word & 0x0060_0000
        } else if word & 0x40 != 0 {
            word & 0xf_ffff | BASE
        } else {
            word
        }
    };
    let order = if big { u32::to_be } else { u32::to_le };
    (0..RAM_SIZE / 4).map(|at| order(word(at))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn agrees_with_the_processor(
        (words, control, base0, base1) in (
            prop::collection::vec(any::<u32>(), 64),
            any::<u32>(),
            0u64..RAM_SIZE as u64,
            0u64..RAM_SIZE as u64,
        ),
        (enable, big, va) in (prop::bool::weighted(0.9), any::<bool>(), any::<u32>()),
    ) {
        let bus = FlatBus::new();
        bus.write_words(RAM, &tables(&words, control & ttbcr::EAE != 0, big));
        let mut state = CpuState::reset(0);
        state.cp15.sctlr = if enable { sctlr::M } else { 0 } | if big { sctlr::EE } else { 0 };
        state.cp15.ttbcr = control;
        state.cp15.ttbr0 = RAM | base0;
        state.cp15.ttbr1 = RAM | base1;
        state.cp15.dacr = u32::MAX;
        let seen = mmu::look(&state.cp15, &*bus, va);
        match mmu::translate(&state, &*bus, va, Access::Read, true) {
            Ok(translation) => prop_assert_eq!(seen, Some(translation.pa)),
            Err(fault) => match fault.kind {
                FaultKind::Permission | FaultKind::AccessFlag | FaultKind::Domain => {
                    prop_assert!(seen.is_some());
                }
                _ => prop_assert_eq!(seen, None),
            },
        }
    }
}
