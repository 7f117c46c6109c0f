// The forward time loop of a component: from the currents of arrivals to emissions.
//
// On entry `current` contains the arrivals at each step.  On return its entry at an emission is the
// threshold excess there, and its entry at the end of a refractory period is I there.
#include "connections.cuh"
#include "dropout.cuh"
#include "grid.cuh"
#include "neuron.cuh"

// Units not connected to each other, one thread per unit and sample.
extern "C" __global__ void __launch_bounds__(128)
    integrate_layer(int samples, int steps, int columns, int first_column, int columns_of_all,
        const real *__restrict__ coefficients, const int *__restrict__ refractory,
        const int *unit_of_column, const uint64 *keys, const double *drop_rate, int drops,
        real *current, unsigned *emitted, unsigned *delivered, uint64 *overflow) {
    constexpr int LOADS_IN_FLIGHT = 8;
    const index_t thread = thread_of_grid();
    if (thread >= static_cast<index_t>(samples) * columns) return;
    const int sample = static_cast<int>(thread / columns);
    const int column = static_cast<int>(thread % columns);
    const Unit unit = unit_at(coefficients, refractory, columns, column);
    const int unit_number = unit_of_column[column];
    real *const row = current + sample_begin(sample, steps, columns) + column;
    const index_t words = sample_words_begin(sample, steps, columns) + column;
    Neuron neuron = {unit.start, 0, -1};
    int number = 0;
    for (int word = 0; word < word_count(steps); ++word) {
        unsigned fired = 0, sent = 0;
        for (int bit = 0; bit < 32; bit += LOADS_IN_FLIGHT) {
            real arriving[LOADS_IN_FLIGHT];
#pragma unroll
            for (int ahead = 0; ahead < LOADS_IN_FLIGHT; ++ahead) {
                const int n = word * 32 + bit + ahead;
                arriving[ahead] = n <= steps ? row[static_cast<index_t>(n) * columns] : real(0);
            }
#pragma unroll
            for (int ahead = 0; ahead < LOADS_IN_FLIGHT; ++ahead) {
                const int n = word * 32 + bit + ahead;
                if (n == 0) neuron.i = arriving[0];
                if (n == 0 || n > steps) continue;
                const real v = voltage_after_step(unit, neuron);
                const real threshold_excess = threshold_excess_over_step(neuron, v);
                const bool emits = n > neuron.release && v >= unit.threshold;
                move_to(unit, n, v, emits, neuron);
                neuron.i += arriving[ahead];
                if (emits) {
                    row[static_cast<index_t>(n) * columns] = threshold_excess;
                    const bool dropped =
                        drops &&
                        is_dropped(keys[sample], unit_number, number, drop_rate[unit_number]);
                    fired |= 1u << (bit + ahead);
                    if (!dropped) sent |= 1u << (bit + ahead);
                    ++number;
                } else if (n == neuron.release) {
                    row[static_cast<index_t>(n) * columns] = neuron.i;
                }
            }
        }
        emitted[words + static_cast<index_t>(word) * columns] = fired;
        delivered[words + static_cast<index_t>(word) * columns] = sent;
    }
    if (!is_finite(neuron.i))
        atomicMin(overflow, static_cast<uint64>(sample) * columns_of_all + first_column + column);
}

// A unit of a recurrent component, in shared memory.
struct Cell {
    Neuron neuron;
    real threshold_excess;  // over the step to the current grid point
    int latest;             // the step of its latest emission; -1 for none
    int number;             // how many emissions it has had
};
static_assert(sizeof(Cell) == (sizeof(real) == 4 ? 24 : 40), "see cuda/launching.py");

