//! Notices on the console that the guest's kernel leaves memory unused.
//!
//! A 32-bit ARM kernel without CONFIG_HIGHMEM uses what its linear mapping reaches and says of the
//! rest `Ignoring RAM at START-END` (Linux, arch/arm/mm/mmu.c, `adjust_lowmem_bounds`). Only the
//! kernel knows its configuration.

use vmm::ByteSize;

/// The beginning of the line, behind the time that the kernel may put before it.
const WORDS: &[u8] = b"Ignoring RAM at ";
/// Bytes that are looked at of a line: more than a time and the words take.
const MAX_LINE: usize = 96;

/// Looks for the line.
#[derive(Debug, Default)]
pub struct Lowmem {
    line: Vec<u8>,
    ignored: Option<(u64, u64)>,
}

impl Lowmem {
    /// Goes on with `bytes`.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                // The kernel says it once, at boot; any program of the guest can print it later.
                self.ignored = self.ignored.or_else(|| range(&self.line));
                self.line.clear();
            } else if self.line.len() < MAX_LINE {
                self.line.push(byte);
            }
        }
    }

    /// Returns what to say about a guest with so much memory from `base` on, if it leaves some of
    /// that unused.
    pub fn advice(&self, base: u64, memory: ByteSize) -> Option<String> {
        let (start, end) = self.ignored?;
        // The guest chooses these numbers: a range that cannot be true gives no advice.
        let used = start.checked_sub(base).filter(|used| *used < memory.0)?;
        let (used, unused) = (ByteSize(used), ByteSize(end.checked_sub(start)?));
        Some(format!(
            "the guest's kernel has no CONFIG_HIGHMEM and leaves {unused} of its {memory} of memory unused: \
             --memory {used} is all that it takes"
        ))
    }
}

/// Returns the range that a line names.
fn range(line: &[u8]) -> Option<(u64, u64)> {
    let at = line.windows(WORDS.len()).position(|part| part == WORDS)?;
    let text = std::str::from_utf8(line.get(at + WORDS.len()..)?).ok()?;
    let (start, end) = text.trim_end().split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    Some((number(start)?, number(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_leaves_memory_unused_is_heard_wherever_its_line_is_cut() {
        let text = b"[    0.000000] Linux\r\n[    0.000000] Ignoring RAM at 0x70000000-0xc0000000\r\nmore\n";
        for cut in 1..20 {
            let mut lowmem = Lowmem::default();
            text.chunks(cut).for_each(|part| lowmem.feed(part));
            let advice = lowmem.advice(0x4000_0000, ByteSize(2 << 30)).unwrap();
            assert!(advice.contains("leaves 1280M of its 2G"), "{advice}");
            assert!(advice.contains("--memory 768M is"), "{advice}");
            assert_eq!(lowmem.advice(0x4000_0000, ByteSize(768 << 20)), None);
        }
    }

    #[test]
    fn whatever_a_guest_prints_is_no_advice_or_some() {
        for line in [
            "Ignoring RAM at \n",
            "Ignoring RAM at 0x-0x\n",
            "Ignoring RAM at 0xffffffffffffffff-0x0\n",
            "Ignoring RAM at 0x1-0xffffffffffffffffffff\n",
            "Ignoring RAM at 0x50000000-0x40000000\n",
        ] {
            let mut lowmem = Lowmem::default();
            lowmem.feed(line.as_bytes());
            assert_eq!(
                lowmem.advice(0x4000_0000, ByteSize(2 << 30)),
                None,
                "{line}"
            );
        }
    }
}
