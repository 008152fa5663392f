//! Integer lanes of vectors.
//!
//! Vectors are `u128`s; a doubleword is one whose upper half is zero and whose upper result is
//! dropped. That never raises a flag, since no integer operation saturates on zeros, and lets the
//! compiler use the host's 128-bit registers for every size.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lanes are the low bits of wider integers, signed or not"
)]

use std::ops::{BitAnd, BitOr, BitXor, Not};

/// An integer that is a lane of a vector.
pub(super) trait Lane:
    Copy
    + Ord
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
    + Not<Output = Self>
{
    /// As many as a quadword holds.
    type Array: Copy + AsRef<[Self]> + AsMut<[Self]>;
    /// The same bits as a signed number.
    type Signed: Lane;
    /// The same bits as an unsigned number.
    type Unsigned: Lane;
    const BITS: u32;
    const ZERO: Self;
    const ONE: Self;
    const MIN: Self;
    const MAX: Self;

    fn load(vector: u128) -> Self::Array;
    fn store(lanes: Self::Array) -> u128;
    /// Returns the number, for constants: the compiler folds it.
    fn to_i128(self) -> i128;
    /// Returns the low bits of a number.
    fn truncate(value: i128) -> Self;
    fn wrapping_add(self, other: Self) -> Self;
    fn wrapping_sub(self, other: Self) -> Self;
    fn wrapping_mul(self, other: Self) -> Self;
    fn saturating_add(self, other: Self) -> Self;
    fn saturating_sub(self, other: Self) -> Self;
    /// Returns the distance of two numbers, its bits taken as this type.
    fn abs_diff(self, other: Self) -> Self;
    /// Shifts right; from [`Self::BITS`] on everything is sign or zero.
    fn shr(self, count: u32) -> Self;
    /// Shifts left; from [`Self::BITS`] on everything is zero.
    fn shl(self, count: u32) -> Self;
    fn leading_zeros(self) -> u32;

    /// Returns the low byte as a signed number, which is what shifts by register look at.
    #[inline(always)]
    fn low_byte(self) -> i8 {
        self.to_i128() as i8
    }

    /// Returns all ones or zero.
    #[inline(always)]
    fn mask(condition: bool) -> Self {
        if condition { !Self::ZERO } else { Self::ZERO }
    }

    /// Shifts right by 1 to [`Self::BITS`], rounding to nearest, halves up.
    fn shr_rounded(self, count: u32) -> Self {
        // The last bit shifted out decides; half added before the shift might overflow.
        let half = self.shr(count - 1) & Self::ONE;
        self.shr(count).wrapping_add(half)
    }

    /// Returns half the sum (plus `carry`), without losing the carry.
    fn halving_add(self, other: Self, carry: Self) -> Self {
        // The lowest bits are added apart, so that nothing overflows.
        let low = (self & Self::ONE)
            .wrapping_add(other & Self::ONE)
            .wrapping_add(carry);
        self.shr(1)
            .wrapping_add(other.shr(1))
            .wrapping_add(low.shr(1))
    }

    /// Returns half the difference, rounded down.
    fn halving_sub(self, other: Self) -> Self {
        // Of the lowest bits, only 0 - 1 takes something from the halves.
        let borrow = !self & other & Self::ONE;
        self.shr(1).wrapping_sub(other.shr(1)).wrapping_sub(borrow)
    }

    /// Applies `f` to every lane.
    #[inline(always)]
    fn map(vector: u128, mut f: impl FnMut(Self) -> Self) -> u128 {
        let mut lanes = Self::load(vector);
        for lane in lanes.as_mut() {
            *lane = f(*lane);
        }
        Self::store(lanes)
    }

    /// Applies `f` to every pair of lanes.
    #[inline(always)]
    fn zip(a: u128, b: u128, mut f: impl FnMut(Self, Self) -> Self) -> u128 {
        let mut lanes = Self::load(a);
        let other = Self::load(b);
        for (x, y) in lanes.as_mut().iter_mut().zip(other.as_ref()) {
            *x = f(*x, *y);
        }
        Self::store(lanes)
    }

    /// Applies `f` to every triple of lanes.
    #[inline(always)]
    fn zip3(d: u128, a: u128, b: u128, mut f: impl FnMut(Self, Self, Self) -> Self) -> u128 {
        let mut lanes = Self::load(d);
        let (a, b) = (Self::load(a), Self::load(b));
        for ((x, y), z) in lanes.as_mut().iter_mut().zip(a.as_ref()).zip(b.as_ref()) {
            *x = f(*x, *y, *z);
        }
        Self::store(lanes)
    }

    /// Applies `f` to neighbours: the low half of the result is made from `vector`.
    #[inline(always)]
    fn pairs(vector: u128, f: impl Fn(Self, Self) -> Self) -> u64 {
        let lanes = Self::load(vector);
        // The upper half stays empty: pairwise operations exist for doublewords only.
        let mut result = Self::load(0);
        for (x, pair) in result
            .as_mut()
            .iter_mut()
            .zip(lanes.as_ref().chunks_exact(2))
        {
            *x = f(pair[0], pair[1]);
        }
        Self::store(result) as u64
    }

    /// Returns all lanes the same.
    fn splat(value: Self) -> u128 {
        Self::map(0, |_| value)
    }
}

/// A lane that has a type of twice its size.
pub(super) trait Narrow: Lane {
    /// That type, of the same signedness.
    type Wide: Lane;

    fn widen(self) -> Self::Wide;

