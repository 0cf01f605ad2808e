//! Products of matrices on the device, by cuBLAS.

use std::{
    ffi::{c_int, c_void},
    ops::Range,
};

use candle_core::{
    Error, Result, bail,
    cuda_backend::{
        WrapErr,
        cudarc::{
            cublas::{result as blas, sys as blas_sys},
            driver::{DeviceRepr, ValidAsZeroBits},
        },
    },
};

use super::{Gpu, Input, Output};
use crate::learn::kernels::Precision;

const F32: blas_sys::cudaDataType = blas_sys::cudaDataType_t::CUDA_R_32F;

/// What the factors of a product are made of: f32, or bf16 as its upper halves ([`u16`]).
pub trait Element: DeviceRepr + ValidAsZeroBits {
    const KIND: blas_sys::cudaDataType;
}

impl Element for f32 {
    const KIND: blas_sys::cudaDataType = F32;
}

impl Element for u16 {
    const KIND: blas_sys::cudaDataType = blas_sys::cudaDataType_t::CUDA_R_16BF;
}

/// A matrix in memory, row by row: values of an [`Input`] or an [`Output`].
#[derive(Clone, Copy)]
pub struct Matrix<V> {
    pub values: V,
    /// Values from the beginning of a row to that of the next.
    pub row: usize,
    /// Whether its transpose is meant: `row` still speaks of what is in memory.
    pub is_transposed: bool,
    /// Values from one matrix to the next of a batch.
    pub next: usize,
}

impl<V> Matrix<V> {
    /// One whose rows are `row` values and follow one another.
    pub fn new(values: V, row: usize) -> Matrix<V> {
        Matrix { values, row, is_transposed: false, next: 0 }
    }

    pub fn transposed(self) -> Matrix<V> {
        Matrix { is_transposed: !self.is_transposed, ..self }
    }

    /// As a batch of matrices, `next` values apart.
    pub fn every(self, next: usize) -> Matrix<V> {
        Matrix { next, ..self }
    }
}

impl<T> Matrix<Input<'_, T>> {
    /// The bytes of `count` matrices of these sizes.
    ///
    /// Errors: rows that reach into each other; matrices that are not all within the values.
    fn bytes(&self, what: &str, [rows, columns]: [usize; 2], count: usize) -> Result<Range<u64>> {
        let [rows, columns] = if self.is_transposed { [columns, rows] } else { [rows, columns] };
        if self.row < columns {
            bail!("{what}: rows of {columns} values, {} apart", self.row)
        }
        let before = |count: usize, apart: usize| count.saturating_sub(1).saturating_mul(apart);
        let is_empty = rows.min(columns).min(count) == 0;
        let end = if is_empty { 0 } else { before(count, self.next).saturating_add(before(rows, self.row)) + columns };
        self.values.need(what, end)?;
        let start = self.values.address();
        Ok(start..start + (end * size_of::<T>()) as u64)
    }
}

/// The sizes of a product: `[rows, inner] · [inner, columns]`, `count` times.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub rows: usize,
    pub columns: usize,
    pub inner: usize,
    pub count: usize,
}

impl Gpu {
    /// `out = a · b`, added to `out` if `is_added`. Factors in f32 are multiplied in f32 or, as `precision` has it, rounded to TF32;
    /// sums are of f32. The bits are those of any other run on a device of the same kind: cuBLAS promises that of one stream, and
    /// is allowed no atomics.
    ///
    /// Errors: matrices that are not within their values, or of another stream; a transposed `out`, or one that a factor reaches into;
    /// a side of more than 2^31.
    pub fn multiply<T: Element>(
        &self,
        precision: Precision,
        sizes: Sizes,
        a: Matrix<Input<T>>,
        b: Matrix<Input<T>>,
        out: Matrix<Output<f32>>,
        is_added: bool,
    ) -> Result<()> {
        let Sizes { rows, columns, count, .. } = sizes;
        if rows * columns * count == 0 {
            return Ok(());
        }
        let call = Call::new::<T>(precision, sizes, a, b, out, is_added)?;
        for stream in [a.values.stream(), b.values.stream(), out.values.input().stream()] {
            self.check_stream("a product", Some(stream))?;
        }
        // As every other call of the driver does first: a product may be the first of its thread.
        self.stream.context().bind_to_thread().w()?;
        // SAFETY: the matrices lie within live values of this device, `out` apart from the others, as `new` has found.
        unsafe { call.enqueue(*self.blas.handle()) }
    }
}

