// Counts of spikes and arrivals, summed over the batches of an epoch, and the rate regulariser that
// depends on them (L 7; L is Nowotny, Turner and Knight, loss shaping).  All sums are sums of
// integers, whose order does not matter.
#include "grid.cuh"

// Adds the sum over a warp to a total.
__device__ inline void add_sum_of_warp(uint64 value, uint64 *total) {
    for (int distance = 16; distance > 0; distance /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    if (threadIdx.x % 32 == 0 && value > 0) atomicAdd(total, value);
}

// A number as an integer; a larger number gives a larger integer.
__device__ inline uint64 ordered(double value) {
    const uint64 bits = static_cast<uint64>(__double_as_longlong(value));
    return bits >> 63 ? ~bits : bits | 1ull << 63;
}

// Counts the emissions of each unit of a component and the dropped ones, and finds the smallest
// threshold excess, as an integer of `ordered`.
extern "C" __global__ void __launch_bounds__(128)
    count_emissions(int samples, int steps, int columns, const unsigned *emitted,
        const unsigned *delivered, const real *current, uint64 *counts, uint64 *dropped,
        uint64 *smallest) {
    const index_t thread = thread_of_grid();
    const bool active = thread < static_cast<index_t>(samples) * columns;
    const int sample = active ? static_cast<int>(thread / columns) : 0;
    const int column = active ? static_cast<int>(thread % columns) : 0;
    const index_t words = sample_words_begin(sample, steps, columns) + column;
    const index_t begin = sample_begin(sample, steps, columns) + column;
    int spikes = 0, sent = 0;
    uint64 least = NOTHING_FOUND;
    for (int word = 0; active && word < word_count(steps); ++word) {
        const index_t index = words + static_cast<index_t>(word) * columns;
        unsigned fired = emitted[index];
        spikes += __popc(fired);
        sent += __popc(delivered[index]);
        while (fired) {
            const int n = word * 32 + take_lowest(fired);
            least = min(least, ordered(current[begin + static_cast<index_t>(n) * columns]));
        }
    }
    if (spikes > 0) atomicAdd(counts + column, static_cast<uint64>(spikes));
    for (int distance = 16; distance > 0; distance /= 2)
        least = min(least, __shfl_xor_sync(ALL_LANES, least, distance));
    if (threadIdx.x % 32 == 0 && least != NOTHING_FOUND) atomicMin(smallest, least);
    add_sum_of_warp(static_cast<uint64>(spikes - sent), dropped);
}

// The jump that the rate regulariser subtracts from lambda_V at each emission, (k/B) (mean count - nu),
// from the emissions of a batch of B samples (L 7).  `strength_and_target` has k and nu of each
// column.  Then adds the counts of the batch to those of the epoch and sets them to 0.
extern "C" __global__ void finish_emission_counts(int columns, int samples,
    const int *unit_of_column, const double *strength_and_target, uint64 *counts, uint64 *totals,
    real *rate_jump) {
    const index_t column = thread_of_grid();
    if (column >= columns) return;
    const double mean = static_cast<double>(counts[column]) / samples;
    const double strength = strength_and_target[2 * column];
    const double target = strength_and_target[2 * column + 1];
    rate_jump[unit_of_column[column]] = static_cast<real>(strength / samples * (mean - target));
    totals[column] += counts[column];
    counts[column] = 0;
}

// -- arrivals ---------------------------------------------------------------------------------

// The longest delay of each source unit of each connection, a warp per such row: `first_synapse`
// has the first synapse of each row, `count` the number of its synapses.
extern "C" __global__ void __launch_bounds__(128) find_longest_delays(int rows,
    const index_t *first_synapse, const int *count, const int *delays, int *longest_delay) {
    const index_t row = thread_of_grid() / 32;
    if (row >= rows) return;
    int longest = 0;
    for (int target = threadIdx.x % 32; target < count[row]; target += 32)
        longest = max(longest, delays[first_synapse[row] + target]);
    for (int distance = 16; distance > 0; distance /= 2)
        longest = max(longest, __shfl_xor_sync(ALL_LANES, longest, distance));
    if (threadIdx.x % 32 == 0) longest_delay[row] = longest;
}

// Counts the arrivals of a source unit, within the trial and after its end.
struct Arrivals {
    const int *delays;  // of its synapses
    int synapses, longest_delay, steps;
    uint64 within, after;

    // Adds the arrivals of a spike at step n.
    __device__ void add(int n) {
        int late = 0;
        if (n > steps) late = synapses;
        else if (longest_delay > steps - n)
            for (int target = 0; target < synapses; ++target) late += delays[target] > steps - n;
        after += late;
        within += synapses - late;
    }
};

extern "C" __global__ void __launch_bounds__(128) count_arrivals_of_inputs(int samples, int steps,
    int source_units, int target_units, const int *delays, const int *longest_delay,
    const int *step, const index_t *start, int units, int first_unit, uint64 *within,
    uint64 *after) {
    const index_t thread = thread_of_grid();
    const bool active = thread < static_cast<index_t>(samples) * source_units;
    const int source = active ? static_cast<int>(thread % source_units) : 0;
    const index_t list = (active ? thread / source_units * units : 0) + first_unit + source;
    const index_t first_synapse = static_cast<index_t>(source) * target_units;
    Arrivals arrivals = {delays + first_synapse, target_units, longest_delay[source], steps, 0, 0};
    for (index_t spike = start[list]; active && spike < start[list + 1]; ++spike)
        if (step[spike] >= 0) arrivals.add(step[spike]);
    add_sum_of_warp(arrivals.within, within);
    add_sum_of_warp(arrivals.after, after);
}

extern "C" __global__ void __launch_bounds__(128) count_arrivals_of_emissions(int samples,
    int steps, int source_units, int target_units, const int *delays, const int *longest_delay,
    const unsigned *delivered, int source_columns, int source_column, uint64 *within,
    uint64 *after) {
    const index_t thread = thread_of_grid();
    const bool active = thread < static_cast<index_t>(samples) * source_units;
    const int sample = active ? static_cast<int>(thread / source_units) : 0;
    const int source = active ? static_cast<int>(thread % source_units) : 0;
    const unsigned *const words =
        delivered + sample_words_begin(sample, steps, source_columns) + source_column + source;
    const index_t first_synapse = static_cast<index_t>(source) * target_units;
    Arrivals arrivals = {delays + first_synapse, target_units, longest_delay[source], steps, 0, 0};
    for (int word = 0; active && word < word_count(steps); ++word) {
        unsigned fired = words[static_cast<index_t>(word) * source_columns];
        while (fired) arrivals.add(word * 32 + take_lowest(fired));
    }
    add_sum_of_warp(arrivals.within, within);
    add_sum_of_warp(arrivals.after, after);
}

// Counts the input spikes of a batch, and those that dropout drops.
extern "C" __global__ void __launch_bounds__(128)
    count_dropped_inputs(int lists, const int *step, const index_t *start, uint64 *spikes,
        uint64 *dropped) {
    const index_t list = thread_of_grid();
    const bool active = list < lists;
    uint64 dropped_here = 0;
    const index_t begin = active ? start[list] : 0, end = active ? start[list + 1] : 0;
    for (index_t spike = begin; spike < end; ++spike) dropped_here += step[spike] < 0;
    add_sum_of_warp(static_cast<uint64>(end - begin), spikes);
    add_sum_of_warp(dropped_here, dropped);
}
