/* Lets User Mode Linux 6.1 start on processors whose register state is larger than it knows.
 *
 * Its buffer for extended registers ends after AVX-512 and protection keys (2696 bytes). A host
 * with more (AMX) refuses to load a state that is not of its own full size, and the guest's first
 * process dies. Preloaded into linux.uml, this hands the host a full-size state in which the parts
 * the guest does not know are in their initial state. Layout: Intel SDM volume 1, chapter 13.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define XSTATE_BV_OFFSET 512
#define KNOWN_FEATURES UINT64_C(0x2e7) /* x87, SSE, AVX, AVX-512, protection keys */

static char state[65536];

static long set_xstate(long pid, void *note, const struct iovec *part)
{
    struct iovec whole = {state, sizeof state};
    uint64_t present;

    if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, note, &whole) < 0)
        return -1;
    if (part->iov_len >= whole.iov_len)
        return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, note, part);
    memset(state, 0, whole.iov_len);
    memcpy(state, part->iov_base, part->iov_len);
    memcpy(&present, state + XSTATE_BV_OFFSET, sizeof present);
    present &= KNOWN_FEATURES;
    memcpy(state + XSTATE_BV_OFFSET, &present, sizeof present);
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, note, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list rest;
    long pid, value, result;
    void *address, *data;

    va_start(rest, request);
    pid = va_arg(rest, pid_t);
    address = va_arg(rest, void *);
    data = va_arg(rest, void *);
    va_end(rest);
    if (request == PTRACE_SETREGSET && (uintptr_t)address == NT_X86_XSTATE)
        return set_xstate(pid, address, data);
    /* As in the C library, what is peeked is the result. */
    if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
        result = syscall(SYS_ptrace, request, pid, address, &value);
        return result < 0 ? result : value;
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
