// What a kernel must not do ends in a signal: a page that cannot be touched (SIGSEGV), or one of the checks that the compiler put
// into it (SIGILL). It is told in words which kernel, block and thread it was, where in the source, and what it touched.
#include <dlfcn.h>
#include <signal.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "fibers.h"

namespace emulated {

static struct sigaction before[NSIG];

// The line of the source, by addr2line where the machine has it.
static std::string source_line(uintptr_t at) {
    Dl_info library;
    if (at == 0 || !dladdr(reinterpret_cast<void*>(at), &library)) return "an unknown place";
    char offset[32];
    snprintf(offset, sizeof offset, "%#zx", at - reinterpret_cast<uintptr_t>(library.dli_fbase));
    int ends[2];
    if (pipe(ends) == 0) {
        const pid_t child = fork();
        if (child == 0) {
            dup2(ends[1], 1);
            close(2);
            unsetenv("LD_LIBRARY_PATH");
            execlp("addr2line", "addr2line", "-s", "-e", library.dli_fname, offset, static_cast<char*>(nullptr));
            _exit(127);
        }
        close(ends[1]);
        char text[256];
        const ssize_t length = read(ends[0], text, sizeof text - 1);
        close(ends[0]);
        waitpid(child, nullptr, 0);
        if (length > 1 && text[0] != '?') {
            text[length - 1] = 0;
            return std::string(text).substr(0, std::string(text).find('\n'));
        }
    }
    return std::string(library.dli_fname) + "+" + offset;
}

static void on_signal(int signal, siginfo_t* info, void* context) {
    const std::string place = where();
    if (place.empty()) { // none of our business
        sigaction(signal, &before[signal], nullptr);
        return; // the instruction is taken again
    }
    const auto at = reinterpret_cast<uintptr_t>(info->si_addr);
    uintptr_t instruction = 0;
#ifdef __x86_64__
    instruction = static_cast<uintptr_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
#else
    (void)context;
#endif
    std::string what;
    if (signal == SIGILL) what = "an index outside an array, an int that overflows, a misaligned pointer or a null pointer";
    else if (signal == SIGFPE) what = "a division by 0";
    else if (is_stack_guard(at)) what = "the thread's stack is full: more than 256 KiB of local variables, or endless recursion";
    else if (at == 0 && info->si_code == SI_KERNEL) what = "an address that no memory can have, or a misaligned vector";
    else what = "touched memory " + describe(at);
    complain("%s, at %s\n    %s", what.c_str(), source_line(instruction).c_str(), place.c_str());
    ::signal(SIGABRT, SIG_DFL);
    abort();
}

void catch_signals() {
    // The fiber's stack may be what is full.
    static thread_local bool has_stack = false;
    if (!has_stack) {
        has_stack = true;
        constexpr size_t SIZE = 128 << 10;
        stack_t stack = {};
        stack.ss_sp = malloc(SIZE);
        stack.ss_size = SIZE;
        sigaltstack(&stack, nullptr);
    }
    static bool is_set = false;
    if (is_set) return;
    is_set = true;
    struct sigaction action = {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) sigaction(signal, &action, &before[signal]);
}

} // namespace emulated
