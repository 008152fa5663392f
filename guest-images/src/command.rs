//! Commands for the guest on the kernel command line.
//!
//! The guest's `/init` runs each word `viommu.run=ENCODED` in turn. The encoding leaves no blank,
//! quote, backslash or byte outside printable ASCII in the word, so that neither the boot loader,
//! the kernel's parser nor the shell's word splitting touches it: a blank is `+`, and whatever else
//! is unsafe is `%` and two hexadecimal digits.

/// Longest kernel command line of a 32-bit ARM kernel in bytes, without the terminating zero byte
/// (Linux `arch/arm/include/uapi/asm/setup.h`, `COMMAND_LINE_SIZE`). What goes beyond it is cut off
/// silently, so longer commands belong into a script, see [`crate::guest_script`].
pub const MAX_COMMAND_LINE: usize = 1023;

/// Word that gives an interactive shell on the console before the guest powers off.
pub const SHELL_WORD: &str = "viommu.shell";

/// Word that has the guest ask for an address on each of its Ethernet interfaces, by DHCP.
pub const NET_WORD: &str = "viommu.net";

/// The start of each word that names a command.
pub const RUN_WORD: &str = "viommu.run=";

/// Returns the kernel-command-line word that makes the guest run `command` with its shell.
///
/// A zero byte cannot be part of a shell command; the guest's shell drops it.
#[must_use]
pub fn encode_command(command: &str) -> String {
    let mut word = String::with_capacity(11 + command.len());
    word.push_str(RUN_WORD);
    for byte in command.bytes() {
        match byte {
            b' ' => word.push('+'),
            // The encoding's own characters, and what quotes in the kernel's parser or in the
            // shell.
            b'+' | b'%' | b'\\' | b'"' | b'\'' => escape(&mut word, byte),
            b'!'..=b'~' => word.push(char::from(byte)),
            _ => escape(&mut word, byte),
        }
    }
    word
}

/// Appends the escaped form of a byte.
fn escape(word: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    word.push('%');
    word.push(char::from(DIGITS[usize::from(byte >> 4)]));
    word.push(char::from(DIGITS[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns what `/init` does: `+` to a blank, `%` to `\x`, then `printf %b`.
    fn decode(word: &str) -> Vec<u8> {
        let escaped = word
            .strip_prefix(RUN_WORD)
            .unwrap()
            .replace('%', "\\x")
            .replace('+', " ");
        let mut rest = escaped.as_bytes();
        let mut out = Vec::new();
        while let [first, tail @ ..] = rest {
            if *first == b'\\' {
                assert_eq!(tail[0], b'x', "only \\x escapes may appear");
                out.push(
                    u8::from_str_radix(std::str::from_utf8(&tail[1..3]).unwrap(), 16).unwrap(),
                );
                rest = &tail[3..];
            } else {
                out.push(*first);
                rest = tail;
            }
        }
        out
    }

    #[test]
    fn readable_for_plain_commands() {
        assert_eq!(
            encode_command("mount /dev/vda /mnt && ls"),
            "viommu.run=mount+/dev/vda+/mnt+&&+ls"
        );
        assert_eq!(
            encode_command("echo 'a+b' 50%\n"),
            "viommu.run=echo+%27a%2bb%27+50%25%0a"
        );
    }

    proptest! {
        #[test]
        fn round_trip(command in "\\PC*|[ -~\\n\\t]*") {
            let word = encode_command(&command);
            prop_assert!(word.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(&byte)));
            prop_assert_eq!(decode(&word), command.into_bytes());
        }
    }
}
