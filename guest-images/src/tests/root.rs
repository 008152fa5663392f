//! A root disk from packages that are made on the spot, and a guest that only says it is done.

use super::source::Fake;
use super::{fake, obtain, package};
use crate::progress::Silent;
use crate::root_disk::{Installer, Job, RootDisk, find, make_from};
use crate::{Cache, Error};
use std::fs;
use std::process::Command;
use std::sync::Arc;

const NAME: &str = "debian:bookworm";
/// Large enough for a journal.
const SIZE: u64 = 32 << 20;

/// Does not install anything, and prints this.
struct Says(&'static str);

impl Installer for Says {
    fn install(&mut self, job: &Job) -> Result<(), String> {
        fs::write(&job.console, self.0).unwrap();
        Ok(())
    }
}

/// Returns a cache, and a source that has the packages of a root disk, too.
fn root(dir: &std::path::Path, source: &Fake) -> Fake {
    let mut packages = source.packages.to_vec();
    for name in find(NAME).unwrap().wanted() {
        if !name.starts_with('?') {
            packages.push(package(dir, "bookworm", name, &[], &[]));
        }
    }
    Fake {
        packages: Arc::new(packages),
        ..source.clone()
    }
}

fn make(cache: &Cache, source: &mut Fake, says: &'static str) -> Result<RootDisk, Error> {
    let image = obtain(cache, source)?;
    make_from(
        cache,
        (NAME, SIZE),
        &image,
        source,
        &mut Says(says),
        &mut Silent,
    )
}

#[test]
fn a_root_disk_is_a_file_system_that_is_stored_once() {
    let (dir, cache, source) = fake(None);
    let mut source = root(dir.path(), &source);
    assert_eq!(cache.root_disk(NAME).unwrap(), None);
    let made = make(&cache, &mut source, "x\r\nrootfs: done\r\n").unwrap();
    assert_eq!(cache.root_disk(NAME).unwrap().as_ref(), Some(&made));
    assert!(made.packages.contains(&("udev".into(), "1".into())));
    let check = Command::new("/sbin/e2fsck")
        .args(["-f", "-n"])
        .arg(&made.disk)
        .output()
        .unwrap();
    assert!(check.status.success(), "{check:?}");
    assert!(cache.verify_root_disk(NAME, &mut Silent).unwrap());
    assert!(!cache.root().join("work/root-debian-bookworm").exists());
    // The same packages make the same disk.
    fs::remove_dir_all(cache.root().join("images")).unwrap();
    let again = make(&cache, &mut source, "rootfs: done\n").unwrap();
    assert_eq!(again.sha256, made.sha256);
}

#[test]
fn a_guest_that_does_not_come_to_its_end_makes_no_disk() {
    let (dir, cache, source) = fake(None);
    let mut source = root(dir.path(), &source);
    let error = make(&cache, &mut source, "rootfs: unpacking\n").unwrap_err();
    assert!(
        error.to_string().contains("did not install all packages"),
        "{error}"
    );
    assert_eq!(cache.root_disk(NAME).unwrap(), None);
}
