//! The floats that operations compute in.

use candle_core::{CpuStorage, Result, WithDType, bail};
use pulp::Simd;

use super::{pool::Pool, vectors::Vectors};

/// The floats the ops compute in: f32 to train, f64 to check.
pub trait Real: WithDType + Vectors + std::iter::Sum {
    fn sqrt(self) -> Self;
    /// `e^x`, of x up to 0.
    fn exp(self) -> Self;
    fn is_nan(self) -> bool;
    /// `self · factor + addend`, rounded once.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// `sum += factor · x`, each rounded once.
    #[doc(hidden)]
    fn add_times<S: Simd, const N: usize>(simd: S, sum: &mut [Self; N], factor: Self, x: &[Self; N]);
    /// `sum += a · b`, value by value, each rounded once.
    #[doc(hidden)]
    fn add_product<S: Simd, const N: usize>(simd: S, sum: &mut [Self; N], a: &[Self; N], b: &[Self; N]);
    #[doc(hidden)]
    fn pool() -> &'static Pool<Self>;
    /// All values of a storage, to write.
    #[doc(hidden)]
    fn values_mut(storage: &mut CpuStorage) -> Result<&mut [Self]>;
}

/// `sum += a · b`, where a CPU has no vectors: not unrolled into its callers, which are written for some.
#[inline(never)]
fn add_products<T: Real>(sum: &mut [T], a: &[T], b: &[T]) {
    for (sum, (&a, &b)) in sum.iter_mut().zip(a.iter().zip(b)) {
        *sum = a.mul_add(b, *sum);
    }
}

macro_rules! real {
    ($t:ident, $variant:ident, $exp:path, $split:ident, $split_mut:ident, $splat:ident, $mul_add:ident) => {
        impl Real for $t {
            #[inline(always)]
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self.is_nan()
            }
            #[inline(always)]
            fn mul_add(self, factor: Self, addend: Self) -> Self {
                self.mul_add(factor, addend)
            }
            #[inline(always)]
            fn add_times<S: Simd, const N: usize>(simd: S, sum: &mut [Self; N], factor: Self, x: &[Self; N]) {
                if S::F32_LANES == 1 {
                    return add_products(sum, &[factor; N], x);
                }
                let ((sum, sum_rest), (x, x_rest)) = (S::$split_mut(sum), S::$split(x));
                let factors = simd.$splat(factor);
                for (sum, x) in sum.iter_mut().zip(x) {
                    *sum = simd.$mul_add(factors, *x, *sum);
                }
                for (sum, x) in sum_rest.iter_mut().zip(x_rest) {
                    *sum = factor.mul_add(*x, *sum);
                }
            }
            #[inline(always)]
            fn add_product<S: Simd, const N: usize>(simd: S, sum: &mut [Self; N], a: &[Self; N], b: &[Self; N]) {
                if S::F32_LANES == 1 {
                    return add_products(sum, a, b);
                }
                let ((sum, sum_rest), (a, a_rest), (b, b_rest)) = (S::$split_mut(sum), S::$split(a), S::$split(b));
                for (sum, (a, b)) in sum.iter_mut().zip(a.iter().zip(b)) {
                    *sum = simd.$mul_add(*a, *b, *sum);
                }
                for (sum, (a, b)) in sum_rest.iter_mut().zip(a_rest.iter().zip(b_rest)) {
                    *sum = a.mul_add(*b, *sum);
                }
            }
            fn pool() -> &'static Pool<Self> {
                static POOL: Pool<$t> = Pool::new();
                &POOL
            }
            fn values_mut(storage: &mut CpuStorage) -> Result<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(values) => Ok(values),
                    _ => bail!("operand has to be {}", stringify!($t)),
                }
            }
        }
    };
}
real!(f32, F32, exp_f32, as_simd_f32s, as_mut_simd_f32s, splat_f32s, mul_add_f32s);
real!(f64, F64, f64::exp, as_simd_f64s, as_mut_simd_f64s, splat_f64s, mul_add_f64s);

/// `e^x` for x up to 0, in operations that vectorise (the library's does not): `2^n · e^r` with |r| ≤ ln 2 / 2, to 2 units in the
/// last place. Below −87 it is `e^−87`; NaN stays NaN.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    // Added to a small number, it leaves that number's integer in the last bits.
    const ROUND: f32 = 12_582_912.;
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = if x < -87. { -87. } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN_2[0] - n * LN_2[1];
    let p = 1. + r * (1. + r * (0.5 + r * (0.166_666_55 + r * (0.041_665_796 + r * (8.333_45e-3 + r * 1.393_2e-3)))));
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}
