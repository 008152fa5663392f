//! The whole way from a package to an image, with packages made on the spot instead of the network.

use crate::manifest::{DeviceTreeFile, Initramfs, Kernel, Manifest, ModuleFile};
use crate::modules::tests::fake_module;
use crate::progress::Silent;
use crate::source::Package;
use crate::{Cache, Error, Image, blob, catalog, recipes};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

mod debug_info;
mod renewal;
mod root;
mod rot;
mod source;

use source::{Fake, Fault};

/// Builds a Debian package of those files.
fn package(
    dir: &Path,
    suite: &str,
    name: &str,
    depends: &[&str],
    files: &[(&str, Vec<u8>)],
) -> (Package, PathBuf) {
    let tree = dir.join(name);
    for (path, bytes) in files {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    let control = format!(
        "Package: {name}\nVersion: 1\nArchitecture: armhf\nMaintainer: x <x@x>\nDescription: x\n"
    );
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let file = dir.join(format!("{name}.deb"));
    let status = Command::new("dpkg-deb")
        .arg("--build")
        .args([&tree, &file])
        .output()
        .unwrap()
        .status;
    assert!(status.success());
    let entry = Package {
        suite: suite.into(),
        name: name.into(),
        version: "1".into(),
        depends: depends.iter().map(|name| (*name).to_owned()).collect(),
        size: fs::metadata(&file).unwrap().len(),
        sha256: blob::hash_file(&file).unwrap(),
    };
    (entry, file)
}

/// Returns a zImage as far as its header goes.
fn zimage() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[0x24..0x28].copy_from_slice(&0x016f_2818_u32.to_le_bytes());
    bytes
}

/// Returns a directory with a cache in it, and a source of packages.
fn fake(fault: Option<Fault>) -> (tempfile::TempDir, Cache, Fake) {
    let dir = tempfile::tempdir().unwrap();
    let modules = "usr/lib/modules/6.1-x/kernel";
    let kernel = [
        ("boot/vmlinuz-6.1-x", zimage()),
        ("boot/config-6.1-x", b"CONFIG_X=y\n".to_vec()),
        (
            &*format!("{modules}/virtio_blk.ko"),
            fake_module("depends=\0"),
        ),
        (&*format!("{modules}/jbd2.ko"), fake_module("depends=\0")),
        (
            &*format!("{modules}/ext4.ko"),
            fake_module("depends=jbd2\0"),
        ),
        (
            &*format!("{modules}/clk-axi-clkgen.ko"),
            fake_module("depends=jbd2,clk\0"),
        ),
        (&*format!("{modules}/clk.ko"), fake_module("depends=\0")),
    ];
    let packages = vec![
        package(
            dir.path(),
            "bookworm",
            "linux-image-armmp",
            &["linux-image-6.1-x"],
            &[],
        ),
        package(dir.path(), "bookworm", "linux-image-6.1-x", &[], &kernel),
        package(
            dir.path(),
            "bookworm",
            "busybox-static",
            &[],
            &[("bin/busybox", b"busybox".to_vec())],
        ),
    ];
    let cache = Cache::at(&dir.path().join("cache")).unwrap();
    let source = Fake {
        packages: Arc::new(packages),
        downloads: Arc::default(),
        fault: Arc::new(Mutex::new(fault)),
    };
    (dir, cache, source)
}

fn obtain(cache: &Cache, source: &Fake) -> Result<Image, Error> {
    cache.obtain_from("debian-armmp", &mut source.clone(), &mut Silent)
}

/// Returns the only manifest in a cache.
fn manifest(cache: &Cache) -> PathBuf {
    let mut entries = fs::read_dir(cache.root().join("images")).unwrap();
    let path = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none());
    path
}

