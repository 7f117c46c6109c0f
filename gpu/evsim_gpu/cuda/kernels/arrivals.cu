// Adds the arrivals of spikes that are already known to the currents of a component.
#include "grid.cuh"
#include "source_spikes.cuh"

// A warp adds the arrivals at 32 target units of a sample during a window of steps.  The window is
// in shared memory, where each lane has the entries of one target unit in a separate bank.  The
// sums continue those of earlier connections: terms are added by connection, source unit and time.
template <class Source>
__device__ void add_arrivals(const Source &spikes, int steps, int columns, int source_units,
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
    const index_t first_entry = static_cast<index_t>(begin) * columns + target_column + target;
    real *const column = current + sample_begin(sample, steps, columns) + first_entry;
    for (int n = 0; n < count; ++n)
        window[n * 32 + lane] = active && !is_first ? column[static_cast<index_t>(n) * columns] : 0;
    // The data of the next source unit are loaded while the arrivals of this one are added.
    auto next_spikes = spikes.fetch(sample, 0);
    real next_weight = active ? weights[target] : real(0);
    int next_delay = active ? delays[target] : steps + 1;
    for (int source = 0; source < source_units; ++source) {
        const auto source_spikes = next_spikes;
        const real weight = next_weight;
        const int shift = next_delay - begin;
        if (source + 1 < source_units) {
            const index_t synapse = static_cast<index_t>(source + 1) * target_units + target;
            next_spikes = spikes.fetch(sample, source + 1);
            if (active) {
                next_weight = weights[synapse];
                next_delay = delays[synapse];
            }
        }
        spikes.visit_by_warp(source_spikes, begin + count, [&](int n, index_t) {
            const int arrival = n + shift;
            if (arrival >= 0 && arrival < count) window[arrival * 32 + lane] += weight;
        });
    }
    if (active)
        for (int n = 0; n < count; ++n)
            column[static_cast<index_t>(n) * columns] = window[n * 32 + lane];
}

// If `is_first`, the sums begin here; otherwise they begin with the content of `current`.
extern "C" __global__ void __launch_bounds__(32) add_arrivals_of_inputs(int steps, int columns,
    int source_units, int target_column, int target_units, index_t first_synapse,
    const real *__restrict__ weights, const int *__restrict__ delays, int window_steps,
    int is_first, real *current, const int *step, const index_t *start, int units, int first_unit) {
    const InputSpikes spikes = {step, start, units, first_unit};
    add_arrivals(spikes, steps, columns, source_units, target_column, target_units,
        weights + first_synapse, delays + first_synapse, window_steps, is_first, current);
}

extern "C" __global__ void __launch_bounds__(32) add_arrivals_of_emissions(int steps, int columns,
    int source_units, int target_column, int target_units, index_t first_synapse,
    const real *__restrict__ weights, const int *__restrict__ delays, int window_steps,
    int is_first, real *current, const unsigned *delivered, int source_columns, int source_column) {
    const DeliveredSpikes spikes = {delivered, steps, source_columns, source_column};
    add_arrivals(spikes, steps, columns, source_units, target_column, target_units,
        weights + first_synapse, delays + first_synapse, window_steps, is_first, current);
}
