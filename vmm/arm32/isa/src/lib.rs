//! The ARMv7-A instruction sets as one table: decoder, disassembler, generator
