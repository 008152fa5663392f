//! Debian packages by apt, in a private configuration.
//!
//! apt gets directories, a package index and a source list of its own, for one architecture and one
//! Debian suite each; neither root nor any change of the host's configuration is needed. What the
//! host says about reaching the network (proxies and the like) is taken over. apt verifies the
//! release's signature against the host's `debian-archive-keyring`; a release that is signed by
//! newer keys than that has is verified by the keyring package of another release whose signature
//! is good.

mod config;
pub(crate) mod parse;

use crate::Error;
use crate::error::IoContext;
use crate::image_spec::Architecture;
use crate::lock::Lock;
use crate::process::{self, ProgramExit};
use crate::progress::{Progress, Unit};
use crate::source::{Package, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian is, unless `VIOMMU_DEBIAN_MIRROR` says otherwise.
pub(crate) const MIRROR: &str = "http://deb.debian.org/debian";

/// Names under which Debian's keyring is installed.
const KEYRINGS: [&str; 2] = [
    "usr/share/keyrings/debian-archive-keyring.gpg",
    "usr/share/keyrings/debian-archive-keyring.pgp",
];

/// Releases that may vouch for the keys of another one, newest first.
const VOUCHING_SUITES: [&str; 3] = ["forky", "trixie", "bookworm"];

/// The package that holds the keys.
const KEYRING_PACKAGE: &str = "debian-archive-keyring";

/// apt with private directories.
#[derive(Debug)]
pub(crate) struct Apt {
    root: PathBuf,
    architecture: Architecture,
    mirror: String,
    keyrings: Vec<PathBuf>,
    /// Releases whose index this value has brought up to date.
    fresh: BTreeSet<String>,
}

/// Checks that apt could take this for a mirror: one word, with a scheme; anything else would be
/// other fields of its list of sources.
fn check(mirror: &str) -> Result<(), Error> {
    let known = ["http://", "https://", "file:/"];
    // In a line of sources a blank begins the next field, `[` options such as `trusted=yes`, and
    // `#` a comment.
    let word = mirror
        .chars()
        .all(|c| c.is_ascii_graphic() && c != '[' && c != '#');
    if word && known.iter().any(|scheme| mirror.starts_with(scheme)) {
        return Ok(());
    }
    Err(Error::NoMirror {
        mirror: mirror.to_owned(),
    })
}

impl Apt {
    /// Creates an apt for packages of that architecture, with its directories in `cache`, from the
    /// mirror that the environment names.
    pub fn new(cache: &Path, architecture: Architecture) -> Self {
        // apt's lists are those of one architecture, and another would replace them.
        let root = cache.join(match architecture {
            Architecture::Armhf => "apt".to_owned(),
            other => format!("apt-{}", other.name()),
        });
        let mirror = std::env::var("VIOMMU_DEBIAN_MIRROR")
            .ok()
            .filter(|mirror| !mirror.trim().is_empty());
        let keyrings = KEYRINGS
            .iter()
            .map(|path| Path::new("/").join(path))
            .filter(|path| path.exists())
            .collect();
        Self {
            root,
            architecture,
            mirror: mirror.map_or_else(
                || MIRROR.to_owned(),
                |mirror| mirror.trim().trim_end_matches('/').to_owned(),
            ),
            keyrings,
            fresh: BTreeSet::new(),
        }
    }

    /// Returns a command with the private configuration of a release.
    fn command(&self, suite: &str, program: &str) -> Command {
        let mut command = process::command(program);
        command
            .env("APT_CONFIG", config::path(&self.root, suite))
            .arg("-q");
        command
    }

    fn lock(&self, suite: &str, progress: &mut dyn Progress) -> Result<Lock, Error> {
        Lock::acquire(
            &self.root.join(suite).join("lock"),
            &format!("the packages of Debian {suite}"),
            progress,
        )
    }

    /// Brings the index of a release up to date, once for this value.
    fn refresh(&mut self, suite: &str, progress: &mut dyn Progress) -> Result<(), Error> {
        if self.fresh.contains(suite) {
            return Ok(());
        }
        match self.update(suite, progress) {
            Err(Error::Signature { suite, detail }) => {
                self.refresh_with_vouched_keys(&suite, detail, progress)?
            }
            other => other?,
        }
        self.fresh.insert(suite.to_owned());
        Ok(())
    }

    /// Tries again with the keyring of each release that the present keys do verify.
    fn refresh_with_vouched_keys(
        &mut self,
        suite: &str,
        detail: String,
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        for vouching in VOUCHING_SUITES
            .into_iter()
            .filter(|vouching| *vouching != suite)
        {
            let Ok(keyring) = self.keyring_of(vouching, progress) else {
                continue;
            };
            // They are of a package whose index this host could verify.
            let before = std::mem::replace(&mut self.keyrings, vec![keyring]);
            if self.update(suite, progress).is_ok() {
                return Ok(());
            }
            self.keyrings = before;
        }
        Err(Error::Signature {
            suite: suite.to_owned(),
            detail,
        })
    }

    /// Fetches the keyring out of a release that the present keys verify.
    fn keyring_of(&self, suite: &str, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
        self.update(suite, progress)?;
        let package = self.look_up(suite, KEYRING_PACKAGE, progress)?;
        let scratch = tempfile::tempdir_in(&self.root).at("created", &self.root)?;
        let file = self.fetch(suite, &package, scratch.path(), progress)?;
        // As for any package, though apt has compared it too: the trust in a whole release follows.
        crate::source::check(&package, &file)?;
        let tree = scratch.path().join("tree");
        crate::source::unpack(&file, &tree)?;
        let found = KEYRINGS
            .iter()
            .map(|path| tree.join(path))
            .find(|path| path.exists())
            .ok_or_else(|| Error::Package {
                package: package.name.clone(),
                detail: "it has no keyring".to_owned(),
            })?;
        let bytes = fs::read(&found).at("read", &found)?;
        let kept = self.root.join(format!("{suite}-keyring.gpg"));
        crate::blob::write_atomically(&kept, &bytes)?;
        Ok(kept)
    }

    fn update(&self, suite: &str, progress: &mut dyn Progress) -> Result<(), Error> {
        let _lock = self.lock(suite, progress)?;
        // Before the configuration is written, which apt would misread.
        check(&self.mirror)?;
        config::write(
            &self.root,
            suite,
            self.architecture,
            &self.mirror,
            &self.keyrings,
        )?;
        progress.start(
            &format!("reading the package index of Debian {suite}"),
            None,
        );
        let result = process::output(self.command(suite, "apt-get").arg("update"));
        progress.finish();
        let (outcome, text) = result?;
        // Before the status: apt-get ends well with warnings when it goes on with an old index.
        match parse::update_failure(&format!("{text}\n{}", outcome.stderr)) {
            Some(parse::Failure::Network(detail)) => Err(Error::Network {
                mirror: self.mirror.clone(),
                detail,
            }),
            Some(parse::Failure::Signature(detail)) => Err(Error::Signature {
                suite: suite.to_owned(),
                detail,
            }),
            None if outcome.status.success() => Ok(()),
            None => Err(self.failure(
                &format!("read the package index of Debian {suite}"),
                &outcome,
            )),
        }
    }

    fn look_up(
        &self,
        suite: &str,
        name: &str,
        progress: &mut dyn Progress,
    ) -> Result<Package, Error> {
        // Another run may be replacing the index.
        let _lock = self.lock(suite, progress)?;
        let missing = || Error::NoPackage {
            package: name.to_owned(),
            suite: suite.to_owned(),
            mirror: self.mirror.clone(),
        };
        let (outcome, text) = process::output(self.command(suite, "apt-cache").args([
            "show",
            "--no-all-versions",
            name,
        ]))?;
        if !outcome.status.success() {
            return Err(missing());
        }
        parse::package(suite, &text).ok_or_else(missing)
    }

    /// Downloads into a directory that holds nothing but an earlier attempt at the same file.
    fn fetch(
        &self,
        suite: &str,
        package: &Package,
        into: &Path,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, Error> {
        let _lock = self.lock(suite, progress)?;
        progress.start(
            &format!("downloading {} {}", package.name, package.version),
            Some((package.size, Unit::Bytes)),
        );
        let mut command = self.command(suite, "apt-get");
        command.args([
            "-o",
            "APT::Status-Fd=1",
            "download",
            &format!("{}={}", package.name, package.version),
        ]);
        // apt speaks of its progress twice a second; the amount is read off the file, since apt
        // rounds.
        let result = process::run(command.current_dir(into), &mut |_| {
            progress.advance(
                only_file(into)
                    .and_then(|file| file.metadata().ok())
                    .map_or(0, |metadata| metadata.len()),
            );
        });
        progress.finish();
        let outcome = result?;
        if !outcome.status.success() {
            return Err(self.failure(
                &format!("download {} {}", package.name, package.version),
                &outcome,
            ));
        }
        only_file(into).ok_or_else(|| Error::Apt {
            action: format!("download {}", package.name),
            detail: "no file came".to_owned(),
        })
    }

    /// Returns the records of packages that are in the index of a release, in that order.
    fn look_up_all(
        &self,
        suite: &str,
        names: &[String],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Package>, Error> {
        let _lock = self.lock(suite, progress)?;
        let mut command = self.command(suite, "apt-cache");
        command.args(["show", "--no-all-versions"]).args(names);
        let (outcome, text) = process::output(&mut command)?;
        if !outcome.status.success() {
            return Err(self.failure(&format!("describe packages of Debian {suite}"), &outcome));
        }
        let mut found: BTreeMap<String, Package> = parse::packages(suite, &text)
            .into_iter()
            .map(|package| (package.name.clone(), package))
            .collect();
        let take = |name: &String| {
            found.remove(name).ok_or_else(|| Error::NoPackage {
                package: name.clone(),
                suite: suite.to_owned(),
                mirror: self.mirror.clone(),
            })
        };
        names.iter().map(take).collect()
    }

    /// Returns the error for a failed apt command.
    fn failure(&self, action: &str, outcome: &ProgramExit) -> Error {
        if outcome.disk_was_full() {
            return Error::DiskFull {
                path: self.root.clone(),
                needed: None,
            };
        }
        match parse::update_failure(&outcome.stderr) {
            Some(parse::Failure::Network(detail)) => Error::Network {
                mirror: self.mirror.clone(),
                detail,
            },
            _ => Error::Apt {
                action: action.to_owned(),
                detail: outcome.last_error(),
            },
        }
    }
}

impl Source for Apt {
    fn package(
        &mut self,
        suite: &str,
        name: &str,
        progress: &mut dyn Progress,
    ) -> Result<Package, Error> {
        self.refresh(suite, progress)?;
        self.look_up(suite, name, progress)
    }

    fn plan(
        &mut self,
        suite: &str,
        wanted: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Package>, Error> {
        self.refresh(suite, progress)?;
        let (outcome, text) = {
            let _lock = self.lock(suite, progress)?;
            let mut command = self.command(suite, "apt-get");
            command.args(["--simulate", "--yes", "--no-install-recommends", "install"]);
            process::output(command.args(wanted))?
        };
        if !outcome.status.success() {
            return Err(self.failure(&format!("choose packages of Debian {suite}"), &outcome));
        }
        self.look_up_all(suite, &parse::installed(&text), progress)
    }

    fn download_all(
        &mut self,
        packages: &[&Package],
        into: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        let Some(suite) = packages.first().map(|package| package.suite.clone()) else {
            return Ok(());
        };
        self.refresh(&suite, progress)?;
        let _lock = self.lock(&suite, progress)?;
        let total = packages.iter().map(|package| package.size).sum();
        let task = format!("downloading {} packages of Debian {suite}", packages.len());
        progress.start(&task, Some((total, Unit::Bytes)));
        let mut command = self.command(&suite, "apt-get");
        command.args(["-o", "APT::Status-Fd=1", "download"]);
        let named = |package: &&Package| format!("{}={}", package.name, package.version);
        command.args(packages.iter().map(named)).current_dir(into);
        let result = process::run(&mut command, &mut |_| progress.advance(size_of_files(into)));
        progress.finish();
        let outcome = result?;
        match outcome.status.success() {
            true => Ok(()),
            false => Err(self.failure(&format!("download packages of Debian {suite}"), &outcome)),
        }
    }

    fn download(
        &mut self,
        package: &Package,
        into: &Path,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, Error> {
        self.refresh(&package.suite, progress)?;
        self.fetch(&package.suite, package, into, progress)
    }
}

/// Returns how many bytes the files in a directory have.
fn size_of_files(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let sizes = entries.filter_map(|entry| entry.ok()?.metadata().ok());
    sizes.map(|metadata| metadata.len()).sum()
}

/// Returns the file in a directory that has just one.
fn only_file(directory: &Path) -> Option<PathBuf> {
    fs::read_dir(directory)
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_one_address() {
        for good in [MIRROR, "https://m.example/debian", "file:///srv/debian"] {
            check(good).unwrap();
        }
        for bad in [
            "m.example/debian",
            "two words",
            "http://m/ x",
            "http://m/\ndeb",
        ] {
            let error = check(bad).unwrap_err().to_string();
            assert!(error.contains("is not the address of a mirror"), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
