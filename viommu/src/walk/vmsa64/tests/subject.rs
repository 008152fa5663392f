//! The library's side of a comparison with the slow reference: the regime of its machine, and what
//! a walk says in its terms.
//!
//! The fuzz target has this file, too: what is of the library is taken from the module around.

use super::reference::{Machine, Slow};
use super::{AddressSize, RegimeError, TcrEl1, Vmsa64Regime, Vmsa64Walked};

/// Returns the regime that a [`Machine`] describes.
pub fn regime_of(machine: &Machine) -> Result<Vmsa64Regime, RegimeError> {
    let mut tcr = TcrEl1::from_bits(machine.tcr);
    if machine.el2 {
        tcr.set_epd1(true);
    }
    let [ttbr0, ttbr1] = machine.ttbr;
    let pa_range = u8::try_from(machine.pa_range).expect("it has three bits");
    let mut builder = Vmsa64Regime::builder()
        .registers(tcr, ttbr0, ttbr1)
        .physical(AddressSize::from_bits(pa_range))
        .large_va(machine.lva)
        .small_tables(machine.ttst)
        .wxn(machine.wxn)
        .pan(machine.pan)
        .access_flag_faults(!machine.affd);
    if machine.secure {
        builder = builder.secure();
    }
    if machine.el2 {
        builder = builder.one_privilege_level();
    }
    builder.build()
}

/// Returns what a walk found, in the reference's terms.
pub fn said(walked: &Vmsa64Walked) -> Slow {
    Slow {
        output: walked.output,
        level: walked.level.into(),
        size_log2: walked.size_log2.into(),
        rights: [walked.read, walked.write, walked.execute],
        attr_index: walked.attr_index.into(),
        shareability: walked.shareability.into_bits().into(),
        ns: walked.ns,
        global: walked.global,
        contiguous: walked.contiguous,
    }
}
