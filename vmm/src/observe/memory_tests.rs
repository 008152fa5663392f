use std::sync::Arc;

use arm32::mmu::{self, Access, FaultKind};
use arm32::state::CpuState;
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;
use crate::machine::bus::SystemBus;

const RAM: u64 = 0x4000_0000;
const SIZE: usize = 1 << 18;

fn ram() -> GuestMemoryMmap<()> {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(RAM), SIZE)]).unwrap()
}

#[test]
fn text_is_cut_at_its_end_at_the_limit_and_at_the_end_of_memory() {
    let image = Image {
        base: 0xc000_8000,
        bytes: b"hello\0world",
    };
    assert_eq!(image.text(0xc000_8000, 64), Ok((b"hello".to_vec(), true)));
    assert_eq!(image.text(0xc000_8006, 64), Ok((b"world".to_vec(), false)));
    assert_eq!(
        image.text(0xc000_800b, 64),
        Err(MemoryError::Outside(0xc000_800b))
    );
    assert_eq!(image.text(0xc000_8000, 3), Ok((b"hel".to_vec(), false)));

    let ram = ram();
    ram.write_slice(b"end", GuestAddress(RAM + SIZE as u64 - 3))
        .unwrap();
    let memory = Virtual::new(&ram, Registers::default());
    let last = (RAM as u32) + SIZE as u32 - 3;
    assert_eq!(memory.text(last, 64), Ok((b"end".to_vec(), false)));
    assert_eq!(
        memory.text(last + 3, 64),
        Err(MemoryError::NoRam(RAM + SIZE as u64))
    );
    assert_eq!(
        memory.word(last),
        Err(MemoryError::NoRam(RAM + SIZE as u64))
    );
}

#[test]
fn a_copy_ends_where_ram_ends() {
    let ram = ram();
    assert_eq!(copy(&ram, RAM, 1 << 40).len(), SIZE);
    assert_eq!(copy(&ram, RAM, 100).len(), 100);
    assert_eq!(copy(&ram, 0, 100).len(), 0);
    assert_eq!(copy(&ram, u64::MAX, 100).len(), 0);
}

#[test]
fn reads_across_pages_of_different_places() {
    let ram = ram();
    // One first-level entry to a table whose pages 0 and 1 are swapped.
    ram.write_obj(RAM as u32 | 0x8000 | 1, GuestAddress(RAM + (0xc00 << 2)))
        .unwrap();
    ram.write_obj(RAM as u32 | 0x2_1002, GuestAddress(RAM + 0x8000))
        .unwrap();
    ram.write_obj(RAM as u32 | 0x2_0002, GuestAddress(RAM + 0x8004))
        .unwrap();
    ram.write_slice(b"ab", GuestAddress(RAM + 0x2_1ffe))
        .unwrap();
    ram.write_slice(b"cd\0", GuestAddress(RAM + 0x2_0000))
        .unwrap();
    let registers = Registers {
        sctlr: sctlr::M,
        ttbr0: RAM,
        ..Registers::default()
    };
    let memory = Virtual::new(&ram, registers);
    assert_eq!(memory.text(0xc000_0ffe, 64), Ok((b"abcd".to_vec(), true)));
    assert_eq!(memory.word(0xc000_0ffe), Ok(u32::from_le_bytes(*b"abcd")));
    assert_eq!(
        memory.word(0xc000_2000),
        Err(MemoryError::Unmapped(0xc000_2000))
    );
    assert_eq!(
        memory.word(0xc000_1fff),
        Err(MemoryError::Unmapped(0xc000_2000))
    );
}

/// A core in the same state. Domains are set to manager; what permissions forbid is no difference.
fn by_the_core(
    ram: &Arc<GuestMemoryMmap<()>>,
    registers: Registers,
    va: u32,
) -> Result<Option<u64>, ()> {
    let bus = SystemBus::new(ram.clone());
    let mut state = CpuState::reset(0);
    state.cp15.sctlr = registers.sctlr;
    state.cp15.ttbcr = registers.ttbcr;
    state.cp15.ttbr0 = registers.ttbr0;
    state.cp15.ttbr1 = registers.ttbr1;
    state.cp15.dacr = u32::MAX;
    match mmu::translate(&state, &bus, va, Access::Read, true) {
        Ok(translation) => Ok(Some(translation.pa)),
        Err(fault) => match fault.kind {
            FaultKind::Permission | FaultKind::AccessFlag | FaultKind::Domain => Err(()),
            _ => Ok(None),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The debugging walk and the processor's agree wherever the latter is not stopped by a permission.
    #[test]
    fn agrees_with_the_processor(
        (words, control, base0, base1) in (
            proptest::collection::vec(any::<u32>(), 64),
            any::<u32>(),
            0u64..SIZE as u64,
            0u64..SIZE as u64,
        ),
        (enable, big, va) in (prop::bool::weighted(0.9), any::<bool>(), any::<u32>()),
    ) {
        let ram = Arc::new(ram());
        // Tables everywhere, with addresses that stay in RAM more often than not.
        let tables: Vec<u8> = (0..SIZE / 4)
            .flat_map(|at| {
                let word = words[(at * 7 + at / 1024) % words.len()];
                let inside = if word & 0x40 != 0 { word & 0x3_ffff | RAM as u32 } else { word };
                // The high half of long descriptors is mostly 0.
                let high = control & ttbcr::EAE != 0 && at % 2 == 1;
                let word = if high { word & 0x0060_0000 } else { inside };
                if big { word.to_be_bytes() } else { word.to_le_bytes() }
            })
            .collect();
        ram.write_slice(&tables, GuestAddress(RAM)).unwrap();
        let registers = Registers {
            sctlr: if enable { sctlr::M } else { 0 } | if big { sctlr::EE } else { 0 },
            ttbcr: control,
            ttbr0: RAM | base0,
            ttbr1: RAM | base1,
        };
        if let Ok(expected) = by_the_core(&ram, registers, va) {
            prop_assert_eq!(Virtual::new(&*ram, registers).translate(va).ok(), expected);
        }
    }
}
