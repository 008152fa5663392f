//! Where an image name or a file becomes a kernel that a machine can load.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use guest_images::catalog::Architecture;
use guest_images::{BoardFiles, Cache, Image, Progress, catalog, hash_file};
use vmm_base::Width;
use vmm_files::input;

use crate::loader::LoadError;
use crate::{BoardModel, Config, Error, KernelFormat, kernel_width};

/// How an ELF file begins, which every kernel module is.
const ELF: &[u8] = b"\x7fELF";

/// Which kernel to run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelChoice {
    /// The one of the scenario's image.
    OfImage,
    /// That of another image, with the initial file system of that one.
    Image(String),
    /// A file: a zImage or a raw Image; and the module of the clock generators for it, if there is
    /// one.
    File {
        /// The kernel.
        path: PathBuf,
        /// `clk-axi-clkgen.ko`, built for it.
        module: Option<PathBuf>,
    },
}

/// The reason for which a kernel cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The image is unknown, or cannot be obtained.
    #[error(transparent)]
    Image(#[from] guest_images::Error),
    /// A file cannot be read, or is not what it is given as.
    #[error("cannot read {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// In words.
        why: String,
    },
    /// The kernel is not one that a machine can load.
    #[error(transparent)]
    Load(#[from] Error),
}

/// A kernel and the initial file system to go with it.
#[derive(Clone, Debug)]
pub struct GuestKernel {
    /// A short name.
    pub name: String,
    /// The file that is loaded.
    pub path: PathBuf,
    /// What it is.
    pub format: KernelFormat,
    /// SHA-256 of the file.
    pub sha256: String,
    /// The image with the initial file system.
    pub image: Image,
    /// Whether there is a module of the clock generators for it.
    pub has_clocks: bool,
    /// That module, where the image's does not fit.
    pub module: Option<Vec<u8>>,
    /// What boards take from its image that have a device tree of their own, by the tree's name.
    boards: BTreeMap<&'static str, BoardFiles>,
}

impl KernelChoice {
    /// Checks what can be checked of it before anything is obtained: that the image that it means,
    /// in a scenario of `image`, is known, and that its files can be read. Returns the image's
    /// name.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check<'c>(&'c self, image: &'c str) -> Result<&'c str, KernelError> {
        let image = match self {
            Self::Image(name) => name,
            Self::OfImage | Self::File { .. } => image,
        };
        catalog::find(image)?;
        if let Self::File { path, module } = self {
            check_size(path)?;
            module.as_deref().map(check_size).transpose()?;
        }
        Ok(image)
    }

    /// Returns the registers of the processor that the kernel is for; `None` if its file does not
    /// say.
    ///
    /// # Errors
    /// A file is known to be something else.
    pub fn width(&self) -> Result<Option<Width>, KernelError> {
        let Self::File { path, module } = self else {
            // Of an image the catalog says it, before anything is obtained.
            return Ok(None);
        };
        check_size(path)?;
        if let Some(module) = module
            && !read(module)?.starts_with(ELF)
        {
            let why = "it is not a kernel module; one whose name ends in .xz, .gz or .zst is to be decompressed first";
            return Err(unreadable(module, &why));
        }
        // The machine's own loader judges: what passes here is not refused later as no kernel.
        let config = Config {
            kernel: path.clone(),
            ..Config::default()
        };
        match kernel_width(&config) {
            Ok(width) => Ok(Some(width)),
            // A build that went wrong, which a search among builds has to pass over: it cannot be
            // judged.
            Err(Error::Load {
                source: LoadError::Unknown | LoadError::Truncated { .. } | LoadError::Short,
                ..
            }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl GuestKernel {
    /// Obtains what `choice` names, with the initial file system of `image`.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn obtain(
        image: &str,
        choice: &KernelChoice,
        progress: &mut dyn Progress,
    ) -> Result<Self, KernelError> {
        let image = choice.check(image)?;
        let image = Cache::open()?.obtain(image, progress)?;
        let (name, path, format, module) = match choice {
            KernelChoice::OfImage | KernelChoice::Image(_) => {
                // Named where it is known: a raw Image has no magic number, and a damaged zImage is
                // then reported as one. An arm64 Image is known by its header.
                let (path, format) = match (&image.raw_kernel, image.spec.architecture) {
                    (Some(raw), _) => (raw.clone(), KernelFormat::Image),
                    (None, Architecture::Arm64) => (image.kernel.clone(), KernelFormat::Auto),
                    (None, _) => (image.kernel.clone(), KernelFormat::Zimage),
                };
                let name = format!("{} ({})", image.spec.name, image.version);
                (name, path, format, None)
            }
            KernelChoice::File { path, module } => {
                let module = module.as_deref().map(read).transpose()?;
                // Reports with the name are read in other directories.
                let name = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                let name = name.display().to_string();
                (name, path.clone(), KernelFormat::Auto, module)
            }
        };
        check_size(&path)?;
        let sha256 = hash_file(&path)?;
        // A file that is the image's kernel goes with the image's modules.
        let own = [Some(&image.kernel), image.raw_kernel.as_ref()];
        let is_own = |own: &PathBuf| *own == path || hash_file(own).is_ok_and(|own| own == sha256);
        let has_clocks = module.is_some() || own.into_iter().flatten().any(is_own);
        Ok(Self {
            has_clocks,
            name,
            path,
            format,
            sha256,
            image,
            module,
            boards: BTreeMap::new(),
        })
    }

    /// Obtains what `board` takes from its image, if it takes anything.
    ///
    /// # Errors
    /// The image's kernel does not come with the board's device tree, or it cannot be had.
    pub fn obtain_board(
        &mut self,
        board: BoardModel,
        progress: &mut dyn Progress,
    ) -> Result<(), KernelError> {
        let missing = |tree: &&str| !self.boards.contains_key(tree);
        if let Some(tree) = board.facts().tree.filter(missing) {
            let files = Cache::open()?.obtain_board(self.image.spec.name, tree, progress)?;
            self.boards.insert(tree, files);
        }
        Ok(())
    }

    /// Returns what `board` takes from its image, if that is anything and was obtained.
    pub fn board_files(&self, board: BoardModel) -> Option<&BoardFiles> {
        self.boards.get(board.facts().tree?)
    }
}

/// Checks that a file is one, and no larger than a kernel or module can be.
fn check_size(path: &Path) -> Result<File, KernelError> {
    /// What fits the smallest machine of a scenario by far.
    const MOST: u64 = 64 << 20;
    // The opened file is measured, not what its name leads to: `read` then reads the same one.
    let file = input::open_file(path).map_err(|error| unreadable(path, &error))?;
    let size = file.metadata().map_err(|error| unreadable(path, &error))?;
    if size.len() > MOST {
        return Err(unreadable(
            path,
            &"it is too large for a kernel or a module",
        ));
    }
    Ok(file)
}

fn read(path: &Path) -> Result<Vec<u8>, KernelError> {
    let mut bytes = Vec::new();
    check_size(path)?
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> KernelError {
    KernelError::File {
        path: path.into(),
        why: why.to_string(),
    }
}
