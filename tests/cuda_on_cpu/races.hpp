// Races between threads, found whatever the order in which they run: the compiler tells of every
// access to memory (-fsanitize=thread, whose library this file replaces), and of two accesses by
// different threads to the same bytes, one of them a write, one must come before the other through
// a barrier of the block, or an operation of all live lanes of the warp. Nothing orders blocks.
//
// Atomic operations race with plain accesses, not with each other; they order nothing.
#pragma once

#include <array>
#include <unordered_map>

// What carries this mark is not told of itself.
#define CUDA_ON_CPU_UNSEEN __attribute__((noinline, no_sanitize("thread")))

namespace cuda_on_cpu {

struct Access {
    uint64_t block;
    unsigned thread, block_epoch, warp_epoch;
    unsigned char bytes;  // of the word, as bits; 0: there was no access
    uintptr_t place;      // in the code
};

struct Word {
    Access write, atomic;
    std::array<Access, 2> reads;  // by two threads: one of them is not the next that writes
};

enum class Kind { read, write, atomic };

inline bool watching;  // while a kernel's own code runs
inline std::unordered_map<uintptr_t, Word> words;
inline uint64_t block_number;
inline unsigned block_epoch, warp_epochs[32];

CUDA_ON_CPU_UNSEEN inline void watch(bool on) { watching = on; }

struct Unwatched {
    Unwatched() { watch(false); }
    ~Unwatched() { watch(true); }
};

[[noreturn]] void fail(const std::string& message);

inline bool race(const Access& before, const Access& now) {
    if (!(before.bytes & now.bytes)) return false;
    if (before.block != now.block) return true;
    if (before.thread == now.thread || before.block_epoch != now.block_epoch) return false;
    return before.thread / 32 != now.thread / 32 || before.warp_epoch == now.warp_epoch;
}

[[noreturn]] inline void tell(const char* earlier, const Access& before, const char* later,
                              const Access& now) {
    char text[200];  // Python replaces the places after @ by lines
    std::snprintf(text, sizeof text,
                  "race: thread %u of block %llu %s at @%zx, thread %u of block %llu %s at @%zx",
                  before.thread, static_cast<unsigned long long>(before.block), earlier,
                  before.place, now.thread, static_cast<unsigned long long>(now.block), later,
                  now.place);
    fail(text);
}

inline void note_word(Word& word, Kind kind, const Access& now) {
    const char* names[] = {"read", "wrote", "changed atomically"};
    const char* name = names[static_cast<int>(kind)];
    if (race(word.write, now)) tell("wrote", word.write, name, now);
    if (kind != Kind::atomic && race(word.atomic, now))
        tell("changed atomically", word.atomic, name, now);
    if (kind != Kind::read)
        for (const Access& read : word.reads)
            if (race(read, now)) tell("read", read, name, now);

    if (kind == Kind::write) word.write = now;
    if (kind == Kind::atomic) word.atomic = now;
    if (kind == Kind::read) {
        auto& [newer, older] = word.reads;
        if (newer.thread != now.thread || newer.block != now.block) older = newer;
        newer = now;
    }
}

CUDA_ON_CPU_UNSEEN void note(Kind kind, const void* address, size_t size, void* returns_to);

#define CUDA_ON_CPU_NOTE(kind, address, size) \
    cuda_on_cpu::note(cuda_on_cpu::Kind::kind, address, size, __builtin_return_address(0))

}  // namespace cuda_on_cpu

#define CUDA_ON_CPU_HOOKS(size)                                                                \
    extern "C" CUDA_ON_CPU_UNSEEN void __tsan_read##size(void* address) {                      \
        CUDA_ON_CPU_NOTE(read, address, size);                                                 \
    }                                                                                          \
    extern "C" CUDA_ON_CPU_UNSEEN void __tsan_write##size(void* address) {                     \
        CUDA_ON_CPU_NOTE(write, address, size);                                                \
    }                                                                                          \
    extern "C" CUDA_ON_CPU_UNSEEN void __tsan_unaligned_read##size(void* address) {            \
        CUDA_ON_CPU_NOTE(read, address, size);                                                 \
    }                                                                                          \
    extern "C" CUDA_ON_CPU_UNSEEN void __tsan_unaligned_write##size(void* address) {           \
        CUDA_ON_CPU_NOTE(write, address, size);                                                \
    }

#pragma GCC visibility push(hidden)
CUDA_ON_CPU_HOOKS(1)
CUDA_ON_CPU_HOOKS(2)
CUDA_ON_CPU_HOOKS(4)
CUDA_ON_CPU_HOOKS(8)
CUDA_ON_CPU_HOOKS(16)
extern "C" CUDA_ON_CPU_UNSEEN void __tsan_read_range(void* address, size_t size) {
    CUDA_ON_CPU_NOTE(read, address, size);
}
extern "C" CUDA_ON_CPU_UNSEEN void __tsan_write_range(void* address, size_t size) {
    CUDA_ON_CPU_NOTE(write, address, size);
}
extern "C" CUDA_ON_CPU_UNSEEN void __tsan_init() {}
extern "C" CUDA_ON_CPU_UNSEEN void __tsan_func_entry(void*) {}
extern "C" CUDA_ON_CPU_UNSEEN void __tsan_func_exit() {}
extern "C" CUDA_ON_CPU_UNSEEN void __tsan_vptr_update(void*, void*) {}
extern "C" CUDA_ON_CPU_UNSEEN void __tsan_vptr_read(void*) {}
#pragma GCC visibility pop
