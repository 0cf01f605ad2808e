// The driver API apart from streams: devices, contexts, memory, modules and launches.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "device.h"

using namespace emulated;

#define LOCKED std::lock_guard<std::recursive_mutex> guard(device_lock())
#define REFUSE_WHILE_CAPTURING()                                                                            \
    if (const Result refused = refuse_while_capturing(__func__, nullptr, false); refused != SUCCESS) return refused
#define REFUSE_ON(stream)                                                                                   \
    if (const Result refused = refuse_while_capturing(__func__, stream, true); refused != SUCCESS) return refused

namespace {

constexpr size_t SHARED_BY_DEFAULT = 48 << 10, SHARED_AT_MOST = 227 << 10;

bool is_initialised = false;

struct Context {
    int device; // visible
};
thread_local Context* current = nullptr;

Context* primary_of(int device) {
    static Context contexts[64];
    contexts[device].device = device;
    return &contexts[device];
}

bool is_device(int device) { return device >= 0 && device < device_count(); }

// A kernel in a module, and what was set for it.
struct Function {
    const Kernel* kernel;
    size_t most_shared = SHARED_BY_DEFAULT;
};

struct Module {
    std::string image;
    std::map<std::string, Function> functions;
};

} // namespace

namespace emulated {
int current_device() { return current ? current->device : -1; }
} // namespace emulated

// --- what is wrong, in words ---

struct Code {
    int value;
    const char *name, *text;
};

