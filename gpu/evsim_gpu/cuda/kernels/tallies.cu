// What the batches of an epoch add up to.  Sums are of integers, so that their order does not
// matter.
#include "grid.cuh"

// A warp's sum is added by its first lane.
__device__ inline void add_of_warp(word_t value, word_t *total) {
    for (int distance = 16; distance > 0; distance /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    if (threadIdx.x % 32 == 0 && value > 0) atomicAdd(total, value);
}

// A number as an integer that is larger for a larger number.
__device__ inline word_t ordered(double value) {
    const word_t bits = static_cast<word_t>(__double_as_longlong(value));
    return bits >> 63 ? ~bits : bits | 1ull << 63;
}

// Emissions of a component: how many each unit has, how many are dropped, and the smallest drive.
extern "C" __global__ void __launch_bounds__(128)
    count_emissions(int samples, int steps, int columns, const unsigned *emitted,
        const unsigned *delivered, const real *current, word_t *counts, word_t *dropped,
        word_t *smallest) {
    const index_t thread = thread_of_grid();
    const bool active = thread < static_cast<index_t>(samples) * columns;
    const int sample = active ? static_cast<int>(thread / columns) : 0;
    const int column = active ? static_cast<int>(thread % columns) : 0;
    const index_t words = words_row_of(sample, steps, columns) + column;
    const index_t row = row_of(sample, steps, columns) + column;
    int spikes = 0, sent = 0;
    word_t least = ~0ull;
    for (int word = 0; active && word < words_of(steps); ++word) {
        const index_t place = words + static_cast<index_t>(word) * columns;
        unsigned fired = emitted[place];
        spikes += __popc(fired);
        sent += __popc(delivered[place]);
        while (fired) {
            const int n = word * 32 + take_lowest(fired);
            least = min(least, ordered(current[row + static_cast<index_t>(n) * columns]));
        }
    }
    if (spikes > 0) atomicAdd(counts + column, static_cast<word_t>(spikes));
    for (int distance = 16; distance > 0; distance /= 2)
        least = min(least, __shfl_xor_sync(ALL_LANES, least, distance));
    if (threadIdx.x % 32 == 0 && least != ~0ull) atomicMin(smallest, least);
    add_of_warp(static_cast<word_t>(spikes - sent), dropped);
}

// Adds the emissions of a batch to those of the epoch, and makes of them the rate jumps of L 7:
// `pull` holds strength and target of each column.
extern "C" __global__ void settle_counts(int columns, int samples, const int *unit_of,
    const double *pull, word_t *counts, word_t *totals, real *rate_jump) {
    const index_t column = thread_of_grid();
    if (column >= columns) return;
    const double mean = static_cast<double>(counts[column]) / samples;
    const double strength = pull[2 * column], target = pull[2 * column + 1];
    rate_jump[unit_of[column]] = static_cast<real>(strength / samples * (mean - target));
    totals[column] += counts[column];
    counts[column] = 0;
}

// -- arrivals ---------------------------------------------------------------------------------

// The longest delay of each source unit of each connection, a warp per row: `first` holds where
// its synapses begin, `count` how many there are.
extern "C" __global__ void __launch_bounds__(128) find_longest(
    int rows, const index_t *first, const int *count, const int *delays, int *longest) {
    const index_t row = thread_of_grid() / 32;
    if (row >= rows) return;
    int most = 0;
    for (int target = threadIdx.x % 32; target < count[row]; target += 32)
        most = max(most, delays[first[row] + target]);
    for (int distance = 16; distance > 0; distance /= 2)
        most = max(most, __shfl_xor_sync(ALL_LANES, most, distance));
    if (threadIdx.x % 32 == 0) longest[row] = most;
}

// A source unit's arrivals, within the trial and after it.
struct Arrivals {
    const int *delays;  // of its synapses
    int synapses, longest, steps;
    word_t within, after;

    __device__ void add(int n) {
        int late = 0;
        if (n > steps) late = synapses;
        else if (longest > steps - n)
            for (int target = 0; target < synapses; ++target) late += delays[target] > steps - n;
        after += late;
        within += synapses - late;
    }
};

extern "C" __global__ void __launch_bounds__(128) count_arrivals_of_inputs(int samples, int steps,
    int source_units, int target_units, const int *delays, const int *longest, const int *step,
    const index_t *start, int units, int first_unit, word_t *within, word_t *after) {
    const index_t thread = thread_of_grid();
    const bool active = thread < static_cast<index_t>(samples) * source_units;
    const int source = active ? static_cast<int>(thread % source_units) : 0;
    const index_t list = (active ? thread / source_units * units : 0) + first_unit + source;
    const index_t synapses = static_cast<index_t>(source) * target_units;
    Arrivals own = {delays + synapses, target_units, longest[source], steps, 0, 0};
    for (index_t place = start[list]; active && place < start[list + 1]; ++place)
        if (step[place] >= 0) own.add(step[place]);
    add_of_warp(own.within, within);
    add_of_warp(own.after, after);
}

extern "C" __global__ void __launch_bounds__(128) count_arrivals_of_emissions(int samples,
    int steps, int source_units, int target_units, const int *delays, const int *longest,
    const unsigned *delivered, int source_columns, int source_column, word_t *within,
    word_t *after) {
    const index_t thread = thread_of_grid();
    const bool active = thread < static_cast<index_t>(samples) * source_units;
    const int sample = active ? static_cast<int>(thread / source_units) : 0;
    const int source = active ? static_cast<int>(thread % source_units) : 0;
    const unsigned *const words =
        delivered + words_row_of(sample, steps, source_columns) + source_column + source;
    const index_t synapses = static_cast<index_t>(source) * target_units;
    Arrivals own = {delays + synapses, target_units, longest[source], steps, 0, 0};
    for (int word = 0; active && word < words_of(steps); ++word) {
        unsigned fired = words[static_cast<index_t>(word) * source_columns];
        while (fired) own.add(word * 32 + take_lowest(fired));
    }
    add_of_warp(own.within, within);
    add_of_warp(own.after, after);
}

// Input spikes of a batch: how many there are, and how many dropout drops.
extern "C" __global__ void __launch_bounds__(128)
    count_inputs_dropped(int lists, const int *step, const index_t *start, word_t *spikes,
        word_t *dropped) {
    const index_t list = thread_of_grid();
    const bool active = list < lists;
    word_t gone = 0;
    const index_t begin = active ? start[list] : 0, end = active ? start[list + 1] : 0;
    for (index_t place = begin; place < end; ++place) gone += step[place] < 0;
    add_of_warp(static_cast<word_t>(end - begin), spikes);
    add_of_warp(gone, dropped);
}
