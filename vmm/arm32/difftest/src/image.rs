//! The test program as memory: segments, which become an ELF file for QEMU and physical memory for
//! the core.

use crate::layout::{
    self, CODE, CODE_END, INPUT, INPUT_END, RESULTS_END, RUNTIME, RUNTIME_ORIGIN, VARIABLES,
};
use crate::runtime::Runtime;

/// A run of pages with the same permissions.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Address of the first byte, a multiple of 4096.
    pub address: u32,
    /// Contents, whole pages.
    pub bytes: Vec<u8>,
    /// May be written.
    pub write: bool,
    /// May be executed.
    pub execute: bool,
}

impl Segment {
    fn new(from: u32, to: u32, write: bool, execute: bool) -> Self {
        Self {
            address: from,
            bytes: vec![0; (to - from) as usize],
            write,
            execute,
        }
    }

    /// Returns the bytes at `address`.
    ///
    /// # Panics
    /// When they are not all in the segment.
    pub fn at(&mut self, address: u32, len: usize) -> &mut [u8] {
        let from = (address - self.address) as usize;
        &mut self.bytes[from..from + len]
    }

    /// Puts a word.
    ///
    /// # Panics
    /// When it is not in the segment.
    pub fn put(&mut self, address: u32, word: u32) {
        self.at(address, 4).copy_from_slice(&word.to_le_bytes());
    }
}

/// All of the program.
#[derive(Clone, Debug)]
pub struct Image {
    /// Run-time code.
    pub runtime: Segment,
    /// Run-time variables, results, scratch memory.
    pub data: Segment,
    /// Code of the cases.
    pub code: Segment,
    /// Input blocks.
    pub input: Segment,
    /// First instruction of the program.
    pub start: u32,
}

impl Image {
    /// Returns the program without cases.
    pub fn new(runtime: &Runtime) -> Self {
        let mut image = Self {
            runtime: Segment::new(RUNTIME, RUNTIME + 0x1000, false, true),
            data: Segment::new(VARIABLES, RESULTS_END, true, false),
            code: Segment::new(CODE, CODE_END, false, true),
            input: Segment::new(INPUT, INPUT_END, false, false),
            start: runtime.start,
        };
        for (address, word) in (RUNTIME + RUNTIME_ORIGIN..).step_by(4).zip(&runtime.code) {
            image.runtime.put(address, *word);
        }
        for (address, word) in (VARIABLES..).step_by(4).zip(&runtime.variables) {
            image.data.put(address, *word);
        }
        image
    }

    /// Returns the segments, by address.
    pub fn segments(&self) -> [&Segment; 4] {
        [&self.runtime, &self.data, &self.code, &self.input]
    }

    /// Returns the results part of the data segment.
    pub fn results(&self) -> &[u8] {
        &self.data.bytes[(layout::OUTPUT - VARIABLES) as usize..]
    }

    /// Returns an ELF executable of it.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an image has few segments, and each was placed below 4 GiB"
    )]
    pub fn elf(&self) -> Vec<u8> {
        let segments = self.segments();
        let mut file = header(self.start, segments.len() as u16);
        // Segments begin at pages of the file, behind the headers.
        let mut offset = 0x1000;
        for segment in segments {
            let len = segment.bytes.len() as u32;
            // PF_R, PF_W and PF_X.
            let flags = 4 | u32::from(segment.write) << 1 | u32::from(segment.execute);
            // PT_LOAD: type, offset, virtual and physical address, size in the file and in memory,
            // flags, alignment.
            for word in [
                1,
                offset,
                segment.address,
                segment.address,
                len,
                len,
                flags,
                0x1000,
            ] {
                file.extend(word.to_le_bytes());
            }
            offset += len;
        }
        file.resize(0x1000, 0);
        for segment in segments {
            file.extend(&segment.bytes);
        }
        file
    }
}

/// Returns the ELF header of a 32-bit little-endian ARM executable (EABI version 5, hard float).
fn header(entry: u32, segments: u16) -> Vec<u8> {
    // ELFCLASS32, ELFDATA2LSB, EV_CURRENT.
    let mut file = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |file: &mut Vec<u8>, v: u16| file.extend(v.to_le_bytes());
    let word = |file: &mut Vec<u8>, v: u32| file.extend(v.to_le_bytes());
    half(&mut file, 2); // ET_EXEC
    half(&mut file, 40); // EM_ARM
    word(&mut file, 1);
    word(&mut file, entry);
    word(&mut file, 52); // program headers
    word(&mut file, 0); // no section headers
    // EF_ARM_EABI_VER5 and EF_ARM_ABI_FLOAT_HARD.
    word(&mut file, 0x0500_0400);
    half(&mut file, 52);
    half(&mut file, 32);
    half(&mut file, segments);
    half(&mut file, 40);
    half(&mut file, 0);
    half(&mut file, 0);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_do_not_overlap_and_lie_in_the_file_where_the_headers_say() {
        let image = Image::new(&Runtime::new());
        let segments = image.segments();
        for pair in segments.windows(2) {
            assert!(pair[0].address as usize + pair[0].bytes.len() <= pair[1].address as usize);
        }
        let elf = image.elf();
        let word = |at: usize| u32::from_le_bytes([elf[at], elf[at + 1], elf[at + 2], elf[at + 3]]);
        assert_eq!(word(24), image.start);
        for (i, segment) in segments.iter().enumerate() {
            let at = 52 + 32 * i;
            let (offset, len) = (word(at + 4) as usize, word(at + 16) as usize);
            assert_eq!(word(at + 8), segment.address);
            assert_eq!(&elf[offset..offset + len], &segment.bytes[..]);
        }
    }
}
