//! The library crate is a package by itself, whose manifest repeats what the workspace says: here
//! the two are held together.

use std::path::Path;

use toml::{Table, Value};

fn manifest(path: &str) -> Table {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join(path)).expect("the manifest can be read");
    text.parse().expect("it is TOML")
}

/// Returns the version that a dependency asks for.
fn version(dependency: &Value) -> Option<&str> {
    let table = dependency.as_table().and_then(|table| table.get("version"));
    table.unwrap_or(dependency).as_str()
}

#[test]
fn the_librarys_manifest_says_what_the_workspace_says() {
    let (workspace, library) = (manifest("Cargo.toml"), manifest("viommu/Cargo.toml"));
    let workspace = workspace["workspace"].as_table().expect("it is a table");
    for key in ["version", "edition", "license"] {
        assert_eq!(library["package"][key], workspace["package"][key], "{key}");
    }
    // It may promise more: `.ci/viommu msrv` holds it to that.
    let oldest = |package: &Value| package["rust-version"].as_str().map(str::to_owned);
    assert!(oldest(&library["package"]) <= oldest(&workspace["package"]));
    assert_eq!(library["lints"], workspace["lints"]);
    let own = version(&workspace["dependencies"]["viommu"]);
    assert_eq!(own, library["package"]["version"].as_str());
    let mut shared = 0;
    let loom = &library["target"]["cfg(loom)"]["dependencies"];
    for table in [&library["dependencies"], &library["dev-dependencies"], loom] {
        for (name, dependency) in table.as_table().expect("it is a table") {
            assert!(dependency.get("path").is_none(), "{name} is outside of it");
            // Those of its own are in no other manifest.
            let Some(theirs) = workspace["dependencies"].get(name) else {
                continue;
            };
            shared += 1;
            assert_eq!(version(dependency), version(theirs), "{name}");
        }
    }
    assert!(shared > 5, "few dependencies were compared: {shared}");
}

#[test]
fn what_the_library_is_published_with_is_in_its_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../viommu");
    for name in [
        "README.md",
        "DESIGN.md",
        "LICENSE-APACHE",
        "LICENSE-BSD-3-CLAUSE",
    ] {
        let kind = folder
            .join(name)
            .symlink_metadata()
            .expect("it is there")
            .file_type();
        assert!(kind.is_file(), "{name} leads out of the folder");
    }
    for name in ["LICENSE-APACHE", "LICENSE-BSD-3-CLAUSE"] {
        let read = |path: &Path| std::fs::read(path).expect("it can be read");
        assert_eq!(
            read(&folder.join(name)),
            read(&folder.join("..").join(name)),
            "{name}"
        );
    }
}
