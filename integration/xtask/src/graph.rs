//! The packages of the workspace, and which knows which.

use crate::error::Error;
use crate::process;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// Its directory, from the workspace's.
    pub(crate) directory: PathBuf,
    /// The packages of the workspace that it knows, those of its tests among them.
    pub(crate) knows: BTreeSet<String>,
    /// Whether it is a library, with or without programs.
    pub(crate) library: bool,
}

/// The packages of the workspace by name.
#[derive(Clone, Debug)]
pub(crate) struct Graph(pub(crate) BTreeMap<String, Package>);

impl Graph {
    /// Asks cargo.
    ///
    /// # Errors
    /// When a manifest cannot be read.
    pub(crate) fn read() -> Result<Self, Error> {
        let mut cargo = Command::new("cargo");
        cargo
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .current_dir(crate::workspace());
        let text = process::output(&mut cargo)?;
        Self::parse(&text, &crate::workspace())
            .ok_or_else(|| Error::Failed("cargo metadata".into()))
    }

    /// Reads what `cargo metadata --no-deps` prints; `None` if it is something else.
    fn parse(text: &str, workspace: &Path) -> Option<Self> {
        let metadata: Value = serde_json::from_str(text).ok()?;
        let packages = metadata["packages"].as_array()?;
        let name = |value: &Value| value["name"].as_str().map(str::to_owned);
        let names: BTreeSet<String> = packages.iter().filter_map(name).collect();
        let mut graph = BTreeMap::new();
        for package in packages {
            let manifest = Path::new(package["manifest_path"].as_str()?);
            let known = package["dependencies"].as_array()?.iter().filter_map(name);
            let targets = package["targets"].as_array()?;
            let found = Package {
                directory: manifest.parent()?.strip_prefix(workspace).ok()?.into(),
                knows: known.filter(|name| names.contains(name)).collect(),
                library: targets.iter().any(|target| target["kind"][0] == "lib"),
            };
            graph.insert(name(package)?, found);
        }
        Some(Self(graph))
    }

    /// Returns the package that a file belongs to: the innermost one whose directory it is in.
    pub(crate) fn owner(&self, path: &Path) -> Option<&str> {
        let holders = self
            .0
            .iter()
            .filter(|(_, package)| path.starts_with(&package.directory));
        holders
            .max_by_key(|(_, package)| package.directory.components().count())
            .map(|(name, _)| name.as_str())
    }

    /// Returns packages, and all that know one of them, directly or through others.
    pub(crate) fn with_dependants(&self, packages: &BTreeSet<String>) -> BTreeSet<String> {
        let mut found = packages.clone();
        loop {
            let more = self.0.iter().filter(|(name, package)| {
                !found.contains(*name) && !package.knows.is_disjoint(&found)
            });
            let more: Vec<String> = more.map(|(name, _)| name.clone()).collect();
            if more.is_empty() {
                return found;
            }
            found.extend(more);
        }
    }

    /// Returns the names of all.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }
}

#[cfg(test)]
impl Graph {
    /// Creates a graph of `(name, directory, names that it knows)`; all are libraries.
    pub(crate) fn sample(packages: &[(&str, &str, &[&str])]) -> Self {
        let package = |(name, directory, knows): &(&str, &str, &[&str])| {
            let package = Package {
                directory: directory.into(),
                knows: knows.iter().map(|name| (*name).to_owned()).collect(),
                library: true,
            };
            ((*name).to_owned(), package)
        };
        Self(packages.iter().map(package).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_innermost_package_owns_a_file() {
        let graph = Graph::sample(&[("outer", "a", &[]), ("inner", "a/b", &[])]);
        let owner = |path: &str| graph.owner(Path::new(path)).map(str::to_owned);
        assert_eq!(owner("a/src/lib.rs").as_deref(), Some("outer"));
        assert_eq!(owner("a/b/src/lib.rs").as_deref(), Some("inner"));
        assert_eq!(owner("a/bc/src/lib.rs").as_deref(), Some("outer"));
        assert_eq!(owner("Cargo.lock"), None);
    }

    #[test]
    fn dependants_are_found_through_others() {
        let graph = Graph::sample(&[
            ("base", "base", &[]),
            ("device", "device", &["base"]),
            ("machine", "machine", &["device"]),
            ("images", "images", &[]),
        ]);
        let all = graph.with_dependants(&set(&["base"]));
        assert_eq!(all, set(&["base", "device", "machine"]));
        assert_eq!(graph.with_dependants(&set(&["images"])), set(&["images"]));
        assert_eq!(graph.with_dependants(&set(&[])), set(&[]));
    }

    #[test]
    fn cargo_s_metadata_is_read() {
        let text = r#"{"packages":[
            {"name":"a","manifest_path":"/w/a/Cargo.toml","dependencies":[{"name":"serde"}],
             "targets":[{"name":"a","kind":["lib"]},{"name":"show","kind":["example"]}]},
            {"name":"b","manifest_path":"/w/b/Cargo.toml","dependencies":[{"name":"a","kind":"dev"}],
             "targets":[{"name":"b","kind":["bin"]}]}]}"#;
        let Graph(graph) = Graph::parse(text, Path::new("/w")).unwrap();
        assert_eq!(graph["a"].directory, Path::new("a"));
        assert!(graph["a"].library && graph["a"].knows.is_empty());
        assert!(!graph["b"].library);
        assert_eq!(graph["b"].knows, set(&["a"]));
        assert!(Graph::parse("{}", Path::new("/w")).is_none());
    }

    #[test]
    fn this_workspace_is_read() {
        let graph = Graph::read().unwrap();
        let here = graph.owner(Path::new("integration/xtask/src/graph.rs"));
        assert_eq!(here, Some("xtask"));
        assert!(graph.0["vmm"].knows.contains("viommu"));
    }
}
