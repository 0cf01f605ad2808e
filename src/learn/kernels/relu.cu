// The rectifier of relu.rs. In the networks' passes it is part of what follows a product (linear.cu) and of what precedes one
// (sums.cu); this is the op of its own.
//
// Versions considered: (1) a value a thread; (2) four. Two streams forward, three backward, no reuse: bound by memory bandwidth.
#include "vectors.cuh"

template <typename V>
__device__ __forceinline__ void relu(const V* __restrict__ x, V* __restrict__ y, long long count) {
    const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; at < count; at += stride)
        y[at] = rectified(x[at]);
}

template <typename V>
__device__ __forceinline__ void relu_gradient(const V* __restrict__ y, const V* dy, V* dx, long long count) {
    const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; at < count; at += stride)
        dx[at] = rectified_gradient(y[at], dy[at]);
}

// count: in values, or in fours. dx may be dy.
KERNEL relu_forward(const float* x, float* y, long long count) { relu(x, y, count); }
KERNEL relu_forward4(const float4* x, float4* y, long long count) { relu(x, y, count); }
KERNEL relu_backward(const float* y, const float* dy, float* dx, long long count) { relu_gradient(y, dy, dx, count); }
KERNEL relu_backward4(const float4* y, const float4* dy, float4* dx, long long count) { relu_gradient(y, dy, dx, count); }
