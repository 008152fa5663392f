//! The target `koelsch` by itself, for cargo-fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| viommu_fuzz::targets::koelsch::fuzz(data));
