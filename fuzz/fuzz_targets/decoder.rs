//! Any word decodes and disassembles, in either instruction set, without panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for chunk in data.chunks_exact(4) {
        let word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        let a32 = arm32_isa::decode_a32(word);
        assert_eq!(a32.len, 4);
        let (first, second) = (word as u16, (word >> 16) as u16);
        for in_it in [false, true] {
            let t32 = arm32_isa::decode_t32(first, second, in_it);
            assert_eq!(t32.len == 4, arm32_isa::t32_is_32bit(first));
        }
    }
});
