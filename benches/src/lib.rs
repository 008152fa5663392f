//! Benchmarks and comparisons with peers
