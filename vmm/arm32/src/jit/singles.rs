//! Advanced SIMD on single-precision numbers: what operations on two registers are made of, for
//! every back end.

use arm32_isa::{Insn, Neon3Op, NeonScalarOp};

/// How two things are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// x + y.
    Add,
    /// x - y.
    Sub,
}

/// How two numbers may be to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// x = y.
    Equal,
    /// x >= y.
    GreaterEqual,
    /// x > y.
    Greater,
}

/// What an operation is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A sum or difference.
    Sum(Sum),
    /// A sum of neighbours.
    SumOfPairs,
    /// The magnitude of a difference.
    Difference,
    /// A product, which may be added to the destination then.
    Multiply(Option<Sum>),
    /// A product that is added to the destination and not rounded before.
    Fused(Sum),
    /// A constant less a product; half of it, perhaps.
    Step {
        /// The constant.
        from: f32,
        /// Whether it is halved.
        half: bool,
    },
    /// The larger or the smaller number.
    Extreme {
        /// Which of them.
        larger: bool,
        /// Whether it is one of two neighbours.
        pairs: bool,
    },
    /// A comparison.
    Compare(Relation),
    /// A comparison of magnitudes.
    CompareMagnitudes(Relation),
}

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operation {
    /// What it is made of.
    pub kind: Kind,
    /// Whether its registers are quadwords.
    pub q: bool,
    /// The destination.
    pub vd: u8,
    /// The first operand.
    pub vn: u8,
    /// The second operand.
    pub vm: u8,
    /// The lane of it, a doubleword, that stands for all of them.
    pub lane: Option<u8>,
}

impl Operation {
    /// Returns what `insn` does, if it is an operation of this kind.
    pub fn of(insn: &Insn) -> Option<Self> {
        Some(match *insn {
            Insn::Neon3 {
                op, q, vd, vn, vm, ..
            } => Self {
                kind: kind_of(op)?,
                q,
                vd,
                vn,
                vm,
                lane: None,
            },
            Insn::NeonScalar {
                op,
                size: 2,
                q,
                vd,
                vn,
                vm,
                lane,
            } => Self {
                kind: Kind::Multiply(match op {
                    NeonScalarOp::VmulF => None,
                    NeonScalarOp::VmlaF => Some(Sum::Add),
                    NeonScalarOp::VmlsF => Some(Sum::Sub),
                    _ => return None,
                }),
                q,
                vd,
                vn,
                vm,
                lane: Some(lane),
            },
            _ => return None,
        })
    }
}

const fn kind_of(op: Neon3Op) -> Option<Kind> {
    let (from, half) = match op {
        Neon3Op::VrecpsF => (2.0, false),
        _ => (3.0, true),
    };
    Some(match op {
        Neon3Op::VaddF => Kind::Sum(Sum::Add),
        Neon3Op::VsubF => Kind::Sum(Sum::Sub),
        Neon3Op::VpaddF => Kind::SumOfPairs,
        Neon3Op::VabdF => Kind::Difference,
        Neon3Op::VmulF => Kind::Multiply(None),
        Neon3Op::VmlaF => Kind::Multiply(Some(Sum::Add)),
        Neon3Op::VmlsF => Kind::Multiply(Some(Sum::Sub)),
        Neon3Op::VfmaF => Kind::Fused(Sum::Add),
        Neon3Op::VfmsF => Kind::Fused(Sum::Sub),
        Neon3Op::VrecpsF | Neon3Op::VrsqrtsF => Kind::Step { from, half },
        Neon3Op::VmaxF | Neon3Op::VminF | Neon3Op::VpmaxF | Neon3Op::VpminF => Kind::Extreme {
            larger: matches!(op, Neon3Op::VmaxF | Neon3Op::VpmaxF),
            pairs: matches!(op, Neon3Op::VpmaxF | Neon3Op::VpminF),
        },
        Neon3Op::VceqF => Kind::Compare(Relation::Equal),
        Neon3Op::VcgeF => Kind::Compare(Relation::GreaterEqual),
        Neon3Op::VcgtF => Kind::Compare(Relation::Greater),
        Neon3Op::VacgeF => Kind::CompareMagnitudes(Relation::GreaterEqual),
        Neon3Op::VacgtF => Kind::CompareMagnitudes(Relation::Greater),
        _ => return None,
    })
}
