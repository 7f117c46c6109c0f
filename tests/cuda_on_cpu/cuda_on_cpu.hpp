// CUDA kernels on a CPU: what a kernel file needs so that g++ compiles it, and what runs its
// threads. It is for tests: slow, in one operating system thread, and strict where a GPU is
// silent.
//
// The threads of a block are fibers, each with a stack of its own, which give way to each other
// only where they wait: at __syncthreads and at the intrinsics of a warp. Blocks run one after
// another. With a seed other than 0 blocks, warps and lanes take turns in a random order.
//
// A kernel file is included inside an unnamed namespace, which keeps its names from those of the
// system; it must include no system header.
#pragma once

#include <link.h>
#include <sys/mman.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#if !defined(__x86_64__) || defined(CUDA_ON_CPU_UCONTEXT)
#define CUDA_ON_CPU_UCONTEXT 1
#include <ucontext.h>
#endif

// Vectors, as CUDA aligns them ---------------------------------------------------------------

#define CUDA_ON_CPU_VECTORS(type, name)                                                        \
    struct name##1 { type x; };                                                                \
    struct alignas(2 * sizeof(type)) name##2 { type x, y; };                                   \
    struct name##3 { type x, y, z; };                                                          \
    struct alignas(sizeof(type) < 8 ? 4 * sizeof(type) : 16) name##4 { type x, y, z, w; };     \
    inline name##1 make_##name##1(type x) { return {x}; }                                      \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }                           \
    inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

CUDA_ON_CPU_VECTORS(signed char, char)
CUDA_ON_CPU_VECTORS(unsigned char, uchar)
CUDA_ON_CPU_VECTORS(short, short)
CUDA_ON_CPU_VECTORS(unsigned short, ushort)
CUDA_ON_CPU_VECTORS(int, int)
CUDA_ON_CPU_VECTORS(unsigned, uint)
CUDA_ON_CPU_VECTORS(long long, longlong)
CUDA_ON_CPU_VECTORS(unsigned long long, ulonglong)
CUDA_ON_CPU_VECTORS(float, float)
CUDA_ON_CPU_VECTORS(double, double)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

#ifdef CUDA_ON_CPU_RACES
#include "races.hpp"
#else
namespace cuda_on_cpu {
struct Unwatched {
    Unwatched() {}  // or it would be a variable that nobody uses
};
}  // namespace cuda_on_cpu
#define CUDA_ON_CPU_NOTE(kind, address, size)
#endif

extern "C" __attribute__((visibility("hidden"))) char __ehdr_start[];  // of this library

namespace cuda_on_cpu {

// Fibers -------------------------------------------------------------------------------------

constexpr size_t stack_bytes = 64 * 1024, page = 4096;

#ifdef CUDA_ON_CPU_UCONTEXT

using Context = ucontext_t;

inline void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }

inline void prepare(Context& context, char* stack, char* top, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = top - stack;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
}

#else

using Context = void*;  // where its stack ends; on it lie the registers a function must keep

extern "C" __attribute__((visibility("hidden"))) void cuda_on_cpu_switch(void** from, void* to);
asm(R"(
    .pushsection .text
    .hidden cuda_on_cpu_switch
    .globl cuda_on_cpu_switch
    .type cuda_on_cpu_switch, @function
cuda_on_cpu_switch:
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
    .size cuda_on_cpu_switch, . - cuda_on_cpu_switch
    .popsection
)");

inline void switch_context(Context& from, Context& to) { cuda_on_cpu_switch(&from, to); }

inline void prepare(Context& context, char*, char* top, void (*entry)()) {
    // A function is entered with its return address 8 below a multiple of 16; `entry` never
    // returns, so that address may be null.
    void** words = reinterpret_cast<void**>(top) - 2;
    words[0] = reinterpret_cast<void*>(entry);
    words[1] = nullptr;
    context = words - 6;
}

#endif

struct Fiber {
    Context context;
    char* stack;
    char* top;

