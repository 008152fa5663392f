//! Understanding apt's output (in the C locale).

use crate::source::Package;

/// The reason for which an index could not be brought up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The mirror could not be reached.
    Network(String),
    /// The signature could not be verified.
    Signature(String),
}

/// Words of apt's methods for a mirror that cannot be reached.
const NETWORK_WORDS: [&str; 9] = [
    "Could not resolve",
    "Temporary failure resolving",
    "Could not connect",
    "Cannot initiate the connection",
    "Unable to connect",
    "Connection failed",
    "Connection timed out",
    "Network is unreachable",
    "Could not wait for server",
];

/// Words of apt for signatures by keys that it does not have.
const SIGNATURE_WORDS: [&str; 3] = ["NO_PUBKEY", "couldn't be verified", "Missing key"];

/// Finds the cause of a failure in the output of `apt-get update` or `download`.
pub(crate) fn update_failure(text: &str) -> Option<Failure> {
    let find = |words: &[&str]| {
        let line = text
            .lines()
            .find(|line| words.iter().any(|word| line.contains(word)))?;
        Some(
            line.trim()
                .trim_start_matches("W: ")
                .trim_start_matches("E: ")
                .trim_end_matches('.')
                .to_owned(),
        )
    };
    // The network first: what did not arrive cannot be verified either.
    find(&NETWORK_WORDS)
        .map(Failure::Network)
        .or_else(|| find(&SIGNATURE_WORDS).map(Failure::Signature))
}

/// Reads the first record of `apt-cache show`.
pub(crate) fn package(suite: &str, text: &str) -> Option<Package> {
    let record = text.trim_start().split("\n\n").next()?;
    let field = |name: &str| {
        let value = record
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.map(|value| value.trim().to_owned())
    };
    Some(Package {
        suite: suite.to_owned(),
        name: field("Package")?,
        version: field("Version")?,
        depends: dependencies(&field("Depends").unwrap_or_default()),
        size: field("Size")?.parse().ok()?,
        sha256: field("SHA256")
            .filter(|hash| hash.len() == 64)?
            .to_ascii_lowercase(),
    })
}

/// Returns the packages of records that blank lines divide; those without a hash are left out.
pub(crate) fn packages(suite: &str, text: &str) -> Vec<Package> {
    text.split("\n\n")
        .filter_map(|record| package(suite, record))
        .collect()
}

/// Returns the names of the packages that a simulated run of apt-get would install, in its order.
pub(crate) fn installed(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("Inst "))
        .filter_map(|rest| rest.split(' ').next())
        .map(str::to_owned)
        .collect()
}

/// Returns the packages that a `Depends` field asks for in exactly one version: those built
/// together with it.
fn dependencies(field: &str) -> Vec<String> {
    let exact = |part: &str| {
        let (name, version) = part.trim().split_once(' ')?;
        version.starts_with("(= ").then(|| name.to_owned())
    };
    field.split(',').filter_map(exact).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_a_record() {
        let text = "Package: linux-image-armmp\nSource: linux (7.2.12-1)\nVersion: 7.2.12-1\nInstalled-Size: 12\n\
                    Depends: linux-base-armmp (= 7.2.12-1), linux-image-7.2.12+deb14-armmp (= 7.2.12-1), \
                    kmod, a (>= 2) | b\n\
                    Description: Linux for ARMv7 multiplatform SoCs\n more text: with a colon\nSize: 1492\n\
                    SHA256: 791e42cf39b67435fde4ae2203b5879372fcb06abdf651646b09e1cbe8a0338c\n\n\
                    Package: linux-image-armmp\nVersion: 1\n";
        let package = package("forky", text).unwrap();
        assert_eq!(
            (package.name.as_str(), package.version.as_str()),
            ("linux-image-armmp", "7.2.12-1")
        );
        assert_eq!(
            package.depends,
            ["linux-base-armmp", "linux-image-7.2.12+deb14-armmp"]
        );
        assert_eq!(package.size, 1492);
    }

    #[test]
    fn a_simulated_run_names_what_it_would_install() {
        let text = "Reading package lists...\nInst libc6 (2.36-9 Debian:12 [armhf]) []\n\
                    Inst dash (0.5 Debian:12 [armhf])\nConf libc6 (2.36-9 Debian:12 [armhf])\nInst\n";
        assert_eq!(installed(text), ["libc6", "dash"]);
    }

    #[test]
    fn records_are_divided_by_blank_lines() {
        let hash = "0".repeat(64);
        let record = |name: &str| format!("Package: {name}\nVersion: 1\nSize: 2\nSHA256: {hash}\n");
        let text = format!("{}\n{}\nPackage: c\n", record("a"), record("b"));
        let names: Vec<_> = packages("s", &text).into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_record_without_a_hash_is_none() {
        assert_eq!(
            package("forky", "Package: a\nVersion: 1\nSize: 2\nSHA256: 12\n"),
            None
        );
        assert_eq!(package("forky", ""), None);
    }

    #[test]
    fn unreachable_mirror_is_told_from_bad_signature() {
        let unreachable = "Ign:1 http://nosuch.invalid/debian bookworm InRelease\n\
                           Err:1 http://nosuch.invalid/debian bookworm InRelease\n  Could not resolve \
                           'nosuch.invalid'\n\
                           W: Some index files failed to download. They have been ignored, or old ones used instead.\n";
        assert_eq!(
            update_failure(unreachable),
            Some(Failure::Network(
                "Could not resolve 'nosuch.invalid'".into()
            ))
        );
        let unsigned = "Err:1 http://deb.debian.org/debian forky InRelease\n  The following signatures couldn't be \
                        verified because the public key is not available: NO_PUBKEY 6ED0E7B82643E131\n\
                        E: The repository 'http://deb.debian.org/debian forky InRelease' is not signed.\n";
        assert!(
            matches!(update_failure(unsigned), Some(Failure::Signature(detail)) if detail.ends_with("6ED0E7B82643E131"))
        );
        assert_eq!(
            update_failure("Get:1 http://deb.debian.org/debian forky InRelease [151 kB]\n"),
            None
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(Package|Version|Size|SHA256|Depends|: |[ -~]|\n|é)*") {
            let _ = package("x", &text);
            let _ = update_failure(&text);
        }
    }
}
