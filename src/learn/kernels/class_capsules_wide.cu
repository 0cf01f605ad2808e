// Class capsules of more classes than a warp has lanes: the kernels that go over capsules, in the place of those of
// class_capsules.cu, whose header says what they compute. What they read and leave is the same, but for the order of sums.
//
// A block has S samples and a chunk of capsules. Votes of one capsule stand in shared memory, a value a thread, so that a value of a
// matrix serves S multiply-adds; a softmax is a warp's, for each sample. At 47 classes of 16, 1152 capsules of 8 and a batch of 128 the
// blocks read 28 MB of matrices 32 times in a sweep: 0.9 GB from the last level of cache. Kernels of a warp's classes are tuned,
// these are not: data sets of so many classes are few.
#include "capsules.cuh"

// Samples of a block (WIDE_SAMPLES of class_capsules/sizes.rs).
constexpr int S = 4;

enum Mode { FIRST, SWEEP, BACK };

__device__ __forceinline__ float warp_max(float value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) value = fmaxf(value, __shfl_xor_sync(WHOLE_WARP, value, distance));
    return value;
}

// Every block: `chunk` capsules of S samples. weight: [matrices, wide, classes × filled]. x: V or ds, [batch, classes × filled].
// coupling, dlogits: [capsules, batch, classes], of this iteration; sweep writes the one, back reads it and writes the other. sums:
// [chunks, batch, classes × filled]. Grid: samples in S, chunks. Block: whole warps, S of them or more. Shared memory: votes and sums,
// S rows of classes × filled each; products and factors, S rows of classes each; S × wide values of u.
template <Mode MODE>
__device__ __forceinline__ void sweep(const Sizes sizes, const float* u, const float* weight, const float* x, float* coupling,
                                      float* dlogits, float* sums, int chunk, int filled) {
    DYNAMIC_SHARED(float, votes);
    const int batch = sizes.batch, classes = sizes.classes, wide = sizes.wide, row = classes * filled;
    float* const sum = votes + S * row;
    float* const alongs = sum + S * row;
    float* const factors = alongs + S * classes;
    float* const values = factors + S * classes;
    const int first = blockIdx.x * S, count = min(S, batch - first);
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int begin = blockIdx.y * chunk, end = min(begin + chunk, sizes.capsules);

    // A value of a sum is always the same thread's.
    for (int r = threadIdx.x; r < row; r += blockDim.x) {
        for (int s = 0; s < S; ++s) sum[s * row + r] = 0.f;
    }
    for (int i = begin; i < end; ++i) {
        for (int at = threadIdx.x; at < S * wide; at += blockDim.x) {
            const int s = at / wide;
            const long long place = sizes.place(i) + static_cast<long long>(first + s) * sizes.next_sample();
            values[at] = s < count ? u[place * wide + at % wide] : 0.f;
        }
        __syncthreads();
        const float* const matrix = weight + static_cast<long long>(i / sizes.sharing) * wide * row;
        for (int r = threadIdx.x; r < row; r += blockDim.x) {
            float of[S];
            for (int s = 0; s < S; ++s) of[s] = 0.f;
            for (int k = 0; k < wide; ++k) {
                const float value = matrix[static_cast<long long>(k) * row + r];
                for (int s = 0; s < S; ++s) of[s] += values[s * wide + k] * value;
            }
            for (int s = 0; s < S; ++s) {
                if (MODE == FIRST) sum[s * row + r] += of[s];
                else votes[s * row + r] = of[s];
            }
        }
        __syncthreads();
        if (MODE == FIRST) continue;

        const long long of_capsule = (static_cast<long long>(i) * batch + first) * classes;
        for (int at = threadIdx.x; at < count * classes; at += blockDim.x) {
            const float* const vote = votes + at * filled;
            const float* const to = x + (static_cast<long long>(first) * classes + at) * filled;
            float along = 0.f;
            for (int d = 0; d < filled; ++d) along += vote[d] * to[d];
            alongs[at] = along;
        }
        __syncthreads();
        if (warp < count) {
            const float* const along = alongs + warp * classes;
            float* const factor = factors + warp * classes;
            float* const kept = (MODE == SWEEP ? coupling : dlogits) + of_capsule + warp * classes;
            const float* const c = coupling + of_capsule + warp * classes;
            float common = 0.f, most = along[min(lane, classes - 1)];
            for (int j = lane; j < classes; j += WARP) most = fmaxf(most, along[j]);
            most = warp_max(most);
            for (int j = lane; j < classes; j += WARP) {
                factor[j] = MODE == SWEEP ? expf(along[j] - most) : c[j];
                common += MODE == SWEEP ? factor[j] : factor[j] * along[j];
            }
            common = warp_sum(common);
            for (int j = lane; j < classes; j += WARP) {
                factor[j] = MODE == SWEEP ? factor[j] / common : factor[j] * (along[j] - common);
                kept[j] = factor[j];
            }
        }
        __syncthreads();
        for (int r = threadIdx.x; r < row; r += blockDim.x) {
            for (int s = 0; s < count; ++s) sum[s * row + r] += factors[s * classes + r / filled] * votes[s * row + r];
        }
        // Votes are the same thread's again; factors are not written before two barriers more.
    }
    for (int r = threadIdx.x; r < row; r += blockDim.x) {
        for (int s = 0; s < count; ++s) {
            sums[(static_cast<long long>(blockIdx.y) * batch + first + s) * row + r] = sum[s * row + r];
        }
    }
}

KERNEL __launch_bounds__(256)
    class_capsules_wide_first(SIZES, const float* u, const float* weight, float* sums, int chunk, int filled) {
    sweep<FIRST>(SIZES_GIVEN, u, weight, nullptr, nullptr, nullptr, sums, chunk, filled);
}

KERNEL __launch_bounds__(256) class_capsules_wide_sweep(SIZES, const float* u, const float* weight, const float* x, float* coupling,
                                                        float* sums, int chunk, int filled) {
    sweep<SWEEP>(SIZES_GIVEN, u, weight, x, coupling, nullptr, sums, chunk, filled);
}

KERNEL __launch_bounds__(256) class_capsules_wide_back(SIZES, const float* u, const float* weight, const float* x, float* coupling,
                                                       float* dlogits, float* sums, int chunk, int filled) {
    sweep<BACK>(SIZES_GIVEN, u, weight, x, coupling, dlogits, sums, chunk, filled);
}
