//! What the names in a probe mean at its place in the kernel.

use vmm_base::Width;

use super::abi::Abi;
use super::ast::{Action, Expr, Path, Probe, Site};
use super::kernel::Kernel;
use crate::symbols::Symbol;
use crate::types::path::{Path as Resolved, PathError};
use crate::types::{Prototype, TypeId, Types, TypesError};

/// The reason for which a probe does not fit the kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// No such function.
    #[error(
        "this kernel has no symbol `{0}` (it may be inlined, in a module that is not loaded, or named otherwise)"
    )]
    NoSymbol(String),
    /// A register of other kernels.
    #[error("`{name}` is a register of {bits}-bit kernels; this one has {registers}")]
    OtherRegister {
        /// The register.
        name: String,
        /// The width of those kernels' registers, in bits.
        bits: u32,
        /// The registers that there are.
        registers: String,
    },
    /// No such value.
    #[error("`{name}` is no register, no argument of `{function}` and no symbol{arguments}")]
    NoValue {
        /// The name that was written.
        name: String,
        /// The function probed.
        function: String,
        /// The arguments there are, in brackets, or nothing.
        arguments: String,
    },
    /// Only at a return.
    #[error("`retval` is known at the return of a function only: write `{0}@return`")]
    NoReturn(String),
    /// Fields of a value that points to no structure.
    #[error("`{0}` points to no structure that is known: say which with `(struct NAME){0}`")]
    NoFields(String),
    /// A field that is not there.
    #[error(transparent)]
    Path(#[from] PathError),
    /// No types at all.
    #[error(transparent)]
    Types(#[from] TypesError),
    /// It cannot be written.
    #[error("`{0}` cannot be set")]
    ReadOnly(String),
}

/// The place of a value before any field of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// A core register, as [`Abi`] numbers them.
    Register(u8),
    /// R0 or X0 where the function has returned.
    Returned(Option<TypeId>),
    /// The address that the function returns to.
    Caller,
    /// The number of the core.
    Cpu,
    /// A word of the arguments, by its position, and its type if known.
    Argument(u8, Option<TypeId>),
    /// A variable of the kernel.
    Global(u64),
}

/// A path with its root found and its fields resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub root: Root,
    /// The way from the object that the root points to, to the value; `None` for the root itself.
    pub fields: Option<Resolved>,
    /// The value is the name of a `struct device` to which `fields` leads, which the kernel keeps
    /// in one of two places.
    pub device_name: bool,
}

/// One probe's view of the kernel.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub kernel: &'a Kernel,
    pub site: &'a Site,
}

