//! The program needs no privileges: with none it boots a guest behind an IOMMU, saves it and goes
//! on from there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use guest_images::{Cache, Terminal};

use crate::Ended;

/// The user `nobody` of Debian, who owns nothing.
const NOBODY: u32 = 65534;

/// Copies a file to where `nobody` may use it.
fn lay(from: &Path, directory: &Path, name: &str) {
    let to = directory.join(name);
    fs::copy(from, &to).unwrap();
    fs::set_permissions(&to, Permissions::from_mode(0o755)).unwrap();
}

/// Runs the copied program in `directory`, as `nobody` if the test is root, else as the user that
/// the test is: it has no privileges either.
fn run(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(directory.join("vmm"));
    command
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("HOME", directory)
        .stdin(Stdio::null());
    // The standard library drops supplementary groups when a privileged process changes its user.
    if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().expect("the program should start").into()
}

#[test]
fn nobody_boots_saves_and_restores_a_guest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    let image = Cache::open()
        .unwrap()
        .obtain("ipmmu", &mut Terminal::plain())
        .unwrap();
    lay(Path::new(env!("CARGO_BIN_EXE_vmm")), path, "vmm");
    lay(
        image.raw_kernel.as_ref().unwrap_or(&image.kernel),
        path,
        "kernel",
    );
    lay(&image.initramfs, path, "initrd");
    fs::write(path.join("disk"), [7; 4096]).unwrap();
    let guest = [
        "--kernel=kernel",
        "--initrd=initrd",
        "--iommu=ipmmu",
        "--disk=disk,overlay",
    ];

    let words = guest_images::encode_command("sha256sum /dev/vda");
    let words = ["boot", "--json=run.json", "--cmdline", &words];
    let booted = run(path, &[&words[..], &guest].concat());
    assert_eq!(booted.code, Some(0), "{booted:?}");
    booted.assert_stdout("  /dev/vda\r\n");

    let save = [
        "snapshot",
        "save",
        "ready.snap",
        "--at=1",
        "--cmdline=viommu.shell",
    ];
    let saved = run(path, &[&save[..], &guest].concat());
    assert_eq!(saved.code, Some(0), "{saved:?}");
    let restored = run(path, &["snapshot", "restore", "ready.snap", "--timeout=1"]);
    assert_eq!(restored.code, Some(124), "{restored:?}");
}
