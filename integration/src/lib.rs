//! Tests that boot guests
