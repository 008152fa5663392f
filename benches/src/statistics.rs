//! Numbers about numbers.

/// Returns the median; of an even count the mean of the two in the middle; none of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}

/// Returns the median, or of nothing what is no number.
pub fn median_or_nan(values: &[f64]) -> f64 {
    median(values).unwrap_or(f64::NAN)
}

/// Returns the value that a quarter of the values do not exceed: what is typical of a measurement
/// that others disturb now and then, and only ever lengthen; none of nothing.
pub fn lower_quartile(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Of no values the index is 0, at which there is none.
    sorted.get((sorted.len().max(1) - 1) / 4).copied()
}

/// Returns the smallest and the largest.
pub fn range(values: &[f64]) -> Option<(f64, f64)> {
    let least = values.iter().copied().min_by(f64::total_cmp)?;
    let most = values.iter().copied().max_by(f64::total_cmp)?;
    Some((least, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranges() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(lower_quartile(&[]), None);
        assert_eq!(lower_quartile(&[7.0]), Some(7.0));
        assert_eq!(lower_quartile(&[5.0, 1.0, 3.0, 2.0, 4.0]), Some(2.0));
        assert_eq!(range(&[2.0, 1.0, 3.0]), Some((1.0, 3.0)));
        assert_eq!(range(&[]), None);
    }
}
