//! Programs of the host that only pretend, for tests of what is done with them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::vmm;

/// A directory with pretended programs, which come before the real ones, and an empty cache.
pub struct Fakes(TempDir);

impl Fakes {
    /// No program is pretended yet.
    pub fn new() -> Self {
        let fakes = Self(tempfile::tempdir().unwrap());
        fs::create_dir(fakes.path("bin")).unwrap();
        fakes
    }

    /// A host whose dpkg knows of no package until `apt-get` has installed some. What else is
    /// called, apart from `id`, is written to the file `log`.
    pub fn bare_host(user: u32) -> Self {
        let fakes = Self::new();
        fakes.program(
            "dpkg-query",
            "[ -e \"$FAKES/installed\" ] || exit 1\n\
             for package; do case $package in -*) ;; *) echo \"$package installed\";; esac; done",
        );
        fakes.program("id", &format!("echo {user}"));
        // In place of asking who it is as root, it says so.
        fakes.program(
            "sudo",
            "echo \"sudo $*\" >> \"$FAKES/log\"\n\
             case \"$*\" in '-n id -u') echo 0;; *) shift; exec \"$@\";; esac",
        );
        fakes.program(
            "apt-get",
            "echo \"apt-get $*\" >> \"$FAKES/log\"\n\
             case \"$*\" in *install*) touch \"$FAKES/installed\"; exit 0;; esac\n\
             echo 'E: this one only pretends' >&2; exit 100",
        );
        fakes
    }

    /// Adds a program: the lines of a shell script.
    pub fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What a file in the directory says; nothing if it is not there.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Has a command use the pretended programs and the empty cache.
    pub fn with(&self, mut command: Command) -> Command {
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("FAKES", self.0.path())
            .env("VIOMMU_CACHE", self.path("cache"))
            .env("VIOMMU_DEBIAN_MIRROR", "http://mirror.invalid/debian")
            .env_remove("VIOMMU_INSTALL");
        command
    }

    /// The program under test with these arguments.
    pub fn vmm(&self, arguments: &[&str]) -> Command {
        self.with(vmm(arguments))
    }
}
