// Runs a kernel: block after block, and the threads of a block as fibers. A fiber runs until it ends or waits at a barrier or
// for other lanes of its warp; then another has its turn. FASTRCAPS_EMULATOR_ORDER says in which order threads and blocks have
// it: what depends on the order lacks a barrier.
#include "fibers.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>
#include <random>
#include <vector>

#ifndef __x86_64__
#include <ucontext.h>
#endif

uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

void* dynamic_shared;

static constexpr unsigned WARP = 32;
static constexpr size_t STACK = 256 << 10;
static constexpr size_t GUARD = 4096;

// --- kernels ---

static std::map<std::string, const Kernel*>& kernels() {
    static auto* map = new std::map<std::string, const Kernel*>;
    return *map;
}

Registration::Registration(const Kernel& kernel) {
    if (!kernels().emplace(kernel.name, new Kernel(kernel)).second) fail("two kernels are called %s", kernel.name);
}

const Kernel* find_kernel(const std::string& name) {
    const auto found = kernels().find(name);
    return found == kernels().end() ? nullptr : found->second;
}

// --- switching ---

#ifdef __x86_64__
// Keeps what a called function must keep, and goes on where `to` stopped.
extern "C" void emulated_switch(void** from, void* to);
asm(R"(
.text
.hidden emulated_switch
.globl emulated_switch
.type emulated_switch, @function
emulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulated_switch, .-emulated_switch
)");
using Place = void*;

static void prepare(Place& place, char* stack, void (*run)()) {
    auto** top = reinterpret_cast<void**>(stack + STACK);
    *--top = nullptr; // as if called from nowhere
    *--top = reinterpret_cast<void*>(run);
    top -= 6;
    std::memset(top, 0, 6 * sizeof *top);
    place = top;
}

static void switch_from_to(Place& from, Place& to) { emulated_switch(&from, to); }
#else
using Place = ucontext_t;

static void prepare(Place& place, char* stack, void (*run)()) {
    getcontext(&place);
    place.uc_stack.ss_sp = stack;
    place.uc_stack.ss_size = STACK;
    place.uc_link = nullptr;
    makecontext(&place, run, 0);
}

static void switch_from_to(Place& from, Place& to) { swapcontext(&from, &to); }
#endif

// --- the block that runs ---

enum class State { New, Ready, AtBarrier, InWarp, Ended };

struct Fiber {
    Place place;
    char* stack;
    State state;
    uint3 thread;
    // Where it waits, and for an exchange what it brought and what it gets.
    const char* file;
    int line;
    Exchange kind;
    unsigned mask;
    int operand, width;
    uint64_t value, result;
};

static std::vector<Fiber> fibers;
static unsigned thread_count;
static unsigned current; // the fiber that runs
static Place scheduler;
static const Launch* launch; // null between launches
static std::vector<char*> free_stacks;

static char* take_stack() {
    if (free_stacks.empty()) {
        void* at = mmap(nullptr, GUARD + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED) fail("no memory for the stacks of a block");
        mprotect(at, GUARD, PROT_NONE);
        return static_cast<char*>(at) + GUARD;
    }
    char* stack = free_stacks.back();
    free_stacks.pop_back();
    return stack;
}

static std::string thread_text(const Fiber& fiber) {
    char text[96];
    const uint3 t = fiber.thread;
    if (launch->block.y * launch->block.z == 1) snprintf(text, sizeof text, "thread %u", t.x);
    else snprintf(text, sizeof text, "thread (%u, %u, %u)", t.x, t.y, t.z);
    return text;
}

static std::string block_text() {
    char text[192];
    const uint3 b = blockIdx, g = launch->grid, d = launch->block;
    snprintf(text, sizeof text, "kernel %s (%s), block (%u, %u, %u) of a grid (%u, %u, %u) of blocks of (%u, %u, %u)",
             launch->kernel->name, launch->kernel->module, b.x, b.y, b.z, g.x, g.y, g.z, d.x, d.y, d.z);
    return text;
}

