// cuBLAS: products of matrices in f32 and bf16 with sums of f32. Every sum goes over the inner side in its order, whatever the
// machine: this file is compiled without contraction to fused operations.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "device.h"

using namespace emulated;

namespace {

enum Status { OK = 0, BLAS_NOT_INITIALIZED = 1, BLAS_INVALID_VALUE = 7, FAILED = 13, BLAS_NOT_SUPPORTED = 15 };
enum Kind { F32 = 0, BF16 = 14 };
enum Compute { COMPUTE_32F = 68, PEDANTIC_32F = 69, FAST_TF32 = 77 };

struct Handle {
    void* stream = nullptr;
    int math_mode = 0;
    int pointer_mode = 0;
    int atomics_mode = 0;
};

struct Operand {
    bool is_transposed;
    const void* at;
    int kind;
    int64_t row; // leading dimension: the matrix stands column by column
    int64_t next;
};

// The nearest of 10 bits of mantissa, ties to even; what is no number stays as it is.
float to_tf32(float value) {
    if (!std::isfinite(value)) return value;
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    bits += 0xfff + (bits >> 13 & 1);
    bits &= ~0x1fffu;
    std::memcpy(&value, &bits, 4);
    return value;
}

float read(const Operand& of, int64_t matrix, int64_t row, int64_t column, bool is_tf32) {
    const int64_t at = matrix * of.next + (of.is_transposed ? row * of.row + column : column * of.row + row);
    if (of.kind == BF16) {
        const uint32_t bits = uint32_t{static_cast<const uint16_t*>(of.at)[at]} << 16;
        float value;
        std::memcpy(&value, &bits, 4);
        return value;
    }
    const float value = static_cast<const float*>(of.at)[at];
    return is_tf32 ? to_tf32(value) : value;
}

constexpr int TALL = 16, WIDE = 4;

#ifdef __x86_64__
__attribute__((target_clones("arch=haswell", "default")))
#endif
void multiply_tile(const float* a, const float* b, int64_t inner, float* sums) {
    float tile[WIDE][TALL] = {};
    for (int64_t k = 0; k < inner; ++k, a += TALL, b += WIDE)
        for (int j = 0; j < WIDE; ++j)
            for (int i = 0; i < TALL; ++i) tile[j][i] += a[i] * b[j];
    std::memcpy(sums, tile, sizeof tile);
}

struct Product {
    int64_t rows, columns, inner, count;
    float alpha, beta;
    Operand a, b;
    float* out;
    int64_t out_row, out_next;
    bool is_tf32;
};

// One of the batch. Factors are copied in strips of TALL rows and WIDE columns, the inner side outermost.
void multiply(const Product& it, int64_t matrix) {
    const auto strips = [](int64_t side, int strip) { return (side + strip - 1) / strip; };
    std::vector<float> b(static_cast<size_t>(strips(it.columns, WIDE) * WIDE * it.inner));
    for (int64_t k = 0; k < it.inner; ++k)
        for (int64_t j = 0; j < it.columns; ++j)
            b[static_cast<size_t>((j / WIDE * it.inner + k) * WIDE + j % WIDE)] = read(it.b, matrix, k, j, it.is_tf32);
    std::vector<float> a(static_cast<size_t>(TALL * it.inner));
    for (int64_t top = 0; top < it.rows; top += TALL) {
        const int64_t tall = std::min<int64_t>(TALL, it.rows - top);
        for (int64_t k = 0; k < it.inner; ++k)
            for (int64_t i = 0; i < tall; ++i) a[static_cast<size_t>(k * TALL + i)] = read(it.a, matrix, top + i, k, it.is_tf32);
        for (int64_t left = 0; left < it.columns; left += WIDE) {
            float sums[WIDE * TALL];
            multiply_tile(a.data(), b.data() + left * it.inner, it.inner, sums);
            for (int64_t j = 0; j < std::min<int64_t>(WIDE, it.columns - left); ++j) {
                for (int64_t i = 0; i < tall; ++i) {
                    float& out = it.out[matrix * it.out_next + (left + j) * it.out_row + top + i];
                    const float sum = it.alpha * sums[j * TALL + i];
                    out = it.beta == 0 ? sum : sum + it.beta * out; // what stands there need be no number where beta is 0
                }
            }
        }
    }
}

int refuse(const char* why) {
    complain("a product of cuBLAS is refused: %s", why);
    return BLAS_INVALID_VALUE;
}

int size_of(int kind) { return kind == BF16 ? 2 : 4; }

// Whether a whole operand lies within its allocation.
bool is_there(const char* what, const void* at, int kind, int64_t row, int64_t stored_rows, int64_t stored_columns, int64_t next, int64_t count) {
    const int64_t last = (count - 1) * next + (stored_columns - 1) * row + stored_rows;
    return check_range(what, reinterpret_cast<uintptr_t>(at), static_cast<size_t>(last * size_of(kind)));
}

int gemm(void* handle, int operation_a, int operation_b, int64_t m, int64_t n, int64_t k, const void* alpha, const void* a, int kind_a,
         int64_t lda, int64_t next_a, const void* b, int kind_b, int64_t ldb, int64_t next_b, const void* beta, void* c, int kind_c,
         int64_t ldc, int64_t next_c, int64_t count, int compute) {
    const auto* blas = static_cast<Handle*>(handle);
    if (!blas) return BLAS_NOT_INITIALIZED;
    if (operation_a < 0 || operation_a > 2 || operation_b < 0 || operation_b > 2) return refuse("no such operation");
    const bool is_a_transposed = operation_a != 0, is_b_transposed = operation_b != 0;
    if (m < 0 || n < 0 || k < 0 || count < 0) return refuse("a negative size");
    if (lda < std::max<int64_t>(1, is_a_transposed ? k : m)) return refuse("lda is less than a column of A");
    if (ldb < std::max<int64_t>(1, is_b_transposed ? n : k)) return refuse("ldb is less than a column of B");
    if (ldc < std::max<int64_t>(1, m)) return refuse("ldc is less than a column of C");
    if (kind_c != F32 || kind_a != kind_b || (kind_a != F32 && kind_a != BF16) ||
        (compute != COMPUTE_32F && compute != PEDANTIC_32F && compute != FAST_TF32)) {
        complain("a product of cuBLAS with types %d, %d -> %d and computation %d is not emulated", kind_a, kind_b, kind_c, compute);
        return BLAS_NOT_SUPPORTED;
    }
    if (compute == FAST_TF32 && kind_a != F32) return BLAS_NOT_SUPPORTED;
    if (blas->pointer_mode != 0) {
        complain("cuBLAS with alpha and beta in device memory is not emulated");
        return BLAS_NOT_SUPPORTED;
    }
    if (m == 0 || n == 0 || count == 0) return OK;
    if (!alpha || !beta) return refuse("no alpha or beta");
    const Product it = {m, n, k, count, *static_cast<const float*>(alpha), *static_cast<const float*>(beta),
                        {is_a_transposed, a, kind_a, lda, next_a}, {is_b_transposed, b, kind_b, ldb, next_b},
                        static_cast<float*>(c), ldc, next_c, compute == FAST_TF32 || (blas->math_mode & 3) == 3};
    const Result done = enqueue(blas->stream, [=] {
        if (k > 0) {
            const bool is_a_there = is_there("A of a product", a, kind_a, lda, is_a_transposed ? k : m, is_a_transposed ? m : k, next_a, count);
            if (!is_a_there || !is_there("B of a product", b, kind_b, ldb, is_b_transposed ? n : k, is_b_transposed ? k : n, next_b, count)) fail("a product reads what is not there");
        }
        if (!is_there("C of a product", c, F32, ldc, m, n, next_c, count)) fail("a product writes what is not there");
        for (int64_t matrix = 0; matrix < count; ++matrix) multiply(it, matrix);
    });
    return done == SUCCESS ? OK : FAILED;
}

} // namespace

