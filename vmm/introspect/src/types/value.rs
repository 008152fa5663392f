//! What is in guest memory at the end of a path, in the form that its type gives it.

use std::fmt;

use serde::Serialize;
use vmm_base::Width;

use super::path::{Bits, Path, PathError, Step};
use super::{Kind, TypeId, Types};
use crate::memory::{Memory, MemoryError};
use crate::symbols::Symbols;

/// The longest text that is shown, in bytes.
pub const MAX_SHOWN: usize = 256;

/// The reason for which there is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Memory that cannot be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A null pointer on the way.
    #[error("a pointer on the way is NULL")]
    Null,
    /// The path itself.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// A value of the guest.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// An unsigned number.
    Unsigned(u64),
    /// A signed number.
    Signed(i64),
    /// A floating-point number.
    Float(f64),
    /// A value of an enumeration.
    Enum {
        /// Its name there, if it has one.
        name: Option<String>,
        /// The number.
        value: i64,
    },
    /// Text: what a `char *` points to, or an array of `char`.
    Text {
        /// Virtual address of the first byte.
        address: u64,
        /// The text; bytes that are not UTF-8 are replaced.
        text: String,
        /// Whether its end was found within [`MAX_SHOWN`] bytes.
        complete: bool,
    },
    /// A pointer, or an address in a register.
    Pointer {
        /// The address that it points to.
        address: u64,
        /// The symbol there, if any: `iommu_ops` or `vprintk+0x10 [module]`.
        location: Option<String>,
    },
    /// A structure, union or array, which has no value of its own.
    Object {
        /// Its type as C writes it.
        ty: String,
        /// Its virtual address.
        address: u64,
    },
}

impl Value {
    /// Returns the value as a number, for comparisons: signs extended, addresses for pointers,
    /// texts and objects.
    pub fn number(&self) -> Option<i128> {
        Some(match self {
            Self::Bool(b) => (*b).into(),
            Self::Unsigned(n) => (*n).into(),
            Self::Signed(n) => (*n).into(),
            Self::Enum { value, .. } => (*value).into(),
            Self::Text { address, .. }
            | Self::Pointer { address, .. }
            | Self::Object { address, .. } => (*address).into(),
            Self::Float(_) => return None,
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(b) => write!(f, "{b}"),
            Self::Unsigned(n) => write!(f, "{n}"),
            Self::Signed(n) => write!(f, "{n}"),
            Self::Float(n) => write!(f, "{n}"),
            Self::Enum {
                name: Some(name), ..
            } => f.write_str(name),
            Self::Enum { value, .. } => write!(f, "{value}"),
            Self::Text { text, complete, .. } => {
                write!(f, "{text:?}{}", if *complete { "" } else { "..." })
            }
            Self::Pointer { address: 0, .. } => f.write_str("NULL"),
            Self::Pointer {
                location: Some(location),
                ..
            } => f.write_str(location),
            Self::Pointer { address, .. } => write!(f, "{address:#010x}"),
            Self::Object { ty, address } => write!(f, "{ty} at {address:#010x}"),
        }
    }
}

/// Reads values out of a guest.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The kernel's types.
    pub types: &'a Types,
    /// The kernel's symbols, for pointers; `None` leaves them numbers.
    pub symbols: Option<&'a Symbols>,
    /// The guest's memory at this moment.
    pub memory: &'a dyn Memory,
}