    explicit Fiber(size_t number) {
        void* memory = mmap(nullptr, page + stack_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) std::abort();
        mprotect(memory, page, PROT_NONE);  // a stack too small ends in a fault, not in another
        stack = static_cast<char*>(memory) + page;
        // Tops at the same place of a page would all compete for the same few lines of the cache.
        top = stack + stack_bytes - number * 256 % page;
    }
    ~Fiber() { munmap(stack - page, page + stack_bytes); }
    Fiber(const Fiber&) = delete;
};

// The state of the block that runs --------------------------------------------------------------

enum class Operation : unsigned char { none, syncwarp, ballot, any, all, match, shuffle };

struct Lane {
    Fiber* fiber;         // null until the thread starts
    unsigned mask;        // of the operation of the warp it waits in
    Operation operation;  // none: it does not wait for its warp
    unsigned char source;
    int line;             // where it waits; 0: it does not
    uint64_t value, result;
};

struct Warp {
    unsigned live, ready, waiting;  // bits of lanes; waiting: in an operation of the warp
    Lane lanes[32];
};

inline Warp warps[32];
inline unsigned ready_warps;       // bits of warps with a lane that is ready
inline unsigned warp, lane;        // the thread that runs
inline unsigned lane_rotation;     // with which of its ready lanes the warp begins
inline unsigned live_threads, threads_at_barrier;
inline int barrier_line, barrier_votes, barrier_result;
inline uint64_t random_state;      // 0: threads take turns in their order
inline std::vector<std::unique_ptr<Fiber>> fibers;
inline std::vector<Fiber*> idle;
inline Fiber* running;
inline Context host;
inline void (*kernel_body)(void**);
inline void** kernel_arguments;
inline std::string failure;        // empty while nothing went wrong
inline char* dynamic_shared;

// What uninitialised shared memory holds: not a number, and not an index.
constexpr int garbage = 0xFF;
// What lies behind dynamic shared memory. A signalling NaN of 32 bits: whatever is added to it
// makes it a quiet one, so that even a sum out of bounds changes it.
constexpr uint32_t guard = 0x7FA5A5A5;
constexpr size_t guards = 1024, most_shared = 232448;

inline unsigned random_number() {
    if (!random_state) return 0;
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return static_cast<unsigned>(random_state >> 24);
}

inline unsigned first_from(unsigned bits, unsigned rotation) {
    rotation &= 31;
    const unsigned rotated = bits >> rotation | bits << (-rotation & 31);
    return (__builtin_ctz(rotated) + rotation) & 31;
}

inline Lane& current() { return warps[warp].lanes[lane]; }

inline void make_ready(unsigned number, unsigned lanes) {
    warps[number].ready |= lanes;
    ready_warps |= 1u << number;
}

// Chooses the thread that runs next; false: none can.
inline bool choose_next() {
    // A warp usually goes on as long as it can: the longer it is ahead of the others, the more a
    // missing barrier shows. Now and then it is interrupted all the same.
    if (!warps[warp].ready || (random_state && random_number() % 8 == 0)) {
        if (!ready_warps) return false;
        warp = first_from(ready_warps, random_number());
        lane_rotation = random_number();
    }
    Warp& its = warps[warp];
    lane = first_from(its.ready, lane_rotation);
    its.ready &= ~(1u << lane);
    if (!its.ready) ready_warps &= ~(1u << warp);
    const unsigned thread = warp * 32 + lane;
    threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y,
                 thread / (blockDim.x * blockDim.y)};
    return true;
}

[[noreturn]] inline void leave_block() {
    switch_context(running->context, host);
    std::abort();
}

// The block is given up: its fibers are never resumed, and their stacks are used again.
[[noreturn]] inline void fail(const std::string& message) {
    failure = message;
    leave_block();
}

inline const char* name_of(Operation operation) {
    static const char* names[] = {"__syncthreads", "__syncwarp", "__ballot_sync", "__any_sync",
                                  "__all_sync",    "__match_any_sync", "__shfl_sync"};
    return names[static_cast<int>(operation)];
}

