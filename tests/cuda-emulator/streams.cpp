// Streams, events, capture and graphs. Work is done at the call; on a stream that is being captured it is recorded instead.
#include <chrono>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "device.h"

using namespace emulated;

namespace {

using Work = std::vector<std::function<void()>>;

enum Mode { GLOBAL = 0, THREAD_LOCAL = 1, RELAXED = 2 };

struct Stream {
    bool is_capturing = false, is_invalid = false;
    int mode = GLOBAL;
    std::thread::id by;
    std::shared_ptr<Work> recorded;
};

struct Event {
    unsigned flags;
    bool is_recorded = false, is_captured = false;
    std::chrono::steady_clock::time_point at;
};

constexpr unsigned DISABLE_TIMING = 2;
constexpr uintptr_t LEGACY = 1, PER_THREAD = 2;

std::set<Stream*>& capturing() {
    static auto* streams = new std::set<Stream*>;
    return *streams;
}

std::set<void*>& handles() {
    static auto* handles = new std::set<void*>;
    return *handles;
}

Stream* stream_of(void* handle) {
    static Stream legacy;
    static thread_local Stream per_thread;
    const auto value = reinterpret_cast<uintptr_t>(handle);
    if (value == 0 || value == LEGACY) return &legacy;
    return value == PER_THREAD ? &per_thread : static_cast<Stream*>(handle);
}

bool is_known(void* handle) { return reinterpret_cast<uintptr_t>(handle) <= PER_THREAD || handles().count(handle); }

} // namespace

#define LOCKED std::lock_guard<std::recursive_mutex> guard(device_lock())

namespace emulated {

Result enqueue(void* handle, std::function<void()> work) {
    LOCKED;
    if (!is_known(handle)) return INVALID_HANDLE;
    Stream* stream = stream_of(handle);
    if (stream->is_capturing && stream->is_invalid) return STREAM_CAPTURE_INVALIDATED;
    if (stream->is_capturing) stream->recorded->push_back(std::move(work));
    else work();
    return SUCCESS;
}

Result refuse_while_capturing(const char* what, void* handle, bool is_of_stream) {
    LOCKED;
    const auto refuse = [&](Stream* stream) {
        stream->is_invalid = true;
        if (has_fault("verbose")) complain("%s is refused: a stream is being captured", what);
        return STREAM_CAPTURE_UNSUPPORTED;
    };
    if (is_of_stream) {
        if (!is_known(handle)) return INVALID_HANDLE;
        Stream* stream = stream_of(handle);
        return stream->is_capturing ? refuse(stream) : SUCCESS;
    }
    for (Stream* stream : capturing()) {
        const bool is_ours = stream->by == std::this_thread::get_id();
        if (stream->mode == GLOBAL || (stream->mode == THREAD_LOCAL && is_ours)) return refuse(stream);
    }
    return SUCCESS;
}

} // namespace emulated

EXPORT int cuStreamCreate(void** stream, unsigned) {
    LOCKED;
    if (!stream) return INVALID_VALUE;
    *stream = new Stream;
    handles().insert(*stream);
    return SUCCESS;
}

EXPORT int cuStreamCreateWithPriority(void** stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }

EXPORT int cuStreamDestroy_v2(void* handle) {
    LOCKED;
    if (!handles().erase(handle)) return INVALID_HANDLE;
    capturing().erase(stream_of(handle));
    delete static_cast<Stream*>(handle);
    return SUCCESS;
}

EXPORT int cuStreamSynchronize(void* handle) { return refuse_while_capturing("cuStreamSynchronize", handle, true); }
EXPORT int cuStreamQuery(void* handle) { return refuse_while_capturing("cuStreamQuery", handle, true); }
EXPORT int cuCtxSynchronize() { return refuse_while_capturing("cuCtxSynchronize", nullptr, false); }

EXPORT int cuStreamGetFlags(void*, unsigned* flags) {
    *flags = 1;
    return SUCCESS;
}

EXPORT int cuLaunchHostFunc(void* handle, void (*function)(void*), void* data) {
    return enqueue(handle, [=] { function(data); });
}

// --- events ---

EXPORT int cuEventCreate(void** event, unsigned flags) {
    LOCKED;
    *event = new Event{flags, false, false, {}};
    handles().insert(*event);
    return SUCCESS;
}

EXPORT int cuEventDestroy_v2(void* event) {
    LOCKED;
    if (!handles().erase(event)) return INVALID_HANDLE;
    delete static_cast<Event*>(event);
    return SUCCESS;
}

EXPORT int cuEventRecord(void* handle, void* on) {
    LOCKED;
    if (!handles().count(handle)) return INVALID_HANDLE;
    auto* event = static_cast<Event*>(handle);
    event->is_captured = stream_of(on)->is_capturing;
    return enqueue(on, [=] {
        if (!handles().count(handle)) return; // destroyed since a graph recorded it
        event->is_recorded = true;
        event->at = std::chrono::steady_clock::now();
    });
}

EXPORT int cuEventRecordWithFlags(void* event, void* stream, unsigned) { return cuEventRecord(event, stream); }

static int event_state(void* handle) {
    LOCKED;
    if (!handles().count(handle)) return INVALID_HANDLE;
    return static_cast<Event*>(handle)->is_captured ? CAPTURED_EVENT : SUCCESS;
}

