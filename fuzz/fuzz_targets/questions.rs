//! The target `questions` by itself, for cargo-fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| viommu_fuzz::targets::questions::fuzz(data));
