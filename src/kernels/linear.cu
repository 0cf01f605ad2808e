// What follows the product of a fully connected layer (linear.rs) and those of a convolution (conv2d/unfolded.cu): the bias, the
// rectifier, and before them the sum of several products and the spread of filters over the channels that share them.
//
// The products themselves are cuBLAS's: y = x · weightᵀ forward, dx = dy · weight and dweight = dyᵀ · x backward. At batch 128 the
// decoder's 512×1024 is 0.13 GFLOP a product, some microseconds: launches count as much. Versions considered: (1) a launch each for
// bias and rectifier; (2) one for both, in place; (3) four columns a thread, each thread's bias loaded once for all its rows.
// Bound by memory bandwidth, for the small layers by the launch.
#include "vectors.cuh"

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
    for (long long row = first + threadIdx.y; row < last; row += blockDim.y) {
        const V* from = z + row * filters + channel % filters;
        V sum = from[0];
        for (int other = 1; other < partials; ++other) sum = plus(sum, from[other * next]);
        sum = plus(sum, added);
        y[row * channels + channel] = is_rectified ? rectified(sum) : sum;
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