static const Code CODES[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {34, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not initiated in this stream"},
    {905, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency created on uncaptured work in another stream"},
    {907, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"},
    {908, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", "attempt to terminate a thread-local capture sequence from another thread"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

static int find_code(int value, const char** text, const char* Code::*field) {
    for (const Code& code : CODES) {
        if (code.value == value) {
            *text = code.*field;
            return SUCCESS;
        }
    }
    *text = nullptr;
    return INVALID_VALUE;
}

EXPORT int cuGetErrorName(int value, const char** name) { return find_code(value, name, &Code::name); }
EXPORT int cuGetErrorString(int value, const char** text) { return find_code(value, text, &Code::text); }

// --- devices ---

EXPORT int cuInit(unsigned) {
    if (device_count() == 0) return NO_DEVICE;
    is_initialised = true;
    return SUCCESS;
}

EXPORT int cuDriverGetVersion(int* version) {
    *version = has_fault("no-driver") ? 0 : has_fault("old-driver") ? 12040 : 13000;
    return SUCCESS;
}

EXPORT int cuDeviceGetCount(int* count) {
    *count = device_count();
    return is_initialised ? SUCCESS : NOT_INITIALIZED;
}

EXPORT int cuDeviceGet(int* device, int ordinal) {
    if (!is_initialised) return NOT_INITIALIZED;
    *device = ordinal;
    return is_device(ordinal) ? SUCCESS : INVALID_DEVICE;
}

EXPORT int cuDeviceGetName(char* name, int size, int device) {
    if (!is_device(device)) return INVALID_DEVICE;
    snprintf(name, static_cast<size_t>(size), "%s", device_name(physical_device(device)).c_str());
    return SUCCESS;
}

EXPORT int cuDeviceGetUuid_v2(unsigned char* uuid, int device) {
    if (!is_device(device)) return INVALID_DEVICE;
    device_uuid(physical_device(device), uuid);
    return SUCCESS;
}

EXPORT int cuDeviceGetUuid(unsigned char* uuid, int device) { return cuDeviceGetUuid_v2(uuid, device); }

EXPORT int cuDeviceTotalMem_v2(size_t* bytes, int device) {
    *bytes = memory_of_device();
    return is_device(device) ? SUCCESS : INVALID_DEVICE;
}

EXPORT int cuDeviceGetPCIBusId(char* text, int size, int device) {
    if (!is_device(device)) return INVALID_DEVICE;
    snprintf(text, static_cast<size_t>(size), "0000:%02X:00.0", physical_device(device) + 1);
    return SUCCESS;
}

EXPORT int cuDeviceGetAttribute(int* value, int attribute, int device) {
    if (!is_device(device)) return INVALID_DEVICE;
    static const std::map<int, int> values = {
        {1, 1024},       {2, 1024},      {3, 1024},     {4, 64},                 // threads of a block
        {5, 2147483647}, {6, 65535},     {7, 65535},                             // blocks of a grid
        {8, 49152},      {81, 233472},   {97, 232448},  {111, 1024},             // shared memory
        {9, 65536},      {10, 32},       {12, 65536},   {82, 65536},             // constants, warp, registers
        {13, 1755000},   {36, 2619000},  {37, 5120},    {38, 50 << 20},          // clocks, bus, L2
        {31, 1},         {39, 2048},     {40, 3},       {41, 1},    {78, 1},
        {106, 32},       {115, 1},       {116, 0},                               // memory pools
    };
    const auto found = values.find(attribute);
    *value = found == values.end() ? 0 : found->second;
    if (attribute == 16) *value = multiprocessors();
    if (attribute == 33) *value = physical_device(device) + 1; // PCI bus
    if (attribute == 75) *value = capability() / 10;
    if (attribute == 76) *value = capability() % 10;
    return SUCCESS;
}

// --- contexts: the primary one of each device ---

EXPORT int cuDevicePrimaryCtxRetain(void** context, int device) {
    if (!is_initialised) return NOT_INITIALIZED;
    if (!is_device(device)) return INVALID_DEVICE;
    *context = primary_of(device);
    return SUCCESS;
}

EXPORT int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }

EXPORT int cuCtxGetCurrent(void** context) {
    *context = current;
    return is_initialised ? SUCCESS : NOT_INITIALIZED;
}

EXPORT int cuCtxSetCurrent(void* context) {
    current = static_cast<Context*>(context);
    return SUCCESS;
}

EXPORT int cuCtxGetDevice(int* device) {
    *device = current_device();
    return current ? SUCCESS : INVALID_CONTEXT;
}

EXPORT int cuCtxSetFlags(unsigned) { return SUCCESS; }

// --- memory ---

EXPORT int cuMemGetInfo_v2(size_t* free, size_t* total) {
    LOCKED;
    if (!current) return INVALID_CONTEXT;
    *total = memory_of_device();
    *free = *total - used_memory(physical_device(current->device));
    return SUCCESS;
}

static int allocate_here(uintptr_t* at, size_t bytes) {
    LOCKED;
    if (!current) return INVALID_CONTEXT;
    if (bytes == 0) return INVALID_VALUE;
    *at = allocate(physical_device(current->device), bytes);
    return *at ? SUCCESS : OUT_OF_MEMORY;
}

EXPORT int cuMemAlloc_v2(uintptr_t* at, size_t bytes) {
    REFUSE_WHILE_CAPTURING();
    return allocate_here(at, bytes);
}

// A capture would record it; our graphs are to use memory that was there before.
EXPORT int cuMemAllocAsync(uintptr_t* at, size_t bytes, void* stream) {
    REFUSE_ON(stream);
    return allocate_here(at, bytes);
}

EXPORT int cuMemFree_v2(uintptr_t at) {
    REFUSE_WHILE_CAPTURING();
    LOCKED;
    return at == 0 || release(at) ? SUCCESS : INVALID_VALUE;
}

EXPORT int cuMemFreeAsync(uintptr_t at, void* stream) {
    REFUSE_ON(stream);
    LOCKED;
    return at == 0 || release(at) ? SUCCESS : INVALID_VALUE;
}

// Memory of the host that the device can reach.
static std::map<uintptr_t, size_t>& pinned() {
    static auto* map = new std::map<uintptr_t, size_t>;
    return *map;
}

EXPORT int cuMemHostAlloc(void** at, size_t bytes, unsigned) {
    REFUSE_WHILE_CAPTURING();
    LOCKED;
    *at = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*at) return OUT_OF_MEMORY;
    pinned()[reinterpret_cast<uintptr_t>(*at)] = bytes;
    return SUCCESS;
}

EXPORT int cuMemFreeHost(void* at) {
    LOCKED;
    if (!pinned().erase(reinterpret_cast<uintptr_t>(at))) return INVALID_VALUE;
    std::free(at);
    return SUCCESS;
}

EXPORT int cuMemHostGetFlags(unsigned* flags, void* at) {
    LOCKED;
    *flags = 0;
    return pinned().count(reinterpret_cast<uintptr_t>(at)) ? SUCCESS : INVALID_VALUE;
}

static bool is_pinned(const void* at) {
    LOCKED;
    auto next = pinned().upper_bound(reinterpret_cast<uintptr_t>(at));
    if (next == pinned().begin()) return false;
    --next;
    return reinterpret_cast<uintptr_t>(at) < next->first + next->second;
}

template <class T>
static T* pointer(uintptr_t at) {
    return reinterpret_cast<T*>(at);
}

static int to_device(const char* what, uintptr_t to, const void* from, size_t bytes, void* stream) {
    if (bytes == 0) return SUCCESS;
    if (!from || !check_range(what, to, bytes)) return INVALID_VALUE;
    return enqueue(stream, [=] { std::memcpy(pointer<void>(to), from, bytes); });
}

static int to_host(const char* what, void* to, uintptr_t from, size_t bytes, void* stream) {
    if (bytes == 0) return SUCCESS;
    if (!to || !check_range(what, from, bytes)) return INVALID_VALUE;
    return enqueue(stream, [=] { std::memcpy(to, pointer<void>(from), bytes); });
}

EXPORT int cuMemcpyHtoD_v2(uintptr_t to, const void* from, size_t bytes) {
    REFUSE_WHILE_CAPTURING();
    LOCKED;
    return to_device("a copy to the device", to, from, bytes, nullptr);
}

EXPORT int cuMemcpyDtoH_v2(void* to, uintptr_t from, size_t bytes) {
    REFUSE_WHILE_CAPTURING();
    LOCKED;
    return to_host("a copy from the device", to, from, bytes, nullptr);
}

// A graph would read or write memory of the host at every replay: only pinned memory is sure to be there.
EXPORT int cuMemcpyHtoDAsync_v2(uintptr_t to, const void* from, size_t bytes, void* stream) {
    if (!is_pinned(from)) REFUSE_ON(stream);
    LOCKED;
    return to_device("a copy to the device", to, from, bytes, stream);
}

EXPORT int cuMemcpyDtoHAsync_v2(void* to, uintptr_t from, size_t bytes, void* stream) {
    if (!is_pinned(to)) REFUSE_ON(stream);
    LOCKED;
    return to_host("a copy from the device", to, from, bytes, stream);
}

EXPORT int cuMemcpyDtoDAsync_v2(uintptr_t to, uintptr_t from, size_t bytes, void* stream) {
    LOCKED;
    if (bytes == 0) return SUCCESS;
    if (!check_range("a copy on the device", to, bytes) || !check_range("a copy on the device", from, bytes)) return INVALID_VALUE;
    return enqueue(stream, [=] { std::memcpy(pointer<void>(to), pointer<void>(from), bytes); });
}

EXPORT int cuMemcpyDtoD_v2(uintptr_t to, uintptr_t from, size_t bytes) {
    REFUSE_WHILE_CAPTURING();
    return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr);
}

template <class T>
static int set(uintptr_t at, T value, size_t count, void* stream) {
    LOCKED;
    if (count == 0) return SUCCESS;
    if (!check_range("a memset", at, count * sizeof(T))) return INVALID_VALUE;
    return enqueue(stream, [=] {
        if constexpr (sizeof(T) == 1) std::memset(pointer<void>(at), value, count);
        else for (size_t i = 0; i < count; ++i) pointer<T>(at)[i] = value;
    });
}

EXPORT int cuMemsetD8Async(uintptr_t at, unsigned char value, size_t count, void* stream) { return set(at, value, count, stream); }
EXPORT int cuMemsetD32Async(uintptr_t at, unsigned value, size_t count, void* stream) { return set(at, value, count, stream); }
EXPORT int cuMemsetD8_v2(uintptr_t at, unsigned char value, size_t count) {
    REFUSE_WHILE_CAPTURING();
    return set(at, value, count, nullptr);
}
EXPORT int cuMemsetD32_v2(uintptr_t at, unsigned value, size_t count) {
    REFUSE_WHILE_CAPTURING();
    return set(at, value, count, nullptr);
}

// --- modules: every kernel is there already, whatever the image; if it is PTX, it must name the kernel ---

EXPORT int cuModuleLoadData(void** module, const void* image) {
    REFUSE_WHILE_CAPTURING();
    if (!current) return INVALID_CONTEXT;
    if (has_fault("old-driver")) return UNSUPPORTED_PTX_VERSION;
    if (capability() < 80) return INVALID_PTX;
    const std::string text = image ? static_cast<const char*>(image) : "";
    *module = new Module{text.find(".entry") == std::string::npos ? "" : text, {}};
    return SUCCESS;
}

EXPORT int cuModuleUnload(void* module) {
    delete static_cast<Module*>(module);
    return SUCCESS;
}

EXPORT int cuModuleGetFunction(void** function, void* handle, const char* name) {
    LOCKED;
    auto* module = static_cast<Module*>(handle);
    if (!module->image.empty() && module->image.find(".entry " + std::string(name) + "(") == std::string::npos) return NOT_FOUND;
    const Kernel* kernel = find_kernel(name);
    if (!kernel) {
        complain("kernel %s is not emulated: it is neither in src/kernels nor among those of candle that are", name);
        return NOT_FOUND;
    }
    *function = &module->functions.emplace(name, Function{kernel}).first->second;
    return SUCCESS;
}

EXPORT int cuFuncSetAttribute(void* handle, int attribute, int value) {
    auto* function = static_cast<Function*>(handle);
    if (attribute != 8) return SUCCESS;
    const size_t most = SHARED_AT_MOST - static_cast<size_t>(function->kernel->shared_end - function->kernel->shared_begin);
    if (value < 0 || static_cast<size_t>(value) > most) {
        complain("kernel %s cannot have %d bytes of dynamic shared memory: at most %zu", function->kernel->name, value, most);
        return INVALID_VALUE;
    }
    function->most_shared = static_cast<size_t>(value);
    return SUCCESS;
}

EXPORT int cuFuncGetAttribute(int* value, int attribute, void* handle) {
    const auto* function = static_cast<Function*>(handle);
    *value = attribute == 0 ? function->kernel->most_threads
           : attribute == 4 ? 32
           : attribute == 5 || attribute == 6 ? capability()
           : attribute == 8 ? static_cast<int>(function->most_shared)
                            : 0;
    return SUCCESS;
}

EXPORT int cuFuncSetCacheConfig(void*, int) { return SUCCESS; }

EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, void*, int threads, size_t shared, unsigned) {
    *blocks = std::min(2048 / std::max(threads, 1), shared == 0 ? 32 : static_cast<int>(SHARED_AT_MOST / shared));
    return SUCCESS;
}

EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* function, int threads, size_t shared) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, shared, 0);
}

