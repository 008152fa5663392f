//! Kernel modules for guests, compiled against the headers of the kernels that these boot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use guest_images::{Architecture, Cache, Error, Terminal, host};

use crate::obtain;

/// The release of the images, and how the versions of its kernels end, by the format of their page
/// tables.
const SUITE: &str = "bookworm";
const FLAVOURS: [&str; 2] = ["-armmp", "-armmp-lpae"];

/// The programs that kbuild runs on this host.
const KBUILD: &str = "linux-kbuild-6.1";
const HOST: Architecture = if cfg!(target_arch = "aarch64") {
    Architecture::Arm64
} else {
    Architecture::Amd64
};

/// Compiles the module of the C file `source` in `directory` for the kernel of a stock image of
/// Debian bookworm, with headers that are fetched if they are not in the cache. Where the mirror
/// has gone on to a newer kernel and no longer has the headers of the image's, the image is
/// obtained anew: boot it after this.
///
/// # Panics
/// If it cannot be compiled.
pub fn module(image: &str, source: &Path, directory: &Path) -> PathBuf {
    let (headers, makefile) = match headers(image) {
        Ok(found) => found,
        Err(error) => panic!("the headers for {image} cannot be obtained: {error}"),
    };
    let name = source.file_stem().and_then(|name| name.to_str());
    let name = name.expect("a source with a name");
    fs::copy(source, directory.join(format!("{name}.c"))).expect("a copy of the source");
    let kbuild = format!("obj-m := {name}.o\n");
    fs::write(directory.join("Kbuild"), kbuild).expect("a file");
    // The headers ask for the version of the compiler that made the kernel; the host's is taken,
    // whichever that is.
    let made = Command::new("make")
        .arg("-C")
        .arg(headers)
        .arg("-f")
        .arg(makefile)
        .arg(format!("M={}", directory.display()))
        .args([
            "CROSS_COMPILE=arm-linux-gnueabihf-",
            "CC=arm-linux-gnueabihf-gcc",
        ])
        .arg("modules")
        .output()
        .expect("make");
    assert!(
        made.status.success(),
        "{}{}",
        String::from_utf8_lossy(&made.stdout),
        String::from_utf8_lossy(&made.stderr)
    );
    directory.join(format!("{name}.ko"))
}

/// Returns where kbuild works for an image's kernel, and its makefile. (The makefile in that
/// directory includes this one from where the packages would be installed.)
fn headers(image: &str) -> Result<(PathBuf, PathBuf), Error> {
    let cache = Cache::open()?;
    let progress = &mut Terminal::plain();
    cache.host_packages(&host::packages("kernel"), progress)?;
    let fetch = |version: &str, progress: &mut Terminal| {
        let flavour = FLAVOURS
            .iter()
            .find_map(|flavour| version.strip_suffix(flavour));
        let common = flavour.unwrap_or_else(|| panic!("{image} is no stock image of {SUITE}"));
        let names =
            [version, &format!("{common}-common")].map(|part| format!("linux-headers-{part}"));
        let [own, common] = &names;
        let packages: [(_, &[&str]); 2] =
            [(Architecture::Armhf, &[own, common]), (HOST, &[KBUILD])];
        let tree = cache.tree(SUITE, &packages, progress)?.join("usr/src");
        Ok((tree.join(own), tree.join(common).join("Makefile")))
    };
    match fetch(&obtain(image).version, progress) {
        // A mirror has headers for its current kernel only: then the image is made anew from that.
        Err(Error::NoPackage { .. }) => fetch(&cache.renew(image, progress)?.version, progress),
        other => other,
    }
}
