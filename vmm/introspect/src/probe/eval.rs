//! Values of expressions, from a core that stands still at a probe.

use vmm_machine::vcpu::{Core, NoMemory};

use super::abi::{Abi, CoreMemory, RESULT, register, set_register};
use super::ast::{Expr, Operator, Path};

use super::scope::{Root, Scope, ScopeError, Target};
use crate::memory::{Memory, MemoryError};
use crate::types::path::Bits;
use crate::types::value::{Reader, Value, ValueError};
use crate::types::{Types, TypesError};

/// Words of arguments that are kept from a function's entry to its return.
pub(super) const ARGUMENTS: usize = 10;

/// The reason for which an expression has no value at this moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// Its names mean nothing here.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// Memory on the way to it cannot be read.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// Something that is no number where one is needed.
    #[error("this is no number")]
    NotANumber,
    /// Memory that cannot be written.
    #[error(transparent)]
    Write(#[from] NoMemory),
}

impl From<TypesError> for EvalError {
    fn from(error: TypesError) -> Self {
        Self::Scope(error.into())
    }
}

impl From<MemoryError> for EvalError {
    fn from(error: MemoryError) -> Self {
        Self::Value(error.into())
    }
}

/// A function's arguments as they were at its entry, and where it returns to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub arguments: [Option<u64>; ARGUMENTS],
    /// The address that it returns to, as the register has it.
    pub lr: u64,
    pub sp: u64,
}

impl Frame {
    /// Returns the frame of the function at whose first instruction `core` stands.
    pub fn at_entry(core: &Core<'_>) -> Self {
        let abi = Abi::of(core.width());
        let mut arguments = [None; ARGUMENTS];
        // Arguments on the stack that cannot be read are left out: a probe may not ask for them.
        for (n, argument) in (0..).zip(&mut arguments) {
            *argument = core.argument(n).ok();
        }
        Self {
            arguments,
            lr: core.reg(abi.lr),
            sp: core.reg(abi.sp),
        }
    }

    /// Returns the instruction that it returns to.
    pub const fn returns_to(&self, abi: Abi) -> u64 {
        abi.target(self.lr)
    }
}

/// Something that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// A core register, by its name.
    Register(String),
    /// Guest memory: virtual address and width in bytes.
    Memory(u64, u8),
}

/// A change to the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The place that was written.
    pub place: Written,
    /// The same place as the probe names it.
    pub meaning: String,
    /// The value before: all bytes of the place, as a little-endian number.
    pub old: u64,
    /// The value now.
    pub new: u64,
}

/// Evaluates for one hit of one probe.
pub(super) struct Evaluator<'a, 'c> {
    pub scope: Scope<'a>,
    pub frame: &'a Frame,
    pub core: &'a mut Core<'c>,
}

impl Evaluator<'_, '_> {
    fn abi(&self) -> Abi {
        Abi::of(self.core.width())
    }

    fn types(&self) -> Result<&Types, EvalError> {
        Ok(self.scope.kernel.types.as_ref().map_err(Clone::clone)?)
    }

