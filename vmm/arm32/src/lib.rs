//! An ARMv7-A processor core (Cortex-A15 class) as a library