EXPORT int cublasCreate_v2(void** handle) {
    if (current_device() < 0) return BLAS_NOT_INITIALIZED;
    *handle = new Handle;
    return OK;
}

EXPORT int cublasDestroy_v2(void* handle) {
    delete static_cast<Handle*>(handle);
    return OK;
}

EXPORT int cublasSetStream_v2(void* handle, void* stream) {
    static_cast<Handle*>(handle)->stream = stream;
    return OK;
}

EXPORT int cublasGetStream_v2(void* handle, void** stream) {
    *stream = static_cast<Handle*>(handle)->stream;
    return OK;
}

EXPORT int cublasSetWorkspace_v2(void*, void* at, size_t bytes) {
    std::lock_guard<std::recursive_mutex> guard(device_lock());
    return check_range("a workspace", reinterpret_cast<uintptr_t>(at), bytes) ? OK : BLAS_INVALID_VALUE;
}

#define MODE(name, field)                                       \
    EXPORT int cublasSet##name(void* handle, int mode) {        \
        static_cast<Handle*>(handle)->field = mode;             \
        return OK;                                              \
    }                                                           \
    EXPORT int cublasGet##name(void* handle, int* mode) {       \
        *mode = static_cast<Handle*>(handle)->field;            \
        return OK;                                              \
    }
MODE(MathMode, math_mode)
MODE(PointerMode_v2, pointer_mode)
MODE(AtomicsMode, atomics_mode)

EXPORT int cublasGetVersion_v2(void*, int* version) {
    *version = 130100;
    return OK;
}

EXPORT int cublasSgemm_v2(void* handle, int ta, int tb, int m, int n, int k, const float* alpha, const float* a, int lda, const float* b,
                          int ldb, const float* beta, float* c, int ldc) {
    return gemm(handle, ta, tb, m, n, k, alpha, a, F32, lda, 0, b, F32, ldb, 0, beta, c, F32, ldc, 0, 1, COMPUTE_32F);
}

EXPORT int cublasSgemmStridedBatched(void* handle, int ta, int tb, int m, int n, int k, const float* alpha, const float* a, int lda,
                                     long long next_a, const float* b, int ldb, long long next_b, const float* beta, float* c,
                                     int ldc, long long next_c, int count) {
    return gemm(handle, ta, tb, m, n, k, alpha, a, F32, lda, next_a, b, F32, ldb, next_b, beta, c, F32, ldc, next_c, count, COMPUTE_32F);
}

EXPORT int cublasGemmEx(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int kind_a, int lda,
                        const void* b, int kind_b, int ldb, const void* beta, void* c, int kind_c, int ldc, int compute, int) {
    return gemm(handle, ta, tb, m, n, k, alpha, a, kind_a, lda, 0, b, kind_b, ldb, 0, beta, c, kind_c, ldc, 0, 1, compute);
}

EXPORT int cublasGemmStridedBatchedEx(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int kind_a,
                                      int lda, long long next_a, const void* b, int kind_b, int ldb, long long next_b, const void* beta,
                                      void* c, int kind_c, int ldc, long long next_c, int count, int compute, int) {
    return gemm(handle, ta, tb, m, n, k, alpha, a, kind_a, lda, next_a, b, kind_b, ldb, next_b, beta, c, kind_c, ldc, next_c, count, compute);
}
