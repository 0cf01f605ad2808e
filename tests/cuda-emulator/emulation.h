// The words of CUDA that our kernels use, for a C++ compiler: a `.cu` compiled behind this header runs on the CPU, every thread
// of a block as a fiber (fibers.cpp), which gives way to the others at barriers and shuffles.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#define EMULATED_TEXT(word) #word
#define EMULATED_SECTION(module) EMULATED_TEXT(shared_##module)
#define EMULATED_SECTION_OF(module) EMULATED_SECTION(module)

#ifdef EMULATED_LIST
// build.sh reads the names of kernels out of what the preprocessor leaves.
#define __global__ EMULATED_GLOBAL
#define __launch_bounds__(...) EMULATED_BOUNDS(__VA_ARGS__)
#else
#define __global__
#define __launch_bounds__(...)
#endif
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) alignas(bytes)
// Every module has its static shared memory in a section of its own, which is filled with NaN before each block.
#define __shared__ static __attribute__((section(EMULATED_SECTION_OF(EMULATED_MODULE))))
#define KERNEL extern "C" __global__ void
#define DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(emulated::dynamic_shared)

struct uint3 {
    unsigned x, y, z;
};
using dim3 = uint3;

// Those of the thread that runs. Hidden, so that reading them costs no look-up.
#pragma GCC visibility push(hidden)
extern uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

extern void* dynamic_shared;

enum class Exchange { Warp, Index, Xor, Down, Up, Ballot };

// Waits for the lanes of `mask` and gives what the lane meant by `operand` brought (or, of a ballot, who brought something).
uint64_t exchange(Exchange kind, unsigned mask, uint64_t value, int operand, int width, const char* file, int line);
void block_barrier(const char* file, int line);

struct Kernel {
    const char* name;
    const char* module;
    void (*run)(void* const* arguments);
    const size_t* sizes;      // of the arguments
    const bool* are_pointers; // the arguments
    int count;
    int most_threads;         // of a block: __launch_bounds__, or 1024
    char *shared_begin, *shared_end;
};

struct Registration {
    explicit Registration(const Kernel& kernel);
};

template <class... Arguments>
struct Signature {
    static constexpr size_t sizes[sizeof...(Arguments) + 1] = {sizeof(Arguments)..., 0};
    static constexpr bool are_pointers[sizeof...(Arguments) + 1] = {std::is_pointer_v<Arguments>..., false};
};

template <auto function>
struct Entry;

template <class... Arguments, void (*function)(Arguments...)>
struct Entry<function> : Signature<Arguments...> {
    static constexpr int count = sizeof...(Arguments);
    static void run(void* const* arguments) { call(arguments, std::index_sequence_for<Arguments...>()); }
    template <size_t... index>
    static void call([[maybe_unused]] void* const* arguments, std::index_sequence<index...>) {
        function(*static_cast<std::remove_const_t<Arguments>*>(arguments[index])...);
    }
};

template <class T>
uint64_t to_bits(T value) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T>
T from_bits(uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

} // namespace emulated
#pragma GCC visibility pop

#define EMULATED_REGISTER(kernel, threads)                                                                        \
    static const emulated::Registration register_##kernel({#kernel, EMULATED_TEXT_OF(EMULATED_MODULE) ".cu",     \
        &emulated::Entry<&kernel>::run, emulated::Entry<&kernel>::sizes, emulated::Entry<&kernel>::are_pointers, \
        emulated::Entry<&kernel>::count, (threads), emulated_shared_begin, emulated_shared_end});
// What stands before the text of a `.cu`, in its namespace.
#define EMULATED_PRELUDE
#define EMULATED_TEXT_OF(word) EMULATED_TEXT(word)

// __builtin_FILE and __builtin_LINE as defaults are those of the call: where a thread waits.
#define EMULATED_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMULATED_HERE) { emulated::block_barrier(file, line); }
inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATED_HERE) {
    emulated::exchange(emulated::Exchange::Warp, mask, 0, 0, 32, file, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATED_HERE) {
    return emulated::exchange(emulated::Exchange::Ballot, mask, predicate != 0, 0, 32, file, line);
}

#define EMULATED_SHUFFLE(name, kind, Operand)                                                                   \
    template <class T>                                                                                          \
    T name(unsigned mask, T value, Operand operand, int width = 32, EMULATED_HERE) {                            \
        return emulated::from_bits<T>(emulated::exchange(                                                       \
            emulated::Exchange::kind, mask, emulated::to_bits(value), static_cast<int>(operand), width, file, line)); \
    }
EMULATED_SHUFFLE(__shfl_sync, Index, int)
EMULATED_SHUFFLE(__shfl_xor_sync, Xor, int)
EMULATED_SHUFFLE(__shfl_down_sync, Down, unsigned)
EMULATED_SHUFFLE(__shfl_up_sync, Up, unsigned)

template <class T>
T __ldg(const T* at) {
    return *at;
}

// CUDA has them aligned, and reads a whole one by one instruction: so a misaligned one is found here too.
#define EMULATED_VECTOR(name, Scalar, bytes2, bytes4)                                        \
    struct alignas(bytes2) name##2 { Scalar x, y; };                                         \
    struct name##3 { Scalar x, y, z; };                                                      \
    struct alignas(bytes4) name##4 { Scalar x, y, z, w; };                                   \
    inline name##2 make_##name##2(Scalar x, Scalar y) { return {x, y}; }                     \
    inline name##3 make_##name##3(Scalar x, Scalar y, Scalar z) { return {x, y, z}; }        \
    inline name##4 make_##name##4(Scalar x, Scalar y, Scalar z, Scalar w) { return {x, y, z, w}; }
EMULATED_VECTOR(float, float, 8, 16)
EMULATED_VECTOR(int, int, 8, 16)
EMULATED_VECTOR(ushort, unsigned short, 4, 8)
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

inline unsigned __float_as_uint(float value) { return emulated::from_bits<unsigned>(emulated::to_bits(value)); }
inline int __float_as_int(float value) { return emulated::from_bits<int>(emulated::to_bits(value)); }
inline float __uint_as_float(unsigned bits) { return emulated::from_bits<float>(bits); }
inline float __int_as_float(int bits) { return emulated::from_bits<float>(emulated::to_bits(bits)); }
inline float rsqrtf(float value) { return 1.f / std::sqrt(value); }
inline float __expf(float value) { return std::exp(value); }
inline float __fdividef(float a, float b) { return a / b; }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz(static_cast<unsigned>(bits)); }

template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}
