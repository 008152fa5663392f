//! Which packages are checked for files that have changed.

use crate::graph::Graph;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Files of the workspace that every package is compiled or linted by.
const SHARED: [&str; 5] = [
    "Cargo.toml",
    "Cargo.lock",
    "clippy.toml",
    "rust-toolchain",
    "rust-toolchain.toml",
];

/// Which packages are checked, and how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// Those whose unit tests are run: something in their directories has changed.
    pub(super) changed: BTreeSet<String>,
    /// Those that clippy looks at: these, and all that know them.
    pub(super) linted: BTreeSet<String>,
    /// The first file that concerns all packages, for which clippy looks at each.
    pub(super) shared: Option<PathBuf>,
    /// Whether the fuzz targets have changed, which are a workspace of their own.
    pub(super) fuzz: bool,
    /// Whether pages have changed whose commands a test runs.
    pub(super) pages: bool,
    /// Files that no check here is about.
    pub(super) others: Vec<PathBuf>,
}

impl Choice {
    /// Returns every package.
    pub(super) fn all(graph: &Graph) -> Self {
        Self {
            changed: graph.names(),
            linted: graph.names(),
            ..Self::default()
        }
    }

    /// Returns what to check for these files.
    pub(super) fn of(graph: &Graph, files: &[PathBuf]) -> Self {
        let mut choice = Self::default();
        for file in files {
            // Before the owner: a README lies in a package's directory, but is compiled into none.
            if file.extension().is_some_and(|extension| extension == "md") {
                choice.pages = true;
            } else if file.starts_with("fuzz") {
                choice.fuzz = true;
            } else if let Some(owner) = graph.owner(file) {
                choice.changed.insert(owner.to_owned());
            } else if is_shared(file) {
                choice.shared.get_or_insert_with(|| file.clone());
            } else {
                choice.others.push(file.clone());
            }
        }
        choice.linted = match choice.shared {
            Some(_) => graph.names(),
            None => graph.with_dependants(&choice.changed),
        };
        choice
    }
}

/// Returns whether all packages are compiled or linted by a file.
fn is_shared(file: &Path) -> bool {
    file.starts_with(".cargo") || SHARED.iter().any(|shared| file == Path::new(shared))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> Graph {
        Graph::sample(&[
            ("base", "vmm/base", &[]),
            ("devices", "vmm/devices", &["base"]),
            ("vmm", "vmm", &["devices", "images"]),
            ("images", "images", &[]),
        ])
    }

    fn choice(files: &[&str]) -> Choice {
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        Choice::of(&graph(), &files)
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn nothing_changed_checks_nothing() {
        assert_eq!(choice(&[]), Choice::default());
    }

    #[test]
    fn who_knows_a_changed_package_is_linted_and_not_tested() {
        let choice = choice(&["vmm/devices/src/uart/mod.rs"]);
        assert_eq!(choice.changed, set(&["devices"]));
        assert_eq!(choice.linted, set(&["devices", "vmm"]));
        assert!(choice.shared.is_none() && choice.others.is_empty());
    }

    #[test]
    fn a_package_within_another_s_directory_is_itself() {
        assert_eq!(choice(&["vmm/src/lib.rs"]).changed, set(&["vmm"]));
        let deep = choice(&["vmm/base/src/lib.rs"]);
        assert_eq!(deep.changed, set(&["base"]));
        assert_eq!(deep.linted, set(&["base", "devices", "vmm"]));
    }

    #[test]
    fn files_of_the_whole_workspace_lint_all() {
        for file in ["Cargo.lock", ".cargo/config.toml"] {
            let choice = choice(&["images/Cargo.toml", file]);
            assert_eq!(choice.changed, set(&["images"]));
            assert_eq!(choice.linted, graph().names());
            assert_eq!(choice.shared.as_deref(), Some(Path::new(file)));
        }
    }

    #[test]
    fn what_no_package_owns_is_told() {
        let choice = choice(&[
            "docs/time.md",
            "vmm/README.md",
            "fuzz/src/lib.rs",
            ".ci/run",
        ]);
        assert!(choice.pages && choice.fuzz);
        assert_eq!(choice.others, [PathBuf::from(".ci/run")]);
        assert!(choice.changed.is_empty() && choice.linted.is_empty());
    }
}
