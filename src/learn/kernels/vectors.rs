//! Vectors of floats of whatever width a CPU has.

use pulp::Simd;

/// Vectors of one float type.
pub trait Vectors: Copy + 'static {
    type Vector<S: Simd>: Copy;
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn negate<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;
    /// `a·b + c`
    fn multiply_add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    /// As many whole vectors as there are.
    fn of<S: Simd>(values: &[Self]) -> &[Self::Vector<S>];
    fn of_mut<S: Simd>(values: &mut [Self]) -> &mut [Self::Vector<S>];
}

macro_rules! vectors {
    ($t:ident, $vector:ident, $splat:ident, $add:ident, $sub:ident, $neg:ident, $fma:ident, $of:ident, $of_mut:ident) => {
        impl Vectors for $t {
            type Vector<S: Simd> = S::$vector;
            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$vector {
                simd.$splat(x)
            }
            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn minus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$sub(a, b)
            }
            #[inline(always)]
            fn negate<S: Simd>(simd: S, a: S::$vector) -> S::$vector {
                simd.$neg(a)
            }
            #[inline(always)]
            fn multiply_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$fma(a, b, c)
            }
            #[inline(always)]
            fn of<S: Simd>(values: &[Self]) -> &[S::$vector] {
                S::$of(values).0
            }
            #[inline(always)]
            fn of_mut<S: Simd>(values: &mut [Self]) -> &mut [S::$vector] {
                S::$of_mut(values).0
            }
        }
    };
}
vectors!(f32, f32s, splat_f32s, add_f32s, sub_f32s, neg_f32s, mul_add_e_f32s, as_simd_f32s, as_mut_simd_f32s);
vectors!(f64, f64s, splat_f64s, add_f64s, sub_f64s, neg_f64s, mul_add_e_f64s, as_simd_f64s, as_mut_simd_f64s);
