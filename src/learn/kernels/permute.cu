// A tensor of four dimensions with its dimensions in another order: what stands between candle's layout of images and weights
// and that of the kernels.
//
// Versions considered: (1) a value a thread in the order of the output: writes are coalesced, reads are not, unless the innermost
// dimension stays. It serves single ops; the passes of the networks keep the kernels' layouts throughout and need none.
#include "device.cuh"

// x's strides in the order of y's dimensions; y: [d0, d1, d2, d3], count values.
KERNEL permute_4d(const float* __restrict__ x, float* __restrict__ y, long long count, int d1, int d2, int d3, long long s0,
                  long long s1, long long s2, long long s3) {
    const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; at < count; at += stride) {
        const long long rest = at / d3, block = rest / d2;
        y[at] = x[block / d1 * s0 + block % d1 * s1 + rest % d2 * s2 + at % d3 * s3];
    }
}
