// Kernels with one fault each, and sound ones beside them: check.sh sees to it that the emulated device finds the faults, and
// nothing in the others.
#include "device.cuh"

// Sums of `len` values, a block for every blockDim.x of them: sound.
KERNEL sound(const float* values, float* sums, int len) {
    __shared__ float scratch[WARP];
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    const float sum = block_sum(at < len ? values[at] : 0.f, scratch);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Each warp has the sum of its lanes by every kind of shuffle; `shared` holds a value a thread: sound.
KERNEL shuffles(const float* values, float* results, int len) {
    DYNAMIC_SHARED(float, shared);
    const int me = threadIdx.x, lane = me % WARP;
    if (me < len) shared[me] = values[me];
    __syncthreads();
    float value = me < len ? shared[me] : 0.f;
    float down = value, up = value;
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        down += __shfl_down_sync(WHOLE_WARP, down, distance);
        const float other = __shfl_up_sync(WHOLE_WARP, up, distance);
        if (lane >= distance) up += other;
    }
    // Half a warp alone.
    const float half = lane < 16 ? __shfl_xor_sync(0x0000ffffu, value, 1) : __shfl_xor_sync(0xffff0000u, value, 1);
    __syncwarp();
    results[4 * me] = __shfl_sync(WHOLE_WARP, down, 0);
    results[4 * me + 1] = __shfl_sync(WHOLE_WARP, warp_sum(value), 5);
    results[4 * me + 2] = half;
    results[4 * me + 3] = __shfl_sync(WHOLE_WARP, value, 3, 8);
}

// Reads what the next warp wrote without waiting for it.
KERNEL missing_barrier(const float* values, float* results, int len) {
    __shared__ float shared[256];
    const int me = threadIdx.x;
    shared[me] = me < len ? values[me] : 0.f;
    results[me] = shared[(me + WARP) % blockDim.x] + shared[(me + blockDim.x - WARP) % blockDim.x];
}

// Writes one value too many.
KERNEL out_of_bounds(const float*, float* results, int len) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at <= len) results[at] = 1.f;
}

// Reads far behind the end.
KERNEL far_read(const float* values, float* results, int len) { results[threadIdx.x] = values[threadIdx.x + 64LL * len]; }

// Only half the threads come to the barrier.
KERNEL divergent_barrier(const float*, float* results, int) {
    if (threadIdx.x < blockDim.x / 2) __syncthreads();
    results[threadIdx.x] = 1.f;
}

// The threads come to different barriers.
KERNEL other_barrier(const float*, float* results, int) {
    if (threadIdx.x < blockDim.x / 2) {
        __syncthreads();
        results[threadIdx.x] = 1.f;
    } else {
        __syncthreads();
        results[threadIdx.x] = 2.f;
    }
}

// Lanes that have ended are asked for their values.
KERNEL ended_lane(const float* values, float* results, int) {
    if (threadIdx.x % WARP == 7) return;
    results[threadIdx.x] = warp_sum(values[threadIdx.x]);
}

// Two masks for one warp.
KERNEL other_mask(const float* values, float* results, int) {
    const unsigned mask = threadIdx.x % WARP < 16 ? WHOLE_WARP : 0xffff0000u;
    results[threadIdx.x] = __shfl_sync(mask, values[threadIdx.x], 16);
}

// An index outside an array of shared memory.
KERNEL shared_index(const float* values, float* results, int len) {
    __shared__ float shared[64];
    if (static_cast<int>(threadIdx.x) < len) shared[threadIdx.x] = values[threadIdx.x];
    __syncthreads();
    results[threadIdx.x] = shared[threadIdx.x % 64];
}

// Dynamic shared memory behind what the launch gave.
KERNEL dynamic_index(const float* values, float* results, int) {
    DYNAMIC_SHARED(float, shared);
    shared[threadIdx.x] = values[threadIdx.x % 8];
    __syncthreads();
    results[threadIdx.x] = shared[threadIdx.x];
}

// Uses a value of shared memory that nobody wrote.
KERNEL unwritten(const float* values, float* results, int) {
    __shared__ float shared[256];
    if (threadIdx.x != 5) shared[threadIdx.x] = values[threadIdx.x % 8];
    __syncthreads();
    results[threadIdx.x] = shared[threadIdx.x];
}

// An int that overflows where a long long is needed.
KERNEL overflow(const float*, float* results, int len) {
    const int offset = len * 1000003;
    results[offset & 7] = 1.f;
}

// A float4 that is not 16-byte aligned.
KERNEL misaligned(const float* values, float* results, int) {
    const float4 four = *reinterpret_cast<const float4*>(values + 1);
    results[threadIdx.x] = four.x + four.w;
}

KERNEL null_pointer(const float*, float* results, int) { static_cast<float*>(nullptr)[threadIdx.x] = results[0]; }

KERNEL __launch_bounds__(128, 2) bounded(const float*, float* results, int) { results[threadIdx.x] = 1.f; }