static std::string place_text(const Fiber& fiber) {
    const char* slash = std::strrchr(fiber.file, '/');
    return std::string(slash ? slash + 1 : fiber.file) + ":" + std::to_string(fiber.line);
}

std::string where() { return launch ? block_text() + ", " + thread_text(fibers[current]) : ""; }

bool is_stack_guard(uintptr_t at) {
    if (!launch) return false;
    const auto stack = reinterpret_cast<uintptr_t>(fibers[current].stack);
    return at >= stack - GUARD && at < stack;
}

static void yield(State state) {
    fibers[current].state = state;
    switch_from_to(fibers[current].place, scheduler);
}

static void run_thread() {
    launch->kernel->run(launch->arguments);
    yield(State::Ended);
}

// --- barriers and shuffles, called by fibers ---

void block_barrier(const char* file, int line) {
    fibers[current].file = file;
    fibers[current].line = line;
    yield(State::AtBarrier);
}

static const char* word(Exchange kind) {
    switch (kind) {
        case Exchange::Warp: return "__syncwarp";
        case Exchange::Index: return "__shfl_sync";
        case Exchange::Xor: return "__shfl_xor_sync";
        case Exchange::Down: return "__shfl_down_sync";
        case Exchange::Up: return "__shfl_up_sync";
        case Exchange::Ballot: return "__ballot_sync";
    }
    return "?";
}

// The lane that the one in `lane` reads from; itself where CUDA says so.
static unsigned source_lane(const Fiber& fiber, unsigned lane) {
    const unsigned width = static_cast<unsigned>(fiber.width), first = lane & ~(width - 1), last = first + width - 1;
    const auto operand = static_cast<unsigned>(fiber.operand);
    switch (fiber.kind) {
        case Exchange::Index: return first + (operand & (width - 1));
        case Exchange::Xor: return (lane ^ operand) <= last ? lane ^ operand : lane;
        case Exchange::Down: return lane + operand <= last ? lane + operand : lane;
        case Exchange::Up: return lane >= first + operand ? lane - operand : lane;
        default: return lane;
    }
}

uint64_t exchange(Exchange kind, unsigned mask, uint64_t value, int operand, int width, const char* file, int line) {
    Fiber& self = fibers[current];
    self.file = file, self.line = line, self.kind = kind, self.mask = mask;
    self.value = value, self.operand = operand, self.width = width;
    const unsigned first = current / WARP * WARP, lane = current % WARP;
    const auto wrong = [&](const std::string& what) {
        fail("%s at %s: %s\n    %s, %s (lane %u)", word(kind), place_text(self).c_str(), what.c_str(), block_text().c_str(),
             thread_text(self).c_str(), lane);
    };
    if (!(mask >> lane & 1)) wrong("the mask leaves out the lane that calls");
    if (width < 1 || width > 32 || (width & (width - 1))) wrong("the width is no power of 2 up to 32");
    bool is_last = true;
    for (unsigned other = 0; other < WARP && first + other < thread_count; ++other) {
        if (other == lane) continue;
        const Fiber& fiber = fibers[first + other];
        const bool is_wanted = mask >> other & 1;
        if (is_wanted && fiber.state == State::InWarp && fiber.mask >> lane & 1) { // each waits for the other
            if (fiber.mask == mask && fiber.kind == kind && fiber.line == line && std::strcmp(fiber.file, file) == 0) continue;
            wrong("lane " + std::to_string(other) + " waits for this one elsewhere, in " + word(fiber.kind) + " at " +
                  place_text(fiber) + (fiber.mask != mask ? ", with another mask" : ""));
        }
        if (is_wanted && fiber.state == State::Ended) wrong("the mask names lane " + std::to_string(other) + ", which has ended");
        is_last &= !is_wanted;
    }
    const unsigned lanes = thread_count - first;
    if (lanes < WARP && mask >> lanes) wrong("the mask names lanes that the block does not have: it has " + std::to_string(lanes));
    if (!is_last) {
        yield(State::InWarp);
        return fibers[current].result;
    }
    uint64_t ballot = 0;
    for (unsigned other = 0; other < WARP; ++other)
        if (mask >> other & 1) ballot |= (fibers[first + other].value & 1) << other;
    for (unsigned other = 0; other < WARP; ++other) {
        if (!(mask >> other & 1)) continue;
        Fiber& fiber = fibers[first + other];
        const unsigned source = source_lane(fiber, other);
        if (!(mask >> source & 1)) wrong("lane " + std::to_string(other) + " reads lane " + std::to_string(source) + ", which the mask leaves out");
        fiber.result = kind == Exchange::Ballot ? ballot : fibers[first + source].value;
        if (other != lane) fiber.state = State::Ready;
    }
    return self.result;
}

