//! Execution of decoded instructions on the register bank.
