//! Requests, taken from bytes.

use super::spec::{readable_size, request_type};

/// A request of the driver, as it came: nothing is checked but that it is all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// Attach an endpoint to a domain.
    Attach {
        /// The domain.
        domain: u32,
        /// The endpoint.
        endpoint: u32,
        /// [`attach_flag`](super::spec::attach_flag).
        flags: u32,
        /// Must be 0.
        reserved: u32,
    },
    /// Detach an endpoint from a domain.
    Detach {
        /// The domain.
        domain: u32,
        /// The endpoint.
        endpoint: u32,
    },
    /// Map a range.
    Map {
        /// The domain.
        domain: u32,
        /// First IOVA.
        first: u64,
        /// Last IOVA.
        last: u64,
        /// The guest physical address that `first` leads to.
        address: u64,
        /// [`map_flag`](super::spec::map_flag).
        flags: u32,
    },
    /// Unmap a range.
    Unmap {
        /// The domain.
        domain: u32,
        /// First IOVA.
        first: u64,
        /// Last IOVA.
        last: u64,
    },
    /// Tell of an endpoint.
    Probe {
        /// The endpoint.
        endpoint: u32,
    },
}

/// Why bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Fewer bytes than a request of its type has.
    #[error("the request is too short for its type")]
    Short,
    /// No request has this type.
    #[error("there is no request of type {0}")]
    Type(u8),
}

/// Takes fields off the front of bytes that are long enough.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(ParseError::Short)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32, ParseError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ParseError> {
        self.take().map(u64::from_le_bytes)
    }
}

impl Request {
    /// Parses the request that `bytes` begin with. What follows it is ignored, as a later version
    /// may have put it there.
    ///
    /// # Errors
    /// If its type is unknown, or bytes are missing, even if only of a field that is reserved.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut fields = Fields(bytes);
        // The rest of the head is reserved and must be ignored.
        let [kind, ..]: [u8; 4] = fields.take()?;
        let size = match kind {
            request_type::ATTACH => readable_size::ATTACH,
            request_type::DETACH => readable_size::DETACH,
            request_type::MAP => readable_size::MAP,
            request_type::UNMAP => readable_size::UNMAP,
            request_type::PROBE => readable_size::PROBE,
            _ => return Err(ParseError::Type(kind)),
        };
        // Checked as a whole: reserved fields at the end count too, though they are not all read.
        if bytes.len() < size {
            return Err(ParseError::Short);
        }
        Ok(match kind {
            request_type::ATTACH => Self::Attach {
                domain: fields.u32()?,
                endpoint: fields.u32()?,
                flags: fields.u32()?,
                reserved: fields.u32()?,
            },
            // Its reserved field must be ignored, while that of ATTACH must be checked.
            request_type::DETACH => Self::Detach {
                domain: fields.u32()?,
                endpoint: fields.u32()?,
            },
            request_type::MAP => Self::Map {
                domain: fields.u32()?,
                first: fields.u64()?,
                last: fields.u64()?,
                address: fields.u64()?,
                flags: fields.u32()?,
            },
            request_type::UNMAP => Self::Unmap {
                domain: fields.u32()?,
                first: fields.u64()?,
                last: fields.u64()?,
            },
            // No other type is left: its size would not have been found.
            _ => Self::Probe {
                endpoint: fields.u32()?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_needs_all_of_its_bytes() {
        let sizes = [(1, 20), (2, 20), (3, 36), (4, 28), (5, 72)];
        for (kind, size) in sizes {
            let mut bytes = [0; 80];
            bytes[0] = kind;
            assert_eq!(
                Request::parse(&bytes[..size - 1]),
                Err(ParseError::Short),
                "{kind}"
            );
            let whole = Request::parse(&bytes[..size]).unwrap();
            assert_eq!(Request::parse(&bytes), Ok(whole), "{kind}");
        }
        assert_eq!(Request::parse(&[3, 0, 0]), Err(ParseError::Short));
        for kind in [0, 6, 0xff] {
            assert_eq!(Request::parse(&[kind; 80]), Err(ParseError::Type(kind)));
        }
    }

    #[test]
    fn fields_are_where_the_specification_has_them() {
        let bytes: Vec<u8> = (0..80).collect();
        let with_type = |kind| {
            let mut bytes = bytes.clone();
            bytes[0] = kind;
            Request::parse(&bytes).unwrap()
        };
        assert_eq!(
            with_type(1),
            Request::Attach {
                domain: 0x0706_0504,
                endpoint: 0x0b0a_0908,
                flags: 0x0f0e_0d0c,
                reserved: 0x1312_1110,
            }
        );
        assert_eq!(
            with_type(3),
            Request::Map {
                domain: 0x0706_0504,
                first: 0x0f0e_0d0c_0b0a_0908,
                last: 0x1716_1514_1312_1110,
                address: 0x1f1e_1d1c_1b1a_1918,
                flags: 0x2322_2120,
            }
        );
        assert_eq!(
            with_type(5),
            Request::Probe {
                endpoint: 0x0706_0504
            }
        );
    }
}
