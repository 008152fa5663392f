//! Making a root disk: packages by apt, an empty file system by mke2fs, and a guest that installs
//! the ones on the other.

use super::manifest::{Manifest, recipe};
use super::spec::RootSpec;
use crate::blob::write_atomically;
use crate::error::IoContext;
use crate::image::Image;
use crate::maker::{fetch_all, remove_tree};
use crate::process;
use crate::progress::Progress;
use crate::source::{Package, Source};
use crate::store::Store;
use crate::{Error, recipes};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Size of the disk; what is not in use takes no space in the file.
pub(super) const SIZE: u64 = 4 << 30;
/// Free space that making one takes at most: packages twice, and the file system.
const SPACE: u64 = 2_500_000_000;
/// The file system's name for itself. Always the same, as is [`HASH_SEED`]: the same packages make
/// the same disk.
const UUID: &str = "0b5c6a1e-7d0c-4c5e-9a53-76696f6d6d75";
const HASH_SEED: &str = "5d2f3a0c-4a0e-4d34-8f6e-76696f6d6d75";
/// When all of it is made, in seconds since 1970: 2026-01-01.
const EPOCH: u32 = 1_767_225_600;
/// Where the guest's script is, on the disk with the packages.
const SCRIPT: &str = "install";
/// What the script prints last.
const DONE: &str = "rootfs: done";

/// A guest that installs packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The kernel, a zImage.
    pub kernel: PathBuf,
    /// The initial file system.
    pub initramfs: PathBuf,
    /// The command to run in the guest, as for [`crate::encode_command`].
    pub command: String,
    /// The first disk, which is written.
    pub target: PathBuf,
    /// The second disk, which is not.
    pub packages: PathBuf,
    /// What the guest's clock shows, in seconds since 1970.
    pub epoch: u32,
    /// Where the guest's console is to be written.
    pub console: PathBuf,
}

/// Runs guests that install packages.
pub trait Installer {
    /// Runs the guest until it powers off.
    ///
    /// # Errors
    /// It could not be run, or ended in another way, in words that follow "the guest".
    fn install(&mut self, job: &Job) -> Result<(), String>;
}

/// The making of one root disk; its lock is held meanwhile.
pub(super) struct Maker<'a> {
    pub store: &'a Store,
    pub spec: &'static RootSpec,
    /// Size of the disk in bytes.
    pub size: u64,
    pub source: &'a mut dyn Source,
    pub installer: &'a mut dyn Installer,
    pub progress: &'a mut dyn Progress,
}

