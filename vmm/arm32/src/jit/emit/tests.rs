//! The code of blocks, for every host on any host.

use std::collections::BTreeSet;
use std::ptr::NonNull;

use arm32_isa::{ENCODINGS, Set};
use capstone::prelude::*;
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;
use crate::block::Key;
use crate::bus::RamPage;
use crate::jit::{a64, x64};
use crate::lower::{InsnContext, lower};

/// A block of one instruction.
fn block(word: u32, thumb: bool) -> Block {
    let page = RamPage {
        host: NonNull::dangling(),
        writable: true,
        number: 0,
    };
    let context = InsnContext {
        pc: 0x1000,
        idx: 0,
        it: 0,
        thumb,
        big_endian: false,
    };
    let op = lower(word, context).op;
    let key = Key {
        va: 0x1000,
        pa: 0x1000,
        state: thumb.into(),
    };
    let end = 0x1000 + u32::from(op.len);
    Block::new(key, vec![op], end, 0, page, Vec::new())
}

/// Blocks of instructions of every encoding.
fn blocks() -> Vec<Block> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    let mut blocks = Vec::new();
    for encoding in ENCODINGS {
        for word in (0..8).filter_map(|_| encoding.random(&mut random)) {
            blocks.push(block(word, encoding.set != Set::A32));
        }
    }
    blocks
}

/// Returns the encodings of VFP and Advanced SIMD of which some instructions are code of the host.
fn inline<A: Target>() -> BTreeSet<&'static str> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(4);
    let mut names = BTreeSet::new();
    for encoding in ENCODINGS.iter().filter(|e| e.set == Set::A32) {
        let mut words = (0..40).filter_map(|_| encoding.random(&mut random));
        let is_inline = |word| {
            let block = block(word, false);
            let (mops, _) = lowered::<A>(&block);
            mops.iter().any(|mop| matches!(mop, Mop::Bank(_)))
        };
        if words.any(is_inline) {
            names.insert(encoding.name);
        }
    }
    names
}

/// What the tests of host code cannot tell from a handler that is called.
#[test]
fn x64_has_code_for_vfp_and_advanced_simd() {
    let names = inline::<x64::Asm>();
    // Ten more on a host with SSE4.1 and FMA, which this one need not have.
    assert!(names.len() > 190, "{}: {names:?}", names.len());
}

#[test]
fn a64_has_code_for_vfp_and_advanced_simd() {
    let (names, others) = (inline::<a64::Asm>(), inline::<x64::Asm>());
    let missing: Vec<_> = others.difference(&names).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(names.len() > 220, "{}: {names:?}", names.len());
}

/// Where code is that is not at the start of the area.
const START: usize = 0x10000;
/// Where what is out of its way is, if it is elsewhere: at no multiple of anything.
const FAR: usize = 0x50_0003;

/// Returns the code of `bytes`, without the tokens of `sites`.
fn code(bytes: &[u8], sites: [Option<Site>; 2]) -> Vec<&[u8]> {
    let mut guards: Vec<_> = sites
        .iter()
        .flatten()
        .filter_map(|site| site.guard)
        .collect();
    guards.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for guard in guards {
        assert_eq!(bytes[guard..guard + 8], [0; 8]);
        // Before it are zeros that align it, and before these a branch backwards, which does not
        // end in one.
        let end = bytes[..guard].iter().rposition(|byte| *byte != 0).unwrap();
        pieces.push(&bytes[from..=end]);
        from = guard + 8;
    }
    pieces.push(&bytes[from..]);
    pieces
}

/// A host's encoder, and what else there is to it.
struct Host<A> {
    routines: fn(&mut A) -> Routines,
    bytes: fn(&A) -> &[u8],
    clear: fn(&mut A),
    branch: fn(usize, usize) -> [u8; 4],
}

fn is_code<A: Target + Default>(host: &Host<A>, reader: &Capstone) {
    let whole = |piece: &[u8]| {
        let read = reader.disasm_all(piece, 0).unwrap();
        read.iter().map(|one| one.len()).sum::<usize>() == piece.len()
    };
    let mut asm = A::default();
    let routines = (host.routines)(&mut asm);
    assert!(whole((host.bytes)(&asm)));
    for block in blocks() {
        for far in [None, A::REACHES_ALL.then_some(FAR)] {
            (host.clear)(&mut asm);
            let places = Places { near: START, far };
            let emitted = emit(&mut asm, places, &routines, 1, &block);
            let (written, op) = ((host.bytes)(&asm), &block.ops[0]);
            for piece in code(written, emitted.sites) {
                assert!(whole(piece), "{:x?}: {piece:02x?}", op.insn);
            }
            assert!(whole(&written[..emitted.split]), "{:x?}", op.insn);
            for site in emitted.sites.into_iter().flatten() {
                assert!(site.jump < emitted.split && emitted.split <= site.stub);
                // It leads to its stub until it is patched.
                let [jump, stub] = [site.jump, site.stub].map(|at| emitted.address(at));
                let stub = (host.branch)(jump, stub);
                assert_eq!(written[site.jump..site.jump + 4], stub, "{:x?}", op.insn);
                let guard = site.guard.map(|at| emitted.address(at));
                assert!(
                    guard.is_none_or(|at| at.is_multiple_of(8)),
                    "{:x?}",
                    op.insn
                );
            }
        }
    }
}

#[test]
fn x64_code_is_whole_instructions() {
    let reader = Capstone::new()
        .x86()
        .mode(arch::x86::ArchMode::Mode64)
        .build()
        .unwrap();
    let host = Host {
        routines: x64::routines,
        bytes: x64::Asm::bytes,
        clear: x64::Asm::clear,
        branch: x64::branch,
    };
    is_code(&host, &reader);
}

#[test]
fn a64_code_is_whole_instructions() {
    let reader = Capstone::new()
        .arm64()
        .mode(arch::arm64::ArchMode::Arm)
        .build()
        .unwrap();
    let host = Host {
        routines: a64::routines,
        bytes: a64::Asm::bytes,
        clear: a64::Asm::clear,
        branch: a64::branch,
    };
    is_code(&host, &reader);
}
