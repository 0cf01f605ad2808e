// What the kernels of capsules share: rows of values four at a time, and the nonlinearity (squash.rs).
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
