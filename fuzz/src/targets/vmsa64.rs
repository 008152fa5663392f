//! Walks of VMSAv8-64 tables of any regime, over memory full of anything, against the slow
//! reference that viommu's own tests have.

use std::cell::Cell;

use arbitrary::{Arbitrary, Result, Unstructured};
use viommu::walk::vmsa64::{
    AddressSize, MAX_VMSA64_READS, Operation, RegimeError, TcrEl1, Vmsa64Access, Vmsa64Fault,
    Vmsa64Regime, Vmsa64Walked, walk_vmsa64,
};
use viommu::walk::{ExternalAbort, TableReader};

#[path = "../../../viommu/src/walk/vmsa64/tests/reference.rs"]
mod reference;
#[path = "../../../viommu/src/walk/vmsa64/tests/subject.rs"]
mod subject;

use reference::{Machine, Slow, sizes, slow};
use subject::{regime_of, said};

/// Sixteen pages of 64 KiB.
const RAM: u64 = 0x4000_0000;
const RAM_SIZE: u64 = 0x10_0000;

/// Memory that repeats some descriptors, each place a hash's choice among them.
struct Memory {
    words: Vec<u64>,
    reads: Cell<u32>,
}

impl Memory {
    fn get(&self, address: u64) -> Option<u64> {
        let offset = address.checked_sub(RAM)?;
        let hash = (offset >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        let index = usize::try_from(hash).ok()? % self.words.len();
        (offset < RAM_SIZE).then(|| self.words[index])
    }
}

impl TableReader for Memory {
    fn read_descriptor(&self, address: u64) -> std::result::Result<u64, ExternalAbort> {
        assert_eq!(address % 8, 0);
        self.reads.set(self.reads.get() + 1);
        self.get(address).ok_or(ExternalAbort)
    }
}

fn machine(u: &mut Unstructured<'_>) -> Result<Machine> {
    let mut ttbr = || {
        let near = RAM + u64::from(u32::arbitrary(u)?) % RAM_SIZE;
        Ok(if u.ratio(7, 8)? { near } else { u.arbitrary()? })
    };
    let ttbr = [ttbr()?, ttbr()?];
    let [lva, ttst, wxn, pan, secure, affd] = u.arbitrary::<[bool; 6]>()?;
    let mut machine = Machine {
        tcr: u.arbitrary()?,
        ttbr,
        pa_range: u.int_in_range(0..=7)?,
        lva,
        ttst,
        wxn,
        pan,
        secure,
        affd,
        el2: u.ratio(1, 8)?,
    };
    // Most sizes are possible ones, and most walks enabled.
    for (upper, shift) in [(false, 0), (true, 16)] {
        if u.ratio(15, 16)? {
            let size = u.int_in_range(sizes(&machine, upper))?;
            machine.tcr = machine.tcr & !(0x3f << shift | 1 << (shift + 7)) | size << shift;
        }
    }
    Ok(machine)
}

/// Returns whether sizes of the halves that are walked are possible ones.
fn is_possible(machine: &Machine) -> bool {
    [(false, 0, 7), (true, 16, 23)]
        .into_iter()
        .filter(|&(upper, _, epd)| machine.tcr >> epd & 1 == 0 && !(upper && machine.el2))
        .all(|(upper, shift, _)| sizes(machine, upper).contains(&(machine.tcr >> shift & 0x3f)))
}

fn check(
    answer: std::result::Result<Vmsa64Walked, Vmsa64Fault>,
    expected: std::result::Result<Slow, (&str, i64)>,
) {
    match (answer, expected) {
        (Ok(walked), Ok(slow)) => {
            assert_eq!(said(&walked), slow);
        }
        (Err(fault), Err((reason, level))) => {
            assert_eq!(i64::from(fault.level), level, "{fault}, {reason}");
            assert!(fault.to_string().contains(reason), "{fault}, {reason}");
        }
        (answer, expected) => panic!("{answer:?}, and not {expected:?}"),
    }
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let machine = machine(u)?;
    let low = u.arbitrary::<u64>()?;
    let cut = u.int_in_range(12..=52)?;
    let iovas = [low, low & ((1 << cut) - 1), low | u64::MAX << cut];
    let mut words = Vec::new();
    while words.len() < 64 && (words.is_empty() || !u.is_empty()) {
        let word = u64::arbitrary(u)?;
        // Most words lead to where tables are.
        words.push(match word & 0xf0_0000 {
            0 => word,
            // With FEAT_LPA2, what has more address bits set is a leaf at best.
            _ if word >> 47 & 1 == 1 => word & !0xffff_fff0_0000 | RAM,
            _ => word & !0xffff_fff0_0000 & !(3 << 48 | 3 << 8) | RAM,
        });
    }
    let regime = regime_of(&machine);
    assert_eq!(regime.is_ok(), is_possible(&machine));
    let Ok(regime) = regime else { return Ok(()) };
    let memory = Memory {
        words,
        reads: Cell::default(),
    };
    for iova in iovas {
        for (name, operation) in [
            ('r', Operation::Read),
            ('w', Operation::Write),
            ('x', Operation::Execute),
        ] {
            for privileged in [false, true] {
                let access = Vmsa64Access {
                    operation,
                    privileged,
                };
                let answer = walk_vmsa64(&memory, &regime, iova, access);
                assert!(memory.reads.take() <= MAX_VMSA64_READS);
                let reference = |iova| slow(&machine, |at| memory.get(at), iova, name, privileged);
                check(answer, reference(iova));
                let Ok(walked) = answer else { continue };
                // The ends of the range are translated as its middle is.
                let mapping = walked.mapping(iova);
                for end in [mapping.first, mapping.last] {
                    let there = reference(end).expect("it is of the same range");
                    assert_eq!(there.output, mapping.address + (end - mapping.first));
                }
            }
        }
    }
    Ok(())
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    // Too little input is no test.
    let _ = run(&mut Unstructured::new(data));
}
