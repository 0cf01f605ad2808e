// Device memory. Every allocation stands alone between pages that cannot be touched, its end against the page behind it and at
// addresses that are never used again, so that a kernel which leaves it, or comes back after it was freed, is stopped there.
// New memory is all ones: NaN as floats, -1 as integers.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <algorithm>
#include <map>

#include "device.h"

namespace emulated {

static constexpr size_t PAGE = 4096;
static constexpr size_t ALIGNMENT = 16;
// From this size on, memory is copied on writing from a file of ones: what is never touched takes none.
static constexpr size_t LARGE = 1 << 20;
static constexpr size_t ONES = 16 << 20;

struct Allocation {
    size_t bytes;
    uintptr_t mapped; // the first page that may be touched
    size_t mapped_bytes;
    int device;
};

// By their first bytes.
static std::map<uintptr_t, Allocation>& allocations() {
    static auto* map = new std::map<uintptr_t, Allocation>;
    return *map;
}

static size_t used[64];
static uintptr_t next_address = 0x100000000000; // below where Linux puts libraries and stacks, above the program and its heap

static size_t round_up(size_t value, size_t to) { return (value + to - 1) / to * to; }

static int ones() {
    static const int file = [] {
        const int file = memfd_create("emulated-cuda-ones", MFD_CLOEXEC);
        if (file < 0 || ftruncate(file, ONES) != 0) fail("no file of %zu bytes in memory", ONES);
        void* at = mmap(nullptr, ONES, PROT_WRITE, MAP_SHARED, file, 0);
        if (at == MAP_FAILED) fail("cannot write a file in memory");
        memset(at, 0xff, ONES);
        munmap(at, ONES);
        return file;
    }();
    return file;
}

uintptr_t allocate(int device, size_t bytes) {
    if (bytes > memory_of_device() - used[device]) return 0;
    const size_t mapped_bytes = round_up(bytes, PAGE);
    const uintptr_t mapped = next_address + PAGE;
    const auto map = [](uintptr_t at, size_t bytes, int flags, int file) {
        void* wanted = reinterpret_cast<void*>(at);
        if (mmap(wanted, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE | MAP_NORESERVE, file, 0) != wanted)
            fail("the system has no %zu bytes for device memory", bytes);
    };
    if (bytes < LARGE) {
        map(mapped, mapped_bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1);
        memset(reinterpret_cast<void*>(mapped), 0xff, mapped_bytes);
    } else {
        for (size_t done = 0; done < mapped_bytes; done += ONES)
            map(mapped + done, std::min(ONES, mapped_bytes - done), MAP_PRIVATE, ones());
    }
    next_address = mapped + mapped_bytes + PAGE;
    const uintptr_t at = mapped + mapped_bytes - round_up(bytes, ALIGNMENT);
    allocations()[at] = {bytes, mapped, mapped_bytes, device};
    used[device] += bytes;
    return at;
}

static bool are_ones(uintptr_t from, uintptr_t to) {
    for (; from < to; ++from)
        if (*reinterpret_cast<unsigned char*>(from) != 0xff) return false;
    return true;
}

bool release(uintptr_t at) {
    const auto found = allocations().find(at);
    if (found == allocations().end()) {
        complain("freed was what is no allocation: %s", describe(at).c_str());
        return false;
    }
    const Allocation& it = found->second;
    if (!are_ones(it.mapped, at)) fail("something wrote before an allocation of %zu bytes (found as it was freed)", it.bytes);
    used[it.device] -= it.bytes;
    munmap(reinterpret_cast<void*>(it.mapped), it.mapped_bytes);
    allocations().erase(found);
    return true;
}

void check_ends(const char* after) {
    for (const auto& [at, it] : allocations()) {
        const uintptr_t end = at + it.bytes;
        if (!are_ones(end, at + round_up(it.bytes, ALIGNMENT)))
            fail("%s wrote behind the end of an allocation of %zu bytes, at most %zu bytes behind it", after, it.bytes,
                 round_up(it.bytes, ALIGNMENT) - it.bytes);
    }
}

// The allocation that begins last at or before the address.
static const std::pair<const uintptr_t, Allocation>* before(uintptr_t at) {
    auto next = allocations().upper_bound(at);
    return next == allocations().begin() ? nullptr : &*--next;
}

bool check_range(const char* what, uintptr_t at, size_t bytes) {
    const auto* found = before(at);
    if (found && at + bytes <= found->first + found->second.bytes) return true;
    complain("%s of %zu bytes leaves its allocation: it begins %s", what, bytes, describe(at).c_str());
    return false;
}

int device_of(uintptr_t at) {
    const auto* found = before(at);
    return found && at <= found->first + found->second.bytes ? found->second.device : -1;
}

std::string describe(uintptr_t at) {
    char text[256];
    if (at < PAGE) {
        snprintf(text, sizeof text, "at address %#zx, a null pointer or an index from one", static_cast<size_t>(at));
        return text;
    }
    const auto* found = before(at);
    const auto next = allocations().upper_bound(at);
    const auto size = [](const Allocation& it) { return it.bytes; };
    if (found && at < found->first + found->second.bytes) {
        snprintf(text, sizeof text, "at byte %zu of an allocation of %zu bytes", at - found->first, size(found->second));
    } else if (found && at - found->first - found->second.bytes < (1ull << 32) &&
               (next == allocations().end() || next->first - at >= at - found->first - found->second.bytes)) {
        snprintf(text, sizeof text, "%zu bytes behind the end of an allocation of %zu bytes",
                 at - found->first - found->second.bytes, size(found->second));
    } else if (next != allocations().end() && next->first - at < (1ull << 32)) {
        snprintf(text, sizeof text, "%zu bytes before an allocation of %zu bytes", next->first - at, size(next->second));
    } else {
        snprintf(text, sizeof text, "at address %#zx, near no allocation (one that was freed, or memory of the host)",
                 static_cast<size_t>(at));
    }
    return text;
}

size_t used_memory(int device) { return used[device]; }

} // namespace emulated
