//! Tests of cases.

use super::*;
use arm32_isa::{Insn, decode_a32, decode_t32};

#[test]
fn offsets_are_what_the_decoder_reads() {
    let wide = |w: u32| decode_t32((w >> 16) as u16, w as u16, false).insn;
    for offset in [4i32, 0x7c, -8, 0x1234, -0x2340] {
        let with = |kind, word| with_offset(kind, word, offset.cast_unsigned()).unwrap();
        assert_eq!(
            decode_a32(with(Branch::A32, 0xea00_0000)).insn,
            Insn::B { offset }
        );
        assert_eq!(
            decode_a32(with(Branch::A32Exchange, 0xfa00_0000)).insn,
            Insn::Bl {
                offset,
                exchange: true
            }
        );
        assert_eq!(
            wide(with(Branch::WideCond, 0xf000_8000)),
            Insn::B { offset }
        );
        assert_eq!(wide(with(Branch::Wide, 0xf000_9000)), Insn::B { offset });
        assert_eq!(
            wide(with(Branch::WideExchange, 0xf000_c000)),
            Insn::Bl {
                offset,
                exchange: true
            }
        );
    }
    let narrow = |w: u32| decode_t32(w as u16, 0, false).insn;
    assert_eq!(
        narrow(with_offset(Branch::NarrowCond, 0xd000, 0x7e).unwrap()),
        Insn::B { offset: 0x7e }
    );
    assert_eq!(
        narrow(with_offset(Branch::Narrow, 0xe000, 0x2fe).unwrap()),
        Insn::B { offset: 0x2fe }
    );
    assert_eq!(
        narrow(with_offset(Branch::Cbz, 0xb103, 126).unwrap()),
        Insn::Cbz {
            nonzero: false,
            rn: 3,
            offset: 126
        }
    );
    assert_eq!(with_offset(Branch::Cbz, 0xb103, 128), None);
}
