// What the environment asks of the emulated device (README.md lists it), and what the devices call themselves.
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "device.h"

namespace emulated {

static const char* setting(const char* name) {
    const char* value = std::getenv(name);
    return value && *value ? value : nullptr;
}

static long number(const char* name, long otherwise) {
    const char* value = setting(name);
    if (!value) return otherwise;
    char* end;
    const long result = std::strtol(value, &end, 10);
    if (*end != 0 || result < 0) fail("%s=%s is no number", name, value);
    return result;
}

static void say(const char* format, va_list arguments) {
    char text[4096];
    vsnprintf(text, sizeof text, format, arguments);
    // One write: tests run on several threads.
    const std::string line = std::string("emulated CUDA: ") + text + "\n";
    fwrite(line.data(), 1, line.size(), stderr);
}

void complain(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

void fail(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    abort();
}

std::recursive_mutex& device_lock() {
    static auto* lock = new std::recursive_mutex; // never destroyed: statics of the program may still call
    return *lock;
}

int physical_count() {
    static const int count = has_fault("no-driver") ? 0 : static_cast<int>(number("FASTRCAPS_EMULATOR_DEVICES", 2));
    return count;
}

size_t memory_of_device() {
    static const size_t bytes = [] {
        const char* value = setting("FASTRCAPS_EMULATOR_MEMORY");
        if (!value) return size_t{8} << 30;
        char* end;
        const double size = std::strtod(value, &end);
        const std::string unit = end;
        const int shift = unit == "" ? 0 : unit == "K" ? 10 : unit == "M" ? 20 : unit == "G" ? 30 : -1;
        if (shift < 0) fail("FASTRCAPS_EMULATOR_MEMORY=%s is no number of bytes, K, M or G", value);
        return static_cast<size_t>(size * static_cast<double>(1ull << shift));
    }();
    return bytes;
}

int multiprocessors() {
    static const int count = static_cast<int>(number("FASTRCAPS_EMULATOR_MULTIPROCESSORS", 4));
    return count;
}

int capability() {
    static const int value = static_cast<int>(number("FASTRCAPS_EMULATOR_CAPABILITY", 90));
    return value;
}

bool has_fault(const char* name) {
    const char* fault = setting("FASTRCAPS_EMULATOR_FAULT");
    return fault && std::strcmp(fault, name) == 0;
}

std::string device_name(int) { return "Emulated CUDA device"; }

void device_uuid(int physical, unsigned char* bytes) {
    const unsigned char uuid[16] = {0xe3, 0x01, 0xa7, 0xed, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 0};
    std::memcpy(bytes, uuid, 16);
    bytes[15] = static_cast<unsigned char>(physical);
}

std::string device_uuid_text(int physical) {
    unsigned char bytes[16];
    device_uuid(physical, bytes);
    std::string text = "GPU-";
    for (int i = 0; i < 16; ++i) {
        char two[3];
        snprintf(two, sizeof two, "%02x", bytes[i]);
        text += two;
        if (i == 3 || i == 5 || i == 7 || i == 9) text += '-';
    }
    return text;
}

// As the driver reads CUDA_VISIBLE_DEVICES: indices or (beginnings of) UUIDs, up to the first that is none.
static const std::vector<int>& visible() {
    static const std::vector<int> devices = [] {
        std::vector<int> devices;
        const char* list = std::getenv("CUDA_VISIBLE_DEVICES");
        if (!list) {
            for (int i = 0; i < physical_count(); ++i) devices.push_back(i);
            return devices;
        }
        std::string rest = list;
        while (!rest.empty()) {
            const size_t comma = rest.find(',');
            const std::string item = rest.substr(0, comma);
            rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
            int found = -1;
            for (int i = 0; i < physical_count(); ++i) {
                if (item == std::to_string(i) || (item.size() > 4 && device_uuid_text(i).rfind(item, 0) == 0)) found = i;
            }
            if (found < 0) break;
            devices.push_back(found);
        }
        return devices;
    }();
    return devices;
}

int device_count() { return static_cast<int>(visible().size()); }
int physical_device(int device) { return visible()[static_cast<size_t>(device)]; }

} // namespace emulated
