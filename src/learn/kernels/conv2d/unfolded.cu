// Convolution by memory-efficient convolution (Cho and Brand 2017, "MEC"): its reference is conv2d of reference.rs, its CPU
// version unfold.rs. The products are cuBLAS's; these kernels are what stands around them.
//
// Activations are [height][width][batch][channels], so that a row of the image is a matrix of (place, sample) × channels. One-sided
// unfolding: U[p][yh][xo][b] × [kx][c] = x[stride·yh + p][stride·xo + kx][b][c] copies what the kernel's *columns* see, and not what
// its rows see. Output row y takes image row stride·y + ky for kernel row ky, which is U[ky mod stride][y + ky div stride]: for one
// ky the matrix of all outputs stands in one piece in U, and z = sum over ky of U_ky · W_ky. U is up to kh/stride times smaller
// than what ordinary unfolding (im2col) copies. Of few input channels (fewer than 64 values in a kernel row) a product of one kernel row
// would be all about moving its output: there the kernel's rows are unfolded too, t below, and one product does it.
//
// Gradients: dW_ky = U_kyᵀ · dz; dU_ky += dz · W_kyᵀ, kernel rows of different phases p in one batched product, those of the same
// phase one after another; then `fold` gathers the image's gradient from dU. It gathers, so there are no atomics and no order but
// the written one.
//
// Bytes at full size (the primary convolution, 256 channels of 20×20, 9×9 kernel, stride 2, batch 128): U is 10·2 rows × 6 · 128 ×
// 9·256 values, 142 MB in f32 and 71 MB in bf16, where im2col has 382 and 191 MB; the image itself is 52 MB. Each of the three
// passes is 49 GFLOP: 0.8 ms in f32 on an H100, 0.12 in TF32. Unfolding and folding move 194 MB each, 0.06 ms: they are bound by
// memory bandwidth. The products of the image's gradient write dU 382 MB and read 297 MB of that again, where kernel rows of a phase
// meet: 0.2 ms, less than the products take in f32, more than in TF32 and bf16.
//
// Versions considered. Of the products: (1) im2col: 2.7 times the bytes; (2) MEC, y += U_ky · W_ky one after another: each output
// is 72 tiles of 128×128, on 132 multiprocessors; (3) all kernel rows of a phase at once into outputs of their own (42 MB, which
// is what (2) reads and writes too), summed with the bias and the rectifier in linear.cu: five times as many tiles at a time.
// Of the image's gradient: (1) dU beside U; (2) in its place, unless U is in bf16: 142 MB less memory. (Not built: dz as
// [xo][b][y][filter] would give each row of dU by one product over all its kernel rows, written once, but by 82 instead of 98 of a
// hundred multiprocessors, and with the weight rearranged in every step: for tensor cores alone, to be measured first.)
// Of unfolding: (1) a value a thread, its place divided out of a flat index: five divisions for 4 bytes; (2) four channels a
// thread; (3) a thread that keeps its column and walks along the samples: the divisions once for 16 of them; (4) four of those at a
// time, loaded before any is stored. Of folding: (1) scattering dU with atomics: another order of the sums in every run;
// (2) gathering, a sum a thread; (3) four samples a thread, whose loads are in flight at once.
#include "../vectors.cuh"

// Samples whose loads a thread has in flight at once.
constexpr int IN_FLIGHT = 4;

// U from x. Columns [t][kx][c], `columns` of them, in rows that begin `pitch` apart; channels, columns, pitch in lanes of V. Grid: rows (p, yh, xo) × columns/blockDim.x ×
// samples/(samples_per_thread·blockDim.y). Rows that lie below the image are read by no product and left as they are.
template <typename V, typename Out>
__device__ __forceinline__ void unfold(const V* __restrict__ x, Out* __restrict__ u, int batch, int height, int width,
                                       int channels, int kernel_width, int stride, int phase_rows, int out_width, int columns,
                                       int pitch, int samples_per_thread) {
    const int column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= columns) return;
    const int place = blockIdx.x, xo = place % out_width, yh = place / out_width % phase_rows;
    const int p = place / out_width / phase_rows;
    const int c = column % channels, tap = column / channels, kx = tap % kernel_width, t = tap / kernel_width;
    const int row = stride * yh + p + t;
    if (row >= height) return;
    const V* from = x + (static_cast<long long>(row) * width + stride * xo + kx) * batch * channels + c;
    Out* to = u + static_cast<long long>(place) * batch * pitch + column;
    const int first = blockIdx.z * blockDim.y * samples_per_thread + threadIdx.y;
    const int end = first + static_cast<int>(blockDim.y) * samples_per_thread, last = end < batch ? end : batch;
    const int next = blockDim.y;
    for (int b = first; b < last; b += IN_FLIGHT * next) {
        V values[IN_FLIGHT];
        for (int i = 0; i < IN_FLIGHT; ++i)
            if (b + i * next < last) values[i] = from[static_cast<long long>(b + i * next) * channels];
        for (int i = 0; i < IN_FLIGHT; ++i)
            if (b + i * next < last) store(to + static_cast<long long>(b + i * next) * pitch, values[i]);
    }
}