impl Reader<'_> {
    /// Follows `path` from the object at `start` to the address of its end.
    ///
    /// # Errors
    /// [`ValueError`] if a pointer on the way is null or cannot be read.
    pub fn locate(&self, start: u64, path: &Path) -> Result<u64, ValueError> {
        let width = self.types.width();
        let mut address = start;
        for step in &path.steps {
            match step {
                // Wraps as the guest's own arithmetic with addresses does.
                Step::Add(bytes) => address = width.cut(address.wrapping_add((*bytes).into())),
                Step::Deref => {
                    address = self.memory.pointer(address, width)?;
                    if address == 0 {
                        return Err(ValueError::Null);
                    }
                }
            }
        }
        Ok(address)
    }

    /// Returns the value at the end of `path`, from the object at `start` on.
    ///
    /// # Errors
    /// [`ValueError`] if memory on the way or the value itself cannot be read.
    pub fn read(&self, start: u64, path: &Path) -> Result<Value, ValueError> {
        let address = self.locate(start, path)?;
        self.value(address, path.ty, path.bits)
    }

    /// Returns the value of type `ty` at `address`.
    fn value(&self, address: u64, ty: TypeId, bits: Option<Bits>) -> Result<Value, ValueError> {
        let stripped = self.types.strip(ty);
        let object = || Value::Object {
            ty: self.types.type_name(ty),
            address,
        };
        let size = match self.types.kind(stripped) {
            Kind::Array { element, count } if self.is_char(*element) => {
                return Ok(self.text(address, *count as usize)?);
            }
            Kind::Int { size, .. } | Kind::Float { size } | Kind::Enum { size, .. } => *size,
            Kind::Pointer(_) => self.types.width().bytes(),
            _ => return Ok(object()),
        };
        // Wider numbers, such as `__int128`, and sizes that a hostile blob makes up.
        if !(1..=8).contains(&size) {
            return Ok(object());
        }
        let (raw, width) = self.raw(address, size, bits)?;
        Ok(self.interpret(stripped, raw, width))
    }

    /// Reads a number of `size` bytes, or the bit-field in it, and tells its width in bits.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "no more than 64 bits are wanted"
    )]
    fn raw(&self, address: u64, size: u32, bits: Option<Bits>) -> Result<(u64, u32), ValueError> {
        let mut bytes = [0; 16];
        let (offset, width) = match bits {
            // No bit-field is wider than 64 bits, nor begins after bit 7 of its first byte.
            Some(b) => (u32::from(b.offset % 8), u32::from(b.size).min(64)),
            None => (0, size * 8),
        };
        let length = (offset + width).div_ceil(8) as usize;
        self.memory.read(address, &mut bytes[..length])?;
        // In 128 bits, as a bit-field of 64 bits that begins within a byte reaches into a ninth.
        let value = u128::from_le_bytes(bytes) >> offset;
        Ok((value as u64 & mask(width), width))
    }

    /// Returns a raw number as `ty`, which is no alias.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "a number may be read as one of its low word, or as signed"
    )]
    fn interpret(&self, ty: TypeId, raw: u64, width: u32) -> Value {
        match self.types.kind(ty) {
            Kind::Int { boolean: true, .. } => Value::Bool(raw != 0),
            Kind::Int { signed: true, .. } => Value::Signed(sign_extend(raw, width)),
            Kind::Float { size: 4 } => Value::Float(f32::from_bits(raw as u32).into()),
            Kind::Float { size: 8 } => Value::Float(f64::from_bits(raw)),
            Kind::Enum { signed, values, .. } => {
                let value = if *signed {
                    sign_extend(raw, width)
                } else {
                    raw as i64
                };
                let name = self.types.enum_name(values, value);
                Value::Enum {
                    name: name.map(str::to_owned),
                    value,
                }
            }
            Kind::Pointer(to) => self.pointer(*to, self.types.width().cut(raw)),
            _ => Value::Unsigned(raw),
        }
    }

    /// Returns an argument or a result: the content `raw` of a register as `ty`. Wider types need
    /// two registers and come as what the first has of them.
    pub fn register(&self, ty: TypeId, raw: u64) -> Value {
        let stripped = self.types.strip(ty);
        let all = self.types.width().bytes();
        let size = match self.types.kind(stripped) {
            Kind::Int { size, .. } | Kind::Enum { size, .. } if (1..all).contains(size) => *size,
            _ => all,
        };
        self.interpret(stripped, raw & mask(8 * size), 8 * size)
    }

    fn pointer(&self, to: TypeId, address: u64) -> Value {
        // A `char *` whose text cannot be read is shown as the pointer that it is.
        if address != 0
            && self.is_char(to)
            && let Ok(text) = self.text(address, MAX_SHOWN)
        {
            return text;
        }
        // Addresses of Thumb functions have bit 0 set, their symbols have not.
        let function = matches!(
            self.types.kind(self.types.strip(to)),
            Kind::Prototype { .. } | Kind::Function(_)
        );
        let thumb = function && self.types.width() == Width::Bits32;
        let target = if thumb { address & !1 } else { address };
        let location = self.symbols.and_then(|s| s.at(target));
        Value::Pointer {
            address,
            location: location.map(|l| l.to_string()),
        }
    }

    fn text(&self, address: u64, size: usize) -> Result<Value, MemoryError> {
        // A text as long as its array has no NUL, and is complete all the same.
        let (bytes, ended) = self.memory.text(address, size.min(MAX_SHOWN))?;
        let whole_array = bytes.len() == size;
        Ok(Value::Text {
            address,
            text: String::from_utf8_lossy(&bytes).into_owned(),
            complete: ended || (whole_array && size < MAX_SHOWN),
        })
    }

    /// Returns whether this is C's `char`: `u8` and the like are numbers.
    fn is_char(&self, ty: TypeId) -> bool {
        let mut ty = ty;
        for _ in 0..super::MAX_DEPTH {
            match self.types.kind(ty) {
                Kind::Alias(super::Alias::Typedef, _) => return false,
                Kind::Alias(_, to) => ty = *to,
                Kind::Int { size: 1, .. } => return self.types.plain_name(ty) == "char",
                _ => return false,
            }
        }
        false
    }

    /// Returns the name of the `struct device` at `device`, as `dev_name()` of the kernel takes it:
    /// the initial name, or that of its kernel object (include/linux/device.h).
    ///
    /// # Errors
    /// [`ValueError`] if the structure is not known or cannot be read.
    pub fn device_name(&self, device: u64) -> Result<String, ValueError> {
        // The initial name holds until the device is added; `device_add` (drivers/base/core.c) then
        // clears it.
        for path in ["init_name", "kobj.name"] {
            let path = self.types.resolve("device", path)?;
            if let Value::Text { text, .. } = self.read(device, &path)? {
                return Ok(text);
            }
        }
        Err(ValueError::Null)
    }
}

/// Returns ones in the low `width` bits.
fn mask(width: u32) -> u64 {
    u64::MAX.checked_shr(64 - width.min(64)).unwrap_or(0)
}

fn sign_extend(raw: u64, width: u32) -> i64 {
    let shift = 64 - width.clamp(1, 64);
    (raw << shift).cast_signed() >> shift
}
