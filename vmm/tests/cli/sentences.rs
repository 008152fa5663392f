//! One right sentence for what people get wrong, and that its advice can be followed.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::{Ended, run};

struct TestDirectory(TempDir);

impl TestDirectory {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("zImage", &tiny_zimage());
        place.write("disk", &[0; 4096]);
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.0.path().join(name), bytes).unwrap();
        self.path(name)
    }

    /// The machine of this place with these arguments, for a moment.
    fn boot(&self, arguments: &[&str]) -> Ended {
        let kernel = self.path("zImage");
        let common = ["boot", "--kernel", &kernel, "--timeout", "0.001", "--quiet"];
        run(&[&common[..], arguments].concat())
    }

    /// That these arguments are refused with one sentence that holds `words`.
    fn refuses(&self, arguments: &[&str], words: &str) {
        let kernel = self.path("zImage");
        told(
            &run(&[&["boot", "--kernel", &kernel], arguments].concat()),
            words,
        );
    }

    /// That a machine with these arguments runs.
    fn runs(&self, arguments: &[&str]) {
        let ended = self.boot(arguments);
        assert_eq!(ended.code, Some(124), "{arguments:?}: {ended:?}");
    }
}

fn told(ended: &Ended, words: &str) {
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.contains(words), "{words:?}: {ended:?}");
}

/// A file that passes for a zImage of 4096 bytes, and branches to itself.
fn tiny_zimage() -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[..4].copy_from_slice(&0xeaff_fffe_u32.to_le_bytes());
    bytes[0x24..0x28].copy_from_slice(&0x016f_2818_u32.to_le_bytes());
    bytes[0x2c..0x30].copy_from_slice(&4096_u32.to_le_bytes());
    bytes
}

fn shell(script: &str) {
    let status = Command::new("sh").args(["-c", script]).status().unwrap();
    assert!(status.success(), "{script}");
}