#define UNFOLD(name, V, Out)                                                                                                  \
    KERNEL name(const V* x, Out* u, int batch, int height, int width, int channels, int kernel_width, int stride,             \
                int phase_rows, int out_width, int columns, int pitch, int samples_per_thread) {                              \
        unfold(x, u, batch, height, width, channels, kernel_width, stride, phase_rows, out_width, columns, pitch,             \
               samples_per_thread);                                                                                           \
    }
UNFOLD(unfolded_unfold_f32, float, float)
UNFOLD(unfolded_unfold_f32x4, float4, float4)
UNFOLD(unfolded_unfold_bf16, float, bf16)
UNFOLD(unfolded_unfold_bf16x4, float4, Bf16x4)

// dx from dU, whose rows begin `pitch` apart: each value is the sum over the taps (t, kx) that saw it. taps_down: kernel rows that
// are unfolded, 1 or all. Grid: pixels × channels/blockDim.x × samples/(IN_FLIGHT·blockDim.y).
template <typename V>
__device__ __forceinline__ void fold(const V* __restrict__ du, V* __restrict__ dx, int batch, int width, int channels,
                                     int taps_down, int kernel_width, int stride, int phases, int phase_rows, int out_width,
                                     int pitch) {
    const int c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    const int column = blockIdx.x % width, row = blockIdx.x / width;
    const int first = blockIdx.z * blockDim.y * IN_FLIGHT + threadIdx.y;
    const int next = blockDim.y;
    V sums[IN_FLIGHT];
    for (int i = 0; i < IN_FLIGHT; ++i) sums[i] = none<V>();
    for (int t = 0; t < taps_down && t <= row; ++t) {
        const int p = (row - t) % stride, yh = (row - t) / stride;
        if (p >= phases || yh >= phase_rows) continue;
        for (int kx = column % stride; kx < kernel_width && kx <= column; kx += stride) {
            const int xo = (column - kx) / stride;
            if (xo >= out_width) continue;
            const long long place = static_cast<long long>(p * phase_rows + yh) * out_width + xo;
            const V* from = du + place * batch * pitch + (t * kernel_width + kx) * channels + c;
            for (int i = 0; i < IN_FLIGHT; ++i) {
                const int b = first + i * next;
                if (b < batch) sums[i] = plus(sums[i], from[static_cast<long long>(b) * pitch]);
            }
        }
    }
    for (int i = 0; i < IN_FLIGHT; ++i) {
        const int b = first + i * next;
        if (b < batch) dx[(static_cast<long long>(blockIdx.x) * batch + b) * channels + c] = sums[i];
    }
}

#define FOLD(name, V)                                                                                                     \
    KERNEL name(const V* du, V* dx, int batch, int width, int channels, int taps_down, int kernel_width, int stride,      \
                int phases, int phase_rows, int out_width, int pitch) {                                                   \
        fold(du, dx, batch, width, channels, taps_down, kernel_width, stride, phases, phase_rows, out_width, pitch);      \
    }
FOLD(unfolded_fold, float)
FOLD(unfolded_fold4, float4)

// Clears `count` values from `at` on, and those `next` further on, once for each gridDim.y: the rows of dU that the first kernel
// row of a phase does not write, and later ones add to.
KERNEL unfolded_clear(float* at, long long count, long long next) {
    const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride)
        at[blockIdx.y * next + i] = 0.f;
}

// dz[row][f] = sum over the channels c = f, f + filters, .. of dy[row][c], in that order.
template <typename Out>
__device__ __forceinline__ void shared_gradient(const float* __restrict__ dy, Out* __restrict__ dz, long long count, int filters,
                                                int channels) {
    const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; at < count; at += stride) {
        const float* from = dy + at / filters * channels;
        float sum = 0.f;
        for (int channel = static_cast<int>(at % filters); channel < channels; channel += filters) sum += from[channel];
        store(dz + at, sum);
    }
}
// count: values of dz.
KERNEL unfolded_shared_gradient_f32(const float* dy, float* dz, long long count, int filters, int channels) {
    shared_gradient(dy, dz, count, filters, channels);
}
KERNEL unfolded_shared_gradient_bf16(const float* dy, bf16* dz, long long count, int filters, int channels) {
    shared_gradient(dy, dz, count, filters, channels);
}

// A copy in bf16; count: in values, or in fours.
template <typename V, typename Out>
__device__ __forceinline__ void convert(const V* __restrict__ x, Out* __restrict__ y, long long count) {
    const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; at < count; at += stride)
        store(y + at, x[at]);
}
KERNEL unfolded_convert_bf16(const float* x, bf16* y, long long count) { convert(x, y, count); }
KERNEL unfolded_convert_bf16x4(const float4* x, Bf16x4* y, long long count) { convert(x, y, count); }
