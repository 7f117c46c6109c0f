// The time loop of a component, backward: from what drives the adjoints to lambda_V and lambda_I.
//
// `adjoint` holds, at each emission's step, what is known of S_k, the derivative of the loss by its
// time; the loop replaces it by lambda_V and lambda_I after that grid point.
#include "adjoint.cuh"

// Nothing is known yet of any emission.
extern "C" __global__ void begin_slopes(
    int samples, int steps, int columns, const unsigned *emitted, real2 *adjoint) {
    const index_t thread = thread_of_grid(), row = static_cast<index_t>(words_of(steps)) * columns;
    if (thread >= samples * row) return;
    const int sample = static_cast<int>(thread / row);
    const int word = static_cast<int>(thread % row / columns);
    real2 *const own = adjoint + row_of(sample, steps, columns) + thread % columns;
    unsigned fired = emitted[thread];
    while (fired) own[static_cast<index_t>(word * 32 + take_lowest(fired)) * columns] = {0, 0};
}

// What the loss says of emissions directly; a place below 0 stands for no emission.
extern "C" __global__ void add_direct_slopes(
    index_t count, const index_t *places, const real *slopes, real2 *adjoint) {
    const index_t thread = thread_of_grid();
    if (thread < count && places[thread] >= 0) adjoint[places[thread]].x += slopes[thread];
}

// Units that only listen to earlier components, one thread each.
extern "C" __global__ void __launch_bounds__(128) adjoint_layer(int samples, int steps, int columns,
    int units_of_all, const real *__restrict__ units, const int *__restrict__ refractory,
    const int *unit_of, const real *rate_jump, real limit, int spikes, const unsigned *emitted,
    const real *current, real2 *adjoint, double *threshold, double *tau_mem, double *tau_syn,
    word_t *limited, word_t *grazing, int time_constants, const real *slopes, const real2 *states,
    ENTERING_PARAMETERS) {
    const index_t thread = thread_of_grid();
    if (thread >= static_cast<index_t>(samples) * columns) return;
    const int sample = static_cast<int>(thread / columns);
    const int column = static_cast<int>(thread % columns);
    const Entering entering = {ENTERING_ARGUMENTS};
    const Incidents incidents = {limited, grazing};
    const Unit unit = unit_at(units, refractory, columns, column);
    const int own = unit_of[column];
    const index_t place = row_of(sample, steps, columns) + column;
    const real *const arrived = current + place;
    const unsigned *const words = emitted + words_row_of(sample, steps, columns) + column;
    Adjoint now = {0, 0, 0, spikes ? latest_emission(words, columns, steps + 1) : -1};
    index_t moment = moment_start[sample + 1] - 1;
    double by_threshold = 0, by_tau_mem = 0, by_tau_syn = 0;
    for (int n = steps; n >= 0; --n) {
        const index_t here = static_cast<index_t>(n) * columns;
        if (n < steps) {
            if (time_constants)
                add_time_constants(
                    unit, now, slopes + column * 4, states[place + here], by_tau_mem, by_tau_syn);
            move_back(unit, now);
        }
        settle_at(entering, unit, sample, column, columns, n, moment, arrived, now);
        moment = moment_before(entering, n, moment);
        const bool emits = now.latest == n;
        const real known = emits ? adjoint[place + here].x : real(0);
        adjoint[place + here] = {now.v, now.i};
        if (n == steps) add_phantom(entering, unit, sample, column, by_threshold, now);
        if (emits) {
            pull_back_emission(unit, known, arrived[here], limit, rate_jump[own],
                rank_of(sample, own, n, steps, units_of_all), incidents, by_threshold, now);
            now.latest = latest_emission(words, columns, n);
        }
    }
    threshold[thread] = by_threshold;
    if (time_constants) {
        tau_mem[thread] = by_tau_mem;
        tau_syn[thread] = by_tau_syn;
    }
}

// A unit of a recurrent component, in shared memory.
struct AdjointCell {
    Adjoint adjoint;
    real slope;  // what is known of S_k of the emission at this step
};
static_assert(sizeof(AdjointCell) == (sizeof(real) == 4 ? 20 : 40), "see cuda/launching.py");

// What the connections inside a component add to S_k of a source unit's emission at step n; the
// lanes of a warp share the targets.  For `places` see forward.cu.
__device__ inline real slope_inside(int n, int steps, int columns, int unit, int connections,
    const index_t *places, const real *__restrict__ weights, const int *__restrict__ delays,
    const real2 *row) {
    real sum = 0;
    for (int connection = 0; connection < connections; ++connection) {
        const index_t *const place = places + connection * 5;
        const int source = unit - static_cast<int>(place[1]);
        if (source < 0 || source >= place[2]) continue;
        const int target_units = static_cast<int>(place[4]);
        const index_t synapses = place[0] + static_cast<index_t>(source) * target_units;
        for (int target = threadIdx.x % 32; target < target_units; target += 32) {
            const int delay = delays[synapses + target];
            if (delay > steps - n) continue;
            const real2 at = row[static_cast<index_t>(n + delay) * columns + place[3] + target];
            sum += weights[synapses + target] * (at.x - at.y);
        }
    }
    return sum_of_warp(sum);
}

