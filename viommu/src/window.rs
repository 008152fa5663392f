//! What windows of registers have in common, whichever model's they are: registers are words, and
//! faults can be injected into accesses to them.

use crate::inject::{Injected, RegisterAccess};
use crate::register_event::Ignored;

/// Accesses to what is not modelled that are all told of; of those that follow, each that makes the
/// count a power of two is.
const UNIMPLEMENTED_TOLD: u64 = 16;

/// The registers of a model, word by word.
pub(crate) trait RegisterFile {
    /// Returns the name of the IOMMU's instance, for injected faults.
    fn instance(&self) -> &str;

    /// Returns what injects faults, if they can be.
    fn injected(&self) -> Option<&Injected>;

    /// Returns the name of the register at `offset`, if one is modelled there.
    fn register_name(&self, offset: u64) -> Option<&'static str>;

    /// Reads the word at `offset`, a multiple of 4, which may have effects.
    fn read_word(&self, offset: u64) -> u32;

    /// Writes the word at `offset`, a multiple of 4.
    fn write_word(&self, offset: u64, value: u32);

    /// Takes note of an access that does nothing.
    fn ignore(&self, offset: u64, access: Ignored);
}

/// Reads `data` at `offset`: any part of a word, and several. Each word is read once for all of it
/// that is wanted, as a read may have effects.
#[expect(clippy::cast_possible_truncation, reason = "it is below 4")]
pub(crate) fn read(file: &impl RegisterFile, offset: u64, data: &mut [u8]) {
    let mut last = None;
    for (n, byte) in data.iter_mut().enumerate() {
        let at = offset.wrapping_add(n as u64);
        let (base, value) = match last {
            Some((base, value)) if base == at & !3 => (base, value),
            _ => (at & !3, read_faulty(file, at & !3)),
        };
        last = Some((base, value));
        *byte = value.to_le_bytes()[(at - base) as usize];
    }
}

/// Writes `data` at `offset`, if it is of whole words: what hardware does with less is not
/// published.
pub(crate) fn write(file: &impl RegisterFile, offset: u64, data: &[u8]) {
    let words = data.chunks_exact(4);
    if offset % 4 != 0 || !words.remainder().is_empty() {
        file.ignore(offset, Ignored::Partial(data.len()));
        return;
    }
    // Each is of four bytes.
    let words = words.filter_map(|word| word.try_into().ok());
    for (n, word) in (0..).zip(words) {
        let at = offset.wrapping_add(4 * n);
        write_faulty(file, at, u32::from_le_bytes(word));
    }
}

/// Reads a word, with the faults that are injected. It is read even if a fault replaces the value:
/// the read itself has effects, such as polling what is under way.
fn read_faulty(file: &impl RegisterFile, offset: u64) -> u32 {
    let value = file.read_word(offset);
    faulty(file, offset, value)
        .and_then(|(injected, access)| injected.injector.register_read(&access))
        .unwrap_or(value)
}

/// Writes a word, with the faults that are injected.
fn write_faulty(file: &impl RegisterFile, offset: u64, value: u32) {
    let fault = faulty(file, offset, value)
        .and_then(|(injected, access)| injected.injector.register_write(&access));
    if let Some(value) = fault.unwrap_or(Some(value)) {
        file.write_word(offset, value);
    }
}

/// Returns the injector and the register access it is asked about, if faults can be injected.
fn faulty(
    file: &impl RegisterFile,
    offset: u64,
    value: u32,
) -> Option<(&Injected, RegisterAccess<'_>)> {
    let injected = file.injected()?;
    let access = RegisterAccess {
        instance: file.instance(),
        register: file.register_name(offset)?,
        value,
    };
    Some((injected, access))
}

/// Counts an access to what is not modelled; returns the new `count` if observers are told of the
/// access: a guest that polls such an address must not flood them.
pub(crate) fn count_unimplemented(count: &mut u64) -> Option<u64> {
    *count = count.saturating_add(1);
    (*count <= UNIMPLEMENTED_TOLD || count.is_power_of_two()).then_some(*count)
}
