// From adjoints to gradients: by spike times, and by the parameters of synapses and units.
#include "grid.cuh"

// A warp per source unit and sample: sum of w (lambda_V - lambda_I) over the arrivals of each of
// its spikes; the lanes share the targets.
template <class Source, class Add>
__device__ void sum_slopes(const Source &spikes, int sample, int source, int steps, int columns,
    int target_column, int target_units, const real *__restrict__ weights,
    const int *__restrict__ delays, const real2 *adjoint, Add add) {
    const index_t synapses = static_cast<index_t>(source) * target_units;
    const real2 *const row = adjoint + row_of(sample, steps, columns) + target_column;
    const auto own = spikes.fetch(sample, source);
    spikes.visit_by_warp(own, steps + 1, [&](int n, index_t place) {
        real sum = 0;
        for (int target = threadIdx.x % 32; target < target_units; target += 32) {
            const int delay = delays[synapses + target];
            if (delay > steps - n) continue;
            const real2 at = row[static_cast<index_t>(n + delay) * columns + target];
            sum += weights[synapses + target] * (at.x - at.y);
        }
        sum = sum_of_warp(sum);
        if (threadIdx.x % 32 == 0) add(n, place, sum);
    });
}

// Adds to `slopes`, one per event.
extern "C" __global__ void __launch_bounds__(128) slopes_of_inputs(int samples, int steps,
    int columns, int source_units, int target_column, int target_units, index_t synapses,
    const real *__restrict__ weights, const int *__restrict__ delays, const real2 *adjoint,
    const int *step, const index_t *start, int units, int first_unit, real *slopes) {
    const index_t warp = thread_of_grid() / 32;
    if (warp >= static_cast<index_t>(samples) * source_units) return;
    const InputSpikes spikes = {step, start, units, first_unit};
    sum_slopes(spikes, static_cast<int>(warp / source_units), static_cast<int>(warp % source_units),
        steps, columns, target_column, target_units, weights + synapses, delays + synapses, adjoint,
        [&](int, index_t place, real sum) { slopes[place] += sum; });
}

// Adds to what is known of S_k of the source component's emissions: .x of their adjoint slots.
extern "C" __global__ void __launch_bounds__(128) slopes_of_emissions(int samples, int steps,
    int columns, int source_units, int target_column, int target_units, index_t synapses,
    const real *__restrict__ weights, const int *__restrict__ delays, const real2 *adjoint,
    const unsigned *delivered, int source_columns, int source_column, real2 *source_adjoint) {
    const index_t warp = thread_of_grid() / 32;
    if (warp >= static_cast<index_t>(samples) * source_units) return;
    const int sample = static_cast<int>(warp / source_units);
    const int source = static_cast<int>(warp % source_units);
    const DeliveredSpikes spikes = {delivered, steps, source_columns, source_column};
    real2 *const own =
        source_adjoint + row_of(sample, steps, source_columns) + source_column + source;
    sum_slopes(spikes, sample, source, steps, columns, target_column, target_units,
        weights + synapses, delays + synapses, adjoint,
        [&](int n, index_t, real sum) { own[static_cast<index_t>(n) * source_columns].x += sum; });
}

constexpr int TILE = 4;  // targets of a block of the following kernels

