//! The target `ecx2000` by itself, for cargo-fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| viommu_fuzz::targets::ecx2000::fuzz(data));
