//! What Linux's drivers wait for, and that nothing else happens.

use proptest::prelude::*;

use super::*;

#[test]
fn a_module_s_status_follows_its_stop_bit() {
    let cpg = Block::new(Kind::Clocks);
    // SYS-DMAC0 is module 219 (`cpg_mstp_clock_endisable`).
    cpg.write(0x138, 1 << 19 | 1 << 18);
    assert_eq!(cpg.read(0x040), 1 << 19 | 1 << 18);
    cpg.write(0x138, 1 << 18);
    assert_eq!(cpg.read(0x040), 1 << 18);
    cpg.write(0x040, 0);
    assert_eq!(cpg.read(0x040), 1 << 18, "the status is read-only");
    // A reset and its end (`cpg_mssr_reset`).
    cpg.write(0x0b0, 1 << 19 | 1);
    cpg.write(0x948, 1 << 19);
    assert_eq!(cpg.read(0x0b0), 1);
    // `cpg_z_clk_set_rate` polls the bit until it is clear.
    cpg.write(cpg::FRQCRB, cpg::KICK | 5);
    assert_eq!(cpg.read(cpg::FRQCRB), 5);
}

#[test]
fn a_power_domain_is_switched_at_once() {
    let sysc = Block::new(Kind::PowerDomains);
    assert_eq!(sysc.read(sysc::SYSCSR), 3);
    for (base, bit, done) in [(0x80, 0, 16), (0xc0, 0, 20), (0x40, 1, 1)] {
        // As `rcar_sysc_power` does it.
        for (request, off) in [(sysc::PWROFFCR, 1), (sysc::PWRONCR, 0)] {
            sysc.write(sysc::SYSCISCR, 1 << done);
            assert_eq!(sysc.read(sysc::SYSCISR) >> done & 1, 0);
            sysc.write(base + request, 1 << bit);
            assert_eq!(sysc.read(base + 0x14), 0, "no error");
            assert_eq!(sysc.read(sysc::SYSCISR), 1 << done);
            assert_eq!(sysc.read(base) >> bit & 1, off);
        }
        sysc.write(sysc::SYSCISCR, 1 << done);
    }
}

#[test]
fn drivers_find_the_board() {
    assert_eq!(Block::new(Kind::Product).read(0) & 0xff00, 0x4700);
    let rst = Block::new(Kind::Reset);
    rst.write(rst::MODEMR, 0);
    assert_eq!(rst.read(rst::MODEMR), 0x2000);
    rst.write(rst::CA15BAR, 0xe63c_0010);
    assert_eq!(rst.read(rst::CA15BAR), 0xe63c_0010);
    let counter = Block::new(Kind::Counter);
    assert_eq!((counter.read(0) & 1, counter.read(0x20)), (1, 10_000_000));
    // The quirk for the board's regulators goes when it sees that line 2 is high.
    assert_ne!(Block::new(Kind::ExternalInterrupts).read(0x104) & 4, 0);
    let apmu = Block::new(Kind::CorePower);
    apmu.write(apmu::WUPCR, 2);
    assert_eq!(apmu.read(apmu::WUPCR), 0);
}

const KINDS: [Kind; 8] = [
    Kind::Clocks,
    Kind::Reset,
    Kind::PowerDomains,
    Kind::CorePower,
    Kind::Product,
    Kind::Pins,
    Kind::Counter,
    Kind::ExternalInterrupts,
];

proptest! {
    #[test]
    fn any_access_is_harmless_and_saved(
        kind in prop::sample::select(KINDS.to_vec()),
        writes in prop::collection::vec((any::<u64>(), 0_u64..0x1100, any::<u32>()), 0..40),
    ) {
        let block = Block::new(kind);
        for (far, offset, value) in writes {
            block.write(far, value);
            block.write(offset & !3, value);
            block.read(far);
        }
        let other = Block::new(kind);
        let saved = block.save();
        prop_assert!(other.restore(&saved));
        for offset in (0..kind.bytes() as u64).step_by(4) {
            prop_assert_eq!(block.read(offset), other.read(offset));
        }
        let mut short = saved;
        short.words.pop();
        prop_assert!(!other.restore(&short));
    }
}