// Adds the arrivals of the emissions at step n to the currents of one column, by connection and
// source unit.  `sent` has a bit for each column.
__device__ inline void add_internal_arrivals(int n, int steps, int columns, int column,
    const unsigned *sent, int connections, const index_t *connection_table,
    const real *__restrict__ weights, const int *__restrict__ delays, real *row) {
    for (int number = 0; number < connections; ++number) {
        const InternalConnection connection = connection_at(connection_table, number);
        const int source_column = static_cast<int>(connection.first_source_column());
        const int source_end = source_column + static_cast<int>(connection.source_units());
        const int target_units = static_cast<int>(connection.target_units());
        const int target = column - static_cast<int>(connection.first_target_column());
        if (target < 0 || target >= target_units) continue;
        for (int word = source_column / 32; word * 32 < source_end; ++word) {
            unsigned bits = sent[word] & bits_between(word * 32, source_column, source_end);
            while (bits) {
                const int source = word * 32 + take_lowest(bits) - source_column;
                const index_t synapse = connection.first_synapse() +
                                        static_cast<index_t>(source) * target_units + target;
                const int delay = delays[synapse];
                if (delay <= steps - n)
                    row[static_cast<index_t>(n + delay) * columns] += weights[synapse];
            }
        }
    }
}

// Units connected to each other, one block per sample.  Each thread has some columns, and only that
// thread adds to their currents.  On entry `emitted` and `delivered` must be 0.
extern "C" __global__ void __launch_bounds__(1024)
    integrate_recurrent(int steps, int columns, int first_column, int columns_of_all,
        const real *__restrict__ coefficients, const int *__restrict__ refractory,
        const int *unit_of_column, const uint64 *keys, const double *drop_rate, int drops,
        int connections, const index_t *connection_table, const real *__restrict__ weights,
        const int *__restrict__ delays, real *current, unsigned *emitted, unsigned *delivered,
        uint64 *overflow) {
    DYNAMIC_SHARED(Cell, cells);
    const int words_per_step = (columns + 31) / 32;
    // Two sets, used in turn, because the next step may write one while the other is still read.
    unsigned *const masks = reinterpret_cast<unsigned *>(cells + columns);
    const int sample = static_cast<int>(blockIdx.x);
    const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    real *const row = current + sample_begin(sample, steps, columns);
    const index_t words = sample_words_begin(sample, steps, columns);
    for (int column = thread; column < columns; column += threads) {
        const real start = unit_at(coefficients, refractory, columns, column).start;
        cells[column] = {{start, row[column], -1}, 0, -1, 0};
    }
    for (int n = 1; n <= steps; ++n) {
        unsigned *const sent = masks + n % 2 * words_per_step;
        bool any = false;
        for (int base = 0; base < columns; base += threads) {
            const int column = base + thread;
            bool sends = false;
            if (column < columns) {
                const Unit unit = unit_at(coefficients, refractory, columns, column);
                Cell cell = cells[column];
                const real v = voltage_after_step(unit, cell.neuron);
                cell.threshold_excess = threshold_excess_over_step(cell.neuron, v);
                const bool emits = n > cell.neuron.release && v >= unit.threshold;
                move_to(unit, n, v, emits, cell.neuron);
                if (emits) {
                    const int unit_number = unit_of_column[column];
                    sends =
                        !(drops && is_dropped(keys[sample], unit_number, cell.number,
                                       drop_rate[unit_number]));
                    const index_t word = words + static_cast<index_t>(n / 32) * columns + column;
                    emitted[word] |= 1u << n % 32;
                    if (sends) delivered[word] |= 1u << n % 32;
                    cell.latest = n;
                    ++cell.number;
                }
                cells[column] = cell;
            }
            const unsigned mask = __ballot_sync(ALL_LANES, sends);
            if (thread % 32 == 0 && column < columns) sent[column / 32] = mask;
            any = any || mask != 0;
        }
        const bool delivers = __syncthreads_or(any);
        for (int column = thread; column < columns; column += threads) {
            if (delivers)
                add_internal_arrivals(n, steps, columns, column, sent, connections,
                    connection_table, weights, delays, row + column);
            Cell &cell = cells[column];
            real &entry = row[static_cast<index_t>(n) * columns + column];
            cell.neuron.i += entry;
            if (cell.latest == n)
                entry = cell.threshold_excess;
            else if (cell.neuron.release == n)
                entry = cell.neuron.i;
        }
    }
    for (int column = thread; column < columns; column += threads)
        if (!is_finite(cells[column].neuron.i))
            atomicMin(
                overflow, static_cast<uint64>(sample) * columns_of_all + first_column + column);
}
