//! Making an image: from packages to a kernel and an initial file system in the cache.

use crate::error::IoContext;
use crate::image_spec::Origin;
use crate::initramfs;
use crate::maker::{Maker, remove_tree};
use crate::manifest::{Initramfs, Kernel, Manifest};
use crate::modules::{Index, Module};
use crate::source::{self, Package};
use crate::{Error, kernel_build, kernel_source, module_build, recipes, stock};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// Free space that obtaining a stock image takes at most: the package, and it unpacked.
const STOCK_SPACE: u64 = 700_000_000;

/// Free space that building a kernel takes at most: the source package, the source and all objects.
const BUILD_SPACE: u64 = 4_000_000_000;

/// Packages followed from a metapackage at most; there are five.
const MAX_PACKAGES: usize = 16;

impl Maker<'_> {
    /// Makes the image, or what of it is missing or outdated in `previous`.
    ///
    /// # Errors
    /// The host has no room, a package cannot be had, or the kernel cannot be built.
    pub fn make(&mut self, previous: Option<Manifest>) -> Result<Manifest, Error> {
        self.check_space()?;
        let manifest = match (self.make_parts(previous.clone()), previous) {
            // The very packages that the image was made from may be gone from the mirror; then take
            // the present ones.
            (
                Err(Error::Apt { .. } | Error::NoPackage { .. } | Error::HashMismatch { .. }),
                Some(_),
            ) => {
                self.unpacked = None;
                self.make_parts(None)?
            }
            (result, _) => result?,
        };
        remove_tree(&self.work())?;
        Ok(manifest)
    }

    fn make_parts(&mut self, previous: Option<Manifest>) -> Result<Manifest, Error> {
        let (kernel, initramfs) = previous
            .map(|previous| (previous.kernel, previous.initramfs))
            .unzip();
        let recipe = recipes::kernel_recipe(self.spec);
        let kept = kernel.filter(|kernel| {
            kernel.recipe == recipe
                && kernel
                    .blobs()
                    .all(|blob| self.store.blobs().is_intact(blob))
        });
        let (kernel, kernel_is_new) = match kept {
            Some(kernel) => (kernel, false),
            None => (self.make_kernel(recipe)?, true),
        };
        let recipe = recipes::initramfs_recipe(self.spec);
        let current = |initramfs: &Initramfs| {
            // The modules in it are those of the kernel that it was made for.
            !kernel_is_new
                && initramfs.recipe == recipe
                && self.store.blobs().is_intact(&initramfs.archive)
        };
        let initramfs = match initramfs {
            Some(initramfs) if current(&initramfs) => initramfs,
            outdated => {
                let busybox = outdated.map(|initramfs| initramfs.busybox);
                self.make_initramfs(&kernel, recipe, busybox)?
            }
        };
        Ok(Manifest {
            name: self.spec.name.to_owned(),
            kernel,
            initramfs,
        })
    }

    /// Finds out before a long work whether there is room for it.
    fn check_space(&self) -> Result<(), Error> {
        let needed = if self.spec.needs_build() {
            BUILD_SPACE
        } else {
            STOCK_SPACE
        };
        // What another build has left behind counts as room, since this one goes on with it.
        let begun = match self.spec.origin {
            Origin::Stock { .. } => self.work(),
            Origin::Built(build) => kernel_source::home(self, build.source),
        };
        if begun.exists() {
            return Ok(());
        }
        self.store.check_space(needed)
    }

    fn make_kernel(&mut self, recipe: String) -> Result<Kernel, Error> {
        // Before the large download, since the user may have to do something.
        kernel_build::ensure_tools(self)?;
        match self.spec.origin {
            Origin::Stock { suite, metapackage } => {
                let packages = self.resolve(suite, metapackage)?;
                let tree = self.unpack(&packages)?;
                let mut kernel = stock::kernel(
                    self.store.blobs(),
                    &tree,
                    recipe,
                    packages,
                    self.spec.architecture,
                )?;
                kernel.modules = module_build::build(self, &kernel.version)?;
                Ok(kernel)
            }
            Origin::Built(build) => {
                let package = self
                    .source
                    .package(build.suite, build.source, self.progress)?;
                let file = self.file(&package)?;
                let plan = kernel_build::Plan {
                    package,
                    archive: &file,
                    fragment: &recipes::fragment(self.spec.name, build.addition),
                    edits: build.edits,
                    own_modules: self.spec.own_modules,
                    device_trees: build.device_trees,
                    recipe,
                };
                kernel_build::build(self, plan)
            }
        }
    }

    /// Makes the initial file system, with the busybox of an earlier one if there is any: userspace
    /// changes when the recipe does, not with the day.
    fn make_initramfs(
        &mut self,
        kernel: &Kernel,
        recipe: String,
        earlier: Option<Package>,
    ) -> Result<Initramfs, Error> {
        let (suite, name) = recipes::BUSYBOX;
        let busybox = match earlier.filter(|package| package.suite == suite && package.name == name)
        {
            Some(package) => package,
            None => self.source.package(suite, name, self.progress)?,
        };
        let file = self.file(&busybox)?;
        let tree = self.scratch("busybox")?;
        source::unpack(&file, &tree)?;
        // The place depends on the Debian release: newer ones have /bin merged into /usr.
        let program = [tree.join("bin/busybox"), tree.join("usr/bin/busybox")]
            .into_iter()
            .find(|path| path.is_file());
        let program = program.ok_or_else(|| Error::Package {
            package: busybox.name.clone(),
            detail: "it has no program busybox".to_owned(),
        })?;
        let (modules, late) = self.select_modules(kernel)?;
        let names = modules.iter().map(|module| module.name.clone());
        let (late_modules, loaded): (Vec<_>, Vec<_>) = names.partition(|name| late.contains(name));
        let program = fs::read(&program).at("read", &program)?;
        let init = recipes::init(self.spec);
        let version = &kernel.version;
        let archive = initramfs::assemble(program, init, version, modules, &late_modules)?;
        let archive = self
            .store
            .blobs()
            .put(&archive, &self.scratch("initramfs")?)?;
        Ok(Initramfs {
            recipe,
            busybox,
            modules: loaded,
            late_modules,
            archive,
        })
    }

    /// Returns the modules for the initial file system in an order in which they can be loaded, and
    /// the names of those among them that its guest loads when it wants.
    fn select_modules(&mut self, kernel: &Kernel) -> Result<(Vec<Module>, Vec<String>), Error> {
        let late = recipes::late_modules(self.spec);
        let path = |sha256: &str| self.store.blobs().path(sha256);
        let files = kernel.modules.iter();
        let compiled = files.map(|module| (module.name.clone(), path(&module.file.sha256)));
        let mut index = Index::of(compiled);
        let mut wanted = Vec::new();
        if !self.spec.needs_build() {
            // Compiled kernels have built in what their guests need at the start.
            index.extend(Index::scan(&self.unpack(&kernel.packages)?)?);
            wanted = recipes::module_names(recipes::module_recipe(self.spec));
            wanted.retain(|name| !self.spec.late_modules.contains(name));
        }
        // Of the others a stock kernel may have none, and `select` leaves them out without a word.
        let needed: &[&str] = match self.spec.needs_build() {
            true => &late,
            false => self.spec.late_modules,
        };
        if let Some(module) = needed.iter().find(|name| !index.has(name)) {
            return Err(Error::NoModule {
                image: self.spec.name,
                module: (*module).to_owned(),
            });
        }
        let loaded = index.select(&wanted)?.len();
        wanted.extend(&late);
        let modules = index.select(&wanted)?;
        // The same names come first in both selections.
        let late = modules[loaded..].iter().map(|module| module.name.clone());
        let late = late.collect();
        Ok((modules, late))
    }

    /// Returns the packages that a metapackage stands for: those that it needs in exactly one
    /// version, and so on.
    fn resolve(&mut self, suite: &str, metapackage: &str) -> Result<Vec<Package>, Error> {
        let mut pending = self
            .source
            .package(suite, metapackage, self.progress)?
            .depends;
        let mut seen = BTreeSet::new();
        let mut packages = Vec::new();
        while let Some(name) = pending.pop() {
            // Packages may depend on each other, and an index could name any number of them.
            if !seen.insert(name.clone()) || packages.len() >= MAX_PACKAGES {
                continue;
            }
            let package = self.source.package(suite, &name, self.progress)?;
            pending.extend(package.depends.iter().cloned());
            packages.push(package);
        }
        // The manifest must not depend on the order of the dependencies in the index.
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(packages)
    }

    /// Returns the unpacked kernel packages.
    pub(crate) fn unpack(&mut self, packages: &[Package]) -> Result<PathBuf, Error> {
        // The kernel and the modules of its initial file system come from the same packages.
        if let Some(tree) = &self.unpacked {
            return Ok(tree.clone());
        }
        let files = packages
            .iter()
            .map(|package| self.file(package))
            .collect::<Result<Vec<_>, _>>()?;
        let tree = self.scratch("packages")?;
        self.progress
            .start(&format!("unpacking {}", self.spec.name), None);
        let result = files
            .iter()
            .try_for_each(|file| source::unpack(file, &tree));
        self.progress.finish();
        result?;
        Ok(self.unpacked.insert(tree).clone())
    }
}