impl Maker<'_> {
    /// Makes the disk under the kernel of an image.
    ///
    /// # Errors
    /// The host has no room, a package cannot be had, or the guest does not install them.
    pub fn make(&mut self, image: &Image) -> Result<Manifest, Error> {
        self.store.check_space(SPACE)?;
        let wanted = self.spec.wanted();
        let packages = self.source.plan(self.spec.suite, &wanted, self.progress)?;
        let essential = self
            .source
            .plan(self.spec.suite, &wanted[..2], self.progress)?;
        let essential = essential.into_iter().map(|package| package.name).collect();
        fetch_all(self.store, self.source, &packages, self.progress)?;
        // What a killed run left there is of no use.
        let work = self.store.root().join("work").join(self.spec.file_name());
        remove_tree(&work)?;
        fs::create_dir_all(&work).at("created", &work)?;
        let job = self.job(&work, image, &packages, &essential)?;
        self.install(&job, packages.len())?;
        let manifest = Manifest {
            name: self.spec.name.to_owned(),
            recipe: recipe(self.spec),
            kernel: image.version.clone(),
            disk: self.store.blobs().adopt(&job.target)?,
            packages,
        };
        manifest.store(self.store, self.spec)?;
        remove_tree(&work)?;
        Ok(manifest)
    }

    /// Makes both disks of the guest.
    fn job(
        &mut self,
        work: &Path,
        image: &Image,
        packages: &[Package],
        essential: &BTreeSet<String>,
    ) -> Result<Job, Error> {
        let tree = work.join("packages");
        for (index, package) in packages.iter().enumerate() {
            let part = match essential.contains(&package.name) {
                true => "essential",
                false => "other",
            };
            // The number keeps apt's order, in which the guest's shell lists them, too.
            let to = tree
                .join(part)
                .join(format!("{index:03}-{}.deb", package.name));
            let from = self.store.blobs().path(&package.sha256);
            place(&from, &to)?;
        }
        let mirror = crate::apt::MIRROR;
        for (name, text) in [
            (SCRIPT, recipes::ROOT_DISK),
            ("suite", self.spec.suite),
            ("uuid", UUID),
            ("mirror", mirror),
        ] {
            write_atomically(&tree.join(name), format!("{text}\n").as_bytes())?;
        }
        let total: u64 = packages.iter().map(|package| package.size).sum();
        let (target, source) = (work.join("disk"), work.join("packages.img"));
        // Half as much again for the file system's own, and then some.
        make_file_system(&source, total + total / 2 + (32 << 20), Some(&tree))?;
        make_file_system(&target, self.size, None)?;
        let logs = self.store.root().join("logs");
        fs::create_dir_all(&logs).at("created", &logs)?;
        Ok(Job {
            kernel: image.raw_kernel.clone().unwrap_or(image.kernel.clone()),
            initramfs: image.initramfs.clone(),
            command: format!(
                "mkdir /tmp/p && mount -t ext4 -o ro /dev/vdb /tmp/p && sh /tmp/p/{SCRIPT}"
            ),
            target,
            packages: source,
            epoch: EPOCH,
            console: logs.join(format!("{}.log", self.spec.file_name())),
        })
    }

    fn install(&mut self, job: &Job, count: usize) -> Result<(), Error> {
        let name = self.spec.name;
        let task = format!("installing {count} packages of {name} in a guest, for some minutes");
        self.progress.start(&task, None);
        let result = self.installer.install(job);
        self.progress.finish();
        let failed = |detail: String| Error::RootDisk {
            name: name.to_owned(),
            log: job.console.clone(),
            detail,
        };
        result.map_err(&failed)?;
        let text = fs::read(&job.console).at("read", &job.console)?;
        let text = String::from_utf8_lossy(&text);
        let done = text.lines().any(|line| line.trim_end() == DONE);
        done.then_some(())
            .ok_or_else(|| failed("did not install all packages".to_owned()))
    }
}

/// Puts a file where `mke2fs` finds it, without a copy if that can be.
fn place(from: &Path, to: &Path) -> Result<(), Error> {
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent).at("created", parent)?;
    fs::hard_link(from, to)
        .or_else(|_| fs::copy(from, to).map(|_| ()))
        .at("written", to)
}

/// Makes an ext4 file system of that size in a file, of a directory if one is named.
fn make_file_system(path: &Path, size: u64, tree: Option<&Path>) -> Result<(), Error> {
    let file = File::create(path).at("created", path)?;
    // In whole blocks.
    file.set_len(size.next_multiple_of(4096))
        .at("written", path)?;
    let mut command = process::command("mke2fs");
    let search = std::env::var("PATH").unwrap_or_default();
    let time = EPOCH.to_string();
    command
        // It is an administrator's program, which others may run as well.
        .env("PATH", format!("{search}:/usr/sbin:/sbin"))
        // Before version 1.47.1 it has the name of its own.
        .env("E2FSPROGS_FAKE_TIME", &time)
        .env("SOURCE_DATE_EPOCH", &time);
    command.args([
        "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-U", UUID,
    ]);
    // Features that stock kernels before 5.15 do not have, and which are the default since.
    command.args(["-O", "^orphan_file,^metadata_csum_seed"]);
    let options = format!(
        "hash_seed={HASH_SEED},lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0"
    );
    command.args(["-E", &options]);
    if let Some(tree) = tree {
        command.arg("-d").arg(tree);
    }
    let (outcome, _) = process::output(command.arg(path))?;
    outcome.check(path, |detail| Error::Program {
        program: "mke2fs".to_owned(),
        detail: format!("failed ({detail})"),
    })
}