// --- the scheduler ---

static void resume(unsigned index) {
    Fiber& fiber = fibers[index];
    if (fiber.state == State::New) {
        fiber.stack = take_stack();
        prepare(fiber.place, fiber.stack, run_thread);
    }
    current = index;
    threadIdx = fiber.thread;
    switch_from_to(scheduler, fiber.place);
    // The next one to begin finds its stack in the caches.
    if (fiber.state == State::Ended) free_stacks.push_back(fiber.stack);
}

// All threads must be at one barrier, else the kernel hangs or does what nobody knows.
static void open_barrier() {
    const Fiber* at_barrier = nullptr;
    for (unsigned i = 0; i < thread_count; ++i) {
        if (fibers[i].state == State::AtBarrier) {
            at_barrier = &fibers[i];
            break;
        }
    }
    for (unsigned i = 0; i < thread_count; ++i) {
        const Fiber& fiber = fibers[i];
        if (fiber.state == State::InWarp && !at_barrier)
            fail("%s at %s waits for lanes that never come\n    %s, %s", word(fiber.kind), place_text(fiber).c_str(),
                 block_text().c_str(), thread_text(fiber).c_str());
        const char* instead = fiber.state == State::Ended                                                  ? "has ended"
                              : fiber.state == State::InWarp                                               ? "waits in its warp"
                              : fiber.line != at_barrier->line || std::strcmp(fiber.file, at_barrier->file) != 0 ? "waits at another"
                                                                                                           : nullptr;
        if (instead)
            fail("divergent barrier: %s waits at the __syncthreads of %s, but %s %s%s%s\n    %s", thread_text(*at_barrier).c_str(),
                 place_text(*at_barrier).c_str(), thread_text(fiber).c_str(), instead,
                 fiber.state == State::Ended ? "" : ", at ", fiber.state == State::Ended ? "" : place_text(fiber).c_str(),
                 block_text().c_str());
    }
    for (unsigned i = 0; i < thread_count; ++i) fibers[i].state = State::Ready;
}

static bool is_runnable(const Fiber& fiber) { return fiber.state == State::New || fiber.state == State::Ready; }

// `order`: of the threads, warp by warp. A warp runs until none of its lanes can go on.
static void run_block(const std::vector<unsigned>& order) {
    for (unsigned i = 0; i < thread_count; ++i) fibers[i].state = State::New;
    for (;;) {
        for (size_t begin = 0, end; begin < order.size(); begin = end) {
            for (end = begin; end < order.size() && order[end] / WARP == order[begin] / WARP;) ++end;
            for (bool has_run = true; has_run;) {
                has_run = false;
                for (size_t i = begin; i < end; ++i) {
                    if (!is_runnable(fibers[order[i]])) continue;
                    resume(order[i]);
                    has_run = true;
                }
            }
        }
        bool is_done = true;
        for (unsigned i = 0; i < thread_count; ++i) is_done &= fibers[i].state == State::Ended;
        if (is_done) return;
        open_barrier();
    }
}

// --- the grid ---

struct Order {
    enum { Forward, Reverse, Shuffle } kind = Forward;
    uint64_t seed = 0;
};

static const Order& order_wanted() {
    static const Order order = [] {
        const char* value = std::getenv("FASTRCAPS_EMULATOR_ORDER");
        const std::string text = value ? value : "";
        if (text.empty() || text == "forward") return Order{};
        if (text == "reverse") return Order{Order::Reverse, 0};
        if (text.rfind("shuffle:", 0) == 0) return Order{Order::Shuffle, std::strtoull(text.c_str() + 8, nullptr, 10)};
        fail("FASTRCAPS_EMULATOR_ORDER=%s is neither forward nor reverse nor shuffle:SEED", value);
    }();
    return order;
}

