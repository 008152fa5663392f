//! Lists that take all of an input.

use arbitrary::{Arbitrary, Result, Unstructured};

/// As many parts as the rest of the input makes. A `Vec` ends at each part with even odds, so that
/// random inputs make no long ones.
#[derive(Debug)]
pub struct Rest<T>(pub Vec<T>);

impl<'a, T: Arbitrary<'a>> Arbitrary<'a> for Rest<T> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Vec::arbitrary(u).map(Self)
    }

    fn arbitrary_take_rest(mut u: Unstructured<'a>) -> Result<Self> {
        let mut parts = Vec::new();
        while !u.is_empty() {
            parts.push(T::arbitrary(&mut u)?);
        }
        Ok(Self(parts))
    }
}
