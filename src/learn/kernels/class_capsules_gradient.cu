// The gradients of class capsules by capsules, matrices and bias, from what class_capsules.cu left: its header says what is kept,
// and which versions were considered. The reference is class_capsules of reference.rs.
//
// The gradient of a vote is dû = ds^1 / classes + Σ_{k>1} c^k ds^k + da^k V^{k-1}, in which no vote occurs. A thread has one capsule
// and four values of one class: its part of the matrix and of the matrix's gradient are registers. It goes through all samples,
// whose ds and V pass through shared memory, and makes of each dû, u dû and dû W^T. So dW needs no sum over blocks, and neither W
// nor dW moves twice; du is summed over the threads of a capsule, over eight at a time by shuffles.
//
// At full size, batch 128: 495 M multiply-adds, 16 µs at 60 TFLOP/s of f32; every block of 9 capsules reads all ds and V, 52 MB,
// besides 12 MB of W and dW, 24 MB of couplings and their gradients, 9 MB of u and du. Shared memory bounds it: a quad of ds or V
// that is read serves one multiply-add of four values, of u eight.
//
// Versions considered: (1) threads for samples, as in the sweeps: dW would be a sum over blocks, 5.9 MB for each. (2) Eight values a
// thread: a third less of shared memory's reads for a multiply-add, but 170 registers and half as many warps to hide what they
// wait for. (3) dû in memory and two batched products: 94 MB written and twice read.
#include "capsules.cuh"

// Rows of a matrix that class_capsules_gradient has at a time (SLAB of class_capsules.rs).
constexpr int SLAB = 8;

