// The time loop of a component: from currents to emissions.
#include "grid.cuh"

// Units that only listen to earlier components, one thread each.  `current` holds their arrivals
// and leaves with the drive D at each emission's step and I at each end of a refractory period.
extern "C" __global__ void __launch_bounds__(128)
    integrate_layer(int samples, int steps, int columns, int first_of_all, int columns_of_all,
        const real *__restrict__ units, const int *__restrict__ refractory, const int *unit_of,
        const word_t *keys, const double *drop_rate, int drops, real *current, unsigned *emitted,
        unsigned *delivered, word_t *overflow) {
    constexpr int AHEAD = 8;  // loads in flight
    const index_t thread = thread_of_grid();
    if (thread >= static_cast<index_t>(samples) * columns) return;
    const int sample = static_cast<int>(thread / columns);
    const int column = static_cast<int>(thread % columns);
    const Unit unit = unit_at(units, refractory, columns, column);
    const int own = unit_of[column];
    real *const row = current + row_of(sample, steps, columns) + column;
    const index_t words = words_row_of(sample, steps, columns) + column;
    Neuron neuron = {0, 0, -1};
    int number = 0;
    for (int word = 0; word < words_of(steps); ++word) {
        unsigned fired = 0, sent = 0;
        for (int bit = 0; bit < 32; bit += AHEAD) {
            real arriving[AHEAD];
#pragma unroll
            for (int ahead = 0; ahead < AHEAD; ++ahead) {
                const int n = word * 32 + bit + ahead;
                arriving[ahead] = n <= steps ? row[static_cast<index_t>(n) * columns] : real(0);
            }
#pragma unroll
            for (int ahead = 0; ahead < AHEAD; ++ahead) {
                const int n = word * 32 + bit + ahead;
                if (n == 0) neuron.i = arriving[0];
                if (n == 0 || n > steps) continue;
                const real v = moved_voltage(unit, neuron), drive = drive_over(unit, neuron);
                const bool emits = n > neuron.free && v >= unit.threshold;
                move_to(unit, n, v, emits, neuron);
                neuron.i += arriving[ahead];
                if (emits) {
                    row[static_cast<index_t>(n) * columns] = drive;
                    const bool dropped =
                        drops && is_dropped(keys[sample], own, number, drop_rate[own]);
                    fired |= 1u << (bit + ahead);
                    if (!dropped) sent |= 1u << (bit + ahead);
                    ++number;
                } else if (n == neuron.free) {
                    row[static_cast<index_t>(n) * columns] = neuron.i;
                }
            }
        }
        emitted[words + static_cast<index_t>(word) * columns] = fired;
        delivered[words + static_cast<index_t>(word) * columns] = sent;
    }
    if (!is_finite(neuron.i))
        atomicMin(overflow, static_cast<word_t>(sample) * columns_of_all + first_of_all + column);
}

// A unit of a recurrent component, in shared memory.
struct Cell {
    Neuron neuron;
    real drive;
    int latest;  // the step of its latest emission
    int number;  // of its emissions so far
};
static_assert(sizeof(Cell) == (sizeof(real) == 4 ? 24 : 40), "see cuda/launching.py");

// What the emissions at a step, bits of columns, add to the currents of one column: connection by
// connection, source unit by source unit.  A row of `places` holds a connection's first synapse,
// first source column, source units, first target column and target units.
__device__ inline void deliver_inside(int n, int steps, int columns, int column,
    const unsigned *sent, int connections, const index_t *places, const real *__restrict__ weights,
    const int *__restrict__ delays, real *row) {
    for (int connection = 0; connection < connections; ++connection) {
        const index_t *const place = places + connection * 5;
        const int source_column = static_cast<int>(place[1]);
        const int source_end = source_column + static_cast<int>(place[2]);
        const int target_units = static_cast<int>(place[4]);
        const int target = column - static_cast<int>(place[3]);
        if (target < 0 || target >= target_units) continue;
        for (int chunk = source_column / 32; chunk * 32 < source_end; ++chunk) {
            unsigned bits = sent[chunk] & bits_between(chunk * 32, source_column, source_end);
            while (bits) {
                const int source = chunk * 32 + take_lowest(bits) - source_column;
                const index_t synapse =
                    place[0] + static_cast<index_t>(source) * target_units + target;
                const int delay = delays[synapse];
                if (delay <= steps - n)
                    row[static_cast<index_t>(n + delay) * columns] += weights[synapse];
            }
        }
    }
}

// Units that reach each other: a block per sample, each thread with columns of its own, into
// whose currents it alone adds.  `emitted` and `delivered` hold 0.
extern "C" __global__ void __launch_bounds__(1024)
    integrate_recurrent(int steps, int columns, int first_of_all, int columns_of_all,
        const real *__restrict__ units, const int *__restrict__ refractory, const int *unit_of,
        const word_t *keys, const double *drop_rate, int drops, int connections,
        const index_t *places, const real *__restrict__ weights, const int *__restrict__ delays,
        real *current, unsigned *emitted, unsigned *delivered, word_t *overflow) {
    DYNAMIC_SHARED(Cell, cells);
    const int chunks = (columns + 31) / 32;
    // Two sets, used in turn: one is read while the next step may already write the other.
    unsigned *const masks = reinterpret_cast<unsigned *>(cells + columns);
    const int sample = static_cast<int>(blockIdx.x);
    const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    real *const row = current + row_of(sample, steps, columns);
    const index_t words = words_row_of(sample, steps, columns);
    for (int column = thread; column < columns; column += threads)
        cells[column] = {{0, row[column], -1}, 0, -1, 0};
    for (int n = 1; n <= steps; ++n) {
        unsigned *const sent = masks + n % 2 * chunks;
        bool any = false;
        for (int base = 0; base < columns; base += threads) {
            const int column = base + thread;
            bool sends = false;
            if (column < columns) {
                const Unit unit = unit_at(units, refractory, columns, column);
                Cell cell = cells[column];
                const real v = moved_voltage(unit, cell.neuron);
                cell.drive = drive_over(unit, cell.neuron);
                const bool emits = n > cell.neuron.free && v >= unit.threshold;
                move_to(unit, n, v, emits, cell.neuron);
                if (emits) {
                    const int own = unit_of[column];
                    sends = !(drops && is_dropped(keys[sample], own, cell.number, drop_rate[own]));
                    const index_t place = words + static_cast<index_t>(n / 32) * columns + column;
                    emitted[place] |= 1u << n % 32;
                    if (sends) delivered[place] |= 1u << n % 32;
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
                deliver_inside(n, steps, columns, column, sent, connections, places, weights,
                    delays, row + column);
            Cell &cell = cells[column];
            real &slot = row[static_cast<index_t>(n) * columns + column];
            cell.neuron.i += slot;
            if (cell.latest == n)
                slot = cell.drive;
            else if (cell.neuron.free == n)
                slot = cell.neuron.i;
        }
    }
    for (int column = thread; column < columns; column += threads)
        if (!is_finite(cells[column].neuron.i))
            atomicMin(
                overflow, static_cast<word_t>(sample) * columns_of_all + first_of_all + column);
}
