//! Any file as a kernel, also in a file of another form, in any RAM, with any initrd: an error or a
//! placement inside RAM, without overlap.

#![expect(
    clippy::cast_possible_truncation,
    reason = "files are small, and words are cut out of what is chosen"
)]

use arbitrary::{Arbitrary, Unstructured};
use vmm::machine::KernelFormat;
use vmm::machine::layout::Range;
use vmm::machine::loader::{self, LoadError, cmdline, image, place};

/// What begins the file, before words of it are changed.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Start {
    Zimage,
    /// A zImage with the table that says how large the unpacked kernel is.
    Sized(u32, u32),
    Arm64(u64, u64),
    Raw(u8),
    /// The same with lists that tell where it is linked.
    Linked(u8, Base, Lists),
    /// A file of another kind: where its magic number is, and that.
    Foreign(u8),
    /// A U-Boot image: the processor that it is for, and how it is compressed.
    Uimage(u8, u8),
    Empty,
}

/// The address at which a raw Image is linked.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Base {
    /// The start of the linear mapping in units of 256 MiB, and of 4 KiB behind that.
    Page(u8, u16),
    Any(u32),
}

impl Base {
    fn address(self) -> u32 {
        match self {
            Self::Page(start, pages) => u32::from(start & 15) << 28 | u32::from(pages) << 12,
            Self::Any(base) => base,
        }
    }

    /// Returns how far behind the start of RAM the image has to lie, if kernels are linked so
    /// (arch/arm/Kconfig and Makefile).
    fn text_offset(self) -> Option<u64> {
        let base = self.address();
        let offset = u64::from(base & 0x0fff_ffff);
        let sound = matches!(base >> 28, 0x4 | 0x8 | 0xb | 0xc) && base & 0xfff == 0;
        (sound && (0x8000..0x100_0000).contains(&offset)).then_some(offset)
    }
}

/// Lists that are empty: how many, and how many bytes apart.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Lists(u8, u8);

impl Lists {
    /// Returns the bytes at which the lists are in a file of `length` bytes: from its end on, as
    /// `.data` lies there.
    fn places(self, length: usize) -> impl Iterator<Item = usize> {
        let step = 8 + 4 * usize::from(self.1);
        let last = length.saturating_sub(8);
        (0..usize::from(self.0))
            .map_while(move |n| last.checked_sub(n * step))
            .filter(|at| *at >= 4)
    }
}

/// Magic numbers of other files, and where they are.
const FOREIGN: &[(usize, &[u8])] = &[
    (0x38, b"RSC\x05"),
    (0x202, b"HdrS"),
    (0x24, b"\x01\x6f\x28\x18"),
    (4, b"zimg"),
    (0, b"\x7fELF"),
    (0, b"MZ"),
    (0, b"\x27\x05\x19\x56"),
    (0, b"\x1f\x8b\x08"),
    (0, b"\xfd7zXZ\0"),
    (0, b"\x28\xb5\x2f\xfd"),
    (0, b"BZh"),
    (0, b"\x04\x22\x4d\x18"),
    (0, b"\x02\x21\x4c\x18"),
    (0, b"\x5d\0\0"),
    (0, b"\x89LZO"),
    (0, b"\xd0\x0d\xfe\xed"),
    (0, b"070701"),
    (0, b"ANDROID!"),
    (0, b"#!"),
    (0, b"QFI\xfb"),
    (0, b"hsqs"),
    (0, b"!<arch>\n"),
    (0, b"PK\x03\x04"),
    (0x101, b"ustar"),
];
/// First instructions of kernels.
const FIRST: [u32; 8] = [
    0xea00_0001,
    0xeb00_0001,
    0xe10f_0000,
    0xe28f_0001,
    0xe321_f0d3,
    0xf10c_01d3,
    0xe1a0_0000,
    0xf101_0200,
];

/// An input.
#[derive(Arbitrary, Debug)]
struct Case<'a> {
    format: u8,
    start: Start,
    /// Bytes behind the start, in units of 64.
    length: u8,
    words: Vec<(u16, u32)>,
    megabytes: u16,
    size: u32,
    initrd: Option<u32>,
    grown: u8,
    cmdline: &'a str,
}

