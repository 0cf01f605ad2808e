// What candle's kernels need beside emulation.h. Ours may not use it.
#pragma once
#include <math.h>
#include <stdint.h>

#include <cmath>
#include <cstdint>
#include <cassert>
#include <limits>

#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0

// Fibers change places at barriers only: nothing comes between.
template <class T>
T atomicAdd(T* at, T value) {
    const T old = *at;
    *at = old + value;
    return old;
}
template <class T, class E, class V>
T atomicCAS(T* at, E expected, V value) {
    const T old = *at;
    if (old == static_cast<T>(expected)) *at = static_cast<T>(value);
    return old;
}
template <class T, class V>
T atomicMax(T* at, V value) {
    const T old = *at;
    if (old < static_cast<T>(value)) *at = static_cast<T>(value);
    return old;
}
template <class T, class V>
T atomicMin(T* at, V value) {
    const T old = *at;
    if (static_cast<T>(value) < old) *at = static_cast<T>(value);
    return old;
}
inline long long __double_as_longlong(double value) { return static_cast<long long>(emulated::to_bits(value)); }
inline double __longlong_as_double(long long bits) { return emulated::from_bits<double>(static_cast<uint64_t>(bits)); }
inline float normcdff(float x) { return 0.5f * std::erfc(-x * 0.70710678f); }
inline double normcdf(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752); }
using std::isnan;
using std::signbit;

namespace cuda::std {
template <class T>
using numeric_limits = ::std::numeric_limits<T>;
}

// 16 and 8 bit types are only named here: kernels over them are left out with __CUDA_ARCH__ 500.
struct __half { unsigned short bits; };
struct __nv_bfloat16 { unsigned short bits; };
struct __nv_fp8_e4m3 {
    unsigned char __x;
    template <class T>
    explicit __nv_fp8_e4m3(T);
};
constexpr int __NV_E4M3 = 0;
__half __nv_cvt_fp8_to_halfraw(unsigned char, int);
float __half2float(__half);
__half __hmax_nan(__half, __half);
__half __hmin_nan(__half, __half);
inline unsigned short __half_as_ushort(__half value) { return value.bits; }
inline __half __ushort_as_half(unsigned short bits) { return {bits}; }

// candle has an atomicAdd of its own, for double alone, which would hide this one.
#undef EMULATED_PRELUDE
#define EMULATED_PRELUDE using ::atomicAdd;