// The driver refuses a look at an event of another stream too, in the global mode.
EXPORT int cuEventQuery(void* event) {
    const int state = event_state(event);
    return state != SUCCESS ? state : refuse_while_capturing("cuEventQuery", nullptr, false);
}

EXPORT int cuEventSynchronize(void* event) {
    const int state = event_state(event);
    return state != SUCCESS ? state : refuse_while_capturing("cuEventSynchronize", nullptr, false);
}

EXPORT int cuEventElapsedTime_v2(float* milliseconds, void* begin, void* end) {
    LOCKED;
    if (!handles().count(begin) || !handles().count(end)) return INVALID_HANDLE;
    const auto *first = static_cast<Event*>(begin), *second = static_cast<Event*>(end);
    if ((first->flags | second->flags) & DISABLE_TIMING || !first->is_recorded || !second->is_recorded) return INVALID_HANDLE;
    *milliseconds = std::chrono::duration<float, std::milli>(second->at - first->at).count();
    return SUCCESS;
}

EXPORT int cuEventElapsedTime(float* milliseconds, void* begin, void* end) {
    return cuEventElapsedTime_v2(milliseconds, begin, end);
}

EXPORT int cuStreamWaitEvent(void* stream, void* event, unsigned) {
    LOCKED;
    if (!is_known(stream) || !handles().count(event)) return INVALID_HANDLE;
    Stream* waiting = stream_of(stream);
    const bool is_captured = static_cast<Event*>(event)->is_captured;
    if (waiting->is_capturing == is_captured) return SUCCESS;
    // One that was never recorded is nothing to wait for.
    if (!is_captured && !static_cast<Event*>(event)->is_recorded) return SUCCESS;
    waiting->is_invalid = true;
    return STREAM_CAPTURE_ISOLATION;
}

// --- capture and graphs: a graph is a list of work, in the order of the calls ---

EXPORT int cuStreamBeginCapture_v2(void* handle, int mode) {
    LOCKED;
    const auto value = reinterpret_cast<uintptr_t>(handle);
    if (value == 0 || value == LEGACY) return STREAM_CAPTURE_UNSUPPORTED;
    if (!is_known(handle)) return INVALID_HANDLE;
    Stream* stream = stream_of(handle);
    if (stream->is_capturing) return STREAM_CAPTURE_UNSUPPORTED;
    stream->is_capturing = true;
    stream->is_invalid = false;
    stream->mode = mode;
    stream->by = std::this_thread::get_id();
    stream->recorded = std::make_shared<Work>();
    capturing().insert(stream);
    return SUCCESS;
}

EXPORT int cuStreamEndCapture(void* handle, void** graph) {
    LOCKED;
    if (!is_known(handle)) return INVALID_HANDLE;
    *graph = nullptr;
    Stream* stream = stream_of(handle);
    if (!stream->is_capturing) return INVALID_VALUE;
    if (stream->mode != RELAXED && stream->by != std::this_thread::get_id()) return STREAM_CAPTURE_WRONG_THREAD;
    stream->is_capturing = false;
    capturing().erase(stream);
    if (stream->is_invalid) return STREAM_CAPTURE_INVALIDATED;
    *graph = new Work(*stream->recorded);
    handles().insert(*graph);
    return SUCCESS;
}

EXPORT int cuStreamIsCapturing(void* handle, int* status) {
    LOCKED;
    if (!is_known(handle)) return INVALID_HANDLE;
    const Stream* stream = stream_of(handle);
    *status = !stream->is_capturing ? 0 : stream->is_invalid ? 2 : 1;
    return SUCCESS;
}

EXPORT int cuThreadExchangeStreamCaptureMode(int* mode) {
    static thread_local int current = GLOBAL;
    std::swap(current, *mode);
    return SUCCESS;
}

EXPORT int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
    LOCKED;
    if (!handles().count(graph)) return INVALID_HANDLE;
    *executable = new Work(*static_cast<Work*>(graph));
    handles().insert(*executable);
    return SUCCESS;
}

EXPORT int cuGraphLaunch(void* executable, void* stream) {
    LOCKED;
    if (!handles().count(executable)) return INVALID_HANDLE;
    return enqueue(stream, [work = *static_cast<Work*>(executable)] {
        for (const auto& one : work) one();
    });
}

EXPORT int cuGraphUpload(void* executable, void*) { return handles().count(executable) ? SUCCESS : INVALID_HANDLE; }

EXPORT int cuGraphGetNodes(void* graph, void** nodes, size_t* count) {
    LOCKED;
    if (!handles().count(graph)) return INVALID_HANDLE;
    const Work& work = *static_cast<Work*>(graph);
    for (size_t i = 0; nodes && i < *count; ++i) nodes[i] = nullptr;
    *count = work.size();
    return SUCCESS;
}

static int destroy_work(void* work) {
    LOCKED;
    if (!handles().erase(work)) return INVALID_HANDLE;
    delete static_cast<Work*>(work);
    return SUCCESS;
}

EXPORT int cuGraphDestroy(void* graph) { return destroy_work(graph); }
EXPORT int cuGraphExecDestroy(void* executable) { return destroy_work(executable); }
