//! Names of PCI functions.

use std::fmt;
use std::str::FromStr;

/// A requester ID: bus, device and function in 16 bits, which every request of a PCI Express
/// function carries (PCI Express Base Specification, "Transaction ID"; without ARI).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequesterId(pub u16);

impl RequesterId {
    /// Returns the ID of a function; `None` if there is no such device (0 to 31) or function (0 to
    /// 7).
    pub const fn new(bus: u8, device: u8, function: u8) -> Option<Self> {
        if device > 31 || function > 7 {
            return None;
        }
        let low = device << 3 | function;
        Some(Self(u16::from_be_bytes([bus, low])))
    }

    /// Returns the number of the bus.
    pub const fn bus(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// Returns the number of the device on its bus, 0 to 31.
    pub const fn device(self) -> u8 {
        self.0.to_be_bytes()[1] >> 3
    }

    /// Returns the number of the function in its device, 0 to 7.
    pub const fn function(self) -> u8 {
        self.0.to_be_bytes()[1] & 7
    }
}

/// As `lspci` writes it: `00:1f.3`.
impl fmt::Display for RequesterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bus, device, function) = (self.bus(), self.device(), self.function());
        write!(f, "{bus:02x}:{device:02x}.{function}")
    }
}

/// A PCI function among all segment groups (domains, as Linux calls them).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// The segment group.
    pub segment: u16,
    /// The function in it.
    pub requester: RequesterId,
}

impl PciAddress {
    /// Creates the address of a function.
    pub const fn new(segment: u16, requester: RequesterId) -> Self {
        Self { segment, requester }
    }
}

/// As `lspci -D` writes it: `0000:00:1f.3`.
impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{}", self.segment, self.requester)
    }
}

/// A text that names no PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a PCI function is named as in 0000:00:1f.3 or 00:1f.3")]
pub struct ParseRequesterError;

/// Reads `0000:00:1f.3`, or `00:1f.3` for segment 0.
impl FromStr for PciAddress {
    type Err = ParseRequesterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str, digits| {
            // `from_str_radix` would take a sign.
            let is_number = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
            let value = is_number.then(|| u16::from_str_radix(text, 16).ok());
            value.flatten().ok_or(ParseRequesterError)
        };
        let byte = |text, digits| number(text, digits).map(|value| value.to_be_bytes()[1]);
        let (rest, function) = text.rsplit_once('.').ok_or(ParseRequesterError)?;
        let (rest, device) = rest.rsplit_once(':').ok_or(ParseRequesterError)?;
        let (segment, bus) = match rest.rsplit_once(':') {
            Some((segment, bus)) => (number(segment, 4)?, bus),
            None => (0, rest),
        };
        let requester = RequesterId::new(byte(bus, 2)?, byte(device, 2)?, byte(function, 1)?);
        Ok(Self::new(segment, requester.ok_or(ParseRequesterError)?))
    }
}
