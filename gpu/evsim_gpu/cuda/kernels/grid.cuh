// What the kernels of the grid share.  REAL is float or double.
//
// Arrays of a component lie sample by sample, then step by step (0 to steps), then column by
// column.  Bits of emissions lie sample by sample, word by word, column by column: bit n % 32 of
// word n / 32 is the emission at step n.  Synapses of a connection lie source unit by source unit.
// Everything is summed in one order, whatever runs first, and no sum is made by atomics.

#define JOINED(a, b) a##b
#define PAIR_OF(type) JOINED(type, 2)
typedef REAL real;
typedef PAIR_OF(REAL) real2;
typedef long long index_t;  // products of samples, steps and units pass 2^31
typedef unsigned long long word_t;

#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name)                                \
    extern __shared__ __align__(16) unsigned char name##_bytes[]; \
    type *const name = reinterpret_cast<type *>(name##_bytes)
#endif

constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ inline bool is_finite(real value) {
    return value - value == 0;
}

// Coefficients of a unit: evsim_gpu.model.layout explains them.
struct Unit {
    real decay_mem, rise, decay_syn, feed, fall, drive_scale, threshold, tau_mem, tau_syn;
    int refractory;
};

// `values` lies coefficient by coefficient, in their order, so that threads of neighbouring
// columns read neighbouring numbers.
__device__ inline Unit unit_at(
    const real *values, const int *__restrict__ refractory, int columns, int column) {
    const real *const own = values + column;
    return {own[0], own[columns], own[2 * columns], own[3 * columns], own[4 * columns],
        own[5 * columns], own[6 * columns], own[7 * columns], own[8 * columns], refractory[column]};
}

__device__ inline index_t thread_of_grid() {
    return static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ inline int words_of(int steps) {
    return steps / 32 + 1;
}

// Where in its arrays a sample's numbers begin.
__device__ inline index_t row_of(int sample, int steps, int columns) {
    return static_cast<index_t>(sample) * (steps + 1) * columns;
}

__device__ inline index_t words_row_of(int sample, int steps, int columns) {
    return static_cast<index_t>(sample) * words_of(steps) * columns;
}

// The bits of a word, whose first one is number `first`, with numbers from `begin` to `end` - 1.
__device__ inline unsigned bits_between(int first, int begin, int end) {
    unsigned bits = ALL_LANES;
    if (begin > first) bits = begin - first < 32 ? bits << (begin - first) : 0;
    if (end < first + 32) bits &= end > first ? ALL_LANES >> (first + 32 - end) : 0;
    return bits;
}

// Takes the lowest bit out of a word that is not 0; its number.
__device__ inline int take_lowest(unsigned &bits) {
    const int lowest = __ffs(static_cast<int>(bits)) - 1;
    bits &= bits - 1;
    return lowest;
}

// The sum over a warp, the same in all lanes, always added in the same tree.
__device__ inline real sum_of_warp(real value) {
    for (int distance = 16; distance > 0; distance /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    return value;
}

// -- one step of a unit ---------------------------------------------------------------------

// V and I after everything at a grid point, and until which one V stays at 0 (-1 at first).
struct Neuron {
    real v, i;
    int free;
};

__device__ inline real moved_voltage(const Unit &unit, const Neuron &neuron) {
    return unit.decay_mem * neuron.v + unit.rise * neuron.i;
}

// What stands for I - threshold at a crossing inside the step: tau_mem times V's mean slope.
__device__ inline real drive_over(const Unit &unit, const Neuron &neuron) {
    return unit.drive_scale * (unit.fall * neuron.v + unit.rise * neuron.i);
}

// V and I move to grid point n, where the unit emits or does not; arrivals there come later.
__device__ inline void move_to(const Unit &unit, int n, real v, bool emits, Neuron &neuron) {
    neuron.v = emits || n <= neuron.free ? real(0) : v;
    neuron.i = unit.decay_syn * neuron.i;
    if (emits) neuron.free = n + unit.refractory;
}

// -- dropout ----------------------------------------------------------------------------------

// The finaliser of SplitMix64.
__device__ inline word_t mixed(word_t word) {
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9ull;
    word = (word ^ (word >> 27)) * 0x94D049BB133111EBull;
    return word ^ (word >> 31);
}

// evsim.network.dropout.is_dropped: whether a unit's spike, the `number`-th of its sample, is dropped.
__device__ inline bool is_dropped(word_t key, int unit, int number, double rate) {
    if (rate == 0.0) return false;
    const word_t golden = 0x9E3779B97F4A7C15ull;
    word_t word = mixed(key + static_cast<word_t>(unit + 1) * golden);
    word = mixed(word + static_cast<word_t>(number + 1) * golden);
    return static_cast<double>(word >> 11) * 0x1p-53 < rate;
}

// -- spikes of a source unit -------------------------------------------------------------------

// What a warp has of a source unit's spikes: `own` is one lane's number at `place` + lane, of those
// before `last`.
template <class Number>
struct Fetched {
    index_t place, last;
    Number own;
};

// Spikes of inputs: lists of steps, ascending.  A dropped one is ~step, below 0; one after the
// trial is at step steps + 1.
struct InputSpikes {
    const int *step;
    const index_t *start;  // of each unit's list, sample by sample
    int units;             // of all populations
    int first;             // the first source unit among them

    __device__ index_t list_of(int sample, int source) const {
        return static_cast<index_t>(sample) * units + first + source;
    }

    // The first spikes of a source unit, a lane each.
    __device__ Fetched<int> fetch(int sample, int source) const {
        const index_t list = list_of(sample, source);
        return fetched_at(start[list], start[list + 1]);
    }

    __device__ Fetched<int> fetched_at(index_t place, index_t last) const {
        const int lane = threadIdx.x % 32;
        return {place, last, place + lane < last ? step[place + lane] : 0};
    }

    // Calls visit(step, place in the list of all) for the spikes before step `end`, the whole
    // warp together, from those that were fetched first.
    template <class Visit>
    __device__ void visit_by_warp(Fetched<int> spikes, int end, Visit visit) const {
        while (spikes.place < spikes.last) {
            const index_t left = spikes.last - spikes.place;
            const int count = left < 32 ? static_cast<int>(left) : 32;
            for (int spike = 0; spike < count; ++spike) {
                const int n = __shfl_sync(ALL_LANES, spikes.own, spike);
                if (n >= end) return;
                if (n >= 0) visit(n, spikes.place + spike);
            }
            spikes = fetched_at(spikes.place + 32, spikes.last);
        }
    }

    template <class Visit>
    __device__ void visit_by_thread(int sample, int source, int end, Visit visit) const {
        const index_t list = list_of(sample, source);
        const index_t last = start[list + 1];
        for (index_t place = start[list]; place < last; ++place) {
            const int n = step[place];
            if (n >= end) return;
            if (n >= 0) visit(n, place);
        }
    }
};

// Spikes of a component's units: the bits that dropout leaves.
struct DeliveredSpikes {
    const unsigned *bits;
    int steps;
    int columns;
    int first;  // column of the first source unit

    // The first words of a source unit, a lane each; their places count words of all.
    __device__ Fetched<unsigned> fetch(int sample, int source) const {
        const index_t place = words_row_of(sample, steps, columns) + first + source;
        return fetched_at(place, place + static_cast<index_t>(words_of(steps)) * columns);
    }

    __device__ Fetched<unsigned> fetched_at(index_t place, index_t last) const {
        const index_t own = place + static_cast<index_t>(threadIdx.x % 32) * columns;
        return {place, last, own < last ? bits[own] : 0};
    }

    template <class Visit>
    __device__ void visit_by_warp(Fetched<unsigned> words, int end, Visit visit) const {
        for (int base = 0; base < end && words.place < words.last; base += 32 * 32) {
            unsigned filled = __ballot_sync(ALL_LANES, words.own != 0);
            while (filled) {
                const int from = take_lowest(filled);
                unsigned word = __shfl_sync(ALL_LANES, words.own, from);
                while (word) {
                    const int n = base + from * 32 + take_lowest(word);
                    if (n >= end) return;
                    visit(n, index_t(-1));
                }
            }
            words = fetched_at(words.place + static_cast<index_t>(32) * columns, words.last);
        }
    }

    template <class Visit>
    __device__ void visit_by_thread(int sample, int source, int end, Visit visit) const {
        const unsigned *own = bits + words_row_of(sample, steps, columns) + first + source;
        for (int number = 0; number * 32 < end; ++number) {
            unsigned word = own[static_cast<index_t>(number) * columns];
            while (word) {
                const int n = number * 32 + take_lowest(word);
                if (n >= end) return;
                visit(n, index_t(-1));
            }
        }
    }
};
