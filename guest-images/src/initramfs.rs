//! The initial file system of a guest: busybox, our `/init`, and the modules it loads.

use crate::Error;
use crate::cpio::{self, Archive};
use crate::modules::{self, Module};

/// Empty directories that a userspace expects.
const DIRECTORIES: [&str; 8] = [
    "etc",
    "mnt",
    "proc",
    "root",
    "sys",
    "tmp",
    "viommu/commands",
    "var",
];

/// A file to be added to an image's initramfs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFile {
    /// Path in the guest; a leading slash may be there or not.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub bytes: Vec<u8>,
}

/// Returns a file that makes the guest run `script` with its shell, after the commands of the
/// kernel command line. Scripts run in the order of their names, each counted and reported like a
/// command. Unlike those they may be of any length.
#[must_use]
pub fn guest_script(name: &str, script: &str) -> GuestFile {
    GuestFile {
        path: format!("viommu/commands/{name}"),
        mode: 0o755,
        bytes: script.as_bytes().to_vec(),
    }
}

/// Puts the initial file system together for a kernel that calls itself `version`, with `init` as
/// its first process. Of `modules`, which are in an order in which they can be loaded, the guest
/// loads those that are not in `late`.
pub(crate) fn assemble(
    busybox: Vec<u8>,
    init: String,
    version: &str,
    modules: Vec<Module>,
    late: &[String],
) -> Result<Vec<u8>, Error> {
    let mut archive = Archive::default();
    for directory in DIRECTORIES {
        archive.directory(directory)?;
    }
    archive.file("bin/busybox", 0o755, busybox)?;
    archive.symlink("bin/sh", "busybox")?;
    // The kernel opens the console for /init before that can mount anything on /dev.
    archive.char_device("dev/console", 0o600, 5, 1)?;
    archive.char_device("dev/null", 0o666, 1, 3)?;
    archive.file("init", 0o755, init.into())?;
    // modprobe looks in the directory of the running kernel's version.
    let dependencies = modules::dependency_list(&modules);
    archive.file(
        &format!("lib/modules/{version}/modules.dep"),
        0o644,
        dependencies.into(),
    )?;
    let mut list = String::new();
    for module in modules {
        let path = module.path();
        if !late.contains(&module.name) {
            list.push_str(&path);
            list.push('\n');
        }
        archive.file(&path, 0o644, module.bytes)?;
    }
    archive.file("viommu/modules", 0o644, list.into())?;
    Ok(archive.into_bytes())
}

/// Returns `base` followed by an archive of `files`; the kernel unpacks both, the later over the
/// earlier.
pub(crate) fn append(mut base: Vec<u8>, files: &[GuestFile]) -> Result<Vec<u8>, Error> {
    if files.is_empty() {
        return Ok(base);
    }
    let mut archive = Archive::default();
    for file in files {
        let path = file.path.strip_prefix('/').unwrap_or(&file.path);
        archive.file(path, file.mode, file.bytes.clone())?;
    }
    cpio::pad(&mut base);
    base.extend(archive.into_bytes());
    Ok(base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpio::tests::parse;

    fn module(name: &str) -> Module {
        Module {
            name: name.into(),
            needs: Vec::new(),
            bytes: name.into(),
        }
    }

    #[test]
    fn has_what_init_needs_in_loading_order() {
        let make = || {
            let modules = vec![module("z"), module("late"), module("a")];
            let busybox = b"busybox".to_vec();
            assemble(busybox, "init".into(), "6.1-x", modules, &["late".into()]).unwrap()
        };
        let bytes = make();
        assert_eq!(bytes, make());
        let entries = parse(&bytes);
        let data = |path: &str| {
            entries
                .iter()
                .find(|entry| entry.path == path)
                .map(|entry| entry.data.clone())
        };
        assert_eq!(
            data("viommu/modules").unwrap(),
            b"lib/modules/z.ko\nlib/modules/a.ko\n"
        );
        assert_eq!(data("lib/modules/a.ko").unwrap(), b"a");
        assert_eq!(data("lib/modules/late.ko").unwrap(), b"late");
        assert_eq!(
            data("lib/modules/6.1-x/modules.dep").unwrap(),
            b"/lib/modules/z.ko:\n/lib/modules/late.ko:\n/lib/modules/a.ko:\n"
        );
        assert_eq!(data("init").unwrap(), b"init");
        for path in ["bin/sh", "dev/console", "proc", "sys", "viommu/commands"] {
            assert!(data(path).is_some(), "{path}");
        }
    }

    #[test]
    fn files_are_appended() {
        let base = assemble(Vec::new(), String::new(), "6.1-x", Vec::new(), &[]).unwrap();
        let script = guest_script("10-x", "echo hello");
        let bytes = append(
            base.clone(),
            &[
                script,
                GuestFile {
                    path: "/etc/x".into(),
                    mode: 0o600,
                    bytes: vec![7],
                },
            ],
        );
        let entries = parse(&bytes.unwrap());
        let added: Vec<_> = entries[parse(&base).len()..]
            .iter()
            .map(|entry| (entry.path.as_str(), entry.mode))
            .collect();
        assert_eq!(
            added,
            [
                ("etc", 0o040_755),
                ("etc/x", 0o100_600),
                ("viommu", 0o040_755),
                ("viommu/commands", 0o040_755),
                ("viommu/commands/10-x", 0o100_755)
            ]
        );
        assert_eq!(append(base.clone(), &[]).unwrap(), base);
    }
}
