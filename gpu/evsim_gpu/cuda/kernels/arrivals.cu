// Arrivals of spikes that are known, added to the currents of a component step by step.
#include "grid.cuh"

// Steps of input spikes as the other kernels read them: dropped ones become ~step.
extern "C" __global__ void drop_inputs(int samples, int units, const int *step,
    const index_t *start, const word_t *keys, const double *drop_rate, int *kept) {
    const index_t list = thread_of_grid();
    if (list >= static_cast<index_t>(samples) * units) return;
    const int sample = static_cast<int>(list / units), unit = static_cast<int>(list % units);
    for (index_t place = start[list]; place < start[list + 1]; ++place) {
        const int number = static_cast<int>(place - start[list]);
        const bool dropped = is_dropped(keys[sample], unit, number, drop_rate[unit]);
        kept[place] = dropped ? ~step[place] : step[place];
    }
}

// A warp adds what reaches 32 targets of a sample during a window of steps, which it keeps in
// shared memory: each lane the slots of its own target, in a bank of its own.  The sums continue
// those of earlier connections, so that their order is connection, source unit, time.
template <class Source>
__device__ void collect(const Source &spikes, int steps, int columns, int source_units,
    int target_column, int target_units, const real *__restrict__ weights,
    const int *__restrict__ delays, int window_steps, int is_first, real *current) {
    DYNAMIC_SHARED(real, window);
    const int lane = threadIdx.x;
    const int tiles = (target_units + 31) / 32, windows = steps / window_steps + 1;
    const int target = static_cast<int>(blockIdx.x) % tiles * 32 + lane;
    const int begin = static_cast<int>(blockIdx.x) / tiles % windows * window_steps;
    const int sample = static_cast<int>(blockIdx.x) / tiles / windows;
    const int count = min(window_steps, steps + 1 - begin);
    const bool active = target < target_units;
    const index_t place = static_cast<index_t>(begin) * columns + target_column + target;
    real *const column = current + row_of(sample, steps, columns) + place;
    for (int n = 0; n < count; ++n)
        window[n * 32 + lane] = active && !is_first ? column[static_cast<index_t>(n) * columns] : 0;
    // What the next source unit needs is on its way while this one's arrivals are added.
    auto next = spikes.fetch(sample, 0);
    real next_weight = active ? weights[target] : real(0);
    int next_delay = active ? delays[target] : steps + 1;
    for (int source = 0; source < source_units; ++source) {
        const auto own = next;
        const real weight = next_weight;
        const int shift = next_delay - begin;
        if (source + 1 < source_units) {
            const index_t synapse = static_cast<index_t>(source + 1) * target_units + target;
            next = spikes.fetch(sample, source + 1);
            if (active) {
                next_weight = weights[synapse];
                next_delay = delays[synapse];
            }
        }
        spikes.visit_by_warp(own, begin + count, [&](int n, index_t) {
            const int slot = n + shift;
            if (slot >= 0 && slot < count) window[slot * 32 + lane] += weight;
        });
    }
    if (active)
        for (int n = 0; n < count; ++n)
            column[static_cast<index_t>(n) * columns] = window[n * 32 + lane];
}

extern "C" __global__ void __launch_bounds__(32) collect_inputs(int steps, int columns,
    int source_units, int target_column, int target_units, index_t synapses,
    const real *__restrict__ weights, const int *__restrict__ delays, int window_steps,
    int is_first, real *current, const int *step, const index_t *start, int units, int first_unit) {
    const InputSpikes spikes = {step, start, units, first_unit};
    collect(spikes, steps, columns, source_units, target_column, target_units, weights + synapses,
        delays + synapses, window_steps, is_first, current);
}

extern "C" __global__ void __launch_bounds__(32) collect_delivered(int steps, int columns,
    int source_units, int target_column, int target_units, index_t synapses,
    const real *__restrict__ weights, const int *__restrict__ delays, int window_steps,
    int is_first, real *current, const unsigned *delivered, int source_columns, int source_column) {
    const DeliveredSpikes spikes = {delivered, steps, source_columns, source_column};
    collect(spikes, steps, columns, source_units, target_column, target_units, weights + synapses,
        delays + synapses, window_steps, is_first, current);
}