    /// Returns every lane of a doubleword, widened.
    #[inline(always)]
    fn widen_all(vector: u64) -> u128 {
        let lanes = Self::load(u128::from(vector));
        // The loop ends with the wide lanes, half as many: the upper half of `lanes` is empty.
        let mut wide = Self::Wide::load(0);
        for (x, y) in wide.as_mut().iter_mut().zip(lanes.as_ref()) {
            *x = y.widen();
        }
        Self::Wide::store(wide)
    }
}

/// Returns every lane of `vector`, clamped to the range of `To` (which has half the size); tells
/// whether any was out of range.
#[inline(always)]
pub(super) fn narrow_saturating<From: Lane, To: Lane>(vector: u128, saturated: &mut bool) -> u64 {
    // The limits of `To` as far as `From` has them: an unsigned source has no negative ones.
    let low = From::truncate(To::MIN.to_i128().max(From::MIN.to_i128()));
    let high = From::truncate(To::MAX.to_i128());
    let clamped = From::map(vector, |x| {
        let y = x.clamp(low, high);
        *saturated |= x != y;
        y
    });
    narrow::<From>(clamped)
}

/// Returns the low half of every lane of `vector`.
#[inline(always)]
pub(super) fn narrow<From: Lane>(vector: u128) -> u64 {
    let mut result = 0;
    let half = From::BITS / 2;
    for index in 0..128 / From::BITS {
        let lane = (vector >> (index * From::BITS)) as u64 & (u64::MAX >> (64 - half));
        result |= lane << (index * half);
    }
    result
}

/// Methods of two numbers that are those of the integer type itself.
macro_rules! of_the_integer {
    ($($method:ident),+) => {
        $(#[inline(always)]
        fn $method(self, other: Self) -> Self {
            self.$method(other)
        })+
    };
}

macro_rules! lane {
    ($($type:ident $signed:ident $unsigned:ident $count:literal $bytes:literal),+) => {
        $(impl Lane for $type {
            type Array = [Self; $count];
            type Signed = $signed;
            type Unsigned = $unsigned;
            const BITS: u32 = $type::BITS;
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const MIN: Self = $type::MIN;
            const MAX: Self = $type::MAX;

            #[inline(always)]
            fn load(vector: u128) -> Self::Array {
                // Lane 0 is the low bits, on hosts of either byte order.
                let bytes = vector.to_le_bytes();
                let mut lanes = [0; $count];
                for (lane, chunk) in lanes.iter_mut().zip(bytes.as_chunks::<$bytes>().0) {
                    *lane = $type::from_le_bytes(*chunk);
                }
                lanes
            }

            #[inline(always)]
            fn store(lanes: Self::Array) -> u128 {
                let mut bytes = [0; 16];
                for (lane, chunk) in lanes.iter().zip(bytes.as_chunks_mut::<$bytes>().0) {
                    *chunk = lane.to_le_bytes();
                }
                u128::from_le_bytes(bytes)
            }

            #[inline(always)]
            fn to_i128(self) -> i128 {
                i128::from(self)
            }
            #[inline(always)]
            fn truncate(value: i128) -> Self {
                value as Self
            }
            of_the_integer!(wrapping_add, wrapping_sub, wrapping_mul, saturating_add, saturating_sub);
            #[inline(always)]
            fn abs_diff(self, other: Self) -> Self {
                // Wraps: the distance of signed numbers may need the sign bit.
                if self > other { self.wrapping_sub(other) } else { other.wrapping_sub(self) }
            }
            #[inline(always)]
            fn shr(self, count: u32) -> Self {
                let all = if self < Self::ZERO { !Self::ZERO } else { Self::ZERO };
                // Counts come from registers, too, and may be more than Rust's shifts take.
                self.checked_shr(count).unwrap_or(all)
            }
            #[inline(always)]
            fn shl(self, count: u32) -> Self {
                self.checked_shl(count).unwrap_or(0)
            }
            #[inline(always)]
            fn leading_zeros(self) -> u32 {
                self.leading_zeros()
            }
        })+
    };
}
lane!(
    u8 i8 u8 16 1, u16 i16 u16 8 2, u32 i32 u32 4 4, u64 i64 u64 2 8,
    i8 i8 u8 16 1, i16 i16 u16 8 2, i32 i32 u32 4 4, i64 i64 u64 2 8
);

macro_rules! narrow {
    ($($type:ident $wide:ident),+) => {
        $(impl Narrow for $type {
            type Wide = $wide;
            #[inline(always)]
            fn widen(self) -> $wide {
                $wide::from(self)
            }
        })+
    };
}
narrow!(u8 u16, u16 u32, u32 u64, i8 i16, i16 i32, i32 i64);

/// Evaluates an expression with `$lane` naming the type of lanes of that size and signedness.
macro_rules! with_lane {
    ($size:expr, $unsigned:expr, $lane:ident => $body:expr) => {
        match ($size, $unsigned) {
            (3, true) => { type $lane = u64; $body }
            (3, false) => { type $lane = i64; $body }
            (size, unsigned) => with_narrow_lane!(size, unsigned, $lane => $body),
        }
    };
}

/// As `with_lane`, for sizes up to 32 bits.
macro_rules! with_narrow_lane {
    ($size:expr, $unsigned:expr, $lane:ident => $body:expr) => {
        match ($size, $unsigned) {
            (0, true) => {
                type $lane = u8;
                $body
            }
            (0, false) => {
                type $lane = i8;
                $body
            }
            (1, true) => {
                type $lane = u16;
                $body
            }
            (1, false) => {
                type $lane = i16;
                $body
            }
            (_, true) => {
                type $lane = u32;
                $body
            }
            (_, false) => {
                type $lane = i32;
                $body
            }
        }
    };
}
pub(super) use {with_lane, with_narrow_lane};
