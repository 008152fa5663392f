//! The target `smmu_v2` by itself, for cargo-fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| viommu_fuzz::targets::smmu_v2::fuzz(data));