static void arrange(std::vector<unsigned>& items, std::mt19937_64& random) {
    if (order_wanted().kind == Order::Reverse) std::reverse(items.begin(), items.end());
    if (order_wanted().kind == Order::Shuffle) std::shuffle(items.begin(), items.end(), random);
}

// Threads stay beside those of their warp.
static std::vector<unsigned> order_of_threads(unsigned count, std::mt19937_64& random) {
    std::vector<unsigned> warps((count + WARP - 1) / WARP), order;
    std::iota(warps.begin(), warps.end(), 0);
    arrange(warps, random);
    for (const unsigned warp : warps) {
        std::vector<unsigned> lanes(std::min(WARP, count - warp * WARP));
        std::iota(lanes.begin(), lanes.end(), warp * WARP);
        arrange(lanes, random);
        order.insert(order.end(), lanes.begin(), lanes.end());
    }
    return order;
}

// Dynamic shared memory ends at a page that cannot be touched.
static char* shared_end() {
    static char* const end = [] {
        constexpr size_t MOST = 256 << 10;
        void* at = mmap(nullptr, MOST + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) fail("no memory for the shared memory of a block");
        mprotect(static_cast<char*>(at) + MOST, GUARD, PROT_NONE);
        return static_cast<char*>(at) + MOST;
    }();
    return end;
}

static void check_pointers(const Launch& it) {
    for (int i = 0; i < it.kernel->count; ++i) {
        if (!it.kernel->are_pointers[i]) continue;
        uintptr_t at;
        std::memcpy(&at, it.arguments[i], sizeof at);
        if (at == 0) continue; // allowed while it is not touched
        const int device = device_of(at);
        if (device < 0) fail("argument %d of kernel %s points %s", i + 1, it.kernel->name, describe(at).c_str());
        if (device != it.device) fail("argument %d of kernel %s points to memory of device %d, it runs on device %d", i + 1,
                                      it.kernel->name, device, it.device);
    }
}

void run_grid(const Launch& wanted) {
    static uint64_t launches = 0;
    check_pointers(wanted);
    catch_signals();
    std::mt19937_64 random(order_wanted().seed * 1000003 + launches++);
    launch = &wanted;
    gridDim = wanted.grid, blockDim = wanted.block;
    thread_count = wanted.block.x * wanted.block.y * wanted.block.z;
    if (fibers.size() < thread_count) fibers.resize(thread_count);
    for (unsigned i = 0; i < thread_count; ++i)
        fibers[i].thread = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
    const size_t shared_bytes = (wanted.shared + 15) / 16 * 16;
    dynamic_shared = shared_end() - shared_bytes;
    const unsigned blocks = wanted.grid.x * wanted.grid.y * wanted.grid.z;
    std::vector<unsigned> order_of_blocks(blocks), order = order_of_threads(thread_count, random);
    std::iota(order_of_blocks.begin(), order_of_blocks.end(), 0);
    arrange(order_of_blocks, random);
    for (const unsigned block : order_of_blocks) {
        blockIdx = {block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y};
        std::memset(dynamic_shared, 0xff, shared_bytes);
        const Kernel& kernel = *wanted.kernel;
        if (kernel.shared_begin) std::memset(kernel.shared_begin, 0xff, static_cast<size_t>(kernel.shared_end - kernel.shared_begin));
        if (order_wanted().kind == Order::Shuffle) order = order_of_threads(thread_count, random);
        current = 0;
        run_block(order);
        for (const char* at = static_cast<char*>(dynamic_shared) + wanted.shared; at < shared_end(); ++at)
            if (*at != '\xff') fail("written behind the %zu bytes of dynamic shared memory\n    %s", wanted.shared, block_text().c_str());
    }
    launch = nullptr;
    check_ends(wanted.kernel->name);
}

} // namespace emulated
