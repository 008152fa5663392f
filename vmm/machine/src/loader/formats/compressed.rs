//! Compressed files.

use std::io::{self, Read};

use lz4_flex::frame::FrameDecoder;
use lzma_rust2::{LzmaReader, XzReader};
use ruzstd::decoding::StreamingDecoder;
use vmm_base::ByteSize;

use super::super::LoadError;

/// The most memory that a decoder may take for its dictionary, in KiB: what `xz -9` and `lzma -9`
/// make needs 65 MiB.
const DICTIONARY_KIB: u32 = 256 << 10;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Gzip,
    Xz,
    Lzma,
    Zstd,
    Lz4,
}

/// Magic numbers at the start of files. That of lzma is a usual head: properties `lc=3 lp=0 pb=2`
/// and a dictionary of a power of two of at least 64 KiB.
const MAGIC: [(&[u8], Method); 6] = [
    (b"\x1f\x8b", Method::Gzip),
    (b"\xfd7zXZ\0", Method::Xz),
    (b"\x28\xb5\x2f\xfd", Method::Zstd),
    // The legacy form, which Linux has (lz4 -l), and that of frames.
    (b"\x02\x21\x4c\x18", Method::Lz4),
    (b"\x04\x22\x4d\x18", Method::Lz4),
    (b"\x5d\0\0", Method::Lzma),
];

/// Returns how `bytes` are compressed, if they are.
pub fn method(bytes: &[u8]) -> Option<Method> {
    let mut all = MAGIC.iter();
    let found = all.find(|(magic, _)| bytes.starts_with(magic));
    found.map(|(_, method)| *method)
}

impl Method {
    /// What a file of it is.
    const fn what(self) -> &'static str {
        match self {
            Self::Gzip => "a gzip-compressed file",
            Self::Xz => "an xz-compressed file",
            Self::Lzma => "an lzma-compressed file",
            Self::Zstd => "a zstd-compressed file",
            Self::Lz4 => "an lz4-compressed file",
        }
    }

    /// Uncompresses `bytes`, to `most` bytes at the most.
    ///
    /// # Errors
    /// They are damaged, or unpack to more.
    pub fn unpack(self, bytes: &[u8], most: u64) -> Result<Vec<u8>, LoadError> {
        let damaged = |error: &dyn std::fmt::Display| LoadError::Damaged {
            what: self.what(),
            why: error.to_string(),
        };
        let wrong = |error: io::Error| damaged(&error);
        match self {
            Self::Gzip => take(flate2::bufread::GzDecoder::new(bytes), most).map_err(wrong),
            Self::Xz => {
                take(XzReader::new_mem_limit(bytes, true, DICTIONARY_KIB), most).map_err(wrong)
            }
            Self::Lzma => LzmaReader::new_mem_limit(bytes, DICTIONARY_KIB, None)
                .and_then(|reader| take(reader, most))
                .map_err(wrong),
            Self::Zstd => {
                let decoder = StreamingDecoder::new(bytes).map_err(|error| damaged(&error))?;
                take(decoder, most).map_err(wrong)
            }
            Self::Lz4 => take(FrameDecoder::new(bytes), most).map_err(wrong),
        }
        .and_then(|plain| match plain.len() as u64 <= most {
            true => Ok(plain),
            false => Err(LoadError::UnpacksTooLarge(ByteSize(most))),
        })
    }
}

/// Reads all there is, and one byte more than `most` of it at the most.
fn take(reader: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    reader
        .take(most.saturating_add(1))
        .read_to_end(&mut plain)?;
    Ok(plain)
}
