//! The target `dma_tester` by itself, for cargo-fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| viommu_fuzz::targets::dma_tester::fuzz(data));