EXPORT int cuLaunchKernel(void* handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                          unsigned shared, void* stream, void** arguments, void** extra) {
    LOCKED;
    if (!current) return INVALID_CONTEXT;
    const auto* function = static_cast<Function*>(handle);
    const Kernel* kernel = function->kernel;
    const auto refuse = [&](const char* why) {
        complain("kernel %s with grid (%u, %u, %u), block (%u, %u, %u), %u bytes of shared memory: %s", kernel->name, gx, gy, gz, bx,
                 by, bz, shared, why);
        return INVALID_VALUE;
    };
    if (size_t{gx} * gy * gz * bx * by * bz == 0) return refuse("a side of 0");
    if (gx > 2147483647u || gy > 65535 || gz > 65535) return refuse("the grid is larger than 2147483647 x 65535 x 65535");
    if (size_t{gx} * gy * gz > 0xffffffffu) return refuse("more blocks than are emulated");
    if (bx > 1024 || by > 1024 || bz > 64) return refuse("a block is larger than 1024 x 1024 x 64");
    if (bx * by * bz > static_cast<unsigned>(kernel->most_threads))
        return refuse(kernel->most_threads == 1024 ? "more than 1024 threads in a block" : "more threads in a block than its __launch_bounds__");
    if (shared > function->most_shared) return refuse("more shared memory than it may have (48 KiB, or what cuFuncSetAttribute set)");
    if (extra || (kernel->count > 0 && !arguments)) return refuse("no arguments");
    // They are read now: a launch may be recorded. Those that are missing cannot be told, as in CUDA.
    auto values = std::make_shared<std::vector<std::vector<unsigned char>>>();
    for (int i = 0; i < kernel->count; ++i) {
        if (!arguments[i]) return refuse("an argument is a null pointer");
        const auto* bytes = static_cast<unsigned char*>(arguments[i]);
        values->emplace_back(bytes, bytes + kernel->sizes[i]);
    }
    return enqueue(stream, [=, device = physical_device(current->device)] {
        std::vector<void*> pointers;
        for (auto& value : *values) pointers.push_back(value.data());
        run_grid({kernel, device, {gx, gy, gz}, {bx, by, bz}, shared, pointers.data()});
    });
}