fn word(file: &mut [u8], at: usize, value: u32) {
    if let Some(place) = file.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

fn file(case: &Case<'_>) -> Vec<u8> {
    let mut file = vec![0; usize::from(case.length) * 64];
    let length = file.len() as u32;
    match case.start {
        Start::Empty => {}
        Start::Zimage | Start::Sized(..) => {
            for (at, value) in [
                (0, 0xe1a0_0000),
                (0x24, 0x016f_2818),
                (0x2c, length),
                (0x30, 0x0403_0201),
            ] {
                word(&mut file, at, value);
            }
            if let Start::Sized(initialised, zeroed) = case.start {
                let table = [
                    (0x34, 0x4545_4545),
                    (0x38, 0x40),
                    (0x40, 4),
                    (0x44, 0x5a53_4c4b),
                ];
                for (at, value) in
                    table
                        .into_iter()
                        .chain([(0x48, 0x60), (0x4c, zeroed), (0x60, initialised)])
                {
                    word(&mut file, at, value);
                }
            }
        }
        Start::Arm64(offset, memory) => {
            word(&mut file, 0x38, 0x644d_5241);
            for (at, value) in [(8, offset), (16, memory)] {
                word(&mut file, at, value as u32);
                word(&mut file, at + 4, (value >> 32) as u32);
            }
        }
        Start::Raw(which) => word(&mut file, 0, FIRST[usize::from(which % 8)]),
        Start::Linked(which, base, lists) => {
            word(&mut file, 0, FIRST[usize::from(which % 8)]);
            for at in lists.places(file.len()) {
                let own = base.address().wrapping_add(at as u32);
                word(&mut file, at, own);
                word(&mut file, at + 4, own);
            }
        }
        Start::Uimage(processor, compression) => {
            word(&mut file, 0, 0x5619_0527);
            word(
                &mut file,
                28,
                u32::from_le_bytes([5, processor, 2, compression]),
            );
        }
        Start::Foreign(which) => {
            let (at, magic) = FOREIGN[usize::from(which) % FOREIGN.len()];
            if let Some(place) = file.get_mut(at..at + magic.len()) {
                place.copy_from_slice(magic);
            }
        }
    }
    for (at, value) in case.words.iter().take(16) {
        let at = usize::from(*at) * 4 % file.len().max(1);
        word(&mut file, at, *value);
    }
    file
}

/// Asserts what `parsed` has to be of a file of which nothing was changed.
fn check(case: &Case<'_>, format: KernelFormat, parsed: &Result<image::Image, LoadError>) {
    let length = usize::from(case.length) * 64;
    match case.start {
        Start::Linked(_, base, lists) => {
            let known = lists.places(length).count() >= 8;
            let (Some(offset), Ok(parsed), true) = (base.text_offset(), parsed, known) else {
                return;
            };
            let kind = image::Kind::Image {
                text_offset: offset,
            };
            assert_eq!(parsed.kind, kind, "its lists tell where it is linked");
        }
        Start::Uimage(..) | Start::Foreign(_) if format == KernelFormat::Auto => {
            assert!(parsed.is_err(), "it is no kernel");
        }
        _ => {}
    }
}

/// Returns a uImage of an uncompressed kernel with good checksums.
fn uimage(kernel: &[u8]) -> Vec<u8> {
    let mut header = [0; 64];
    header[..4].copy_from_slice(b"\x27\x05\x19\x56");
    header[12..16].copy_from_slice(&(kernel.len() as u32).to_be_bytes());
    header[24..28].copy_from_slice(&crc32fast::hash(kernel).to_be_bytes());
    header[28..32].copy_from_slice(&[5, 2, 2, 0]);
    let crc = crc32fast::hash(&header).to_be_bytes();
    header[4..8].copy_from_slice(&crc);
    [&header[..], kernel].concat()
}

/// Returns a vmlinux of one segment.
fn vmlinux(kernel: &[u8]) -> Vec<u8> {
    let (start, size) = (0xc020_8000_u32, kernel.len() as u32);
    let mut bytes = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend([2_u16, 40].map(u16::to_le_bytes).concat());
    bytes.extend(
        [1, start, 52, 0, 0x0500_0000]
            .map(u32::to_le_bytes)
            .concat(),
    );
    bytes.extend([52_u16, 32, 1, 40, 0, 0].map(u16::to_le_bytes).concat());
    let segment = [1, 84, start, start, size, size, 5, 4];
    bytes.extend(segment.map(u32::to_le_bytes).concat());
    bytes.extend(kernel);
    bytes
}

/// The most bytes that are unpacked.
const MOST: u64 = 1 << 20;
/// Magic numbers of files that a kernel is taken out of: gzip, xz, zstd, lz4 (the legacy form, and
/// frames), lzma, ELF, uImage and FIT.
const WRAPPINGS: [&[u8]; 9] = [
    b"\x1f\x8b",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
    b"\x02\x21\x4c\x18",
    b"\x04\x22\x4d\x18",
    b"\x5d\0\0",
    b"\x7fELF",
    b"\x27\x05\x19\x56",
    b"\xd0\x0d\xfe\xed",
];

/// Asserts that a file of another form comes to a kernel inside the limit, the same each time, or
/// to a sentence.
fn unwrapped(file: &[u8]) {
    let out = loader::open(file.to_vec(), KernelFormat::Auto, MOST);
    match out {
        Ok(kernel) => {
            assert!(kernel.bytes.len() as u64 <= MOST);
            let again = loader::open(file.to_vec(), KernelFormat::Auto, MOST);
            assert!(again.is_ok_and(|again| again == kernel));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Asserts that a kernel comes out of other files as it went in, and that those may be damaged.
fn wrapped(case: &Case<'_>, file: &[u8]) {
    let auto = |bytes| loader::open(bytes, KernelFormat::Auto, MOST);
    let plain = auto(file.to_vec());
    if let (Ok(plain), Ok(image)) = (&plain, image::parse(file, KernelFormat::Auto)) {
        assert_eq!((plain.bytes.as_slice(), plain.image), (file, image));
        let out = auto(uimage(file)).expect("its checksums are right");
        assert_eq!(out, *plain, "out of a uImage");
    }
    if file.len() >= 4 {
        let out = auto(vmlinux(file)).expect("it is one");
        assert_eq!(out.bytes, file, "out of a vmlinux");
    }
    for mut bytes in [uimage(file), vmlinux(file)] {
        for (at, value) in case.words.iter().take(16) {
            word(&mut bytes, usize::from(*at) * 4 % 96, *value);
        }
        unwrapped(&bytes);
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    if WRAPPINGS.iter().any(|magic| data.starts_with(magic)) {
        return unwrapped(data);
    }
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    if let Ok(text) = cmdline(case.cmdline) {
        assert!(!text.contains('\0'));
    }
    let format = [
        KernelFormat::Auto,
        KernelFormat::Zimage,
        KernelFormat::Image,
    ][usize::from(case.format % 3)];
    let file = file(&case);
    wrapped(&case, &file);
    let parsed = image::parse(&file, format);
    if case.words.is_empty() {
        check(&case, format, &parsed);
    }
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    // A small file that claims much is as good as a large one.
    let parsed = image::Image {
        size: parsed.size << (case.grown & 31),
        ..parsed
    };
    let (base, size) = (
        u64::from(case.megabytes) << 20,
        u64::from(case.size & 0xffff_f000),
    );
    let ram = Range { base, size };
    match place::place(ram, &parsed, case.initrd.map(u64::from)) {
        Ok(placed) => {
            let end = base + size;
            let kernel_end = placed.kernel + parsed.size;
            assert!(placed.kernel >= base && kernel_end <= end);
            assert!(placed.dtb >= kernel_end && placed.dtb + place::DTB_ROOM <= end);
            if let Some(initrd) = placed.initrd {
                assert!(initrd.base >= kernel_end && initrd.base + initrd.size <= end);
                let dtb_end = placed.dtb + place::DTB_ROOM;
                assert!(initrd.base >= dtb_end || initrd.base + initrd.size <= placed.dtb);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
