//! A source of packages that are made on the spot.

use crate::Error;
use crate::progress::Progress;
use crate::source::{Package, Source};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What a fake source does to a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The first so many downloads deliver damaged bytes.
    Damage(usize),
    /// The first download fails after half of the file.
    Interrupt,
}

/// Packages in a directory.
#[derive(Clone)]
pub struct Fake {
    pub packages: Arc<Vec<(Package, PathBuf)>>,
    pub downloads: Arc<AtomicUsize>,
    pub fault: Arc<Mutex<Option<Fault>>>,
}

impl Source for Fake {
    fn package(&mut self, suite: &str, name: &str, _: &mut dyn Progress) -> Result<Package, Error> {
        let found = self
            .packages
            .iter()
            .find(|(package, _)| package.name == name && package.suite == suite);
        found
            .map(|(package, _)| package.clone())
            .ok_or_else(|| Error::NoPackage {
                package: name.into(),
                suite: suite.into(),
                mirror: "here".into(),
            })
    }

    fn plan(
        &mut self,
        suite: &str,
        wanted: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Package>, Error> {
        let wanted = wanted.iter().filter(|name| !name.starts_with('?'));
        wanted
            .map(|name| self.package(suite, name, progress))
            .collect()
    }

    fn download_all(
        &mut self,
        packages: &[&Package],
        into: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        for package in packages {
            let file = self.download(package, into, progress)?;
            fs::rename(file, into.join(&package.name)).unwrap();
        }
        Ok(())
    }

    fn download(
        &mut self,
        package: &Package,
        into: &Path,
        _: &mut dyn Progress,
    ) -> Result<PathBuf, Error> {
        let count = self.downloads.fetch_add(1, Ordering::SeqCst);
        let found = self.packages.iter().find(|(entry, _)| entry == package);
        let (_, from) = found.ok_or_else(|| Error::Apt {
            action: "download".into(),
            detail: "no such version".into(),
        })?;
        let mut bytes = fs::read(from).unwrap();
        let to = into.join("file.deb");
        match *self.fault.lock().unwrap() {
            Some(Fault::Damage(times)) if count < times => bytes[100] ^= 1,
            Some(Fault::Interrupt) if count == 0 => {
                fs::write(&to, &bytes[..bytes.len() / 2]).unwrap();
                return Err(Error::Network {
                    mirror: "here".into(),
                    detail: "gone".into(),
                });
            }
            _ => {}
        }
        fs::write(&to, bytes).unwrap();
        Ok(to)
    }
}
