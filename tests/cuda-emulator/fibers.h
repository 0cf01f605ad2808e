// What fibers.cpp and signals.cpp know of each other.
#pragma once

#include "device.h"

namespace emulated {

// Once: faults of a kernel are told in words before they end the process.
void catch_signals();
// Whether the address lies behind the stack of the fiber that runs.
bool is_stack_guard(uintptr_t at);

} // namespace emulated
