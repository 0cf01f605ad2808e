// Sums over the rows of a matrix, out[c] = sum of x[row][c], as the gradient of a bias is: sum_samples of linear.rs, and the same
// sums in conv2d/unfold.rs. On the way the derivative of the rectifier can be taken, and what it leaves written, in f32 or bf16:
// so the gradient of an activation is read once for all three.
//
// Deterministic: a block sums a chunk of rows whose length follows from the shape alone, a row in `blockDim.y` each thread, and
// then its threads' sums in their order; a second launch sums the chunks'. No atomics.
//
// Versions considered: (1) a thread a column: 256 threads on the device for 256 channels; (2) chunks of rows in blocks of their
// own, and threads within them that take rows in turn: some 10^4 threads at full size; (3) four columns a thread, and four rows at a
// time, loaded before any is stored (x and left may be one, so that the compiler keeps to the order it is told). Bound by memory
// bandwidth: at full size (256 channels, batch 128) the gradient of the primary convolution is 4.7 MB, read with y and written
// once, 14 MB; that of Conv1 is 52 MB, 157 MB in all.
#include "vectors.cuh"

// Rows whose loads a thread has in flight at once.
constexpr int IN_FLIGHT = 4;

// x, y: [rows, columns], y what the rectifier gave, or null where there is none; left: null, or where x·(y > 0) goes, which may be
// x itself; partial: [chunks, columns]. Columns in lanes of V. Grid: chunks × columns/blockDim.x. Dynamic shared memory: a V for
// each thread.
template <typename V, typename Left>
__device__ __forceinline__ void sum_chunk(const V* x, const V* __restrict__ y, Left* left, V* __restrict__ partial,
                                          long long rows, int columns, int rows_per_chunk) {
    DYNAMIC_SHARED(V, sums);
    const int column = blockIdx.y * blockDim.x + threadIdx.x;
    const long long first = static_cast<long long>(blockIdx.x) * rows_per_chunk;
    const long long last = first + rows_per_chunk < rows ? first + rows_per_chunk : rows;
    V sum = none<V>();
    if (column < columns) {
        const int next = blockDim.y;
        for (long long row = first + threadIdx.y; row < last; row += IN_FLIGHT * next) {
            V values[IN_FLIGHT];
            for (int i = 0; i < IN_FLIGHT; ++i) {
                if (row + i * next >= last) continue;
                const long long at = (row + i * next) * columns + column;
                values[i] = y ? rectified_gradient(y[at], x[at]) : x[at];
            }
            for (int i = 0; i < IN_FLIGHT; ++i) {
                if (row + i * next >= last) continue;
                if (left) store(left + (row + i * next) * columns + column, values[i]);
                sum = plus(sum, values[i]);
            }
        }
    }
    sums[threadIdx.y * blockDim.x + threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || column >= columns) return;
    for (int other = 1; other < static_cast<int>(blockDim.y); ++other) sum = plus(sum, sums[other * blockDim.x + threadIdx.x]);
    partial[static_cast<long long>(blockIdx.x) * columns + column] = sum;
}

KERNEL sums_f32(const float* x, const float* y, float* left, float* partial, long long rows, int columns, int rows_per_chunk) {
    sum_chunk(x, y, left, partial, rows, columns, rows_per_chunk);
}
KERNEL sums_f32x4(const float4* x, const float4* y, float4* left, float4* partial, long long rows, int columns,
                  int rows_per_chunk) {
    sum_chunk(x, y, left, partial, rows, columns, rows_per_chunk);
}
KERNEL sums_bf16(const float* x, const float* y, bf16* left, float* partial, long long rows, int columns, int rows_per_chunk) {
    sum_chunk(x, y, left, partial, rows, columns, rows_per_chunk);
}
KERNEL sums_bf16x4(const float4* x, const float4* y, Bf16x4* left, float4* partial, long long rows, int columns,
                   int rows_per_chunk) {
    sum_chunk(x, y, left, partial, rows, columns, rows_per_chunk);
}
