//! The steps of CI. This is the one list of them: `.ci/run` has `cargo xtask ci` run it.

/// A step.
#[derive(Debug)]
pub(super) struct Step {
    /// What it is called on the command line.
    pub(super) name: &'static str,
    /// What it checks.
    pub(super) what: &'static str,
    /// Groups of Debian packages that it takes, as `.ci/packages` knows them.
    pub(super) packages: &'static [&'static str],
    /// Parts of the Rust toolchain that it takes.
    pub(super) components: &'static [&'static str],
    /// The command, run in the workspace's directory. No word of it has a space in it.
    pub(super) command: &'static str,
    /// Variables of its environment.
    pub(super) environment: &'static [(&'static str, &'static str)],
}

/// The tests of how the tree is built.
pub(crate) const STRUCTURE: &str =
    "cargo test --release --quiet --package xtask --test layers --test package --test sizes";

/// All of them, in their order: what answers soon comes first.
pub(super) const STEPS: &[Step] = &[
    Step {
        name: "format",
        what: "Format",
        components: &["rustfmt"],
        ..Step::of("cargo fmt --all --check")
    },
    Step {
        name: "fuzz-format",
        what: "Format of the fuzz targets",
        components: &["rustfmt"],
        ..Step::of("cargo fmt --manifest-path fuzz/Cargo.toml --check")
    },
    Step {
        name: "deny",
        what: "Licences, versions and origins of dependencies",
        ..Step::of("cargo xtask deny")
    },
    Step {
        name: "structure",
        what: "Arrows between packages, the library crate's manifest, lengths of lines and files",
        ..Step::of(STRUCTURE)
    },
    Step {
        name: "lints",
        what: "Lints",
        // Tests are compiled along, and capstone is C++.
        packages: &["rust", "test"],
        components: &["clippy"],
        ..Step::of("cargo clippy --release --locked --workspace --all-targets -- -D warnings")
    },
    Step {
        name: "features",
        what: "The library crate with each of its features, and without each",
        components: &["clippy"],
        ..Step::of("sh .ci/viommu features")
    },
    Step {
        name: "examples",
        what: "The library crate's examples",
        ..Step::of("sh .ci/viommu examples")
    },
    Step {
        name: "msrv",
        what: "The library crate with the oldest Rust that it promises to compile with",
        packages: &["rust", "fetch"],
        ..Step::of("sh .ci/viommu msrv")
    },
    Step {
        name: "api",
        what: "The library crate's public interface is compatible with that of its baseline",
        ..Step::of("sh .ci/viommu api")
    },
    Step {
        name: "package",
        what: "The library crate as a package, from a copy of its folder alone",
        ..Step::of("sh .ci/viommu package")
    },
    Step {
        name: "fuzz-lints",
        what: "Lints of the fuzz targets",
        packages: &["rust", "test"],
        components: &["clippy"],
        environment: &[("CARGO_TARGET_DIR", "target/fuzz")],
        ..Step::of("cargo clippy --manifest-path fuzz/Cargo.toml --locked -- -D warnings")
    },
    Step {
        name: "fuzz-seeds",
        what: "Seeds of the fuzz targets",
        packages: &["rust", "test"],
        ..Step::of("cargo xtask fuzz --check")
    },
    Step {
        name: "arm64-lints",
        what: "Lints for arm64 hosts",
        packages: &["rust", "fetch", "cross"],
        components: &["clippy"],
        ..Step::of("cargo run --release --locked -p integration -- cross clippy")
    },
    Step {
        name: "documentation",
        what: "Documentation",
        environment: &[("RUSTDOCFLAGS", "-D warnings")],
        ..Step::of("cargo doc --release --locked --workspace --no-deps")
    },
    Step {
        name: "tests",
        what: "Tests, guest boots included: README's second command",
        packages: &["for-test"],
        ..Step::of("bash .ci/xtask test")
    },
    Step {
        name: "arm64-tests",
        what: "The translator for arm64 hosts, emulated",
        packages: &["rust", "fetch", "cross"],
        ..Step::of("cargo run --release --locked -p integration -- cross test")
    },
    Step {
        name: "kvm",
        what: "Guests on KVM, in an emulated arm64 machine",
        packages: &["for-test", "cross", "qemu"],
        ..Step::of("cargo run --release --locked -p integration -- nested-kvm --gic 3 --quick")
    },
    Step {
        name: "interleavings",
        what: "Interleavings of threads",
        environment: &[
            ("CARGO_TARGET_DIR", "target/loom"),
            ("RUSTFLAGS", "--cfg loom"),
        ],
        ..Step::of("cargo test --release --locked -p viommu --lib interleavings")
    },
];

impl Step {
    /// Creates a step without a name, that takes no more than a Rust toolchain and a C compiler.
    const fn of(command: &'static str) -> Self {
        Self {
            name: "",
            what: "",
            packages: &["rust"],
            components: &[],
            command,
            environment: &[],
        }
    }

    /// Returns the command as one would type it.
    pub(super) fn typed(&self) -> String {
        let quoted = |word: &str| {
            if word.contains(' ') {
                format!("\"{word}\"")
            } else {
                word.to_owned()
            }
        };
        let environment = self
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={}", quoted(value)));
        let command = std::iter::once(self.command.to_owned());
        environment.chain(command).collect::<Vec<_>>().join(" ")
    }
}
