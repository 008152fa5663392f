//! Writes sections.

use std::io::{self, Write};

use crc32fast::Hasher;

use super::{END, Form};

/// A file that is being written.
#[derive(Debug)]
pub struct Writer<W> {
    form: &'static Form,
    out: W,
    count: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// The host's.
    pub fn new(form: &'static Form, mut out: W) -> io::Result<Self> {
        out.write_all(form.magic)?;
        out.write_all(&form.version.to_le_bytes())?;
        Ok(Self {
            form,
            out,
            count: 0,
        })
    }

    /// Adds a section with these contents.
    ///
    /// # Errors
    /// The host's, or that there is more than such a section holds.
    pub fn add(&mut self, kind: u32, parts: &[&[u8]]) -> io::Result<()> {
        let most = (self.form.limit)(kind).unwrap_or(0);
        let length: usize = parts.iter().map(|part| part.len()).sum();
        // No reader would take it.
        match u32::try_from(length) {
            Ok(length) if length <= most => self.put(kind, length, parts),
            _ => Err(io::Error::other("a part of it is too large")),
        }
    }

    fn put(&mut self, kind: u32, length: u32, parts: &[&[u8]]) -> io::Result<()> {
        let mut crc = Hasher::new();
        let head = [kind.to_le_bytes(), length.to_le_bytes()].concat();
        crc.update(&head);
        // Gone through twice, as the checksum stands in front of the contents.
        parts.iter().for_each(|part| crc.update(part));
        self.out.write_all(&head)?;
        self.out.write_all(&crc.finalize().to_le_bytes())?;
        parts.iter().try_for_each(|part| self.out.write_all(part))?;
        self.count += 1;
        Ok(())
    }

    /// Ends the file; without this it is not whole.
    ///
    /// # Errors
    /// The host's.
    pub fn finish(mut self) -> io::Result<W> {
        let count = self.count.to_le_bytes();
        #[expect(clippy::cast_possible_truncation, reason = "a count has 8 bytes")]
        self.put(END, count.len() as u32, &[&count])?;
        self.out.flush()?;
        Ok(self.out)
    }
}