inline std::string deadlock() {
    std::map<std::string, int> places;
    for (const Warp& its : warps)
        for (unsigned i = 0; i < 32; ++i)
            if (its.live >> i & 1) {
                const Lane& at = its.lanes[i];
                char place[64];
                std::snprintf(place, sizeof place, " at %s in line %d", name_of(at.operation),
                              at.line);
                if (at.operation != Operation::none)
                    std::snprintf(place + std::strlen(place), 24, " (mask %#x)", at.mask);
                ++places[place];
            }
    std::string message = "threads wait for each other for ever:";
    const char* separator = " ";
    for (const auto& [place, count] : places) {
        message += separator + std::to_string(count) + place;
        separator = ", ";
    }
    return message;
}

inline void run_fiber();

inline Fiber* fresh_fiber() {
    if (idle.empty()) {
        fibers.push_back(std::make_unique<Fiber>(fibers.size()));
        idle.push_back(fibers.back().get());
    }
    Fiber* fiber = idle.back();
    idle.pop_back();
    prepare(fiber->context, fiber->stack, fiber->top, run_fiber);
    return fiber;
}

// Runs others until the current thread, which waits or has made itself ready, is chosen again.
inline void give_way() {
    Fiber* mine = running;
    if (!choose_next()) fail(deadlock());
    if (!current().fiber) current().fiber = fresh_fiber();
    running = current().fiber;
    if (running != mine) switch_context(mine->context, running->context);
}

inline void release_barrier() {
#ifdef CUDA_ON_CPU_RACES
    ++block_epoch;
#endif
    barrier_result = barrier_votes;
    threads_at_barrier = barrier_votes = barrier_line = 0;
    for (unsigned i = 0; i < 32; ++i)
        if (warps[i].live) make_ready(i, warps[i].live);
}

// How many threads voted. Threads that have ended are not waited for, as from compute capability
// 7.0 on. All must wait in the same line: others may meet on some devices, but CUDA leaves that
// undefined.
inline int wait_for_block(bool vote, int line) {
    Unwatched guard;
    if (barrier_line && barrier_line != line)
        fail("threads wait at different barriers: __syncthreads in line " +
             std::to_string(barrier_line) + " and in line " + std::to_string(line));
    current().line = barrier_line = line;
    barrier_votes += vote;
    if (++threads_at_barrier == live_threads) release_barrier();
    give_way();
    return barrier_result;
}

// Lets the lanes go that `one` waits with, if all that live have come. Their results are made
// here, not when they are resumed: then others may have gone on to their next operation.
inline void meet(Warp& its, unsigned one) {
    const Lane& first = its.lanes[one];
    const unsigned group = first.mask & its.live;
    if ((its.waiting & group) != group) return;
    for (unsigned i = 0; i < 32; ++i)
        if (group >> i & 1 && (its.lanes[i].mask != first.mask ||
                               its.lanes[i].operation != first.operation))
            return;  // they never meet: a deadlock, told once nobody else can run
#ifdef CUDA_ON_CPU_RACES
    if (group == its.live) ++warp_epochs[&its - warps];
#endif
    unsigned votes = 0;
    for (unsigned i = 0; i < 32; ++i)
        if (group >> i & 1 && its.lanes[i].value) votes |= 1u << i;
    for (unsigned i = 0; i < 32; ++i) {
        if (!(group >> i & 1)) continue;
        Lane& each = its.lanes[i];
        switch (each.operation) {
            case Operation::any: each.result = votes != 0; break;
            case Operation::all: each.result = votes == group; break;
            case Operation::match:
                each.result = 0;
                for (unsigned j = 0; j < 32; ++j)
                    if (group >> j & 1 && its.lanes[j].value == each.value)
                        each.result |= 1u << j;
                break;
            case Operation::shuffle:
                // A lane that takes no part has nothing defined to give.
                each.result = group >> each.source & 1 ? its.lanes[each.source].value : ~0ull;
                break;
            default: each.result = votes;
        }
    }
    for (unsigned i = 0; i < 32; ++i)
        if (group >> i & 1) its.lanes[i].operation = Operation::none;
    its.waiting &= ~group;
    make_ready(static_cast<unsigned>(&its - warps), group);
}

