//! The target `vhost_user_frontend` by itself, for cargo-fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| viommu_fuzz::targets::vhost_user_frontend::fuzz(data));
