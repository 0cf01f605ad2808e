// What the kernels of capsules share: rows of values four at a time, the nonlinearity (squash.rs), and sizes of class capsules.
#pragma once

#include "device.cuh"

__device__ __forceinline__ float4 add(float4 a, float4 b) { return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }

// sum + factor * a
__device__ __forceinline__ float4 add_times(float4 sum, float factor, float4 a) {
    return make_float4(sum.x + factor * a.x, sum.y + factor * a.y, sum.z + factor * a.z, sum.w + factor * a.w);
}

__device__ __forceinline__ float dot(float4 a, float4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }

// Whether every row of `length` values, one after the other from `start` on, can be read in fours.
__device__ __forceinline__ bool reads_in_fours(const float* start, int length) {
    return length % 4 == 0 && reinterpret_cast<size_t>(start) % sizeof(float4) == 0;
}

// Values first .. first + 4 of a row of `length`: 0 behind its end.
__device__ __forceinline__ float4 load_quad(const float* row, int first, int length, bool in_fours) {
    if (in_fours && first < length) return *reinterpret_cast<const float4*>(row + first);
    return make_float4(first < length ? row[first] : 0.f, first + 1 < length ? row[first + 1] : 0.f,
                       first + 2 < length ? row[first + 2] : 0.f, first + 3 < length ? row[first + 3] : 0.f);
}

__device__ __forceinline__ void store_quad(float* row, int first, int length, bool in_fours, float4 quad) {
    if (in_fours && first < length) {
        *reinterpret_cast<float4*>(row + first) = quad;
        return;
    }
    if (first < length) row[first] = quad.x;
    if (first + 1 < length) row[first + 1] = quad.y;
    if (first + 2 < length) row[first + 2] = quad.z;
    if (first + 3 < length) row[first + 3] = quad.w;
}

// Squash::Exact; the other is Approximate.
constexpr int EXACT = 0;

// The factor f(|s|²) of squash(s) = f(|s|²) s.
__device__ __forceinline__ float squash_factor(int kind, float n2) {
    if (kind == EXACT) return n2 / ((1.f + n2) * sqrtf(n2 + EPSILON));
    return n2 <= 4.f ? 0.5f : 1.f / sqrtf(n2);
}

// Its derivative.
__device__ __forceinline__ float squash_slope(int kind, float n2) {
    if (kind == EXACT) {
        const float m = 1.f + n2, e = n2 + EPSILON, root = sqrtf(e);
        return 1.f / (m * m * root) - 0.5f * n2 / (m * e * root);
    }
    return n2 <= 4.f ? 0.f : -0.5f / (n2 * sqrtf(n2));
}

// What kernels of class capsules are told of sizes. Rows of classes are `classes × D` here, those of a matrix and those of this module's own
// arrays: D is a dimension of class capsules that a kernel is made for, and what lies between it and theirs is 0. Likewise `wide`
// is in_dim, filled up to a multiple of 4. Where operands are not so by themselves, class_capsules_pack makes them so.
struct Sizes {
    int batch, capsules, wide, classes;
    // Capsules that share a matrix; capsule i is that of type i / positions at position i % positions.
    int sharing, positions;

    // Where the values of capsules stand, [positions, batch, types], in units of `wide` values: capsule i of sample 0, and how far
    // on that of the next sample.
    __device__ __forceinline__ long long place(int i) const {
        return static_cast<long long>(i % positions) * batch * next_sample() + i / positions;
    }
    __device__ __forceinline__ int next_sample() const { return capsules / positions; }
};

#define SIZES int batch, int capsules, int wide, int classes, int sharing, int positions
#define SIZES_GIVEN \
    Sizes { batch, capsules, wide, classes, sharing, positions }
