// What the parts of the emulated device know of each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include "emulation.h"

// The status codes of the driver that are given here, by their names without CUDA_ERROR_.
enum Result : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    STUB_LIBRARY = 34,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_PTX = 218,
    UNSUPPORTED_PTX_VERSION = 222,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,
    NOT_SUPPORTED = 801,
    STREAM_CAPTURE_UNSUPPORTED = 900,
    STREAM_CAPTURE_INVALIDATED = 901,
    STREAM_CAPTURE_UNMATCHED = 903,
    STREAM_CAPTURE_ISOLATION = 905,
    CAPTURED_EVENT = 907,
    STREAM_CAPTURE_WRONG_THREAD = 908,
    UNKNOWN = 999,
};

// Seen from the other libraries too.
#pragma GCC visibility push(default)
namespace emulated {

// One call at a time: kernels have static shared memory.
std::recursive_mutex& device_lock();

// Says what is wrong with the program under test, in one paragraph on stderr.
void complain(const char* format, ...) __attribute__((format(printf, 1, 2)));
// The same, and the process ends by SIGABRT.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// --- settings.cpp: what the environment asks for ---
int device_count();          // as CUDA_VISIBLE_DEVICES leaves it
int physical_device(int);    // of a visible one
int physical_count();
size_t memory_of_device();   // bytes
int multiprocessors();
int capability();            // 90 is 9.0
bool has_fault(const char* name);
std::string device_name(int physical);
void device_uuid(int physical, unsigned char* bytes);
std::string device_uuid_text(int physical); // GPU-...

// --- memory.cpp ---
uintptr_t allocate(int device, size_t bytes); // 0: no memory
bool release(uintptr_t at);
// Whether the bytes lie within one allocation; else says on stderr what does not.
bool check_range(const char* what, uintptr_t at, size_t bytes);
// Of the allocation that holds the address or ends there: its device, or -1.
int device_of(uintptr_t at);
// The place in words: what allocation it belongs to or is nearest to.
std::string describe(uintptr_t at);
// Ends the process if something wrote between the end of an allocation and its guard page.
void check_ends(const char* after);
size_t used_memory(int device);

// --- fibers.cpp ---
const Kernel* find_kernel(const std::string& name);
struct Launch {
    const Kernel* kernel;
    int device;
    uint3 grid, block;
    size_t shared;
    void* const* arguments;
};
void run_grid(const Launch& launch);
// Where a signal found the kernel that runs, in words; empty when none does.
std::string where();

// --- streams.cpp ---
// Runs the work now, or records it where the stream is being captured.
Result enqueue(void* stream, std::function<void()> work);
// Whether a call that a capture does not allow may go on, on this stream or (null) on the whole device; `what` names the call.
Result refuse_while_capturing(const char* what, void* stream, bool is_of_stream);
int current_device(); // of the calling thread's context, -1 without one

} // namespace emulated
#pragma GCC visibility pop

#define EXPORT extern "C" __attribute__((visibility("default")))
