// NVML: what is asked of the devices beside computing on them. It numbers the devices of the machine whatever
// CUDA_VISIBLE_DEVICES says, and is loaded at run time (as libnvidia-ml.so or libnvidia-ml.so.1).
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "device.h"

using namespace emulated;

namespace {

enum Status : int {
    OK = 0,
    INVALID_ARGUMENT = 2,
    ABSENT = 6, // NOT_FOUND
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
};

struct Process {
    unsigned pid;
    unsigned long long bytes;
    unsigned instance = ~0u, compute_instance = ~0u;
};

int index_of(void* device) { return static_cast<int>(reinterpret_cast<uintptr_t>(device)) - 1; }
void* handle_of(int index) { return reinterpret_cast<void*>(static_cast<uintptr_t>(index) + 1); }
bool is_there(void* device) { return index_of(device) >= 0 && index_of(device) < physical_count(); }

// This process, where it has memory on the device; and those that FASTRCAPS_EMULATOR_PROCESSES names: INDEX:PID:BYTES,...
std::vector<Process> processes_on(int index) {
    std::vector<Process> processes;
    if (const size_t used = used_memory(index)) processes.push_back({static_cast<unsigned>(getpid()), used});
    const char* others = std::getenv("FASTRCAPS_EMULATOR_PROCESSES");
    for (const char* at = others; at && *at;) {
        int on;
        unsigned pid;
        unsigned long long bytes;
        if (std::sscanf(at, "%d:%u:%llu", &on, &pid, &bytes) != 3) fail("FASTRCAPS_EMULATOR_PROCESSES=%s is no INDEX:PID:BYTES,...", others);
        if (on == index) processes.push_back({pid, bytes});
        at = std::strchr(at, ',');
        if (at) ++at;
    }
    return processes;
}

unsigned long long used_on(int index) {
    unsigned long long bytes = 0;
    for (const Process& process : processes_on(index)) bytes += process.bytes;
    return bytes < memory_of_device() ? bytes : memory_of_device();
}

int give(char* to, unsigned size, const std::string& text) {
    if (text.size() + 1 > size) return INSUFFICIENT_SIZE;
    std::memcpy(to, text.c_str(), text.size() + 1);
    return OK;
}

} // namespace

EXPORT int nvmlInit_v2() { return has_fault("no-driver") ? DRIVER_NOT_LOADED : OK; }
EXPORT int nvmlInitWithFlags(unsigned) { return nvmlInit_v2(); }
EXPORT int nvmlShutdown() { return OK; }

EXPORT const char* nvmlErrorString(int status) {
    switch (status) {
        case OK: return "Success";
        case INVALID_ARGUMENT: return "Invalid Argument";
        case ABSENT: return "Not Found";
        case INSUFFICIENT_SIZE: return "Insufficient Size";
        case DRIVER_NOT_LOADED: return "Driver Not Loaded";
        default: return "Unknown Error";
    }
}

EXPORT int nvmlSystemGetDriverVersion(char* text, unsigned size) {
    return give(text, size, has_fault("old-driver") ? "550.54.14" : "580.00.00");
}
EXPORT int nvmlSystemGetNVMLVersion(char* text, unsigned size) { return give(text, size, "13.580.00.00"); }
EXPORT int nvmlSystemGetCudaDriverVersion_v2(int* version) {
    *version = has_fault("old-driver") ? 12040 : 13000;
    return OK;
}
EXPORT int nvmlSystemGetCudaDriverVersion(int* version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

EXPORT int nvmlDeviceGetCount_v2(unsigned* count) {
    *count = static_cast<unsigned>(physical_count());
    return OK;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
    if (static_cast<int>(index) >= physical_count()) return INVALID_ARGUMENT;
    *device = handle_of(static_cast<int>(index));
    return OK;
}

EXPORT int nvmlDeviceGetHandleByUUID(const char* uuid, void** device) {
    for (int index = 0; index < physical_count(); ++index) {
        if (device_uuid_text(index) != uuid) continue;
        *device = handle_of(index);
        return OK;
    }
    return ABSENT;
}

EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char* id, void** device) {
    unsigned domain, bus;
    if (std::sscanf(id, "%x:%x", &domain, &bus) != 2) return INVALID_ARGUMENT;
    if (bus < 1 || static_cast<int>(bus) > physical_count()) return ABSENT;
    *device = handle_of(static_cast<int>(bus) - 1);
    return OK;
}

EXPORT int nvmlDeviceGetIndex(void* device, unsigned* index) {
    *index = static_cast<unsigned>(index_of(device));
    return is_there(device) ? OK : INVALID_ARGUMENT;
}

EXPORT int nvmlDeviceGetName(void* device, char* text, unsigned size) {
    return is_there(device) ? give(text, size, device_name(index_of(device))) : INVALID_ARGUMENT;
}

EXPORT int nvmlDeviceGetUUID(void* device, char* text, unsigned size) {
    return is_there(device) ? give(text, size, device_uuid_text(index_of(device))) : INVALID_ARGUMENT;
}

EXPORT int nvmlDeviceGetMemoryInfo(void* device, unsigned long long* total_free_used) {
    if (!is_there(device)) return INVALID_ARGUMENT;
    std::lock_guard<std::recursive_mutex> guard(device_lock());
    total_free_used[0] = memory_of_device();
    total_free_used[2] = used_on(index_of(device));
    total_free_used[1] = total_free_used[0] - total_free_used[2];
    return OK;
}

struct Memory {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

EXPORT int nvmlDeviceGetMemoryInfo_v2(void* device, Memory* memory) {
    unsigned long long total_free_used[3];
    if (memory->version != (sizeof(Memory) | 2u << 24)) return 25; // ARGUMENT_VERSION_MISMATCH
    if (const int status = nvmlDeviceGetMemoryInfo(device, total_free_used)) return status;
    memory->total = total_free_used[0];
    memory->free = total_free_used[1];
    memory->used = total_free_used[2];
    memory->reserved = 0;
    return OK;
}

EXPORT int nvmlDeviceGetUtilizationRates(void* device, unsigned* gpu_memory) {
    if (!is_there(device)) return INVALID_ARGUMENT;
    const bool is_busy = !processes_on(index_of(device)).empty();
    gpu_memory[0] = is_busy ? 50 : 0;
    gpu_memory[1] = is_busy ? 10 : 0;
    return OK;
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(void* device, unsigned* count, Process* processes) {
    if (!is_there(device)) return INVALID_ARGUMENT;
    std::lock_guard<std::recursive_mutex> guard(device_lock());
    const std::vector<Process> running = processes_on(index_of(device));
    const bool is_room = running.empty() || (processes && *count >= running.size());
    *count = static_cast<unsigned>(running.size());
    if (!is_room) return INSUFFICIENT_SIZE;
    for (size_t i = 0; i < running.size(); ++i) processes[i] = running[i];
    return OK;
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v2(void* device, unsigned* count, Process* processes) {
    return nvmlDeviceGetComputeRunningProcesses_v3(device, count, processes);
}

struct Pci {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char text[32];
};

EXPORT int nvmlDeviceGetPciInfo_v3(void* device, Pci* pci) {
    if (!is_there(device)) return INVALID_ARGUMENT;
    *pci = {};
    pci->bus = static_cast<unsigned>(index_of(device)) + 1;
    snprintf(pci->legacy, sizeof pci->legacy, "0000:%02X:00.0", pci->bus);
    snprintf(pci->text, sizeof pci->text, "00000000:%02X:00.0", pci->bus);
    return OK;
}
