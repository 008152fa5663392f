//! The verdict on a comparison with others' tables or text, of which the differences that are meant
//! are listed.

use std::collections::BTreeMap;

/// Fails if something differs unexpectedly, of which it shows the first cases, `shown` for each of
/// the `what`, and if a listed difference never occurred. `listed` has each difference's reason and
/// how often it occurred.
pub fn assert_listed<'a>(
    what: &str,
    unexpected: &BTreeMap<String, Vec<String>>,
    shown: usize,
    listed: impl Iterator<Item = (&'a str, usize)>,
) {
    for (name, cases) in unexpected {
        eprintln!("{name}: {} unexpected", cases.len());
        for case in cases.iter().take(shown) {
            eprintln!("    {case}");
        }
    }
    let unused: Vec<&str> = listed
        .filter(|(_, count)| *count == 0)
        .map(|(reason, _)| reason)
        .collect();
    assert!(
        unexpected.is_empty(),
        "{} {what} differ without a listed reason",
        unexpected.len()
    );
    assert!(
        unused.is_empty(),
        "listed differences that never occurred: {unused:#?}"
    );
}
