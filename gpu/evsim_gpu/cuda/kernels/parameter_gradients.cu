// Gradients with respect to the parameters of synapses and units, from the adjoints of a batch (D
// Table 1; D is Mészáros, Knight and Nowotny, delay learning with EventProp).
#include "grid.cuh"
#include "source_spikes.cuh"

constexpr int TILE = 4;  // target units of a block of the following kernels

// Sums lambda_I and lambda_V - lambda_I over the arrivals at each synapse.  A block has TILE target
// units, as many source units as it has threads, and a chunk of samples.  It loads the adjoints of
// its targets into shared memory, one window of steps after the other; each thread sums over the
// arrivals of one source unit.
template <class Source>
__device__ void sum_arrival_adjoints(const Source &spikes, int samples, int steps, int columns,
    int source_units, int target_column, int target_units, const int *__restrict__ delays,
    const real2 *adjoint, int chunk_samples, int window_steps, real2 *chunk_sums) {
    DYNAMIC_SHARED(real2, window);
    const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
    const int tiles = (target_units + TILE - 1) / TILE;
    const int source_blocks = (source_units + threads - 1) / threads;
    const int first_target = static_cast<int>(blockIdx.x) % tiles * TILE;
    const int source = static_cast<int>(blockIdx.x) / tiles % source_blocks * threads + thread;
    const int chunk = static_cast<int>(blockIdx.x) / tiles / source_blocks;
    const bool active = source < source_units;
    const index_t first_of_tile = static_cast<index_t>(source) * target_units + first_target;
    real sum_lambda_i[TILE], sum_difference[TILE];
    int delay[TILE];
#pragma unroll
    for (int target = 0; target < TILE; ++target) {
        sum_lambda_i[target] = sum_difference[target] = 0;
        const bool exists = active && first_target + target < target_units;
        delay[target] = exists ? delays[first_of_tile + target] : steps + 1;
    }
    const int end = min(samples, (chunk + 1) * chunk_samples);
    for (int sample = chunk * chunk_samples; sample < end; ++sample) {
        const real2 *const row =
            adjoint + sample_begin(sample, steps, columns) + target_column + first_target;
        for (int begin = 0; begin <= steps; begin += window_steps) {
            const int count = min(window_steps, steps + 1 - begin);
            __syncthreads();
            for (int entry = thread; entry < count * TILE; entry += threads) {
                const int target = entry % TILE;
                real2 lambda = {0, 0};
                if (first_target + target < target_units)
                    lambda = row[static_cast<index_t>(begin + entry / TILE) * columns + target];
                window[entry] = {lambda.y, lambda.x - lambda.y};
            }
            __syncthreads();
            if (!active) continue;
            spikes.visit_by_thread(sample, source, begin + count, [&](int n, index_t) {
#pragma unroll
                for (int target = 0; target < TILE; ++target) {
                    const int arrival = n + delay[target] - begin;
                    if (arrival < 0 || arrival >= count) continue;
                    const real2 term = window[arrival * TILE + target];
                    sum_lambda_i[target] += term.x;
                    sum_difference[target] += term.y;
                }
            });
        }
    }
    const index_t first_sum =
        static_cast<index_t>(chunk) * source_units * target_units + first_of_tile;
#pragma unroll
    for (int target = 0; target < TILE; ++target)
        if (active && first_target + target < target_units)
            chunk_sums[first_sum + target] = {sum_lambda_i[target], sum_difference[target]};
}

extern "C" __global__ void __launch_bounds__(512) sum_arrival_adjoints_of_inputs(int samples,
    int steps, int columns, int source_units, int target_column, int target_units,
    index_t first_synapse, const int *__restrict__ delays, const real2 *adjoint,
    int chunk_samples, int window_steps, real2 *chunk_sums, const int *step, const index_t *start,
    int units, int first_unit) {
    const InputSpikes spikes = {step, start, units, first_unit};
    sum_arrival_adjoints(spikes, samples, steps, columns, source_units, target_column, target_units,
        delays + first_synapse, adjoint, chunk_samples, window_steps, chunk_sums);
}

extern "C" __global__ void __launch_bounds__(512) sum_arrival_adjoints_of_emissions(int samples,
    int steps, int columns, int source_units, int target_column, int target_units,
    index_t first_synapse, const int *__restrict__ delays, const real2 *adjoint,
    int chunk_samples, int window_steps, real2 *chunk_sums, const unsigned *delivered,
    int source_columns, int source_column) {
    const DeliveredSpikes spikes = {delivered, steps, source_columns, source_column};
    sum_arrival_adjoints(spikes, samples, steps, columns, source_units, target_column, target_units,
        delays + first_synapse, adjoint, chunk_samples, window_steps, chunk_sums);
}

// The gradients of a connection, dL/dw = -tau_syn sum lambda_I and dL/dd = w sum (lambda_V -
// lambda_I), from the sums of all chunks of samples.
extern "C" __global__ void synapse_gradients(int source_units, int target_column, int target_units,
    index_t first_synapse, const real *__restrict__ weights, const real *tau_syn, int chunks,
    const real2 *chunk_sums, real *weight_gradient, real *delay_gradient) {
    const index_t synapses = static_cast<index_t>(source_units) * target_units;
    const index_t synapse = thread_of_grid();
    if (synapse >= synapses) return;
    double lambda_i = 0, difference = 0;
    for (int chunk = 0; chunk < chunks; ++chunk) {
        const real2 sums = chunk_sums[chunk * synapses + synapse];
        lambda_i += sums.x;
        difference += sums.y;
    }
    const real tau = tau_syn[target_column + synapse % target_units];
    weight_gradient[first_synapse + synapse] = static_cast<real>(-tau * lambda_i);
    delay_gradient[first_synapse + synapse] =
        static_cast<real>(weights[first_synapse + synapse] * difference);
}

// Sums the gradients of units over the samples, for each column.
extern "C" __global__ void sum_samples(
    int samples, int columns, const double *values, double *sums) {
    const index_t column = thread_of_grid();
    if (column >= columns) return;
    double sum = 0;
    for (int sample = 0; sample < samples; ++sample)
        sum += values[static_cast<index_t>(sample) * columns + column];
    sums[column] = sum;
}
