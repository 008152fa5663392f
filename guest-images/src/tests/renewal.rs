//! Images whose release has gone on since they were obtained.

use super::*;

#[test]
fn a_newer_kernel_is_taken_when_it_is_asked_for_and_kept() {
    let (dir, cache, source) = fake(None);
    let old = obtain(&cache, &source).unwrap();
    let module = "usr/lib/modules/6.2-x/kernel/virtio_blk.ko";
    let files = [
        ("boot/vmlinuz-6.2-x", zimage()),
        (module, fake_module("depends=\0")),
    ];
    let newer = |name, depends: &[&str], files: &[(&str, Vec<u8>)]| {
        package(dir.path(), "bookworm", name, depends, files)
    };
    let mut packages = (*source.packages).clone();
    packages.retain(|(package, _)| !package.name.starts_with("linux-image-"));
    packages.push(newer("linux-image-armmp", &["linux-image-6.2-x"], &[]));
    packages.push(newer("linux-image-6.2-x", &[], &files));
    let packages = Arc::new(packages);
    let source = Fake { packages, ..source };
    assert_eq!(obtain(&cache, &source).unwrap(), old);
    let renewed = cache.renew_from("debian-armmp", &mut source.clone(), &mut Silent);
    let renewed = renewed.unwrap();
    assert_eq!(renewed.version, "6.2-x");
    assert_eq!(obtain(&cache, &source).unwrap(), renewed);
    assert!(old.kernel.is_file() && old.initramfs.is_file());
}
