// What all kernels share: number types, the layout of arrays, words of bits, sums over a warp.
//
// REAL is float or double.  The arrays of a component are ordered by sample, then by step (0 to
// steps), then by column; a column is a unit of the component.  Emissions are single bits: bit
// n % 32 of word n / 32 is set if the unit emits at step n.  Words are ordered by sample, word and
// column.  The synapses of a connection are ordered by source unit, then by target unit.
//
// Each sum of reals is formed in one fixed order and without atomics, so that no result depends on
// the order in which threads run.

#define JOINED(a, b) a##b
#define PAIR_OF(type) JOINED(type, 2)
typedef REAL real;
typedef PAIR_OF(REAL) real2;
typedef long long index_t;  // products of samples, steps and units exceed 2^31
typedef unsigned long long uint64;

#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name)                                \
    extern __shared__ __align__(16) unsigned char name##_bytes[]; \
    type *const name = reinterpret_cast<type *>(name##_bytes)
#endif

constexpr unsigned ALL_LANES = 0xffffffffu;

// The initial value of a minimum, which remains if nothing was found.
[[maybe_unused]] constexpr uint64 NOTHING_FOUND = ~0ull;

__device__ inline bool is_finite(real value) {
    return value - value == 0;
}

__device__ inline index_t thread_of_grid() {
    return static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// -- layout of arrays -------------------------------------------------------------------------

// The number of words that contain the emissions of one unit in one sample.
__device__ inline int word_count(int steps) {
    return steps / 32 + 1;
}

// The index of the first entry of a sample in an array of a component.
__device__ inline index_t sample_begin(int sample, int steps, int columns) {
    return static_cast<index_t>(sample) * (steps + 1) * columns;
}

// The index of the first word of a sample.
__device__ inline index_t sample_words_begin(int sample, int steps, int columns) {
    return static_cast<index_t>(sample) * word_count(steps) * columns;
}

// -- words of bits ----------------------------------------------------------------------------

// The mask of the bits numbered `begin` to `end` - 1, in the word whose first bit has number
// `first`.
__device__ inline unsigned bits_between(int first, int begin, int end) {
    unsigned bits = ALL_LANES;
    if (begin > first) bits = begin - first < 32 ? bits << (begin - first) : 0;
    if (end < first + 32) bits &= end > first ? ALL_LANES >> (first + 32 - end) : 0;
    return bits;
}

// Clears the lowest set bit of a word that is not 0, and returns the number of that bit.
__device__ inline int take_lowest(unsigned &bits) {
    const int lowest = __ffs(static_cast<int>(bits)) - 1;
    bits &= bits - 1;
    return lowest;
}

// -- sums -------------------------------------------------------------------------------------

// The sum over a warp, the same in all lanes; the terms are always added in the same tree.
__device__ inline real sum_of_warp(real value) {
    for (int distance = 16; distance > 0; distance /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    return value;
}
