// S_k, the gradient of the loss with respect to the time of spike k, in parts: the direct
// contribution of the loss, and that of the spike's arrivals (D Table 1; D is Mészáros, Knight and
// Nowotny, delay learning with EventProp).
//
// S_k of an emission is accumulated in .x of the adjoint array, at the emission's entry, until the
// backward time loop of its component replaces it by the adjoints.
#include "grid.cuh"
#include "source_spikes.cuh"

// Sets S_k of every emission to 0.
extern "C" __global__ void clear_spike_time_gradients(
    int samples, int steps, int columns, const unsigned *emitted, real2 *adjoint) {
    const index_t thread = thread_of_grid();
    const index_t words = static_cast<index_t>(word_count(steps)) * columns;
    if (thread >= samples * words) return;
    const int sample = static_cast<int>(thread / words);
    const int word = static_cast<int>(thread % words / columns);
    real2 *const column = adjoint + sample_begin(sample, steps, columns) + thread % columns;
    unsigned fired = emitted[thread];
    while (fired) column[static_cast<index_t>(word * 32 + take_lowest(fired)) * columns] = {0, 0};
}

// Adds what the loss contributes directly.  An entry below 0 stands for no emission.
extern "C" __global__ void add_direct_spike_time_gradients(
    index_t count, const index_t *entries, const real *gradients, real2 *adjoint) {
    const index_t thread = thread_of_grid();
    if (thread < count && entries[thread] >= 0) adjoint[entries[thread]].x += gradients[thread];
}

// A warp per source unit and sample: for each spike of the unit, the sum of w (lambda_V - lambda_I)
// over its arrivals.  The lanes share the target units.  Calls add(step, index, sum) per spike.
template <class Source, class Add>
__device__ void sum_over_arrivals(const Source &spikes, int sample, int source, int steps,
    int columns, int target_column, int target_units, const real *__restrict__ weights,
    const int *__restrict__ delays, const real2 *adjoint, Add add) {
    const index_t first_synapse = static_cast<index_t>(source) * target_units;
    const real2 *const row = adjoint + sample_begin(sample, steps, columns) + target_column;
    const auto source_spikes = spikes.fetch(sample, source);
    spikes.visit_by_warp(source_spikes, steps + 1, [&](int n, index_t index) {
        real sum = 0;
        for (int target = threadIdx.x % 32; target < target_units; target += 32) {
            const int delay = delays[first_synapse + target];
            if (delay > steps - n) continue;
            const real2 lambda = row[static_cast<index_t>(n + delay) * columns + target];
            sum += weights[first_synapse + target] * (lambda.x - lambda.y);
        }
        sum = sum_of_warp(sum);
        if (threadIdx.x % 32 == 0) add(n, index, sum);
    });
}

// Adds to `gradients`, which has one entry per input spike.
extern "C" __global__ void __launch_bounds__(128) add_spike_time_gradients_of_inputs(int samples,
    int steps, int columns, int source_units, int target_column, int target_units,
    index_t first_synapse, const real *__restrict__ weights, const int *__restrict__ delays,
    const real2 *adjoint, const int *step, const index_t *start, int units, int first_unit,
    real *gradients) {
    const index_t warp = thread_of_grid() / 32;
    if (warp >= static_cast<index_t>(samples) * source_units) return;
    const InputSpikes spikes = {step, start, units, first_unit};
    sum_over_arrivals(spikes, static_cast<int>(warp / source_units),
        static_cast<int>(warp % source_units), steps, columns, target_column, target_units,
        weights + first_synapse, delays + first_synapse, adjoint,
        [&](int, index_t spike, real sum) { gradients[spike] += sum; });
}

// Adds to S_k of the emissions of the source component, in `source_adjoint`.
extern "C" __global__ void __launch_bounds__(128) add_spike_time_gradients_of_emissions(
    int samples, int steps, int columns, int source_units, int target_column, int target_units,
    index_t first_synapse, const real *__restrict__ weights, const int *__restrict__ delays,
    const real2 *adjoint, const unsigned *delivered, int source_columns, int source_column,
    real2 *source_adjoint) {
    const index_t warp = thread_of_grid() / 32;
    if (warp >= static_cast<index_t>(samples) * source_units) return;
    const int sample = static_cast<int>(warp / source_units);
    const int source = static_cast<int>(warp % source_units);
    const DeliveredSpikes spikes = {delivered, steps, source_columns, source_column};
    real2 *const column =
        source_adjoint + sample_begin(sample, steps, source_columns) + source_column + source;
    sum_over_arrivals(spikes, sample, source, steps, columns, target_column, target_units,
        weights + first_synapse, delays + first_synapse, adjoint, [&](int n, index_t, real sum) {
            column[static_cast<index_t>(n) * source_columns].x += sum;
        });
}