// Units that reach each other: a block per sample.  Every unit records its adjoints at a step
// before any emission there is pulled back, because arrivals without delay read them.
extern "C" __global__ void __launch_bounds__(1024) adjoint_recurrent(int steps, int columns,
    int units_of_all, const real *__restrict__ units, const int *__restrict__ refractory,
    const int *unit_of, const real *rate_jump, real limit, const unsigned *emitted,
    const unsigned *delivered, const real *current, int connections, const index_t *places,
    const real *__restrict__ weights, const int *__restrict__ delays, real2 *adjoint,
    double *threshold, double *tau_mem, double *tau_syn, word_t *limited, word_t *grazing,
    int time_constants, const real *slopes, const real2 *states, ENTERING_PARAMETERS) {
    DYNAMIC_SHARED(AdjointCell, cells);
    const int chunks = (columns + 31) / 32;
    unsigned *const sent = reinterpret_cast<unsigned *>(cells + columns);
    const int sample = static_cast<int>(blockIdx.x);
    const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    const Entering entering = {ENTERING_ARGUMENTS};
    const Incidents incidents = {limited, grazing};
    const index_t place = row_of(sample, steps, columns);
    const index_t words = words_row_of(sample, steps, columns);
    const index_t totals = static_cast<index_t>(sample) * columns;
    real2 *const row = adjoint + place;
    for (int column = thread; column < columns; column += threads) {
        const int latest = latest_emission(emitted + words + column, columns, steps + 1);
        cells[column] = {{0, 0, 0, latest}, 0};
        threshold[totals + column] = 0;
        if (time_constants) tau_mem[totals + column] = tau_syn[totals + column] = 0;
    }
    index_t moment = moment_start[sample + 1] - 1;
    for (int n = steps; n >= 0; --n) {
        const index_t here = static_cast<index_t>(n) * columns;
        bool any = false;
        for (int base = 0; base < columns; base += threads) {
            const int column = base + thread;
            bool sends = false;
            if (column < columns) {
                const Unit unit = unit_at(units, refractory, columns, column);
                AdjointCell cell = cells[column];
                Adjoint &now = cell.adjoint;
                if (n < steps) {
                    if (time_constants)
                        add_time_constants(unit, now, slopes + column * 4,
                            states[place + here + column], tau_mem[totals + column],
                            tau_syn[totals + column]);
                    move_back(unit, now);
                }
                settle_at(entering, unit, sample, column, columns, n, moment,
                    current + place + column, now);
                if (now.latest == n) {
                    cell.slope = row[here + column].x;
                    const unsigned bits =
                        delivered[words + static_cast<index_t>(n / 32) * columns + column];
                    sends = bits >> n % 32 & 1;
                }
                row[here + column] = {now.v, now.i};
                if (n == steps)
                    add_phantom(entering, unit, sample, column, threshold[totals + column], now);
                cells[column] = cell;
            }
            const unsigned mask = __ballot_sync(ALL_LANES, sends);
            if (thread % 32 == 0 && column < columns) sent[column / 32] = mask;
            any = any || mask != 0;
        }
        moment = moment_before(entering, n, moment);
        if (__syncthreads_or(any)) {
            int turn = 0;
            for (int chunk = 0; chunk < chunks; ++chunk) {
                unsigned bits = sent[chunk];
                while (bits) {
                    const int unit = chunk * 32 + take_lowest(bits);
                    if (turn++ % (threads / 32) != thread / 32) continue;
                    const real sum = slope_inside(
                        n, steps, columns, unit, connections, places, weights, delays, row);
                    if (thread % 32 == 0) cells[unit].slope += sum;
                }
            }
            __syncthreads();
        }
        for (int column = thread; column < columns; column += threads) {
            AdjointCell &cell = cells[column];
            if (cell.adjoint.latest != n) continue;
            const int own = unit_of[column];
            pull_back_emission(unit_at(units, refractory, columns, column), cell.slope,
                current[place + here + column], limit, rate_jump[own],
                rank_of(sample, own, n, steps, units_of_all), incidents, threshold[totals + column],
                cell.adjoint);
            cell.adjoint.latest = latest_emission(emitted + words + column, columns, n);
        }
    }
}
