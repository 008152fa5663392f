//! VFPv4 and Advanced SIMD arithmetic, bit-exact