impl<'a> Scope<'a> {
    fn types(&self) -> Result<&'a Types, ScopeError> {
        self.kernel.types.as_deref().map_err(|e| e.clone().into())
    }

    /// Resolves `path`.
    pub fn target(&self, path: &Path) -> Result<Target, ScopeError> {
        let root = self.root(&path.root)?;
        if path.fields.is_empty() && path.cast.is_none() {
            return Ok(Target {
                root,
                fields: None,
                device_name: false,
            });
        }
        let types = self.types()?;
        let structure = match (&path.cast, root) {
            (Some(name), _) => types
                .structure(name)
                .ok_or_else(|| PathError::NoStructure(name.clone()))?,
            (None, Root::Argument(_, Some(ty)) | Root::Returned(Some(ty))) => types
                .pointee(ty)
                .ok_or_else(|| ScopeError::NoFields(path.root.clone()))?,
            (None, _) => return Err(ScopeError::NoFields(path.root.clone())),
        };
        // A device's name is in one of two members, so `name` is not resolved as one (`dev_name` of
        // include/linux/device.h).
        if let Some((last, before)) = path.fields.split_last()
            && last == "name"
        {
            let owner = types.resolve_from(structure, &before.join("."))?;
            let object = types.pointee(owner.ty).unwrap_or(owner.ty);
            if types.structure("device") == Some(types.strip(object)) {
                // The steps have to lead to the structure itself: a pointer to it is followed.
                let fields = match types.pointee(owner.ty) {
                    Some(_) => {
                        let mut steps = owner.steps;
                        steps.push(crate::types::path::Step::Deref);
                        Resolved { steps, ..owner }
                    }
                    None => owner,
                };
                return Ok(Target {
                    root,
                    fields: Some(fields),
                    device_name: true,
                });
            }
        }
        Ok(Target {
            root,
            fields: Some(types.resolve_from(structure, &path.fields.join("."))?),
            device_name: false,
        })
    }

    /// Resolves the first name of a path means.
    pub fn root(&self, name: &str) -> Result<Root, ScopeError> {
        // Arguments come first: one may be called like a register or a global variable.
        if let Some((slot, ty)) = self.argument(name) {
            return Ok(Root::Argument(slot, Some(ty)));
        }
        let number = || {
            let digits = name.strip_prefix("arg")?;
            // Ten words, as many as a `Frame` keeps.
            digits.parse::<u8>().ok().filter(|&n| n <= 9)
        };
        let abi = self.abi();
        let known = match name {
            "caller" => Some(Root::Caller),
            "cpu" => Some(Root::Cpu),
            "retval" if !self.site.at_return => {
                return Err(ScopeError::NoReturn(self.site.symbol.clone()));
            }
            "retval" => Some(Root::Returned(self.returns())),
            // A register's name means the register, whatever variables the kernel has.
            _ => abi
                .register(name)
                .map(Root::Register)
                .or_else(|| number().map(|n| Root::Argument(n, None)))
                .or_else(|| self.kernel.symbols.address(name).map(Root::Global)),
        };
        known.ok_or_else(|| match abi.other().register(name) {
            Some(_) => ScopeError::OtherRegister {
                name: name.into(),
                bits: 8 * abi.other().width.bytes(),
                registers: abi.registers(),
            },
            None => ScopeError::NoValue {
                name: name.into(),
                function: self.site.symbol.clone(),
                arguments: self.arguments(),
            },
        })
    }

    /// Returns how functions of this kernel use registers.
    fn abi(&self) -> Abi {
        Abi::of(self.kernel.symbols.width())
    }

    fn returns(&self) -> Option<TypeId> {
        Some(self.prototype()?.1.returns)
    }

    /// Returns what is known of the function probed. The kernel's types say nothing of a module's
    /// functions.
    fn prototype(&self) -> Option<(&'a Types, Prototype<'a>)> {
        // Without types there are no argument names, but registers and `arg0` still work.
        let types = self.kernel.types.as_ref().ok()?;
        if self.site.module.is_some() {
            return None;
        }
        Some((types, types.function(&self.site.symbol)?))
    }

    /// Returns the arguments there are, for a message.
    fn arguments(&self) -> String {
        self.prototype().map_or_else(String::new, |(_, prototype)| {
            let names: Vec<_> = prototype.arguments.iter().map(|a| a.name).collect();
            format!(" (its arguments are {})", names.join(", "))
        })
    }

    /// Returns the position of the first word of the argument `name`, and its type.
    fn argument(&self, name: &str) -> Option<(u8, TypeId)> {
        let (types, prototype) = self.prototype()?;
        let abi = self.abi();
        // Counted from the first argument on, as the place of each depends on the sizes of those
        // before.
        let mut next = 0u8;
        for argument in prototype.arguments {
            let (slot, words) = match abi.width {
                Width::Bits32 => aarch32_slot(types, argument.ty, next)?,
                Width::Bits64 => aarch64_slot(types, argument.ty, next, abi.arguments)?,
            };
            if argument.name == name {
                return Some((slot, argument.ty));
            }
            // A prototype of a hostile blob may have thousands of arguments.
            next = slot.checked_add(words)?;
        }
        None
    }

    /// Returns how many bytes of the variable at `address` are read: as many as a register has, but
    /// no more than there are up to the next symbol, as in a 64-bit kernel the next one may begin
    /// within eight bytes.
    pub fn variable_size(&self, address: u64) -> u8 {
        #[expect(clippy::cast_possible_truncation, reason = "a word has 4 or 8 bytes")]
        let all = self.abi().width.bytes() as u8;
        match self.kernel.symbols.next_after(address) {
            Some(next) if all == 8 && next - address < 8 => 4,
            _ => all,
        }
    }

    /// Checks that all names of `probe` mean something here.
    pub fn check(&self, probe: &Probe) -> Result<(), ScopeError> {
        if let Some(condition) = &probe.condition {
            self.check_expr(condition)?;
        }
        for action in &probe.actions {
            match action {
                Action::Print(values) => values.iter().try_for_each(|v| self.check_expr(v))?,
                Action::Set(Expr::Path(place), value) => {
                    let target = self.target(place)?;
                    let writable = target.fields.is_some()
                        || matches!(
                            target.root,
                            Root::Register(_) | Root::Returned(_) | Root::Global(_)
                        )
                        || matches!(target.root, Root::Argument(n, _) if n < self.abi().arguments);
                    // Which of its two members holds a device's name is known at the hit only.
                    if target.device_name || !writable {
                        return Err(ScopeError::ReadOnly(place.to_string()));
                    }
                    self.check_expr(value)?;
                }
                // The parser makes paths only; an expression that is none cannot be written.
                Action::Set(place, _) => return Err(ScopeError::ReadOnly(format!("{place:?}"))),
                Action::Return(Some(value)) => self.check_expr(value)?,
                // Looked up now, so that the target exists whenever the probe is hit.
                Action::Goto(site) => {
                    self.places(site)?;
                }
                Action::Return(None) | Action::Stop => {}
            }
        }
        Ok(())
    }

    fn check_expr(&self, expr: &Expr) -> Result<(), ScopeError> {
        match expr {
            Expr::Number(_) | Expr::Text(_) => Ok(()),
            Expr::Path(path) => self.target(path).map(|_| ()),
            Expr::AddressOf(symbol) => self.symbol(symbol).map(|_| ()),
            Expr::Not(inner) => self.check_expr(inner),
            Expr::Binary(left, _, right) => {
                self.check_expr(left)?;
                self.check_expr(right)
            }
        }
    }

    /// Returns the addresses that `site` means: static functions of one name are all meant.
    ///
    /// # Errors
    /// There is none.
    pub fn places(&self, site: &Site) -> Result<Vec<u64>, ScopeError> {
        let module = site.module.as_deref();
        let meant = |symbol: &Symbol<'_>| module.is_none() || symbol.module == module;
        let symbols = self.kernel.symbols.named(&site.symbol).filter(meant);
        let abi = self.abi();
        let places: Vec<u64> = symbols
            .map(|symbol| symbol.address.wrapping_add(site.offset.into()))
            // Bit 0 of a 32-bit address would say Thumb, and is no part of where the breakpoint is.
            .map(|place| abi.target(abi.width.cut(place)))
            .collect();
        if places.is_empty() {
            return Err(ScopeError::NoSymbol(site.symbol.clone()));
        }
        Ok(places)
    }

    /// Returns the address of a symbol.
    pub fn symbol(&self, name: &str) -> Result<u64, ScopeError> {
        self.kernel
            .symbols
            .address(name)
            .ok_or_else(|| ScopeError::NoSymbol(name.into()))
    }
}

