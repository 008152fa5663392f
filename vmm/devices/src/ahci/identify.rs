//! What the disk says of itself (ACS-3, 7.12.7).

/// Returns the answer to IDENTIFY DEVICE of a disk of so many `sectors` that calls itself `serial`.
pub fn identify(sectors: u64, serial: &str) -> [u8; 512] {
    let mut words = [0_u16; 256];
    // Each word has two characters, the first in its upper half.
    let mut text = |first: usize, last: usize, text: &str| {
        let mut bytes = text.bytes().chain(std::iter::repeat(b' '));
        for word in &mut words[first..=last] {
            let pair = [bytes.next(), bytes.next()].map(|byte| byte.unwrap_or(b' '));
            *word = u16::from_be_bytes(pair);
        }
    };
    text(10, 19, serial);
    text(23, 26, "1");
    text(27, 46, "viommu disk");
    let reach = sectors.min(0x0fff_ffff);
    let [low, high, ..] = halves(reach);
    for (word, value) in [
        (0, 0x0040),  // A disk that is not removable.
        (49, 0x0f00), // DMA, LBA, and the device decides about IORDY.
        (53, 0x0006), // Words 64 to 70, and 88, mean something.
        (60, low),
        (61, high),
        (63, 0x0407), // Multiword DMA modes 0 to 2, of which 2 is selected.
        (64, 0x0003), // PIO modes 3 and 4.
        (65, 120),
        (66, 120),
        (67, 120),
        (68, 120),
        (75, 31),     // 32 queued commands.
        (76, 0x010e), // NCQ, and 1.5 to 6 Gbit/s.
        (80, 0x01f0), // ATA/ATAPI-4 to ATA8-ACS.
        (82, 0x4020), // A write cache; NOP.
        (83, 0x7400), // FLUSH CACHE and FLUSH CACHE EXT, addresses of 48 bits.
        (84, 0x4060), // Logs, and WRITE DMA FUA EXT.
        (85, 0x4020), // The same, in use.
        (86, 0x3400),
        (87, 0x4060),
        (88, 0x407f), // Ultra DMA modes 0 to 6, of which 6 is selected.
        (93, 0),      // Serial.
        (217, 1),     // Nothing rotates.
    ] {
        words[word] = value;
    }
    words[100..104].copy_from_slice(&halves(sectors));
    let mut data = [0; 512];
    for (to, word) in data.chunks_exact_mut(2).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    // The integrity word: a signature, and what makes the sum of all bytes zero.
    data[510] = 0xa5;
    let sum = data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    data[511] = sum.wrapping_neg();
    data
}

/// Returns the four words of a number, the lowest first.
fn halves(number: u64) -> [u16; 4] {
    let bytes = number.to_le_bytes();
    [0, 2, 4, 6].map(|at| u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_says_its_size_and_its_name() {
        let data = identify(0x1_2345_6789, "viommu-disk0");
        let word = |at: usize| u16::from_le_bytes([data[2 * at], data[2 * at + 1]]);
        assert_eq!((word(100), word(101), word(102)), (0x6789, 0x2345, 1));
        assert_eq!((word(60), word(61)), (0xffff, 0x0fff), "as far as 28 bits");
        // "vi", the first character in the upper half.
        assert_eq!(word(10), 0x7669);
        assert_eq!(data.iter().fold(0_u8, |sum, b| sum.wrapping_add(*b)), 0);
    }
}