#[test]
fn disks_that_are_no_raw_images() {
    let place = TestDirectory::new();
    let odd = place.write("odd", &[1; 1000]);
    place.refuses(&["--disk", &odd], &format!("truncate -s %512 {odd}"));
    shell(&format!("truncate -s %512 {odd}"));
    assert_eq!(fs::metadata(&odd).unwrap().len(), 1024);
    place.runs(&["--disk", &odd]);
    for (magic, at, form) in [
        (&b"QFI\xfb"[..], 0, "qcow2"),
        (b"KDMV", 0, "VMDK"),
        (b"vhdxfile", 0, "VHDX"),
        (b"\x7f\x10\xda\xbe", 64, "VDI"),
        (b"conectix", 4096 - 512, "VHD"),
    ] {
        let mut bytes = vec![0; 4096];
        bytes[at..at + magic.len()].copy_from_slice(magic);
        let path = place.write("image", &bytes);
        for option in ["", ",ro", ",overlay"] {
            let words = format!(
                "is a {form} image, and a disk is raw bytes: convert it with qemu-img convert -O raw"
            );
            place.refuses(&["--disk", &format!("{path}{option}")], &words);
        }
        place.runs(&["--disk", &format!("{path},raw")]);
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn one_file_for_two_disks() {
    let place = TestDirectory::new();
    let disk = place.path("disk");
    std::os::unix::fs::symlink(&disk, place.path("link")).unwrap();
    let link = place.path("link");
    for (one, other) in [(&disk, &disk), (&disk, &link)] {
        let words = format!("the disks {one} and {other} are one file");
        place.refuses(&["--disk", one, "--disk", other], &words);
        let reads = format!("{one},ro");
        place.refuses(&["--disk", &reads, "--disk", other], &words);
    }
    for option in ["ro", "overlay"] {
        let (one, other) = (format!("{disk},{option}"), format!("{link},{option}"));
        place.runs(&["--disk", &one, "--disk", &other]);
    }
    place.refuses(
        &["--disk", &format!("{disk},ro,overlay")],
        "say one of ro and overlay",
    );
}

/// Returns CRC-32 of `bytes`.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| crc >> 1 ^ if crc & 1 != 0 { 0xedb8_8320 } else { 0 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), step);
    !bytes.iter().fold(u32::MAX, byte)
}

/// Returns a uImage of a kernel for 32-bit ARM Linux.
fn uimage(compression: u8, data: &[u8]) -> Vec<u8> {
    let mut header = [0; 64];
    header[..4].copy_from_slice(b"\x27\x05\x19\x56");
    let size = u32::try_from(data.len()).unwrap();
    header[12..16].copy_from_slice(&size.to_be_bytes());
    header[24..28].copy_from_slice(&crc32(data).to_be_bytes());
    header[28..32].copy_from_slice(&[5, 2, 2, compression]);
    let crc = crc32(&header).to_be_bytes();
    header[4..8].copy_from_slice(&crc);
    [&header[..], data].concat()
}

#[test]
fn kernels_in_a_wrapping() {
    let place = TestDirectory::new();
    let kernel = |name: &str| ["boot".to_owned(), "--kernel".to_owned(), place.path(name)];
    let boot = |name: &str, more: &[&str]| {
        let [boot, flag, path] = &kernel(name);
        run(&[
            &[boot, flag, path, "--timeout", "0.001", "--quiet"][..],
            more,
        ]
        .concat())
    };
    for (bytes, words) in [
        (&b"\x02\x21\x4c\x18...."[..], "lz4-compressed"),
        (b"\x5d\0\0\x80\0....", "lzma-compressed"),
    ] {
        place.write("packed", bytes);
        told(&boot("packed", &[]), words);
    }
    // A uImage of a zImage, and one of an Image that gzip compressed; both as U-Boot's mkimage
    // makes them.
    place.write("uImage", &uimage(0, &tiny_zimage()));
    assert_eq!(boot("uImage", &[]).code, Some(124));
    let mut damaged = uimage(0, &tiny_zimage());
    damaged[70] ^= 1;
    place.write("damaged", &damaged);
    told(
        &boot("damaged", &[]),
        "the checksum of its data is wrong: copy or build it again",
    );
    let image = place.write(
        "Image",
        &[&0xeaff_fffe_u32.to_le_bytes()[..], &[0; 64]].concat(),
    );
    shell(&format!("gzip -k {image}"));
    let packed = fs::read(place.path("Image.gz")).unwrap();
    place.write("both", &uimage(1, &packed));
    assert_eq!(boot("both", &[]).code, Some(124));
    // Compressed files of kernels, with whatever the host has.
    place.write("zImage", &tiny_zimage());
    for (program, ending) in [
        ("gzip", "gz"),
        ("xz", "xz"),
        ("zstd", "zst"),
        ("lzma", "lzma"),
    ] {
        let (from, to) = (place.path("zImage"), place.path("packed"));
        let have = format!(
            "command -v {program} >/dev/null || exit 0; {program} -c {from} >{to}.{ending}"
        );
        shell(&have);
        let name = format!("packed.{ending}");
        if fs::metadata(place.path(&name)).is_ok() {
            assert_eq!(boot(&name, &[]).code, Some(124), "{name}");
        }
    }
    // A device tree at its end.
    let tree = b"\xd0\x0d\xfe\xed and so on";
    let path = place.write("appended", &[&tiny_zimage(), &tree[..]].concat());
    told(&boot("appended", &[]), "cut it off (head -c 4096 FILE)");
    shell(&format!("head -c 4096 {path} >{}", place.path("out")));
    assert_eq!(boot("out", &[]).code, Some(124));
}

#[test]
fn memory_that_can_be_had() {
    let place = TestDirectory::new();
    place.refuses(&["--memory", "3G"], "use 2816M at most");
    place.runs(&["--memory", "2816M"]);
    let high = ["--memory", "2G", "--memory-base", "0x80000000"];
    let words = "use 1792M at most, or a lower base and up to 2816M";
    place.refuses(&high, words);
    place.runs(&["--memory", "1792M", "--memory-base", "0x80000000"]);
    place.runs(&["--memory", "2G", "--memory-base", "0x70000000"]);
    place.refuses(
        &["--memory", "64M", "--memory-base", "0xf0000000"],
        "a lower base",
    );
}

#[test]
fn values_that_are_none() {
    let place = TestDirectory::new();
    for (flag, value, words) in [
        (
            "--seed",
            "x",
            "invalid value 'x' for '--seed <NUMBER>': use a whole number from 0 on",
        ),
        ("--seed", "", "a whole number is needed"),
        (
            "--epoch",
            "4294967296",
            "4294967296 is not a date: write seconds since 1970-01-01 00:00 UTC, 0 to 4294967295, or now",
        ),
        ("--console", "", "use stdio, none or a file's"),
        (
            "--expect",
            "",
            "it matches before the guest has shown anything",
        ),
        (
            "--expect",
            "x*",
            "it matches before the guest has shown anything",
        ),
        ("--json", "", "--json"),
        ("--disk", "", "file name"),
        ("--gdb", "", "neither a port"),
        ("--image", "", "no image named"),
    ] {
        place.refuses(&[&format!("{flag}={value}")], words);
    }
    let binary = place.write("binary", &[0xff; 100]);
    told(
        &run(&["boot", "--config", &binary]),
        "it is not a text file",
    );
    let kernel = place.path("no\nsuch");
    told(&run(&["boot", "--kernel", &kernel]), "no\\nsuch");
    place.refuses(&["--json", &place.path("no\n/such")], "no\\n/such");
    place.refuses(
        &["--disk", &place.path("no\x1b[2Jsuch")],
        "no\\u{1b}[2Jsuch",
    );
}

#[test]
fn values_in_a_file_that_are_none() {
    let place = TestDirectory::new();
    for (line, words) in [
        (
            "memory = -5",
            "line 2: invalid value: integer `-5`, expected a number of bytes",
        ),
        (
            "memory = 1e9",
            "line 2: invalid type: floating point `1000000000.0`, expected a number of bytes",
        ),
        ("memory-base = -5", "line 2: \"-5\" is not an address"),
        ("memory-base = 1e9", "line 2: "),
        ("seed = -5", "line 2: "),
        ("seed = 1e9", "line 2: "),
        ("cpus = 1e9", "line 2: "),
        ("epoch = -5", "line 2: "),
        ("gdb = -5", "line 2: \"-5\" is neither a port"),
        ("gdb = 1e9", "line 2: "),
        ("timeout = -5", "line 2: -5 is not a time limit"),
        ("console = ''", "line 2: a console's file has a name"),
        ("expect = ''", "it matches before"),
        ("json = ''", "json is empty, and it is the name of a file"),
        ("initrd = ''", "initrd is empty"),
        ("disk = ''", "line 2: a disk needs a file name"),
        (
            "disk = { path = '' }",
            "disk is empty, and it is the name of a file",
        ),
        ("disk = -5", "line 2: a disk is "),
        ("disk = ['disk', -5]", "line 2: a disk is "),
        ("run = -5", "line 2: "),
        ("disk = { path = 'disk', queues = -5 }", "line 2: "),
        ("quiet = 1e9", "line 2: "),
        ("trace = -5", "line 2: "),
        ("probe = -5", "line 2: "),
        ("time = -5", "line 2: "),
        ("iommu = -5", "line 2: an IOMMU is "),
    ] {
        let text = format!("kernel = 'zImage'\n{line}\n");
        let config = place.write("machine.toml", text.as_bytes());
        let ended = run(&["boot", "--config", &config]);
        told(&ended, words);
        for jargon in ["untagged", "variant of", "newtype", "struct "] {
            assert!(!ended.stderr.contains(jargon), "{line}: {ended:?}");
        }
    }
}

#[test]
fn a_vmlinux_is_for_probes_and_no_kernel_that_is_booted() {
    let place = TestDirectory::new();
    let image = place.path("zImage");
    place.refuses(&["--vmlinux", &image], "add --probe");
    let probe = ["--probe", "f { print(dev.name) }", "--vmlinux"];
    let with = |file: &str, words: &str| place.refuses(&[&probe[..], &[file]].concat(), words);
    with(
        &image,
        "it is no ELF file: give the vmlinux from the directory",
    );
    with(&place.path("missing"), "No such file");
    let short = place.write("short", b"\x7fELF\x01\x01\x01");
    with(&short, "it is damaged or cut off");
}
