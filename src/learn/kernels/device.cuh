// What the kernels of this folder share. They are compiled to PTX by nvcc for devices, and by a C++ compiler for the emulated
// device of the tests (EMULATED), which stands in for the words of CUDA: so a kernel says KERNEL and DYNAMIC_SHARED for what a
// plain C++ compiler could not be taught, and keeps to these functions of CUDA: __syncthreads, __syncwarp, __shfl_*_sync, __ldg,
// and those of math.h.
#pragma once

#ifndef EMULATED
#define KERNEL extern "C" __global__ void
// Shared memory whose size the launch gives, 16-byte aligned.
#define DYNAMIC_SHARED(type, name)                            \
    extern __shared__ __align__(16) unsigned char name##_bytes[]; \
    type* const name = reinterpret_cast<type*>(name##_bytes)
#endif

constexpr unsigned WHOLE_WARP = 0xffffffffu;
constexpr int WARP = 32;

// What squash and lengths take for the square of nothing (EPSILON in squash.rs).
constexpr float EPSILON = 1e-9f;

// Sum over the lanes of a warp, in every lane, always in the same order.
__device__ __forceinline__ float warp_sum(float value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(WHOLE_WARP, value, distance);
    return value;
}

// Sum over the threads of a block (blockDim.x of them, a multiple of 32, at most 1024), in every thread, always in the same
// order. Every thread of the block must come here; `scratch` holds 32 values of shared memory that nobody else uses.
__device__ __forceinline__ float block_sum(float value, float* scratch) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    value = warp_sum(value);
    __syncthreads();
    if (lane == 0) scratch[warp] = value;
    __syncthreads();
    float sum = 0.f;
    for (int other = 0; other < warps; ++other) sum += scratch[other];
    return sum;
}

// bf16 as the upper half of a float, rounded to the nearest, ties to even; a NaN stays one.
typedef unsigned short bf16;

__device__ __forceinline__ bf16 to_bf16(float value) {
    const unsigned bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<bf16>((bits >> 16) | 0x40u);
    return static_cast<bf16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

__device__ __forceinline__ void store(float* at, float value) { *at = value; }
__device__ __forceinline__ void store(bf16* at, float value) { *at = to_bf16(value); }