// u, weight: as for the sweeps. ds: [iterations, batch, classes × filled]; totals: V, [iterations − 1, ..] likewise; coupling,
// dlogits: [iterations − 1, capsules, batch, classes]. du: where u was, in units of in_dim. dweight: [capsules, in_dim, classes ×
// dim], where capsules share one each. Grid: `held` capsules, slabs of SLAB rows; block: `lanes` threads (quads of all classes,
// rounded up to a multiple of 8) for each of the capsules, and what is missing to whole warps.
KERNEL __launch_bounds__(512)
    class_capsules_gradient(SIZES, int in_dim, int dim, int filled, int iterations, const float4* u, const float4* weight,
                            const float4* ds, const float4* totals, const float* coupling, const float* dlogits, float* du,
                            float* dweight, int held, int lanes, int samples) {
    DYNAMIC_SHARED(float4, rows);
    const Sizes sizes = SIZES_GIVEN;
    const int quads = classes * filled / 4, wide_quads = wide / 4, later = iterations - 1, terms = 1 + 2 * later;
    const int first = blockIdx.x * held, slab = blockIdx.y * SLAB;
    const int own = threadIdx.x / lanes, quad = threadIdx.x % lanes, i = first + own;
    const bool is_busy = own < held && i < capsules && quad < quads;
    const int j = is_busy ? quad / (filled / 4) : 0;

    // Of `samples` samples at a time: ds and V, [terms, samples, quads]; u, [samples, held, SLAB]; du of single threads, summed over 8 of them,
    // [samples, threads]; c and da, [2 (iterations − 1), held, samples, classes].
    float4* const us = rows + terms * samples * quads;
    float* const parts = reinterpret_cast<float*>(us + samples * held * (SLAB / 4));
    float* const factors = parts + samples * blockDim.x;
    const int of_term = samples * quads, of_factor = held * samples * classes;

    const float4 none = make_float4(0.f, 0.f, 0.f, 0.f);
    float4 w[SLAB], dw[SLAB];
#pragma unroll
    for (int k = 0; k < SLAB; ++k) {
        const long long row = static_cast<long long>(i / sharing) * wide + slab + k;
        w[k] = is_busy && slab + k < wide ? weight[row * quads + quad] : none;
        dw[k] = none;
    }

    for (int begin = 0; begin < batch; begin += samples) {
        const int count = min(samples, batch - begin);
        for (int term = 0; term < terms; ++term) {
            const float4* const all = term <= later ? ds + static_cast<long long>(term) * batch * quads
                                                    : totals + static_cast<long long>(term - later - 1) * batch * quads;
            const float4* const from = all + static_cast<long long>(begin) * quads;
            for (int at = threadIdx.x; at < count * quads; at += blockDim.x) rows[term * of_term + at] = from[at];
        }
        for (int at = threadIdx.x; at < count * held * (SLAB / 4); at += blockDim.x) {
            const int k = slab / 4 + at % (SLAB / 4), capsule = first + at / (SLAB / 4) % held;
            const int sample = begin + at / (SLAB / 4) / held;
            const bool is_there = capsule < capsules && k < wide_quads;
            const long long place = sizes.place(capsule) + static_cast<long long>(sample) * sizes.next_sample();
            us[at] = is_there ? u[place * wide_quads + k] : none;
        }
        // A warp has neighbouring values of a capsule.
        for (int row = threadIdx.x / WARP; row < 2 * later * held; row += blockDim.x / WARP) {
            const int factor = row / held, capsule = first + row % held;
            if (capsule >= capsules) continue;
            const float* const all = factor < later ? coupling : dlogits;
            const long long of_capsule = static_cast<long long>(factor < later ? factor : factor - later) * capsules + capsule;
            const float* const from = all + (of_capsule * batch + begin) * classes;
            for (int at = threadIdx.x % WARP; at < count * classes; at += WARP) factors[row * samples * classes + at] = from[at];
        }
        __syncthreads();
        const float even = 1.f / classes;
        for (int sample = 0; sample < count; ++sample) {
            float part[SLAB];
#pragma unroll
            for (int k = 0; k < SLAB; ++k) part[k] = 0.f;
            if (is_busy) {
                const float4* const of = rows + sample * quads + quad;
                const float* const factor = factors + (own * samples + sample) * classes + j;
                float4 g = add_times(none, even, of[0]);
#pragma unroll 4
                for (int term = 1; term < terms; ++term) g = add_times(g, factor[(term - 1) * of_factor], of[term * of_term]);
#pragma unroll
                for (int half = 0; half < SLAB / 4; ++half) {
                    const float4 value = us[(sample * held + own) * (SLAB / 4) + half];
                    dw[4 * half] = add_times(dw[4 * half], value.x, g);
                    dw[4 * half + 1] = add_times(dw[4 * half + 1], value.y, g);
                    dw[4 * half + 2] = add_times(dw[4 * half + 2], value.z, g);
                    dw[4 * half + 3] = add_times(dw[4 * half + 3], value.w, g);
                }
#pragma unroll
                for (int k = 0; k < SLAB; ++k) part[k] = dot(w[k], g);
            }
            // Eight sums over eight lanes in seven shuffles: each time half of the sums go, and what comes is added to the
            // others; a lane ends with the sum that bears its number.
#pragma unroll
            for (int distance = SLAB / 2; distance > 0; distance /= 2) {
                const bool is_upper = threadIdx.x & distance;
#pragma unroll
                for (int k = 0; k < distance; ++k) {
                    const float kept = is_upper ? part[k + distance] : part[k], given = is_upper ? part[k] : part[k + distance];
                    part[k] = kept + __shfl_xor_sync(WHOLE_WARP, given, distance);
                }
            }
            parts[sample * blockDim.x + threadIdx.x] = part[0];
        }
        __syncthreads();
        // Behind this barrier `parts` alone is read, which is not written before the next one.
        for (int at = threadIdx.x; at < count * held * SLAB; at += blockDim.x) {
            const int k = at % SLAB, of = at / SLAB % held, sample = at / SLAB / held, capsule = first + of;
            if (capsule >= capsules || slab + k >= in_dim) continue;
            const float* const from = parts + sample * blockDim.x + of * lanes + k;
            float sum = 0.f;
            for (int lane = 0; lane < lanes; lane += SLAB) sum += from[lane];
            const long long place = sizes.place(capsule) + static_cast<long long>(begin + sample) * sizes.next_sample();
            du[place * in_dim + slab + k] = sum;
        }
    }
    if (!is_busy) return;
    const int d = quad % (filled / 4) * 4;
    const bool in_fours = dim % 4 == 0 && reads_in_fours(dweight, 4);
#pragma unroll
    for (int k = 0; k < SLAB; ++k) {
        if (slab + k >= in_dim) continue;
        const long long row = (static_cast<long long>(i) * in_dim + slab + k) * classes + j;
        store_quad(dweight + row * dim, d, dim, in_fours, dw[k]);
    }
}

// Gradients of the matrices of capsules, [matrices, sharing, values], added to those of the matrices they share.
KERNEL class_capsules_share(const float* of_capsules, float* dweight, int sharing, int values, long long count) {
    const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= count) return;
    const float* const from = of_capsules + at / values * sharing * values + at % values;
    float sum = 0.f;
#pragma unroll 4
    for (int capsule = 0; capsule < sharing; ++capsule) sum += from[static_cast<long long>(capsule) * values];
    dweight[at] = sum;
}

// Warps of a block of class_capsules_bias.
constexpr int BIAS_WARPS = 8;

// dbias [classes, dim] = sum of ds [count, row]. Block: 32 columns, a warp every so many rows.
KERNEL class_capsules_bias(int classes, int dim, int filled, int count, const float* ds, float* dbias) {
    __shared__ float sums[BIAS_WARPS][WARP];
    const int row = classes * filled;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, column = blockIdx.x * WARP + lane;
    float sum = 0.f;
    if (column < row) {
#pragma unroll 4
        for (int at = warp; at < count; at += BIAS_WARPS) sum += ds[static_cast<long long>(at) * row + column];
    }
    sums[warp][lane] = sum;
    __syncthreads();
    const int j = column / filled, d = column % filled;
    if (warp > 0 || column >= row || d >= dim) return;
    for (int other = 1; other < BIAS_WARPS; ++other) sum += sums[other][lane];
    dbias[j * dim + d] = sum;
}
