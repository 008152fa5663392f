//! Debug information of stock kernels, from packages of their own.

use super::*;

/// Returns a source that has these packages besides.
fn with(source: &Fake, packages: impl IntoIterator<Item = (Package, PathBuf)>) -> Fake {
    let all = source.packages.iter().cloned().chain(packages);
    Fake {
        packages: Arc::new(all.collect()),
        ..source.clone()
    }
}

fn fetch(cache: &Cache, source: &Fake) -> Result<PathBuf, Error> {
    cache.debug_info_from("debian-armmp", &mut source.clone(), &mut Silent)
}

#[test]
fn it_comes_from_the_package_of_that_build_and_stays() {
    for place in [
        "usr/lib/debug/boot/vmlinux-6.1-x",
        "usr/lib/debug/lib/modules/6.1-x/vmlinux",
        "usr/lib/debug/usr/lib/modules/6.1-x/vmlinux",
    ] {
        let (dir, cache, source) = fake(None);
        let name = "linux-image-6.1-x-dbg";
        let module = "usr/lib/debug/lib/modules/6.1-x/kernel/large.ko";
        let files = [(place, b"types".to_vec()), (module, b"module".to_vec())];
        let source = with(
            &source,
            [package(dir.path(), "bookworm", name, &[], &files)],
        );
        let image = obtain(&cache, &source).unwrap();
        assert_eq!(cache.debug_info("debian-armmp").unwrap(), None);
        let vmlinux = fetch(&cache, &source).unwrap();
        assert_eq!(fs::read(&vmlinux).unwrap(), b"types", "{place}");
        let here = cache.debug_info("debian-armmp").unwrap();
        assert_eq!(here.as_ref(), Some(&vmlinux));
        // Nothing is fetched again, the large package is gone, and the image is what it was.
        let downloads = source.downloads.load(Ordering::SeqCst);
        assert_eq!(fetch(&cache, &source).unwrap(), vmlinux);
        assert_eq!(source.downloads.load(Ordering::SeqCst), downloads);
        let deb = &source.packages.last().unwrap().0.sha256;
        assert_eq!(cache.file(deb), None);
        assert!(!cache.root().join("work/debian-armmp-6.1").exists());
        assert_eq!(obtain(&cache, &source).unwrap(), image);
        // Damage is found, whatever the file's size and time.
        assert!(cache.verify("debian-armmp", &mut Silent).unwrap());
        fs::write(&vmlinux, "typos").unwrap();
        let damaged = cache.verify("debian-armmp", &mut Silent).unwrap_err();
        assert!(
            matches!(&damaged, Error::Damaged { path, .. } if *path == vmlinux),
            "{damaged}"
        );
        assert_eq!(fetch(&cache, &source).unwrap(), vmlinux);
        // A file that is gone is fetched again.
        fs::remove_file(&vmlinux).unwrap();
        assert_eq!(cache.debug_info("debian-armmp").unwrap(), None);
        assert_eq!(fetch(&cache, &source).unwrap(), vmlinux);
    }
}

#[test]
fn that_of_another_build_is_not_taken() {
    let (dir, cache, source) = fake(None);
    obtain(&cache, &source).unwrap();
    let error = fetch(&cache, &source).unwrap_err();
    assert!(
        matches!(&error, Error::NoPackage { package, .. } if package == "linux-image-6.1-x-dbg"),
        "{error}"
    );
    let name = "linux-image-6.1-x-dbg";
    let mut other = package(dir.path(), "bookworm", name, &[], &[("vmlinux", vec![0])]);
    let empty = with(&source, [other.clone()]);
    let error = fetch(&cache, &empty).unwrap_err().to_string();
    assert!(error.contains("no vmlinux in it"), "{error}");
    other.0.version = "2".into();
    let error = fetch(&cache, &with(&source, [other])).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("of version 2, and the kernel is 1"),
        "{error}"
    );
    assert_eq!(cache.debug_info("debian-armmp").unwrap(), None);
}
