//! What a guest is made from: the files of an image, and a root disk.

use std::path::Path;
use std::process::Command;

use guest_images::catalog::{self, Architecture};
use guest_images::root_disk::{ROOT_WORD, RootSpec};
use guest_images::{Cache, Image, RootDisk};
use vmm::root_disk::InstallerGuest;
use vmm::{BoardModel, Config, DiskConfig, KernelFormat};
use vmm_machine::vcpu::Width;

use super::UserError;
use super::install;
use super::settings::Settings;
use super::values::Rootfs;

/// Returns the width of the registers of the processor that the kernel of an image is for.
pub fn width(image: &str) -> Result<Width, UserError> {
    Ok(match catalog::find(image)?.architecture {
        Architecture::Armhf => Width::Bits32,
        Architecture::Arm64 | Architecture::Amd64 => Width::Bits64,
    })
}

/// Takes kernel and initial file system, as far as the user names none, from an image, which is
/// obtained if it is not in the cache.
pub fn use_image(config: &mut Config, name: &str) -> Result<(), UserError> {
    let image = of_board(config, name)?;
    let named = !config.kernel.as_os_str().is_empty();
    // The bare Image starts without uncompressing itself; a user who asks for the other gets it.
    match (image.raw_kernel, config.kernel_format) {
        _ if named => {}
        (Some(raw), KernelFormat::Auto | KernelFormat::Image) => {
            config.kernel = raw;
            config.kernel_format = KernelFormat::Image;
        }
        (_, _) => config.kernel = image.kernel,
    }
    config.initrd.get_or_insert(image.initramfs);
    config.image = Some(image.spec.name.into());
    Ok(())
}

/// Returns an image, obtained if it is not in the cache, with what the board takes from its
/// kernel's package: its device tree, unless the user names one, and its drivers.
fn of_board(config: &mut Config, name: &str) -> Result<Image, UserError> {
    let (cache, mut terminal) = (Cache::open()?, install::terminal());
    let tree = config.board.facts().tree;
    // A kernel that is compiled here has what its user brings along, and no more.
    let own = config.dtb.is_some() && catalog::find(name)?.needs_build();
    let Some(tree) = tree.filter(|_| !own) else {
        return Ok(cache.obtain(name, &mut terminal)?);
    };
    let files = cache.obtain_board(name, tree, &mut terminal)?;
    config.dtb.get_or_insert(files.dtb);
    Ok(Image {
        initramfs: files.initramfs,
        ..cache.obtain(name, &mut terminal)?
    })
}

/// Returns the word of the kernel command line that names the root disk, which is the first disk of
/// `board`.
pub fn root_word(board: BoardModel) -> String {
    format!("{ROOT_WORD}/dev/{}", board.facts().disk)
}

/// Completes settings that name a root disk with the image whose kernel is of that release, and
/// refuses what does not go with one.
///
/// # Errors
/// A sentence about the flag that is wrong.
pub fn check_root_disk(settings: &mut Settings) -> Result<(), UserError> {
    let Some(Rootfs(spec)) = settings.rootfs else {
        return match settings.rootfs_disk {
            None => Ok(()),
            Some(_) => Err(UserError::new(
                "--rootfs-disk says where a root disk is to be kept, and none is named: add --rootfs",
            )),
        };
    };
    if settings.initrd.is_some() {
        return Err(UserError::new(
            "--rootfs brings an initial file system, which mounts the root disk: leave out --initrd",
        ));
    }
    let image = settings.image.get_or_insert_with(|| spec.image.to_owned());
    if width(image)? == Width::Bits64 {
        return Err(UserError::new(format!(
            "{} is a system of 32-bit ARM, and {image} is an image for 64 bits: name another image, or none",
            spec.name
        )));
    }
    let own_kernel = settings.kernel.is_none() && catalog::find(image)?.needs_build();
    if own_kernel && settings.run.is_empty() && settings.shell != Some(true) {
        return Err(UserError::new(format!(
            "{}'s systemd needs control groups, which the kernel of {image} was built without: leave out --image, or \
             add --run COMMAND, which does without systemd",
            spec.name
        )));
    }
    let config = settings.config();
    let most = config.board.facts().max_disks();
    if config.disks.len() + config.vhost_user.len() + config.nets.len() >= most {
        return Err(UserError::new(format!(
            "the machine takes {most} disks, network interfaces and vhost-user devices, of which --rootfs is one: \
             leave out one"
        )));
    }
    Ok(())
}

