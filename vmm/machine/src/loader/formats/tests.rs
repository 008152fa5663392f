use std::io::Write;

use lzma_rust2::{LzmaOptions, LzmaWriter, XzOptions, XzWriter};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use vm_fdt::FdtWriter;

use super::super::image::tests::zimage;
use super::*;

const MOST: u64 = 1 << 20;

/// Returns a raw Image that is known by its first instruction.
fn raw() -> Vec<u8> {
    let mut bytes = vec![0x11; 8192];
    bytes[..4].copy_from_slice(&0xe10f_9000_u32.to_le_bytes());
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(0)).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn lzma(bytes: &[u8]) -> Vec<u8> {
    let options = LzmaOptions::with_preset(6);
    let mut writer = LzmaWriter::new_use_header(Vec::new(), &options, None).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns what `lz4 -l` makes: blocks behind their sizes.
fn legacy_lz4(bytes: &[u8]) -> Vec<u8> {
    let block = lz4_flex::block::compress(bytes);
    let size = u32::try_from(block.len()).unwrap().to_le_bytes();
    [&b"\x02\x21\x4c\x18"[..], &size, &block].concat()
}

/// Returns a uImage: the bytes at 28 on, from the system to the compression, and the data.
fn uimage(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut header = [0; 64];
    header[..4].copy_from_slice(uimage::MAGIC);
    header[12..16].copy_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
    header[24..28].copy_from_slice(&crc32fast::hash(data).to_be_bytes());
    header[28..32].copy_from_slice(&kind);
    let crc = crc32fast::hash(&header).to_be_bytes();
    header[4..8].copy_from_slice(&crc);
    [&header[..], data].concat()
}

/// Returns a FIT image of a kernel, which is compressed so, and a ramdisk, with hashes.
fn fit(kernel: &[u8], compression: &str, ramdisk: Option<&[u8]>) -> Vec<u8> {
    let mut fdt = FdtWriter::new().unwrap();
    let root = fdt.begin_node("").unwrap();
    let images = fdt.begin_node("images").unwrap();
    for (name, data, compression) in [
        ("kernel-1", Some(kernel), compression),
        ("ramdisk-1", ramdisk, "none"),
    ] {
        let Some(data) = data else { continue };
        let image = fdt.begin_node(name).unwrap();
        fdt.property("data", data).unwrap();
        fdt.property_string("arch", "arm").unwrap();
        fdt.property_string("compression", compression).unwrap();
        for (hash, algo, value) in [
            ("hash-1", "sha256", Sha256::digest(data).to_vec()),
            (
                "hash-2",
                "crc32",
                crc32fast::hash(data).to_be_bytes().to_vec(),
            ),
            ("hash-3", "sha1", sha1::Sha1::digest(data).to_vec()),
        ] {
            let node = fdt.begin_node(hash).unwrap();
            fdt.property_string("algo", algo).unwrap();
            fdt.property("value", &value).unwrap();
            fdt.end_node(node).unwrap();
        }
        fdt.end_node(image).unwrap();
    }
    fdt.end_node(images).unwrap();
    let configurations = fdt.begin_node("configurations").unwrap();
    fdt.property_string("default", "conf-2").unwrap();
    let other = fdt.begin_node("conf-1").unwrap();
    fdt.property_string("kernel", "none").unwrap();
    fdt.end_node(other).unwrap();
    let own = fdt.begin_node("conf-2").unwrap();
    fdt.property_string("kernel", "kernel-1").unwrap();
    if ramdisk.is_some() {
        fdt.property_string("ramdisk", "ramdisk-1").unwrap();
    }
    fdt.end_node(own).unwrap();
    fdt.end_node(configurations).unwrap();
    fdt.end_node(root).unwrap();
    fdt.finish().unwrap()
}

/// Returns an ELF file: the entry point, and segments at these virtual and physical addresses.
fn elf(entry: u32, segments: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let half = u16::to_le_bytes;
    let count = u16::try_from(segments.len()).unwrap();
    let mut bytes = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend([half(2), half(40)].concat());
    bytes.extend(
        [1, entry, 52, 0, 0x0500_0000]
            .map(u32::to_le_bytes)
            .concat(),
    );
    bytes.extend([52, 32, count, 40, 0, 0].map(half).concat());
    let mut at = 52 + 32 * u32::from(count);
    for (virt, phys, data) in segments {
        let len = u32::try_from(data.len()).unwrap();
        let header = [1, at, *virt, *phys, len, len + 100, 5, 4];
        bytes.extend(header.map(u32::to_le_bytes).concat());
        at += len;
    }
    segments.iter().for_each(|(_, _, data)| bytes.extend(*data));
    bytes
}

fn auto(bytes: Vec<u8>) -> Result<KernelFile, LoadError> {
    open(bytes, KernelFormat::Auto, MOST)
}

fn refuses(bytes: Vec<u8>, words: &str) {
    let sentence = auto(bytes).unwrap_err().to_string();
    assert!(sentence.contains(words), "{sentence:?} lacks {words:?}");
}

#[test]
fn compressed_kernels_are_those_that_are_in_them() {
    for kernel in [raw(), zimage(4096, Some(9000))] {
        let plain = auto(kernel.clone()).unwrap();
        assert_eq!((&plain.bytes, &plain.initrd), (&kernel, &None));
        for packed in [
            gzip(&kernel),
            xz(&kernel),
            lzma(&kernel),
            zstd(&kernel),
            lz4(&kernel),
            legacy_lz4(&kernel),
            gzip(&xz(&kernel)),
        ] {
            assert_eq!(auto(packed.clone()).unwrap(), plain, "{:x?}", &packed[..4]);
            // Said to be a raw Image, it is that.
            let raw = open(packed.clone(), KernelFormat::Image, MOST).unwrap();
            assert_eq!(raw.bytes, packed);
            let why = auto(packed[..packed.len() / 2].to_vec());
            assert!(why.is_err(), "{:x?}", &packed[..4]);
        }
    }
    refuses(gzip(b"#!/bin/sh\n"), "a script");
    refuses(gzip(&vec![0; 2 << 20]), "it unpacks to more than 1M");
    refuses(
        b"\x1f\x8b\x08 and so on".to_vec(),
        "a gzip-compressed file that cannot be used",
    );
    let deep = (0..6).fold(raw(), |bytes, _| gzip(&bytes));
    refuses(deep, "again and again");
}

#[test]
fn uimages_are_checked_and_taken() {
    // An Image that only its header tells.
    let plain = vec![7; 4096];
    let kernel = auto(uimage([5, 2, 2, 0], &plain)).unwrap();
    assert_eq!(
        (kernel.bytes, kernel.image.kind),
        (
            plain,
            Kind::Image {
                text_offset: 0x8000
            }
        )
    );
    let packed = auto(uimage([5, 2, 2, 1], &gzip(&raw()))).unwrap();
    assert_eq!(packed.bytes, raw());
    let zimage = zimage(4096, None);
    let kernel = auto(uimage([5, 2, 14, 0], &zimage)).unwrap();
    assert_eq!(kernel.image.kind, Kind::Zimage { unpacked: None });

    // Several parts: the kernel, an initial file system of 5 bytes, a tree.
    let sizes = [4096, 5, 3, 0_u32].map(u32::to_be_bytes).concat();
    let multi = [&sizes[..], &zimage, b"initr\0\0\0", b"dtb"].concat();
    let kernel = auto(uimage([5, 2, 4, 0], &multi)).unwrap();
    assert_eq!(
        (kernel.bytes, kernel.initrd),
        (zimage, Some(b"initr".to_vec()))
    );
    refuses(uimage([5, 2, 4, 0], &sizes), "shorter than its header says");

    let good = uimage([5, 2, 2, 0], &raw());
    let changed = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    refuses(changed(40), "the checksum of its header is wrong");
    refuses(changed(100), "the checksum of its data is wrong");
    refuses(good[..100].to_vec(), "shorter than its header says");
    refuses(uimage([17, 2, 2, 0], &raw()), "another system than Linux");
    refuses(uimage([5, 3, 2, 0], &raw()), "another processor than ARM");
    refuses(uimage([5, 2, 3, 0], &raw()), "something else than a kernel");
    refuses(uimage([5, 2, 2, 2], &raw()), "bzip2");
}

#[test]
fn fit_images_are_checked_and_taken() {
    let kernel = auto(fit(&gzip(&raw()), "gzip", Some(b"initrd"))).unwrap();
    assert_eq!(
        (kernel.bytes, kernel.initrd),
        (raw(), Some(b"initrd".to_vec()))
    );
    let kernel = auto(gzip(&fit(&zimage(4096, None), "none", None))).unwrap();
    assert_eq!((kernel.bytes.len(), kernel.initrd), (4096, None));
    let image = fit(&raw(), "none", Some(b"initrd"));
    let place = image
        .windows(6)
        .position(|window| window == b"initrd")
        .unwrap();
    let mut wrong = image.clone();
    wrong[place] ^= 1;
    refuses(wrong, "the hash of \"ramdisk-1\" is wrong");
    refuses(image[..100].to_vec(), "shorter than its header says");
    let text = |from: &[u8], to: &[u8]| {
        let mut bytes = image.clone();
        let place = bytes
            .windows(from.len())
            .position(|window| window == from)
            .unwrap();
        bytes[place..place + to.len()].copy_from_slice(to);
        bytes
    };
    refuses(
        text(b"conf-2\0", b"conf-9\0"),
        "no configuration \"conf-9\"",
    );
    refuses(text(b"sha256\0", b"md5\0\0\0\0"), "a hash \"md5\"");
    refuses(text(b"arm\0", b"x86\0"), "another processor than ARM");
    let mut fdt = FdtWriter::new().unwrap();
    let root = fdt.begin_node("").unwrap();
    fdt.end_node(root).unwrap();
    refuses(fdt.finish().unwrap(), "a device tree, and no kernel");
}

#[test]
fn elf_files_are_laid_out_as_they_are_linked() {
    let (text, data) = (raw(), [3; 100]);
    // The headers are in memory before the entry point, and the vectors elsewhere than they run.
    let head = [&[9; 0x100][..], &text].concat();
    let segments: [(u32, u32, &[u8]); 3] = [
        (0xc020_7f00, 0xc020_7f00, &head),
        (0xffff_0000, 0xc020_b000, &[5; 8]),
        (0xc020_c000, 0xc020_c000, &data),
    ];
    let file = elf(0xc020_8000, &segments);
    let kernel = auto(file.clone()).unwrap();
    assert_eq!(
        kernel.image.kind,
        Kind::Image {
            text_offset: 0x20_8000
        }
    );
    let bytes = kernel.bytes;
    assert_eq!(bytes.len(), 0x4064);
    assert_eq!(bytes[..0x2000], text);
    assert_eq!(bytes[0x2000..0x3000], [0; 0x1000]);
    assert_eq!((bytes[0x3000], bytes[0x3008], bytes[0x4063]), (5, 0, 3));
    let physical = auto(elf(0xc000_8000, &[(0xc000_8000, 0x4000_8000, &text)])).unwrap();
    assert_eq!(
        physical.image.kind,
        Kind::Image {
            text_offset: 0x8000
        }
    );

    let changed = |at: usize, value: u8| {
        let mut bytes = file.clone();
        bytes[at] = value;
        bytes
    };
    refuses(changed(18, 62), "another processor");
    refuses(changed(4, 2), "another processor");
    refuses(changed(16, 1), "a module, a library");
    refuses(changed(5, 2), "another processor");
    refuses(elf(0xc020_8001, &segments), "no ARM instruction");
    refuses(elf(0x1000, &segments), "no ARM instruction");
    refuses(file[..200].to_vec(), "cannot be used");
    let far = elf(
        0xc000_8000,
        &[
            (0xc000_8000, 0xc000_8000, &text),
            (0xd000_0000, 0xd000_0000, &data),
        ],
    );
    refuses(far, "unpacks to more than");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_that_is_damaged_makes_it_panic(
        which in 0..8_usize, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let kernel = raw();
        let mut bytes = match which {
            0 => gzip(&kernel),
            1 => xz(&kernel),
            2 => lzma(&kernel),
            3 => zstd(&kernel),
            4 => legacy_lz4(&kernel),
            5 => uimage([5, 2, 4, 0], &[&[0, 0, 16, 0, 0, 0, 0, 0][..], &kernel].concat()),
            6 => fit(&kernel, "none", Some(b"initrd")),
            _ => elf(0xc000_8000, &[(0xc000_8000, 0xc000_8000, &kernel), (0xc001_0000, 0xc001_0000, &[1; 9])]),
        };
        // At the start, where the headers are.
        let head = bytes.len().min(600);
        for (at, value) in changes {
            bytes[at.index(head)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(kernel) = auto(bytes) {
            prop_assert!(kernel.bytes.len() as u64 <= MOST);
        }
    }
}
