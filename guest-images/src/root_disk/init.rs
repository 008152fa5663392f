//! The `/init` that mounts a root disk: that of all images with a few of its lines replaced.

use crate::image_spec::ImageSpec;
use crate::initramfs::GuestFile;
use crate::recipes;

/// What is replaced, and by what.
const CHANGES: [(&str, &str); 4] = [
    // The disk is mounted before anybody is told that the guest is ready for commands.
    ("echo \"guest: ready\"\n", MOUNT),
    ("\t\teval \"$1\"\n", "\t\tinside /bin/sh -c \"$1\"\n"),
    (
        "setsid cttyhack sh 3>&-",
        "setsid cttyhack chroot /viommu/root /bin/sh -c \"exec /bin/bash -l\" 3>&-",
    ),
    // Without a command or a shell the system on the disk is started.
    ("[ -n \"$shell\" ] && shell\n", START),
];

const MOUNT: &str = include_str!("../../recipes/init-root-mount");
const START: &str = include_str!("../../recipes/init-root-start");

/// Returns the `/init` for an image.
pub(super) fn file(spec: &ImageSpec) -> GuestFile {
    let text = recipes::init(spec);
    let text = CHANGES
        .iter()
        .fold(text, |text, (old, new)| text.replacen(old, new, 1));
    GuestFile {
        path: "init".to_owned(),
        mode: 0o755,
        bytes: text.into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn every_line_that_is_replaced_is_there_once() {
        for spec in catalog::all() {
            let init = recipes::init(spec);
            for (old, _) in CHANGES {
                assert_eq!(init.matches(old).count(), 1, "{old}");
            }
            let changed = String::from_utf8(file(spec).bytes).unwrap();
            for (_, new) in CHANGES {
                assert!(changed.contains(new), "{new}");
            }
        }
    }
}
