//! No target, but a mistake to be found: that it is, shows that counters, comparisons, findings and
//! their replay work.

use arbitrary::{Arbitrary, Unstructured};

use super::rest::Rest;

#[derive(Arbitrary, Debug)]
enum Step {
    Open(u32),
    Turn(u32),
    Shut,
}

/// Fails after three steps that are right, of which no random input has two.
///
/// # Panics
/// As it says.
pub fn fuzz(data: &[u8]) {
    let Ok(steps) = Rest::<Step>::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let mut state = 0;
    for step in &steps.0 {
        state = match (state, step) {
            (0, Step::Open(0x05ee_d000)) => 1,
            (1, Step::Turn(0x00c0_ffee)) => 2,
            (2, Step::Shut) => panic!("the planted mistake"),
            (state, _) => state,
        };
    }
}
