//! The rule that makes an ambiguous table a build error.
//!
//! Two rows of one set may match the same word only if one is a strict special case of the other:
//! its pattern fixes a strict superset of the other's bits to the same values, or the patterns are
//! equal and only it has a condition. Otherwise their conditions must exclude each other.

use super::parse::Row;

/// Free bits that conditions may look at in a pair, at most: 2^20 words are tried.
const MAX_CONDITION_BITS: u32 = 20;

/// Returns every ambiguous pair, one message each.
pub fn check(rows: &[Row]) -> Vec<String> {
    let mut errors = Vec::new();
    for (index, a) in rows.iter().enumerate() {
        for b in &rows[index + 1..] {
            if a.set == b.set && !special_case(a, b) && !special_case(b, a) {
                errors.extend(conflict(a, b));
            }
        }
    }
    errors
}

/// Returns whether `a` is a strict special case of `b`.
fn special_case(a: &Row, b: &Row) -> bool {
    let (pa, pb) = (&a.pattern, &b.pattern);
    let inside = pa.mask & pb.mask == pb.mask && pa.value & pb.mask == pb.value;
    inside && (pa.mask != pb.mask || (a.condition.is_some() && b.condition.is_none()))
}

fn conflict(a: &Row, b: &Row) -> Option<String> {
    let both = a.pattern.mask & b.pattern.mask;
    // A bit that they fix differently keeps them apart, whatever their conditions.
    if (a.pattern.value ^ b.pattern.value) & both != 0 {
        return None;
    }
    let fixed = a.pattern.mask | b.pattern.mask;
    let base = a.pattern.value | b.pattern.value;
    // Other free bits decide nothing, and stay zero in the words that are tried.
    let looked_at = (a.condition_mask() | b.condition_mask()) & !fixed;
    if looked_at.count_ones() > MAX_CONDITION_BITS {
        return Some(format!(
            "{} and {} ({}) overlap, and their conditions look at too many bits to compare",
            a.place(),
            b.place(),
            a.set.name()
        ));
    }
    // Walk all subsets of the bits that conditions look at.
    let mut free = 0u32;
    loop {
        let word = base | free;
        if a.accepts(word) && b.accepts(word) {
            return Some(format!(
                "{} and {} are ambiguous: both match the {} word {word:#x}",
                a.place(),
                b.place(),
                a.set.name()
            ));
        }
        // The next larger subset of the mask; after the whole mask comes zero.
        free = free.wrapping_sub(looked_at) & looked_at;
        if free == 0 {
            return None;
        }
    }
}
