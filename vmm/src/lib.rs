//! A rust-vmm based machine that boots unmodified ARM32 Linux kernels behind virtual IOMMUs