#[test]
fn a_stock_image_from_packages() {
    let (_dir, cache, source) = fake(None);
    let image = obtain(&cache, &source).unwrap();
    assert_eq!(image.version, "6.1-x");
    assert_eq!(fs::read(&image.kernel).unwrap(), zimage());
    assert_eq!(image.modules, ["virtio_blk", "jbd2", "ext4"]);
    assert_eq!(image.late_modules, ["clk", "clk_axi_clkgen"]);
    assert_eq!(image.packages[0], ("linux-image-6.1-x".into(), "1".into()));
    assert_eq!(
        fs::read_to_string(image.config.as_ref().unwrap()).unwrap(),
        "CONFIG_X=y\n"
    );
    assert_eq!(cache.image("debian-armmp-6.1").unwrap().unwrap(), image);
    assert!(cache.verify("debian-armmp", &mut Silent).unwrap());
    assert!(
        !cache.root().join("work/debian-armmp-6.1").exists(),
        "work is cleaned away"
    );
    assert_eq!(
        fs::read_dir(cache.root().join("downloads"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn the_same_packages_give_the_same_bytes() {
    let (dir, cache, source) = fake(None);
    let other = Cache::at(&dir.path().join("other")).unwrap();
    let (a, b) = (
        obtain(&cache, &source).unwrap(),
        obtain(&other, &source).unwrap(),
    );
    assert_eq!(
        (a.kernel_sha256, a.initramfs_sha256),
        (b.kernel_sha256, b.initramfs_sha256)
    );
}

#[test]
fn two_runs_at_once_do_the_work_once() {
    let (_dir, cache, source) = fake(None);
    let images: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| obtain(&cache, &source).unwrap()))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(images.iter().all(|image| *image == images[0]));
    assert_eq!(
        source.downloads.load(Ordering::SeqCst),
        2,
        "the kernel and busybox"
    );
}

#[test]
fn a_damaged_download_is_fetched_once_more() {
    let (_dir, cache, source) = fake(Some(Fault::Damage(1)));
    obtain(&cache, &source).unwrap();
    assert_eq!(source.downloads.load(Ordering::SeqCst), 3);
}

#[test]
fn a_download_that_stays_damaged_is_an_error_and_leaves_nothing() {
    let (_dir, cache, source) = fake(Some(Fault::Damage(usize::MAX)));
    let sentence = obtain(&cache, &source).unwrap_err().to_string();
    assert!(
        sentence.starts_with("linux-image-6.1-x 1 does not have the SHA-256"),
        "{sentence}"
    );
    assert_eq!(source.downloads.load(Ordering::SeqCst), 2);
    assert_eq!(cache.image("debian-armmp").unwrap(), None);
    assert_eq!(
        fs::read_dir(cache.root().join("downloads"))
            .unwrap()
            .count(),
        0
    );
    *source.fault.lock().unwrap() = None;
    obtain(&cache, &source).unwrap();
}

#[test]
fn an_interrupted_run_is_gone_on_with() {
    let (_dir, cache, source) = fake(Some(Fault::Interrupt));
    let sentence = obtain(&cache, &source).unwrap_err().to_string();
    assert!(
        sentence.contains("cannot be reached (gone)") && sentence.contains("what has come is kept"),
        "{sentence}"
    );
    // What a killed run may leave: half a download, an unpacked tree.
    assert_eq!(
        fs::read_dir(cache.root().join("downloads"))
            .unwrap()
            .count(),
        1
    );
    fs::create_dir_all(cache.root().join("work/debian-armmp-6.1/packages/boot")).unwrap();
    fs::write(
        cache
            .root()
            .join("work/debian-armmp-6.1/packages/boot/vmlinuz-0"),
        "rubbish",
    )
    .unwrap();
    assert_eq!(obtain(&cache, &source).unwrap().version, "6.1-x");
}

#[test]
fn damage_is_found_by_verification_and_repaired() {
    let (_dir, cache, source) = fake(None);
    let image = obtain(&cache, &source).unwrap();
    // Damage that neither size nor time betrays.
    let times = fs::metadata(&image.initramfs).unwrap().modified().unwrap();
    let mut bytes = fs::read(&image.initramfs).unwrap();
    bytes[0] ^= 1;
    fs::remove_file(&image.initramfs).unwrap();
    fs::write(&image.initramfs, bytes).unwrap();
    let file = fs::File::options()
        .write(true)
        .open(&image.initramfs)
        .unwrap();
    file.set_times(fs::FileTimes::new().set_modified(times))
        .unwrap();
    let sentence = cache
        .verify("debian-armmp", &mut Silent)
        .unwrap_err()
        .to_string();
    assert!(
        sentence.contains("was damaged") && sentence.contains("\"debian-armmp-6.1\" again"),
        "{sentence}"
    );
    assert_eq!(cache.image("debian-armmp").unwrap(), None);
    let downloads = source.downloads.load(Ordering::SeqCst);
    let again = obtain(&cache, &source).unwrap();
    assert_eq!(again.initramfs_sha256, image.initramfs_sha256);
    assert_eq!(
        source.downloads.load(Ordering::SeqCst),
        downloads,
        "packages were still there"
    );
}

#[test]
fn a_missing_or_foreign_manifest_is_made_anew() {
    let (_dir, cache, source) = fake(None);
    let image = obtain(&cache, &source).unwrap();
    let path = manifest(&cache);
    let text = fs::read_to_string(&path).unwrap();
    for damaged in [
        String::new(),
        text.replace("\"version\"", "\"v\""),
        text[..text.len() / 2].to_owned(),
    ] {
        fs::write(&path, damaged).unwrap();
        assert_eq!(cache.image("debian-armmp").unwrap(), None);
        assert_eq!(obtain(&cache, &source).unwrap(), image);
    }
}

#[test]
fn a_changed_recipe_keeps_the_kernel() {
    let (_dir, cache, source) = fake(None);
    let image = obtain(&cache, &source).unwrap();
    let path = manifest(&cache);
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["initramfs"]["recipe"] = "an older one".into();
    let older = cache.root().join("images/debian-armmp-6.1@older.json");
    fs::write(&older, json.to_string()).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(cache.image("debian-armmp").unwrap(), None);
    // All packages are pinned by the manifest and in the store: nothing is asked for.
    let poorer = Fake {
        packages: Arc::default(),
        ..source.clone()
    };
    assert_eq!(obtain(&cache, &poorer).unwrap(), image);
}

#[test]
fn packages_that_have_left_the_mirror_are_replaced_by_present_ones() {
    let (dir, cache, source) = fake(None);
    let image = obtain(&cache, &source).unwrap();
    fs::remove_dir_all(cache.root().join("blobs")).unwrap();
    let mut packages = (*source.packages).clone();
    packages.retain(|(package, _)| package.name != "busybox-static");
    let newer = ("bin/busybox", b"newer busybox".to_vec());
    packages.push(package(
        dir.path(),
        "bookworm",
        "busybox-static",
        &[],
        &[newer],
    ));
    let again = obtain(
        &cache,
        &Fake {
            packages: Arc::new(packages),
            ..source.clone()
        },
    )
    .unwrap();
    assert_eq!(again.kernel_sha256, image.kernel_sha256);
    assert_ne!(again.initramfs_sha256, image.initramfs_sha256);
}

/// Puts a compiled kernel with that module into the cache, as if it had been built there; without
/// an initial file system.
fn fake_build(cache: &Cache, name: &str, module: &str) {
    let spec = catalog::find(name).unwrap();
    let scratch = cache.root().join("work/fake");
    fs::create_dir_all(&scratch).unwrap();
    let put = |bytes: &[u8]| cache.store().blobs().put(bytes, &scratch).unwrap();
    // Not what the present recipe has, so that it will be asked for.
    let package = Package {
        suite: "bookworm".into(),
        name: "busybox".into(),
        version: "0".into(),
        depends: Vec::new(),
        size: 0,
        sha256: String::new(),
    };
    let manifest = Manifest {
        name: name.into(),
        kernel: Kernel {
            recipe: recipes::kernel_recipe(spec),
            version: "6.1-built".into(),
            packages: Vec::new(),
            zimage: put(&zimage()),
            raw: None,
            vmlinux: None,
            system_map: None,
            config: None,
            modules: vec![ModuleFile {
                name: module.into(),
                file: put(&fake_module("depends=\0")),
            }],
            device_trees: vec![DeviceTreeFile {
                name: "board.dtb".into(),
                file: put(b"tree"),
            }],
        },
        initramfs: Initramfs {
            recipe: "none yet".into(),
            busybox: package,
            modules: Vec::new(),
            late_modules: Vec::new(),
            archive: put(b"none"),
        },
    };
    let path = cache.root().join(format!("images/{name}@built.json"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    manifest.store(&path).unwrap();
}

/// Obtains an image whose kernel has been compiled, with one module.
fn obtain_built(cache: &Cache, source: &Fake, name: &str, module: &str) -> Result<Image, Error> {
    fake_build(cache, name, module);
    cache.obtain_from(name, &mut source.clone(), &mut Silent)
}

#[test]
fn a_compiled_kernel_keeps_its_modules_for_another_initial_file_system() {
    let (_dir, cache, source) = fake(None);
    let image = obtain_built(&cache, &source, "ipmmu", "clk_axi_clkgen").unwrap();
    assert_eq!(image.modules, [""; 0]);
    assert_eq!(image.late_modules, ["clk_axi_clkgen"]);
    assert_eq!(fs::read(&image.device_trees["board.dtb"]).unwrap(), b"tree");
    let archive = fs::read(&image.initramfs).unwrap();
    let list = b"/lib/modules/clk_axi_clkgen.ko:\n";
    assert!(archive.windows(list.len()).any(|text| text == list));
}

#[test]
fn a_compiled_kernel_without_a_listed_module_is_a_sentence() {
    let (_dir, cache, source) = fake(None);
    let error = obtain_built(&cache, &source, "ipmmu", "another").unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("The kernel of the image ipmmu has no module clk_axi_clkgen"),
        "{error}"
    );
    assert_eq!(cache.image("ipmmu").unwrap(), None);
}

#[test]
fn a_source_tree_stays_until_all_its_images_are_there() {
    let (_dir, cache, source) = fake(None);
    let tree = cache.root().join("work/linux-source-6.1/linux");
    fs::create_dir_all(&tree).unwrap();
    let obtain = |name| {
        obtain_built(&cache, &source, name, "clk_axi_clkgen").unwrap();
    };
    obtain("virtio-iommu");
    assert!(tree.exists());
    obtain("ipmmu");
    assert!(!tree.exists());
}
