//! Finds out whether whoever connects is a debugger.
//!
//! A port is also looked at by those who only want to know whether it is open, and spoken to by
//! those who take it for another. Nothing happens to the machine before one packet of the protocol
//! has come whole, with its checksum.

/// The most that comes before a debugger's first packet is over: gdb's own is not a quarter of
/// that.
const MAX_GREETING: usize = 4096;

/// The bytes that have come so far.
#[derive(Debug, Default)]
pub(super) struct Greeting(Vec<u8>);

/// A guess at who has sent them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Guess {
    /// Too little to tell.
    Unknown,
    /// A debugger, with these bytes to be looked at: its first packet and what came with it.
    Debugger(Vec<u8>),
    /// Somebody else.
    Other,
}

impl Greeting {
    /// Looks at `bytes`, which have come after those before.
    pub fn hear(&mut self, bytes: &[u8]) -> Guess {
        self.0.extend_from_slice(bytes);
        // Acknowledgements (`+`) may come first, and a `$` that begins no whole packet yet may
        // begin one later.
        let starts = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'$');
        for (start, _) in starts {
            if is_packet(&self.0[start + 1..]) {
                // What came before is dropped: acknowledgements of packets that nobody sent.
                return Guess::Debugger(self.0.split_off(start));
            }
        }
        if self.0.len() > MAX_GREETING {
            return Guess::Other;
        }
        Guess::Unknown
    }
}

/// Returns whether `rest`, which follows a `$`, begins with a packet's body, `#` and the body's sum
/// in two hexadecimal digits.
fn is_packet(rest: &[u8]) -> bool {
    let Some(end) = rest.iter().position(|byte| *byte == b'#') else {
        return false;
    };
    let (body, sum) = (&rest[..end], rest.get(end + 1..end + 3));
    let sum = sum.and_then(|digits| std::str::from_utf8(digits).ok());
    let sum = sum.and_then(|digits| u8::from_str_radix(digits, 16).ok());
    // The checksum is the sum of the body's bytes modulo 256.
    let found = body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    !body.is_empty() && sum == Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_packet_makes_a_debugger() {
        let mut greeting = Greeting::default();
        assert_eq!(greeting.hear(b"+$qSup"), Guess::Unknown);
        assert_eq!(greeting.hear(b"$?#3"), Guess::Unknown);
        assert_eq!(greeting.hear(b"f+"), Guess::Debugger(b"$?#3f+".to_vec()));
    }

    #[test]
    fn all_else_does_not() {
        for noise in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"$?#40",
            b"$#00",
            b"$?#zz",
            b"\x03",
            b"$$$###",
        ] {
            assert_eq!(Greeting::default().hear(noise), Guess::Unknown);
        }
        assert_eq!(Greeting::default().hear(&[b'$'; 4097]), Guess::Other);
    }
}
