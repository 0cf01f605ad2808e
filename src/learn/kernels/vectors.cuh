// One value or four side by side, by the same code: a thread that moves four takes one memory instruction for 16 bytes. A kernel
// of these is compiled for both; the launch takes four where sizes and addresses are multiples of four values.
#pragma once
#include "device.cuh"

// Four bf16, loaded and stored at once.
struct alignas(8) Bf16x4 {
    bf16 x, y, z, w;
};

// f(first, rest...), in each lane.
template <typename F, typename... Rest>
__device__ __forceinline__ float each(F f, float first, Rest... rest) {
    return f(first, rest...);
}
template <typename F, typename... Rest>
__device__ __forceinline__ float4 each(F f, float4 first, Rest... rest) {
    return make_float4(f(first.x, rest.x...), f(first.y, rest.y...), f(first.z, rest.z...), f(first.w, rest.w...));
}

template <typename V>
__device__ __forceinline__ V plus(V a, V b) {
    return each([](float a, float b) { return a + b; }, a, b);
}

// 0 in each lane.
template <typename V>
__device__ __forceinline__ V none();
template <>
__device__ __forceinline__ float none<float>() {
    return 0.f;
}
template <>
__device__ __forceinline__ float4 none<float4>() {
    return make_float4(0.f, 0.f, 0.f, 0.f);
}

// The rectifier, which lets a NaN through, and its derivative, which lets the gradient of a NaN output through.
template <typename V>
__device__ __forceinline__ V rectified(V x) {
    return each([](float x) { return x < 0.f ? 0.f : x; }, x);
}
template <typename V>
__device__ __forceinline__ V rectified_gradient(V y, V dy) {
    return each([](float y, float dy) { return y <= 0.f ? 0.f : dy; }, y, dy);
}

__device__ __forceinline__ void store(float4* at, float4 value) { *at = value; }
__device__ __forceinline__ void store(Bf16x4* at, float4 value) {
    *at = Bf16x4{to_bf16(value.x), to_bf16(value.y), to_bf16(value.z), to_bf16(value.w)};
}
