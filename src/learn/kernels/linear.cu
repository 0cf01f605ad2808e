// What follows the product of a fully connected layer (linear.rs) and those of a convolution (conv2d/unfolded.cu): the bias, the
// rectifier, and before them the sum of several products and the spread of filters over the channels that share them.
//
// The products themselves are cuBLAS's: y = x · weightᵀ forward, dx = dy · weight and dweight = dyᵀ · x backward. At batch 128 the
// decoder's 512×1024 is 0.13 GFLOP a product, some microseconds: launches count as much.
//
// Versions considered: (1) a launch each for bias and rectifier; (2) one for both, in place; (3) four columns a thread, its bias
// loaded once for all its rows; (4) four rows at a time, loaded before any is stored. Bound by memory bandwidth, for the small
// layers by the launch.
#include "vectors.cuh"

// Rows whose loads a thread has in flight at once.
constexpr int IN_FLIGHT = 4;

// y[row][c] = act(z[0][row][f] + z[1][row][f] + .. + bias[c]), f = c mod filters. z: `partials` matrices [rows, filters], `next`
// apart; y: [rows, channels], which may be z where channels = filters. Sizes in lanes of V; grid: rows/rows_per_block ×
// channels/blockDim.x.
template <typename V>
__device__ __forceinline__ void finish(const V* z, long long next, int partials, const V* __restrict__ bias, V* y,
                                       long long rows, int filters, int channels, int rows_per_block, int is_rectified) {
    const int channel = blockIdx.y * blockDim.x + threadIdx.x;
    if (channel >= channels) return;
    const V added = bias[channel];
    const long long first = static_cast<long long>(blockIdx.x) * rows_per_block;
    const long long last = first + rows_per_block < rows ? first + rows_per_block : rows;
    const V* const from = z + channel % filters;
    const int apart = blockDim.y;
    for (long long row = first + threadIdx.y; row < last; row += IN_FLIGHT * apart) {
        V sums[IN_FLIGHT];
        for (int i = 0; i < IN_FLIGHT; ++i)
            if (row + i * apart < last) sums[i] = from[(row + i * apart) * filters];
        for (int other = 1; other < partials; ++other)
            for (int i = 0; i < IN_FLIGHT; ++i)
                if (row + i * apart < last) sums[i] = plus(sums[i], from[other * next + (row + i * apart) * filters]);
        for (int i = 0; i < IN_FLIGHT; ++i) {
            if (row + i * apart >= last) continue;
            const V sum = plus(sums[i], added);
            y[(row + i * apart) * channels + channel] = is_rectified ? rectified(sum) : sum;
        }
    }
}

KERNEL linear_finish(const float* z, long long next, int partials, const float* bias, float* y, long long rows, int filters,
                     int channels, int rows_per_block, int is_rectified) {
    finish(z, next, partials, bias, y, rows, filters, channels, rows_per_block, is_rectified);
}
KERNEL linear_finish4(const float4* z, long long next, int partials, const float4* bias, float4* y, long long rows, int filters,
                      int channels, int rows_per_block, int is_rectified) {
    finish(z, next, partials, bias, y, rows, filters, channels, rows_per_block, is_rectified);
}