/// A factor as cuBLAS takes it.
struct Factor {
    at: *const c_void,
    operation: blas_sys::cublasOperation_t,
    leading: c_int,
    next: i64,
}

impl Factor {
    fn of<T>(matrix: Matrix<Input<T>>) -> Result<Factor> {
        use blas_sys::cublasOperation_t::{CUBLAS_OP_N, CUBLAS_OP_T};
        Ok(Factor {
            at: matrix.values.address() as *const c_void,
            operation: if matrix.is_transposed { CUBLAS_OP_T } else { CUBLAS_OP_N },
            leading: int(matrix.row)?,
            next: matrix.next as i64,
        })
    }
}

/// A product as cuBLAS takes it: column by column. There matrices are the transposes of ours, and outᵀ = bᵀ · aᵀ.
struct Call {
    left: Factor,
    right: Factor,
    kind: blas_sys::cudaDataType,
    compute: blas_sys::cublasComputeType_t,
    out: *mut c_void,
    out_leading: c_int,
    out_next: i64,
    beta: f32,
    /// m, n and k.
    sizes: [c_int; 3],
    count: c_int,
}

impl Call {
    fn new<T: Element>(
        precision: Precision,
        Sizes { rows, columns, inner, count }: Sizes,
        a: Matrix<Input<T>>,
        b: Matrix<Input<T>>,
        out: Matrix<Output<f32>>,
        is_added: bool,
    ) -> Result<Call> {
        use blas_sys::cublasComputeType_t as Compute;
        let written = Matrix { values: out.values.input(), row: out.row, is_transposed: false, next: out.next };
        let written = written.bytes("a product's result", [rows, columns], count)?;
        let read = [
            a.bytes("a product's left side", [rows, inner], count)?,
            b.bytes("a product's right side", [inner, columns], count)?,
        ];
        if out.is_transposed || read.iter().any(|read| read.start < written.end && written.start < read.end) {
            bail!("a product's result has to be no transpose, and to lie apart from both sides")
        }
        let compute = match precision {
            // TF32 is a way to multiply f32.
            Precision::Tf32 | Precision::Bf16 if T::KIND == F32 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
            _ => Compute::CUBLAS_COMPUTE_32F,
        };
        Ok(Call {
            left: Factor::of(b)?,
            right: Factor::of(a)?,
            kind: T::KIND,
            compute,
            out: out.values.input().address() as *mut c_void,
            out_leading: int(out.row)?,
            out_next: out.next as i64,
            beta: if is_added { 1. } else { 0. },
            sizes: [int(columns)?, int(rows)?, int(inner)?],
            count: int(count)?,
        })
    }

    /// A single product is not called as a batch of one: it may then be divided along its inner side.
    ///
    /// # Safety
    /// All matrices lie within live memory of the handle's device, `out` apart from the others.
    unsafe fn enqueue(&self, handle: blas_sys::cublasHandle_t) -> Result<()> {
        use blas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DFALT;
        let Call { left, right, kind, compute, out, out_leading, out_next, count, .. } = self;
        let [m, n, k] = self.sizes;
        let (alpha, beta) = (1f32, self.beta);
        let (alpha, beta) = ((&raw const alpha).cast(), (&raw const beta).cast());
        // SAFETY: what the caller ensures; alpha and beta are read before the calls return.
        let enqueued = unsafe {
            if *count == 1 {
                blas::gemm_ex(
                    handle,
                    left.operation,
                    right.operation,
                    m,
                    n,
                    k,
                    alpha,
                    left.at,
                    *kind,
                    left.leading,
                    right.at,
                    *kind,
                    right.leading,
                    beta,
                    *out,
                    F32,
                    *out_leading,
                    *compute,
                    CUBLAS_GEMM_DFALT,
                )
            } else {
                blas::gemm_strided_batched_ex(
                    handle,
                    left.operation,
                    right.operation,
                    m,
                    n,
                    k,
                    alpha,
                    left.at,
                    *kind,
                    left.leading,
                    left.next,
                    right.at,
                    *kind,
                    right.leading,
                    right.next,
                    beta,
                    *out,
                    F32,
                    *out_leading,
                    *out_next,
                    *count,
                    *compute,
                    CUBLAS_GEMM_DFALT,
                )
            }
        };
        enqueued.w()
    }
}

fn int(size: usize) -> Result<c_int> {
    c_int::try_from(size).map_err(|_| Error::msg(format!("a product with a side of {size}")))
}