/// Refuses a device tree that is none, and an image whose kernel comes without that of the board,
/// before anything is obtained.
///
/// # Errors
/// A sentence about what is wrong.
pub fn check_tree(settings: &Settings) -> Result<(), UserError> {
    if let Some(path) = &settings.dtb {
        return Ok(vmm_machine::check_tree(path)?);
    }
    let tree = settings.board.unwrap_or_default().facts().tree;
    match (tree, settings.image.as_deref()) {
        (Some(tree), Some(image)) => Ok(catalog::find(image)?.check_board(tree)?),
        _ => Ok(()),
    }
}

/// Has the machine boot what the settings name, which is obtained if it is not in the cache.
///
/// # Errors
/// A sentence, when something cannot be obtained.
pub fn obtain(config: &mut Config, settings: &Settings) -> Result<(), UserError> {
    let file = settings.rootfs_disk.as_deref();
    if let Some(Rootfs(spec)) = settings.rootfs
        && file.is_none_or(|file| !file.exists())
    {
        // Before the kernel is fetched: what has to be asked for both comes first.
        Cache::open()?.prepare_root_disk(spec.name, &mut install::terminal())?;
    }
    if let Some(name) = &settings.image {
        use_image(config, name)?;
    }
    if let Some(Rootfs(spec)) = settings.rootfs {
        use_root_disk(config, spec, file)?;
    }
    Ok(())
}

/// Has the machine boot from a root disk, which is made if it is not in the cache. What the guest
/// writes is kept in `file`, if one is named, which begins as a copy.
///
/// # Errors
/// A sentence, when the disk cannot be made or copied.
fn use_root_disk(
    config: &mut Config,
    spec: &'static RootSpec,
    file: Option<&Path>,
) -> Result<(), UserError> {
    let cache = Cache::open()?;
    let image = config.image.clone();
    let image = of_board(config, image.as_deref().unwrap_or(spec.image))?;
    config.initrd = Some(cache.root_initramfs(&image)?);
    let disk = match file {
        Some(file) => {
            if !file.exists() {
                copy(&obtain_root_disk(&cache, spec)?, file)?;
            }
            DiskConfig::new(file)
        }
        None => DiskConfig {
            overlay: true,
            ..DiskConfig::new(obtain_root_disk(&cache, spec)?.disk)
        },
    };
    config.disks.insert(0, disk);
    Ok(())
}

/// Returns a root disk, made if it is not in the cache.
pub fn obtain_root_disk(cache: &Cache, spec: &'static RootSpec) -> Result<RootDisk, UserError> {
    let (mut installer, mut terminal) = (InstallerGuest, install::terminal());
    Ok(cache.obtain_root_disk(spec.name, &mut installer, &mut terminal)?)
}

/// Copies a disk of which little is in use, so that the copy appears whole or not at all.
fn copy(disk: &RootDisk, to: &Path) -> Result<(), UserError> {
    let failed = |why: &dyn std::fmt::Display| {
        UserError::new(format!(
            "cannot write the root disk {}: {why}",
            to.display()
        ))
    };
    let parent = to.parent().filter(|path| !path.as_os_str().is_empty());
    let begun = tempfile::Builder::new()
        .prefix(".vmm-")
        .tempfile_in(parent.unwrap_or(Path::new(".")))
        .map_err(|why| failed(&why))?;
    // coreutils keep what is not in use from taking space, or share all of it where the file system
    // can.
    let output = Command::new("cp")
        .args([
            "--sparse=always",
            "--reflink=auto",
            "--no-preserve=mode",
            "--",
        ])
        .args([&disk.disk, begun.path()])
        .output()
        .map_err(|why| failed(&why))?;
    if !output.status.success() {
        return Err(failed(&String::from_utf8_lossy(&output.stderr).trim()));
    }
    begun
        .persist_noclobber(to)
        .map_err(|error| failed(&error.error))?;
    Ok(())
}