/// Returns the first word of a 32-bit kernel's argument, and how many words it has, where `next` is
/// the first one that is free. Arguments of eight bytes begin at an even word (AAPCS32 6.5, stage
/// C).
fn aarch32_slot(types: &Types, ty: TypeId, next: u8) -> Option<(u8, u8)> {
    let words = types.size(ty).unwrap_or(4).div_ceil(4).clamp(1, 16) as u8;
    let slot = match words {
        2 => next.checked_next_multiple_of(2)?,
        _ => next,
    };
    Some((slot, words))
}

/// Does the same for a 64-bit kernel, which has `registers` words in registers (AAPCS64 6.8.2):
/// structures of more than two words are in memory, and their address is passed; two words are not
/// split between registers and stack; a number of two words begins at an even one.
#[expect(clippy::cast_possible_truncation, reason = "it is at most 2")]
fn aarch64_slot(types: &Types, ty: TypeId, next: u8, registers: u8) -> Option<(u8, u8)> {
    let words = match types.size(ty).unwrap_or(8).div_ceil(8) {
        words @ 0..=2 => words.max(1) as u8,
        _ => 1,
    };
    let mut slot = next;
    if words == 2 && !types.is_composite(ty) {
        slot = slot.checked_next_multiple_of(2)?;
    }
    if words == 2 && slot.checked_add(1)? == registers {
        slot = registers;
    }
    Some((slot, words))
}
