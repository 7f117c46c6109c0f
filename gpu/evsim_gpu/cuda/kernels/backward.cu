// The backward time loop of a component: from its sources to lambda_V and lambda_I.
//
// On entry `adjoint` contains S_k at the entry of each emission, see spike_time_gradients.cu.  On
// return it contains lambda_V and lambda_I right after each grid point, in time order, as they
// apply to arrivals there.
#include "adjoint.cuh"
#include "connections.cuh"
#include "grid.cuh"

// Units not connected to each other, one thread per unit and sample.
extern "C" __global__ void __launch_bounds__(128) adjoint_layer(int samples, int steps, int columns,
    int units_of_all, const real *__restrict__ coefficients, const int *__restrict__ refractory,
    const int *unit_of_column, const real *rate_jump, real limit, int spikes,
    const unsigned *emitted, const real *current, real2 *adjoint, double *threshold, double *reset,
    double *start, double *tau_mem, double *tau_syn, uint64 *limited, uint64 *grazing,
    int time_constants,
    const real *time_constant_slopes, const real2 *states, ADJOINT_SOURCE_PARAMETERS) {
    const index_t thread = thread_of_grid();
    if (thread >= static_cast<index_t>(samples) * columns) return;
    const int sample = static_cast<int>(thread / columns);
    const int column = static_cast<int>(thread % columns);
    const AdjointSources sources = {ADJOINT_SOURCES_OF_SAMPLE};
    const EmissionReports reports = {limited, grazing};
    const Unit unit = unit_at(coefficients, refractory, columns, column);
    const int unit_number = unit_of_column[column];
    const index_t begin = sample_begin(sample, steps, columns) + column;
    const real *const column_current = current + begin;
    const unsigned *const words = emitted + sample_words_begin(sample, steps, columns) + column;
    Adjoint now = {0, 0, 0, spikes ? latest_emission_before(words, columns, steps + 1) : -1};
    index_t moment = moment_start[sample + 1] - 1;
    double of_threshold = 0, of_reset = 0, of_tau_mem = 0, of_tau_syn = 0;
    const VoltageGradients of_voltages = {of_threshold, of_reset};
    for (int n = steps; n >= 0; --n) {
        const index_t here = static_cast<index_t>(n) * columns;
        if (n < steps) {
            if (time_constants)
                add_time_constant_gradients(unit, now, time_constant_slopes + column * 4,
                    states[begin + here], of_tau_mem, of_tau_syn);
            move_back(unit, now);
        }
        const real unseen = apply_after_arrivals(sources, unit, sample, column, columns, n, moment,
            column_current, of_voltages, now);
        moment = moment_before(sources, n, moment);
        const bool emits = now.latest_emission == n;
        const real spike_time_gradient = emits ? adjoint[begin + here].x : real(0);
        adjoint[begin + here] = {now.v - unseen, now.i};
        if (n == steps) add_phantom(sources, unit, sample, column, of_threshold, now);
        if (emits) {
            pull_back_emission(unit, spike_time_gradient, column_current[here], limit,
                rate_jump[unit_number],
                emission_rank(sample, unit_number, n, steps, units_of_all), reports, of_voltages,
                now);
            now.latest_emission = latest_emission_before(words, columns, n);
        }
    }
    threshold[thread] = of_threshold;
    reset[thread] = of_reset;
    start[thread] = -unit.tau_mem * now.v;
    if (time_constants) {
        tau_mem[thread] = of_tau_mem;
        tau_syn[thread] = of_tau_syn;
    }
}

// A unit of a recurrent component, in shared memory.
struct AdjointCell {
    Adjoint adjoint;
    real spike_time_gradient;  // S_k of the emission at the current step, as far as it is known
};
static_assert(sizeof(AdjointCell) == (sizeof(real) == 4 ? 20 : 40), "see cuda/launching.py");

// The contribution of the internal connections to S_k of the emission of a column at step n: the
// sum of w (lambda_V - lambda_I) over its arrivals.  The lanes of a warp share the targets.
__device__ inline real sum_over_internal_arrivals(int n, int steps, int columns, int column,
    int connections, const index_t *connection_table, const real *__restrict__ weights,
    const int *__restrict__ delays, const real2 *row) {
    real sum = 0;
    for (int number = 0; number < connections; ++number) {
        const InternalConnection connection = connection_at(connection_table, number);
        const int source = column - static_cast<int>(connection.first_source_column());
        if (source < 0 || source >= connection.source_units()) continue;
        const int target_units = static_cast<int>(connection.target_units());
        const index_t first_synapse =
            connection.first_synapse() + static_cast<index_t>(source) * target_units;
        for (int target = threadIdx.x % 32; target < target_units; target += 32) {
            const int delay = delays[first_synapse + target];
            if (delay > steps - n) continue;
            const index_t arrival = static_cast<index_t>(n + delay) * columns;
            const real2 lambda = row[arrival + connection.first_target_column() + target];
            sum += weights[first_synapse + target] * (lambda.x - lambda.y);
        }
    }
    return sum_of_warp(sum);
}