inline uint64_t wait_for_warp(Operation operation, unsigned mask, uint64_t value, unsigned source,
                              int line) {
    Unwatched guard;
    Lane& mine = current();
    if (!(mask >> lane & 1))
        fail(std::string(name_of(operation)) + " in line " + std::to_string(line) + ": lane " +
             std::to_string(lane) + " is not in its own mask");
    mine.mask = mask;
    mine.operation = operation;
    mine.source = static_cast<unsigned char>(source);
    mine.line = line;
    mine.value = value;
    warps[warp].waiting |= 1u << lane;
    meet(warps[warp], lane);
    give_way();
    return mine.result;
}

// The current thread has ended, which can be what others waited for.
inline void end_thread() {
    Warp& its = warps[warp];
    its.live &= ~(1u << lane);
    --live_threads;
    for (unsigned i = 0; i < 32; ++i)
        if (its.waiting >> i & 1) meet(its, i);
    if (live_threads && threads_at_barrier == live_threads) release_barrier();
}

// A fiber runs one thread after another: where nobody waits, one fiber runs the whole block.
inline void run_fiber() {
    for (;;) {
#ifdef CUDA_ON_CPU_RACES
        watch(true);
        kernel_body(kernel_arguments);
        watch(false);
#else
        kernel_body(kernel_arguments);
#endif
        end_thread();
        if (!choose_next()) {
            if (live_threads) fail(deadlock());
            leave_block();
        }
        if (!current().fiber) {
            current().fiber = running;
        } else {
            Fiber* mine = running;
            idle.push_back(mine);
            running = current().fiber;
            switch_context(mine->context, running->context);
        }
    }
}

// Variables marked __shared__ are thread-local ones, because those of one library lie together,
// those of templates too (which GCC would not put into a section of their own): so that they can
// be filled. Operating system threads are not meant.
thread_local char shared_anchor;
inline char *static_shared, *static_shared_end;

inline void find_static_shared() {
    // There is none before it is touched.
    *const_cast<volatile char*>(&shared_anchor) = 0;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void*) {
            if (info->dlpi_addr != reinterpret_cast<uintptr_t>(__ehdr_start)) return 0;
            for (int i = 0; i < info->dlpi_phnum; ++i)
                if (info->dlpi_phdr[i].p_type == PT_TLS) {
                    static_shared = static_cast<char*>(info->dlpi_tls_data);
                    static_shared_end = static_shared + info->dlpi_phdr[i].p_memsz;
                }
            return 1;
        },
        nullptr);
    if (!static_shared) std::abort();
}

inline void run_block(size_t shared) {
    std::memset(dynamic_shared, garbage, shared);
    std::fill_n(reinterpret_cast<uint32_t*>(dynamic_shared + (shared + 3) / 4 * 4), guards, guard);
    std::memset(static_shared, garbage, static_shared_end - static_shared);

    live_threads = blockDim.x * blockDim.y * blockDim.z;
    threads_at_barrier = barrier_votes = barrier_line = 0;
    ready_warps = warp = 0;
    std::memset(static_cast<void*>(warps), 0, sizeof warps);
    for (unsigned i = 0; i * 32 < live_threads; ++i) {
        const unsigned lanes = std::min(32u, live_threads - i * 32);
        warps[i].live = lanes == 32 ? ~0u : (1u << lanes) - 1;
        make_ready(i, warps[i].live);
    }
    idle.clear();
    for (const auto& fiber : fibers) idle.push_back(fiber.get());
    warp = first_from(ready_warps, random_number());
    lane_rotation = random_number();
    choose_next();
    running = current().fiber = fresh_fiber();
    switch_context(host, running->context);

    const uint32_t* behind = reinterpret_cast<uint32_t*>(dynamic_shared + (shared + 3) / 4 * 4);
    if (failure.empty() && !std::all_of(behind, behind + guards, [](uint32_t word) {
            return word == guard;
        }))
        failure = "a thread wrote behind the " + std::to_string(shared) +
                  " bytes of dynamic shared memory";
}

#ifdef CUDA_ON_CPU_RACES
inline void note(Kind kind, const void* address, size_t size, void* returns_to) {
    const auto begin = reinterpret_cast<uintptr_t>(address);
    const auto stack = reinterpret_cast<uintptr_t>(running ? running->stack : nullptr);
    if (!watching || begin - stack < stack_bytes) return;
    watching = false;  // what is called from here may be told of as well
    Access now{block_number, warp * 32 + lane, block_epoch, warp_epochs[warp], 0,
               reinterpret_cast<uintptr_t>(returns_to) -
                   reinterpret_cast<uintptr_t>(__ehdr_start) - 1};
    for (uintptr_t at = begin & ~uintptr_t(3); at < begin + size; at += 4) {
        now.bytes = 0;
        for (unsigned i = 0; i < 4; ++i) now.bytes |= (at + i - begin < size) << i;
        note_word(words[at], kind, now);
    }
    watching = true;
}

