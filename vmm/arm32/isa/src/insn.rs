//! The instruction enum, generated from the tables.

#![expect(
    clippy::too_many_lines,
    reason = "what the tables are made into is long"
)]

use crate::fields::*;
use crate::simd::*;
use crate::types::*;

include!(concat!(env!("OUT_DIR"), "/insn.rs"));

// Predecoded blocks hold many of these: keep four to a cache line.
const _: () = assert!(size_of::<Insn>() <= 16);

/// Takes fields out of an instruction that is of one of the variants given, which have them in
/// common. The block after `else` is for any other instruction and has to leave, as that of `let`
/// has.
///
/// ```
/// use arm32_isa::{Insn, decode_a32, fields};
///
/// /// Returns the base register of a load or store of one register.
/// fn base(insn: &Insn) -> Option<u8> {
///     fields!(*insn => LdStImm | LdStReg { rn, .. } else { return None });
///     Some(rn)
/// }
///
/// assert_eq!(base(&decode_a32(0xe595_1004).insn), Some(5)); // ldr r1, [r5, #4]
/// assert_eq!(base(&decode_a32(0xe795_1002).insn), Some(5)); // ldr r1, [r5, r2]
/// ```
#[macro_export]
macro_rules! fields {
    ($insn:expr => $($variant:ident)|+ { $($field:tt)* } else $otherwise:block) => {
        $crate::fields!(@bind $insn, [$($variant),+], { $($field)* }, $otherwise)
    };
    // The fields as one token tree, which can be repeated for each of the variants.
    (@bind $insn:expr, [$($variant:ident),+], $fields:tt, $otherwise:block) => {
        let ($($crate::Insn::$variant $fields)|+) = $insn else $otherwise;
    };
}