// Units connected to each other, one block per sample.  All units store their adjoints at
// a step before any emission there is pulled back, because arrivals without delay read them.
extern "C" __global__ void __launch_bounds__(1024) adjoint_recurrent(int steps, int columns,
    int units_of_all, const real *__restrict__ coefficients, const int *__restrict__ refractory,
    const int *unit_of_column, const real *rate_jump, real limit, const unsigned *emitted,
    const unsigned *delivered, const real *current, int connections,
    const index_t *connection_table, const real *__restrict__ weights,
    const int *__restrict__ delays, real2 *adjoint, double *threshold, double *reset, double *start,
    double *tau_mem, double *tau_syn, uint64 *limited, uint64 *grazing, int time_constants,
    const real *time_constant_slopes, const real2 *states, ADJOINT_SOURCE_PARAMETERS) {
    DYNAMIC_SHARED(AdjointCell, cells);
    const int words_per_step = (columns + 31) / 32;
    unsigned *const sent = reinterpret_cast<unsigned *>(cells + columns);
    const int sample = static_cast<int>(blockIdx.x);
    const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    const AdjointSources sources = {ADJOINT_SOURCES_OF_SAMPLE};
    const EmissionReports reports = {limited, grazing};
    const index_t begin = sample_begin(sample, steps, columns);
    const index_t words = sample_words_begin(sample, steps, columns);
    const index_t first_gradient = static_cast<index_t>(sample) * columns;
    real2 *const row = adjoint + begin;
    for (int column = thread; column < columns; column += threads) {
        const int latest = latest_emission_before(emitted + words + column, columns, steps + 1);
        cells[column] = {{0, 0, 0, latest}, 0};
        threshold[first_gradient + column] = reset[first_gradient + column] = 0;
        if (time_constants) tau_mem[first_gradient + column] = tau_syn[first_gradient + column] = 0;
    }
    index_t moment = moment_start[sample + 1] - 1;
    for (int n = steps; n >= 0; --n) {
        const index_t here = static_cast<index_t>(n) * columns;
        bool any = false;
        for (int base = 0; base < columns; base += threads) {
            const int column = base + thread;
            bool sends = false;
            if (column < columns) {
                const Unit unit = unit_at(coefficients, refractory, columns, column);
                AdjointCell cell = cells[column];
                Adjoint &now = cell.adjoint;
                if (n < steps) {
                    if (time_constants)
                        add_time_constant_gradients(unit, now, time_constant_slopes + column * 4,
                            states[begin + here + column], tau_mem[first_gradient + column],
                            tau_syn[first_gradient + column]);
                    move_back(unit, now);
                }
                const real unseen = apply_after_arrivals(sources, unit, sample, column, columns, n,
                    moment, current + begin + column,
                    {threshold[first_gradient + column], reset[first_gradient + column]}, now);
                if (now.latest_emission == n) {
                    cell.spike_time_gradient = row[here + column].x;
                    const unsigned bits =
                        delivered[words + static_cast<index_t>(n / 32) * columns + column];
                    sends = bits >> n % 32 & 1;
                }
                row[here + column] = {now.v - unseen, now.i};
                if (n == steps)
                    add_phantom(
                        sources, unit, sample, column, threshold[first_gradient + column], now);
                cells[column] = cell;
            }
            const unsigned mask = __ballot_sync(ALL_LANES, sends);
            if (thread % 32 == 0 && column < columns) sent[column / 32] = mask;
            any = any || mask != 0;
        }
        moment = moment_before(sources, n, moment);
        if (__syncthreads_or(any)) {
            int turn = 0;  // the warps take the emissions in turn
            for (int word = 0; word < words_per_step; ++word) {
                unsigned bits = sent[word];
                while (bits) {
                    const int source = word * 32 + take_lowest(bits);
                    if (turn++ % (threads / 32) != thread / 32) continue;
                    const real sum = sum_over_internal_arrivals(n, steps, columns, source,
                        connections, connection_table, weights, delays, row);
                    if (thread % 32 == 0) cells[source].spike_time_gradient += sum;
                }
            }
            __syncthreads();
        }
        for (int column = thread; column < columns; column += threads) {
            AdjointCell &cell = cells[column];
            if (cell.adjoint.latest_emission != n) continue;
            const int unit_number = unit_of_column[column];
            pull_back_emission(unit_at(coefficients, refractory, columns, column),
                cell.spike_time_gradient, current[begin + here + column], limit,
                rate_jump[unit_number],
                emission_rank(sample, unit_number, n, steps, units_of_all), reports,
                {threshold[first_gradient + column], reset[first_gradient + column]},
                cell.adjoint);
            cell.adjoint.latest_emission =
                latest_emission_before(emitted + words + column, columns, n);
        }
    }
    for (int column = thread; column < columns; column += threads)
        start[first_gradient + column] =
            -unit_at(coefficients, refractory, columns, column).tau_mem * cells[column].adjoint.v;
}