inline void forget(char* begin, char* end) {
    for (char* at = begin; at < end; at += 4) words.erase(reinterpret_cast<uintptr_t>(at));
}
#endif

// Runs all blocks; null, or what went wrong.
inline const char* launch(void (*body)(void**), const unsigned* grid, const unsigned* block,
                          size_t shared, uint64_t seed, void** arguments) {
    if (!dynamic_shared)
        dynamic_shared = static_cast<char*>(
            std::aligned_alloc(1024, (most_shared + guards * sizeof guard + 1023) / 1024 * 1024));
    find_static_shared();
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    kernel_body = body;
    kernel_arguments = arguments;
    failure.clear();
#ifdef CUDA_ON_CPU_RACES
    words.clear();
    watch(false);
#endif
    random_state = seed * 0x9E3779B97F4A7C15ull;  // far from small, which xorshift mixes badly

    const uint64_t blocks = uint64_t(grid[0]) * grid[1] * grid[2];
    std::vector<uint64_t> order(seed ? blocks : 0);
    std::iota(order.begin(), order.end(), uint64_t(0));
    for (uint64_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_number() % i]);
    for (uint64_t i = 0; i < blocks; ++i) {
        const uint64_t number = seed ? order[i] : i;
        blockIdx = {unsigned(number % grid[0]), unsigned(number / grid[0] % grid[1]),
                    unsigned(number / grid[0] / grid[1])};
#ifdef CUDA_ON_CPU_RACES
        // Every block has shared memory of its own, so its accesses there are forgotten.
        forget(static_shared, static_shared_end);
        forget(dynamic_shared, dynamic_shared + shared);
        block_number = number;
#endif
        run_block(shared);
        if (failure.empty()) continue;
        char place[64];
        std::snprintf(place, sizeof place, "block (%u, %u, %u): ", blockIdx.x, blockIdx.y,
                      blockIdx.z);
        failure = place + failure;
        return failure.c_str();
    }
    return nullptr;
}

// What a kernel takes, told to Python ---------------------------------------------------------

// A number as NumPy calls it, such as f4; a struct by its first member and its own size, f4:8.
template <class T> std::string type_name() {
    using U = std::remove_cv_t<T>;
    const auto size = std::to_string(sizeof(std::conditional_t<std::is_void_v<U>, char, U>));
    if constexpr (std::is_void_v<U>) return "void";
    else if constexpr (std::is_pointer_v<U>) return "*" + type_name<std::remove_pointer_t<U>>();
    else if constexpr (std::is_same_v<U, bool>) return "b1";
    else if constexpr (std::is_floating_point_v<U>) return "f" + size;
    else if constexpr (std::is_integral_v<U>) return (std::is_signed_v<U> ? "i" : "u") + size;
    else return type_name<decltype(U{}.x)>() + ":" + size;
}

template <class... P> const char* parameters(void (*)(P...)) {
    static const std::string text = ((type_name<P>() + " ") + ... + "");
    return text.c_str();
}

template <class... P, size_t... I>
void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<P*>(arguments[I])...);
}

template <class... P> void call(void (*kernel)(P...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<P...>());
}

template <class T> uint64_t bits_of(T value) {
    static_assert(sizeof(T) <= 8, "warps exchange numbers of up to 64 bits");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T> T shuffle(unsigned mask, T value, unsigned source, int line) {
    const uint64_t bits = wait_for_warp(Operation::shuffle, mask, bits_of(value), source, line);
    T result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

template <class T> struct Same { using type = T; };
template <class T> using Plain = typename Same<T>::type;  // takes no part in deduction

}  // namespace cuda_on_cpu

#define CUDA_ON_CPU_KERNEL(name)                                                               \
    extern "C" const char* cuda_on_cpu_launch_##name(                                          \
        const unsigned* grid, const unsigned* block, size_t shared, uint64_t seed,             \
        void** arguments) {                                                                    \
        return cuda_on_cpu::launch([](void** each) { cuda_on_cpu::call(name, each); }, grid,   \
                                   block, shared, seed, arguments);                            \
    }                                                                                          \
    extern "C" const char* cuda_on_cpu_parameters_##name() {                                   \
        return cuda_on_cpu::parameters(name);                                                  \
    }