    fn with_reader<T>(&self, read: impl FnOnce(Reader<'_>) -> T) -> Result<T, EvalError> {
        let memory = CoreMemory(self.core);
        Ok(read(Reader {
            types: self.types()?,
            symbols: Some(&self.scope.kernel.symbols),
            memory: &memory,
        }))
    }

    fn word(&self, address: u64) -> Value {
        // Without a type any word may be an address: if it is in the kernel, it is shown as one.
        let location = self.scope.kernel.symbols.at(address);
        match location {
            Some(location) => Value::Pointer {
                address,
                location: Some(location.to_string()),
            },
            None => Value::Unsigned(address),
        }
    }

    /// Returns the value of a path without fields.
    fn root(&self, root: Root) -> Result<Value, EvalError> {
        let (raw, ty) = match root {
            Root::Register(n) => (register(self.core, n), None),
            Root::Returned(ty) => (self.core.reg(RESULT), ty),
            Root::Caller => return Ok(self.word(self.frame.returns_to(self.abi()))),
            Root::Cpu => return Ok(Value::Unsigned(self.core.index() as u64)),
            Root::Argument(slot, ty) => (self.argument(slot)?, ty),
            Root::Global(address) => (self.variable(address)?, None),
        };
        match ty {
            Some(ty) => self.with_reader(|reader| reader.register(ty, raw)),
            None => Ok(self.word(raw)),
        }
    }

    /// Reads the first word of the variable at `address`.
    fn variable(&self, address: u64) -> Result<u64, EvalError> {
        let mut bytes = [0; 8];
        let size = usize::from(self.scope.variable_size(address));
        CoreMemory(self.core).read(address, &mut bytes[..size])?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn argument(&self, slot: u8) -> Result<u64, EvalError> {
        // Those in registers may have been set by an action before this one.
        if slot < self.abi().arguments && !self.scope.site.at_return && self.scope.site.offset == 0
        {
            return Ok(self.core.reg(slot));
        }
        // Later than the entry the registers hold something else: what was kept of them counts.
        let word = self.frame.arguments.get(usize::from(slot)).copied();
        Ok(word.flatten().ok_or(MemoryError::Unmapped(self.frame.sp))?)
    }

    /// Returns the address of the object whose fields a path names.
    fn object(&self, root: Root, name: &str) -> Result<u64, EvalError> {
        // A variable is the object itself; all other roots point to it.
        let address = match root {
            Root::Global(address) => address,
            root => self
                .root(root)?
                .number()
                .and_then(|n| u64::try_from(n).ok())
                .filter(|n| self.abi().width.cut(*n) == *n)
                .ok_or_else(|| ScopeError::NoFields(name.into()))?,
        };
        if address == 0 {
            return Err(ValueError::Null.into());
        }
        Ok(address)
    }

    fn path(&self, path: &Path) -> Result<Value, EvalError> {
        let Target {
            root,
            fields,
            device_name,
        } = self.scope.target(path)?;
        let Some(fields) = fields else {
            return self.root(root);
        };
        let start = self.object(root, &path.root)?;
        self.with_reader(|reader| {
            if !device_name {
                return reader.read(start, &fields);
            }
            let device = reader.locate(start, &fields)?;
            Ok(Value::Text {
                address: device,
                text: reader.device_name(device)?,
                complete: true,
            })
        })?
        .map_err(EvalError::from)
    }

    /// Returns the value of `expr`.
    pub fn value(&self, expr: &Expr) -> Result<Value, EvalError> {
        match expr {
            Expr::Number(number) => Ok(whole(*number)),
            Expr::Text(text) => Ok(Value::Text {
                address: 0,
                text: text.clone(),
                complete: true,
            }),
            Expr::Path(path) => self.path(path),
            Expr::AddressOf(symbol) => Ok(Value::Pointer {
                address: self.scope.symbol(symbol)?,
                location: Some(symbol.clone()),
            }),
            Expr::Not(inner) => Ok(Value::Bool(!self.holds(inner)?)),
            Expr::Binary(left, operator, right) => self.binary(left, *operator, right),
        }
    }

    /// Returns whether `expr` is true: a number but 0, a text that is not empty, a pointer but
    /// NULL.
    pub fn holds(&self, expr: &Expr) -> Result<bool, EvalError> {
        Ok(match self.value(expr)? {
            Value::Text { text, .. } => !text.is_empty(),
            value => value.number().ok_or(EvalError::NotANumber)? != 0,
        })
    }

    fn binary(&self, left: &Expr, operator: Operator, right: &Expr) -> Result<Value, EvalError> {
        // As in C the right side is evaluated only if it matters: in `p && p.x` it may have no
        // value.
        match operator {
            Operator::And => {
                return Ok(Value::Bool(self.holds(left)? && self.holds(right)?));
            }
            Operator::Or => return Ok(Value::Bool(self.holds(left)? || self.holds(right)?)),
            _ => {}
        }
        let literal = matches!(left, Expr::Text(_)) || matches!(right, Expr::Text(_));
        let (left, right) = (self.value(left)?, self.value(right)?);
        // Compared as shown, so that an enumeration's value, a symbol or a text can be compared
        // with its name.
        if literal {
            let equal = shown(&left) == shown(&right);
            return match operator {
                Operator::Equal => Ok(Value::Bool(equal)),
                Operator::NotEqual => Ok(Value::Bool(!equal)),
                _ => Err(EvalError::NotANumber),
            };
        }
        let (Some(l), Some(r)) = (left.number(), right.number()) else {
            return Err(EvalError::NotANumber);
        };
        Ok(match operator {
            Operator::Equal => Value::Bool(l == r),
            Operator::NotEqual => Value::Bool(l != r),
            Operator::Less => Value::Bool(l < r),
            Operator::LessEqual => Value::Bool(l <= r),
            Operator::Greater => Value::Bool(l > r),
            Operator::GreaterEqual => Value::Bool(l >= r),
            // Numbers are of 64 bits at most: their sums fit.
            Operator::Plus => whole(l + r),
            Operator::Minus => whole(l - r),
            Operator::BitAnd => whole(l & r),
            Operator::BitOr => whole(l | r),
            Operator::And | Operator::Or => unreachable!("answered above"),
        })
    }

    /// Writes `value` to `place`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a register holds the low bits of the two's complement"
    )]
    pub fn set(&mut self, place: &Path, value: i128) -> Result<Change, EvalError> {
        let target = self.scope.target(place)?;
        let meaning = place.to_string();
        let number = match (&target.fields, target.root) {
            (Some(fields), root) => {
                let start = self.object(root, &place.root)?;
                let address = self.with_reader(|reader| reader.locate(start, fields))??;
                // Of what has no size, or is larger than a register, as much as can be written at
                // once.
                let size = self.types()?.size(fields.ty).unwrap_or(4).min(8) as u8;
                return self.store(address, size, fields.bits, value, meaning);
            }
            (None, Root::Global(address)) => {
                let size = self.scope.variable_size(address);
                return self.store(address, size, None, value, meaning);
            }
            (None, Root::Register(n)) => n,
            (None, Root::Returned(_)) => RESULT,
            (None, Root::Argument(n, _)) if n < self.abi().arguments => n,
            (None, _) => return Err(ScopeError::ReadOnly(meaning).into()),
        };
        let old = register(self.core, number);
        set_register(self.core, number, value as u64);
        // The new value is read back, as a 32-bit core takes the low half only.
        Ok(Change {
            place: Written::Register(self.abi().name(number)),
            meaning,
            old,
            new: register(self.core, number),
        })
    }

