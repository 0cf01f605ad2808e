//! Products of matrices on the device, by cuBLAS.

use candle_core::{
    Error, Result,
    cuda_backend::{
        WrapErr,
        cudarc::{
            cublas::{result as blas, sys as blas_sys},
            driver::{DeviceRepr, ValidAsZeroBits},
        },
    },
};

use super::{Address, Gpu};
use crate::learn::kernels::Precision;

/// What the factors of a product are made of: f32, or bf16 as its upper halves ([`u16`]).
pub trait Element: DeviceRepr + ValidAsZeroBits {
    const KIND: blas_sys::cudaDataType;
}

impl Element for f32 {
    const KIND: blas_sys::cudaDataType = blas_sys::cudaDataType_t::CUDA_R_32F;
}

impl Element for u16 {
    const KIND: blas_sys::cudaDataType = blas_sys::cudaDataType_t::CUDA_R_16BF;
}

/// A matrix in memory, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<T> {
    pub at: Address<T>,
    /// Values from the beginning of a row to that of the next.
    pub row: usize,
    /// Whether its transpose is meant: `row` still speaks of what is in memory.
    pub is_transposed: bool,
    /// Values from one matrix to the next of a batch.
    pub next: usize,
}

impl<T> Matrix<T> {
    /// One whose rows are `row` values and follow one another.
    pub fn new(at: Address<T>, row: usize) -> Matrix<T> {
        Matrix { at, row, is_transposed: false, next: 0 }
    }

    pub fn transposed(self) -> Matrix<T> {
        Matrix { is_transposed: !self.is_transposed, ..self }
    }

    /// As a batch of matrices, `next` values apart.
    pub fn every(self, next: usize) -> Matrix<T> {
        Matrix { next, ..self }
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
    /// # Safety
    /// All matrices lie within live buffers of this device, `out` apart from the others.
    pub unsafe fn multiply<T: Element>(
        &self,
        precision: Precision,
        sizes: Sizes,
        a: Matrix<T>,
        b: Matrix<T>,
        out: Matrix<f32>,
        is_added: bool,
    ) -> Result<()> {
        use blas_sys::{
            cublasComputeType_t as Compute, cublasGemmAlgo_t::CUBLAS_GEMM_DFALT, cublasOperation_t as Operation,
            cudaDataType_t::CUDA_R_32F,
        };
        let Sizes { rows, columns, inner, count } = sizes;
        if rows * columns * count == 0 {
            return Ok(());
        }
        let compute = match precision {
            Precision::F32 => Compute::CUBLAS_COMPUTE_32F,
            Precision::Tf32 | Precision::Bf16 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
        };
        // TF32 is a way to multiply f32.
        let compute = if T::KIND == CUDA_R_32F { compute } else { Compute::CUBLAS_COMPUTE_32F };
        let operation = |is_transposed| if is_transposed { Operation::CUBLAS_OP_T } else { Operation::CUBLAS_OP_N };
        let int = |size: usize| i32::try_from(size).map_err(|_| Error::msg(format!("a product with a side of {size}")));
        let (alpha, beta) = (1f32, if is_added { 1f32 } else { 0f32 });
        // As every other call of the driver does first: a product may be the first of its thread.
        self.stream.context().bind_to_thread().w()?;
        let handle = *self.blas.handle();
        let (transa, transb) = (operation(b.is_transposed), operation(a.is_transposed));
        let (m, n, k) = (int(columns)?, int(rows)?, int(inner)?);
        let (lda, ldb, ldc) = (int(b.row)?, int(a.row)?, int(out.row)?);
        let (alpha, beta) = ((&raw const alpha).cast(), (&raw const beta).cast());
        let (at_a, at_b, at_c) = (b.at.at as *const _, a.at.at as *const _, out.at.at as *mut _);
        // cuBLAS has matrices column by column: there these are the transposes, and outᵀ = bᵀ · aᵀ. A single product is not called as
        // a batch of one: it may then be divided along its inner side.
        // SAFETY: what the caller ensures; alpha and beta are read before the calls return.
        unsafe {
            if count == 1 {
                blas::gemm_ex(
                    handle,
                    transa,
                    transb,
                    m,
                    n,
                    k,
                    alpha,
                    at_a,
                    T::KIND,
                    lda,
                    at_b,
                    T::KIND,
                    ldb,
                    beta,
                    at_c,
                    CUDA_R_32F,
                    ldc,
                    compute,
                    CUBLAS_GEMM_DFALT,
                )
            } else {
                blas::gemm_strided_batched_ex(
                    handle,
                    transa,
                    transb,
                    m,
                    n,
                    k,
                    alpha,
                    at_a,
                    T::KIND,
                    lda,
                    b.next as i64,
                    at_b,
                    T::KIND,
                    ldb,
                    a.next as i64,
                    beta,
                    at_c,
                    CUDA_R_32F,
                    ldc,
                    out.next as i64,
                    int(count)?,
                    compute,
                    CUBLAS_GEMM_DFALT,
                )
            }
        }
        .w()
    }
}