// What kernels call ---------------------------------------------------------------------------

inline void __syncthreads(int line = __builtin_LINE()) { cuda_on_cpu::wait_for_block(false, line); }
inline int __syncthreads_count(int vote, int line = __builtin_LINE()) {
    return cuda_on_cpu::wait_for_block(vote != 0, line);
}
inline int __syncthreads_or(int vote, int line = __builtin_LINE()) {
    return cuda_on_cpu::wait_for_block(vote != 0, line) != 0;
}
inline int __syncthreads_and(int vote, int line = __builtin_LINE()) {
    return cuda_on_cpu::wait_for_block(vote == 0, line) == 0;
}
inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) {
    cuda_on_cpu::wait_for_warp(cuda_on_cpu::Operation::syncwarp, mask, 0, 0, line);
}
inline unsigned __ballot_sync(unsigned mask, int vote, int line = __builtin_LINE()) {
    return cuda_on_cpu::wait_for_warp(cuda_on_cpu::Operation::ballot, mask, vote != 0, 0, line);
}
inline int __any_sync(unsigned mask, int vote, int line = __builtin_LINE()) {
    return cuda_on_cpu::wait_for_warp(cuda_on_cpu::Operation::any, mask, vote != 0, 0, line);
}
inline int __all_sync(unsigned mask, int vote, int line = __builtin_LINE()) {
    return cuda_on_cpu::wait_for_warp(cuda_on_cpu::Operation::all, mask, vote != 0, 0, line);
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, int line = __builtin_LINE()) {
    return cuda_on_cpu::wait_for_warp(cuda_on_cpu::Operation::match, mask,
                                      cuda_on_cpu::bits_of(value), 0, line);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, int line = __builtin_LINE()) {
    const unsigned lane = cuda_on_cpu::lane, first = lane & -unsigned(width);
    return cuda_on_cpu::shuffle(mask, value, first + (source & (width - 1)), line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32,
                 int line = __builtin_LINE()) {
    const unsigned lane = cuda_on_cpu::lane, first = lane & -unsigned(width);
    return cuda_on_cpu::shuffle(mask, value, lane >= first + by ? lane - by : lane, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32,
                   int line = __builtin_LINE()) {
    const unsigned lane = cuda_on_cpu::lane, end = (lane & -unsigned(width)) + width;
    return cuda_on_cpu::shuffle(mask, value, lane + by < end ? lane + by : lane, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                  int line = __builtin_LINE()) {
    const unsigned lane = cuda_on_cpu::lane, end = (lane & -unsigned(width)) + width;
    return cuda_on_cpu::shuffle(mask, value, (lane ^ bits) < end ? lane ^ bits : lane, line);
}
// The lanes that could run with this one: a device may answer with any such set, this one too.
inline unsigned __activemask() { return 1u << cuda_on_cpu::lane; }

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
[[noreturn]] inline void __trap() { cuda_on_cpu::fail("__trap was called"); }

#define CUDA_ON_CPU_INLINE inline __attribute__((always_inline))  // a race is told by its line
// Memory is read again behind an atomic operation, as a device would.
#define CUDA_ON_CPU_FORGET_VALUES asm volatile("" ::: "memory")
#define CUDA_ON_CPU_ATOMIC(name, expression)                                                   \
    template <class T>                                                                         \
    CUDA_ON_CPU_INLINE T name(T* address, cuda_on_cpu::Plain<T> value) {                       \
        CUDA_ON_CPU_NOTE(atomic, address, sizeof(T));                                          \
        cuda_on_cpu::Unwatched guard;                                                          \
        const T old = *address;                                                                \
        *address = expression;                                                                 \
        CUDA_ON_CPU_FORGET_VALUES;                                                             \
        return old;                                                                            \
    }
CUDA_ON_CPU_ATOMIC(atomicAdd, old + value)
CUDA_ON_CPU_ATOMIC(atomicSub, old - value)
CUDA_ON_CPU_ATOMIC(atomicMax, value > old ? value : old)
CUDA_ON_CPU_ATOMIC(atomicMin, value < old ? value : old)
CUDA_ON_CPU_ATOMIC(atomicOr, old | value)
CUDA_ON_CPU_ATOMIC(atomicAnd, old & value)
CUDA_ON_CPU_ATOMIC(atomicXor, old ^ value)
CUDA_ON_CPU_ATOMIC(atomicExch, value)
CUDA_ON_CPU_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
template <class T>
CUDA_ON_CPU_INLINE T atomicCAS(T* address, cuda_on_cpu::Plain<T> expected,
                               cuda_on_cpu::Plain<T> value) {
    CUDA_ON_CPU_NOTE(atomic, address, sizeof(T));
    cuda_on_cpu::Unwatched guard;
    const T old = *address;
    if (old == expected) *address = value;
    CUDA_ON_CPU_FORGET_VALUES;
    return old;
}

template <class T> T __ldg(const T* address) { return *address; }
template <class T> T __ldcg(const T* address) { return *address; }
template <class T> T __ldcs(const T* address) { return *address; }
template <class T> void __stcg(T* address, cuda_on_cpu::Plain<T> value) { *address = value; }
template <class T> void __stcs(T* address, cuda_on_cpu::Plain<T> value) { *address = value; }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline unsigned __brev(unsigned x) {
    unsigned reversed = 0;
    for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1) << (31 - i);
    return reversed;
}
inline unsigned __umulhi(unsigned x, unsigned y) { return uint64_t(x) * y >> 32; }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return static_cast<unsigned __int128>(x) * y >> 64;
}

#define CUDA_ON_CPU_CAST(name, to, from)                                                       \
    inline to name(from value) {                                                               \
        to result;                                                                             \
        std::memcpy(&result, &value, sizeof result);                                           \
        return result;                                                                         \
    }
CUDA_ON_CPU_CAST(__float_as_int, int, float)
CUDA_ON_CPU_CAST(__float_as_uint, unsigned, float)
CUDA_ON_CPU_CAST(__int_as_float, float, int)
CUDA_ON_CPU_CAST(__uint_as_float, float, unsigned)
CUDA_ON_CPU_CAST(__double_as_longlong, long long, double)
CUDA_ON_CPU_CAST(__longlong_as_double, double, long long)

#define CUDA_ON_CPU_ARITHMETIC(type, letter, fused)                                            \
    inline type __##letter##add_rn(type x, type y) { return x + y; }                           \
    inline type __##letter##sub_rn(type x, type y) { return x - y; }                           \
    inline type __##letter##mul_rn(type x, type y) { return x * y; }                           \
    inline type __##letter##div_rn(type x, type y) { return x / y; }                           \
    inline type __##fused##_rn(type x, type y, type z) { return std::fma(x, y, z); }
CUDA_ON_CPU_ARITHMETIC(float, f, fmaf)
CUDA_ON_CPU_ARITHMETIC(double, d, fma)
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline double __dsqrt_rn(double x) { return std::sqrt(x); }
inline int __float2int_rn(float x) { return static_cast<int>(std::rint(x)); }
inline int __double2int_rn(double x) { return static_cast<int>(std::rint(x)); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }

template <class A, class B> std::common_type_t<A, B> min(A x, B y) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return std::fmin(T(x), T(y));
    else return T(y) < T(x) ? T(y) : T(x);
}
template <class A, class B> std::common_type_t<A, B> max(A x, B y) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return std::fmax(T(x), T(y));
    else return T(x) < T(y) ? T(y) : T(x);
}

// What kernels are written with; last, because the system's headers use some of these words. --------

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __managed__
#define __noinline__ __attribute__((noinline))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __shared__ static thread_local
#define DYNAMIC_SHARED(type, name) \
    type* const name = reinterpret_cast<type*>(cuda_on_cpu::dynamic_shared)