    fn store(
        &mut self,
        address: u64,
        size: u8,
        bits: Option<Bits>,
        value: i128,
        meaning: String,
    ) -> Result<Change, EvalError> {
        // A bit-field is written within the bytes it touches.
        let (shift, width) = bits.map_or((0, u32::from(size) * 8), |b| {
            (u32::from(b.offset), u32::from(b.size))
        });
        // A bit-field that reaches into a ninth byte is written as far as eight bytes go.
        let length = (shift + width).div_ceil(8).min(8);
        let mut bytes = [0; 8];
        let place = &mut bytes[..length as usize];
        // Read first: bits around a bit-field stay, and the hit reports the old value.
        CoreMemory(self.core).read(address, place)?;
        let old = u64::from_le_bytes(bytes);
        let mask = u64::MAX.checked_shr(64 - width.min(64)).unwrap_or(0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "memory holds the low bits of the two's complement"
        )]
        let new = old & !(mask << shift) | (value as u64 & mask) << shift;
        self.core
            .write(address, &new.to_le_bytes()[..length as usize])?;
        Ok(Change {
            place: Written::Memory(address, length as u8),
            meaning,
            old,
            new,
        })
    }
}

/// Returns a number as a value: what does not fit 64 bits is cut to them.
#[expect(clippy::cast_possible_truncation, reason = "what does not fit is cut")]
fn whole(number: i128) -> Value {
    match (i64::try_from(number), u64::try_from(number)) {
        (Err(_), Ok(number)) => Value::Unsigned(number),
        _ => Value::Signed(number as i64),
    }
}

/// Returns a value as a text, to compare with one.
fn shown(value: &Value) -> String {
    match value {
        Value::Text { text, .. } => text.clone(),
        other => other.to_string(),
    }
}