// A block takes a few target units, as many source units as it has threads, and a chunk of
// samples.  Adjoints of its targets come into shared memory window by window; each thread sums
// lambda_I and lambda_V - lambda_I over the arrivals of its own source unit.
template <class Source>
__device__ void gather(const Source &spikes, int samples, int steps, int columns, int source_units,
    int target_column, int target_units, const int *__restrict__ delays, const real2 *adjoint,
    int chunk, int window_steps, real2 *partial) {
    DYNAMIC_SHARED(real2, window);
    const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
    const int tiles = (target_units + TILE - 1) / TILE;
    const int rows = (source_units + threads - 1) / threads;
    const int first = static_cast<int>(blockIdx.x) % tiles * TILE;
    const int source = static_cast<int>(blockIdx.x) / tiles % rows * threads + thread;
    const int part = static_cast<int>(blockIdx.x) / tiles / rows;
    const bool active = source < source_units;
    const index_t synapse = static_cast<index_t>(source) * target_units + first;
    real by_weight[TILE], by_delay[TILE];
    int delay[TILE];
#pragma unroll
    for (int target = 0; target < TILE; ++target) {
        by_weight[target] = by_delay[target] = 0;
        const bool exists = active && first + target < target_units;
        delay[target] = exists ? delays[synapse + target] : steps + 1;
    }
    const int end = min(samples, (part + 1) * chunk);
    for (int sample = part * chunk; sample < end; ++sample) {
        const real2 *const row = adjoint + row_of(sample, steps, columns) + target_column + first;
        for (int begin = 0; begin <= steps; begin += window_steps) {
            const int count = min(window_steps, steps + 1 - begin);
            __syncthreads();
            for (int slot = thread; slot < count * TILE; slot += threads) {
                const int target = slot % TILE;
                real2 at = {0, 0};
                if (first + target < target_units)
                    at = row[static_cast<index_t>(begin + slot / TILE) * columns + target];
                window[slot] = {at.y, at.x - at.y};
            }
            __syncthreads();
            if (!active) continue;
            spikes.visit_by_thread(sample, source, begin + count, [&](int n, index_t) {
#pragma unroll
                for (int target = 0; target < TILE; ++target) {
                    const int slot = n + delay[target] - begin;
                    if (slot < 0 || slot >= count) continue;
                    const real2 at = window[slot * TILE + target];
                    by_weight[target] += at.x;
                    by_delay[target] += at.y;
                }
            });
        }
    }
    const index_t place = static_cast<index_t>(part) * source_units * target_units + synapse;
#pragma unroll
    for (int target = 0; target < TILE; ++target)
        if (active && first + target < target_units)
            partial[place + target] = {by_weight[target], by_delay[target]};
}

extern "C" __global__ void __launch_bounds__(512) gather_of_inputs(int samples, int steps,
    int columns, int source_units, int target_column, int target_units, index_t synapses,
    const int *__restrict__ delays, const real2 *adjoint, int chunk, int window_steps,
    real2 *partial, const int *step, const index_t *start, int units, int first_unit) {
    const InputSpikes spikes = {step, start, units, first_unit};
    gather(spikes, samples, steps, columns, source_units, target_column, target_units,
        delays + synapses, adjoint, chunk, window_steps, partial);
}

extern "C" __global__ void __launch_bounds__(512) gather_of_emissions(int samples, int steps,
    int columns, int source_units, int target_column, int target_units, index_t synapses,
    const int *__restrict__ delays, const real2 *adjoint, int chunk, int window_steps,
    real2 *partial, const unsigned *delivered, int source_columns, int source_column) {
    const DeliveredSpikes spikes = {delivered, steps, source_columns, source_column};
    gather(spikes, samples, steps, columns, source_units, target_column, target_units,
        delays + synapses, adjoint, chunk, window_steps, partial);
}

// dL/dw = -tau_syn sum lambda_I and dL/dd = w sum (lambda_V - lambda_I) of a connection, from the
// sums of the chunks.
extern "C" __global__ void finish_synapses(int source_units, int target_column, int target_units,
    index_t synapses, const real *__restrict__ weights, const real *tau_syn, int chunks,
    const real2 *partial, real *by_weight, real *by_delay) {
    const index_t size = static_cast<index_t>(source_units) * target_units;
    const index_t thread = thread_of_grid();
    if (thread >= size) return;
    double lambda_i = 0, difference = 0;
    for (int chunk = 0; chunk < chunks; ++chunk) {
        const real2 part = partial[chunk * size + thread];
        lambda_i += part.x;
        difference += part.y;
    }
    const real tau = tau_syn[target_column + thread % target_units];
    by_weight[synapses + thread] = static_cast<real>(-tau * lambda_i);
    by_delay[synapses + thread] = static_cast<real>(weights[synapses + thread] * difference);
}

// Sums over samples, column by column.
extern "C" __global__ void sum_samples(
    int samples, int columns, const double *values, double *sums) {
    const index_t column = thread_of_grid();
    if (column >= columns) return;
    double sum = 0;
    for (int sample = 0; sample < samples; ++sample)
        sum += values[static_cast<index_t>(sample) * columns + column];
    sums[column] = sum;
}
