// Launches one kernel of faults.cu: `faults KERNEL THREADS SHARED-BYTES [LEN]` over LEN (THREADS) values i + 1, and prints the
// results. What goes wrong with a call is the exit code; what goes wrong in the kernel ends the process.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

extern "C" {
int cuInit(unsigned);
int cuDeviceGet(int*, int);
int cuDevicePrimaryCtxRetain(void**, int);
int cuCtxSetCurrent(void*);
int cuMemAlloc_v2(uintptr_t*, size_t);
int cuMemFree_v2(uintptr_t);
int cuMemcpyHtoD_v2(uintptr_t, const void*, size_t);
int cuMemcpyDtoH_v2(void*, uintptr_t, size_t);
int cuModuleLoadData(void**, const void*);
int cuModuleGetFunction(void**, void*, const char*);
int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
int cuGetErrorName(int, const char**);
}

static void check(int result) {
    if (result == 0) return;
    const char* name = nullptr;
    cuGetErrorName(result, &name);
    printf("%s\n", name ? name : "?");
    exit(1);
}

int main(int, char** arguments) {
    const std::string kernel = arguments[1];
    const unsigned threads = static_cast<unsigned>(atoi(arguments[2])), shared = static_cast<unsigned>(atoi(arguments[3]));
    int len = arguments[4] ? atoi(arguments[4]) : static_cast<int>(threads);
    int device;
    void *context, *module, *function;
    check(cuInit(0));
    check(cuDeviceGet(&device, 0));
    check(cuDevicePrimaryCtxRetain(&context, device));
    check(cuCtxSetCurrent(context));
    check(cuModuleLoadData(&module, ""));
    check(cuModuleGetFunction(&function, module, kernel.c_str()));
    std::vector<float> host(static_cast<size_t>(len));
    for (int i = 0; i < len; ++i) host[static_cast<size_t>(i)] = static_cast<float>(i + 1);
    const size_t results = kernel == "shuffles" ? 4 * host.size() : host.size();
    uintptr_t values_at, results_at;
    check(cuMemAlloc_v2(&values_at, host.size() * 4));
    check(cuMemAlloc_v2(&results_at, results * 4));
    check(cuMemcpyHtoD_v2(values_at, host.data(), host.size() * 4));
    void* given[] = {&values_at, &results_at, &len};
    const unsigned blocks = kernel == "out_of_bounds" || kernel == "sound" ? static_cast<unsigned>(len) / threads + 1 : 1;
    check(cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared, nullptr, given, nullptr));
    std::vector<float> out(results);
    check(cuMemcpyDtoH_v2(out.data(), results_at, results * 4));
    check(cuMemFree_v2(values_at));
    check(cuMemFree_v2(results_at));
    for (const float value : out) printf("%g ", static_cast<double>(value));
    printf("\n");
}
