// Voltages and currents of units whose arrivals and emissions are known, and readouts of them.
#include "grid.cuh"

// One unit in one sample.  `current` holds its arrivals alone; `emitted` is read if it spikes.
struct Trial {
    int steps, columns;
    const real *current;
    const unsigned *emitted;
    bool spikes;

    // Calls visit(n, neuron) after everything at each grid point.
    template <class Visit>
    __device__ void replay(const Unit &unit, Visit visit) const {
        Neuron neuron = {0, current[0], -1};
        visit(0, neuron);
        unsigned fired = spikes ? emitted[0] : 0;
        for (int n = 1; n <= steps; ++n) {
            if (spikes && n % 32 == 0) fired = emitted[static_cast<index_t>(n / 32) * columns];
            move_to(unit, n, moved_voltage(unit, neuron), fired >> n % 32 & 1, neuron);
            neuron.i += current[static_cast<index_t>(n) * columns];
            visit(n, neuron);
        }
    }
};

__device__ inline Trial trial_of(int sample, int steps, int columns, int column,
    const real *current, const unsigned *emitted, int spikes) {
    const real *const own = current + row_of(sample, steps, columns) + column;
    const unsigned *const bits = emitted + words_row_of(sample, steps, columns) + column;
    return {steps, columns, own, bits, spikes != 0};
}

// V and I after every grid point, for `width` units from column `first` on.
extern "C" __global__ void __launch_bounds__(128) write_states(int samples, int steps, int columns,
    int first, int width, const real *__restrict__ units, const int *__restrict__ refractory,
    const real *current, const unsigned *emitted, int spikes, real2 *states) {
    const index_t thread = thread_of_grid();
    if (thread >= static_cast<index_t>(samples) * width) return;
    const int sample = static_cast<int>(thread / width), own = static_cast<int>(thread % width);
    real2 *const row = states + row_of(sample, steps, width) + own;
    const Trial trial = trial_of(sample, steps, columns, first + own, current, emitted, spikes);
    trial.replay(
        unit_at(units, refractory, columns, first + own), [&](int n, const Neuron &neuron) {
            row[static_cast<index_t>(n) * width] = {neuron.v, neuron.i};
        });
}

// The weighted mean of evsim_gpu.device.MeanForm.  `form` holds P, Q, R and U of each unit.
extern "C" __global__ void __launch_bounds__(128) read_means(int samples, int steps, int columns,
    int first, int width, const real *__restrict__ units, const int *__restrict__ refractory,
    const real *current, const unsigned *emitted, int spikes, const real *f, const real *g,
    const real *form, real *values) {
    const index_t thread = thread_of_grid();
    if (thread >= static_cast<index_t>(samples) * width) return;
    const int sample = static_cast<int>(thread / width), own = static_cast<int>(thread % width);
    const real p = form[own], q = form[width + own];
    const real r = form[2 * width + own], u = form[3 * width + own];
    const Trial trial = trial_of(sample, steps, columns, first + own, current, emitted, spikes);
    real total = 0;
    trial.replay(
        unit_at(units, refractory, columns, first + own), [&](int n, const Neuron &neuron) {
            if (n == steps || n < neuron.free) return;  // held: V stays at 0 over the next step
            const real of_f = p * neuron.v + r * neuron.i;
            const real of_g = q * neuron.v + u * neuron.i;
            total += f[n] * of_f + g[n] * of_g;
        });
    values[thread] = total;
}

// The largest V over all grid points, and the first one with it; NaN if V ever is.
extern "C" __global__ void __launch_bounds__(128) read_peaks(int samples, int steps, int columns,
    int first, int width, const real *__restrict__ units, const int *__restrict__ refractory,
    const real *current, const unsigned *emitted, int spikes, real *values, int *at) {
    const index_t thread = thread_of_grid();
    if (thread >= static_cast<index_t>(samples) * width) return;
    const int sample = static_cast<int>(thread / width), own = static_cast<int>(thread % width);
    const Trial trial = trial_of(sample, steps, columns, first + own, current, emitted, spikes);
    real best = 0;
    int place = 0;
    trial.replay(
        unit_at(units, refractory, columns, first + own), [&](int n, const Neuron &neuron) {
            if (!(neuron.v <= best)) {
                best = neuron.v;
                place = n;
            }
        });
    values[thread] = best;
    at[thread] = place;
}

// Numbers at chosen places of an array: the drives of emissions.
extern "C" __global__ void take(index_t count, const index_t *places, const real *from, real *to) {
    const index_t thread = thread_of_grid();
    if (thread < count) to[thread] = from[places[thread]];
}
