//! What an R-Car Gen2 SoC consists of, as far as Linux's drivers need it.

pub mod blocks;
pub mod dmac;
