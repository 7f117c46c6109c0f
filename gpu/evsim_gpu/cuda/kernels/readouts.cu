// Readouts of V and I for units whose arrivals and emissions are known; V and I are computed again
// from these, step by step.
#include "grid.cuh"
#include "neuron.cuh"

// One unit in one sample.  `current` contains only its arrivals; `emitted` is read only if the unit
// spikes.
struct Trial {
    int steps, columns;
    const real *current;
    const unsigned *emitted;
    bool spikes;

    // Calls visit(n, neuron) at each grid point n, with V and I after all events there.
    template <class Visit>
    __device__ void replay(const Unit &unit, Visit visit) const {
        Neuron neuron = {unit.start, current[0], -1};
        visit(0, neuron);
        unsigned fired = spikes ? emitted[0] : 0;
        for (int n = 1; n <= steps; ++n) {
            if (spikes && n % 32 == 0) fired = emitted[static_cast<index_t>(n / 32) * columns];
            move_to(unit, n, voltage_after_step(unit, neuron), fired >> n % 32 & 1, neuron);
            neuron.i += current[static_cast<index_t>(n) * columns];
            visit(n, neuron);
        }
    }
};

__device__ inline Trial trial_of(int sample, int steps, int columns, int column,
    const real *current, const unsigned *emitted, int spikes) {
    const real *const arrivals = current + sample_begin(sample, steps, columns) + column;
    const unsigned *const words = emitted + sample_words_begin(sample, steps, columns) + column;
    return {steps, columns, arrivals, words, spikes != 0};
}

// V and I after all events at each grid point, for `width` units from column `first` on.
extern "C" __global__ void __launch_bounds__(128) write_states(int samples, int steps, int columns,
    int first, int width, const real *__restrict__ coefficients, const int *__restrict__ refractory,
    const real *current, const unsigned *emitted, int spikes, real2 *states) {
    const index_t thread = thread_of_grid();
    if (thread >= static_cast<index_t>(samples) * width) return;
    const int sample = static_cast<int>(thread / width), column = static_cast<int>(thread % width);
    real2 *const row = states + sample_begin(sample, steps, width) + column;
    const Trial trial = trial_of(sample, steps, columns, first + column, current, emitted, spikes);
    const Unit unit = unit_at(coefficients, refractory, columns, first + column);
    trial.replay(unit, [&](int n, const Neuron &neuron) {
        row[static_cast<index_t>(n) * width] = {neuron.v, neuron.i};
    });
}

// The weighted mean of MeanForm in evsim_gpu: sum_n f_n (P V_n + R I_n) + g_n (Q V_n + U I_n),
// without the steps over which V is held.
// `form` contains P, Q, R and U, each of `width` units.
extern "C" __global__ void __launch_bounds__(128) read_means(int samples, int steps, int columns,
    int first, int width, const real *__restrict__ coefficients, const int *__restrict__ refractory,
    const real *current, const unsigned *emitted, int spikes, const real *f, const real *g,
    const real *form, real *values) {
    const index_t thread = thread_of_grid();
    if (thread >= static_cast<index_t>(samples) * width) return;
    const int sample = static_cast<int>(thread / width), column = static_cast<int>(thread % width);
    const real p = form[column], q = form[width + column];
    const real r = form[2 * width + column], u = form[3 * width + column];
    const Trial trial = trial_of(sample, steps, columns, first + column, current, emitted, spikes);
    real total = 0;
    const Unit unit = unit_at(coefficients, refractory, columns, first + column);
    trial.replay(unit, [&](int n, const Neuron &neuron) {
        if (n == steps || n < neuron.release) return;  // V is held over the next step
        const real of_f = p * neuron.v + r * neuron.i;
        const real of_g = q * neuron.v + u * neuron.i;
        total += f[n] * of_f + g[n] * of_g;
    });
    values[thread] = total;
}

// The share of lambda_V's jump at a peak that acts on the times of arrivals at its grid point, from
// V there and from I before and after these arrivals: V'-/(V'- - V'+) where they end a rise, 1
// where V still rises after them, and 0 where it has stopped rising before them.
__device__ inline real peak_share(real voltage, real current_before, real current_after) {
    const real rise = current_before - voltage, fall = voltage - current_after;
    if (fall < 0) return 1;
    return rise > 0 ? rise / (rise + fall) : real(0);
}

// The largest V over all grid points, the first grid point that has it, and `peak_share`, which is
// 0 at both ends of the trial; NaN if any V is NaN.
extern "C" __global__ void __launch_bounds__(128) read_peaks(int samples, int steps, int columns,
    int first, int width, const real *__restrict__ coefficients, const int *__restrict__ refractory,
    const real *current, const unsigned *emitted, int spikes, real *values, int *peak_step,
    real *share) {
    const index_t thread = thread_of_grid();
    if (thread >= static_cast<index_t>(samples) * width) return;
    const int sample = static_cast<int>(thread / width), column = static_cast<int>(thread % width);
    const Trial trial = trial_of(sample, steps, columns, first + column, current, emitted, spikes);
    real largest = 0, before = 0, after = 0, latest = 0;  // I around the arrivals; the latest I
    int step = 0;
    const Unit unit = unit_at(coefficients, refractory, columns, first + column);
    trial.replay(unit, [&](int n, const Neuron &neuron) {
        if (n == 0 || !(neuron.v <= largest)) {
            largest = neuron.v;
            step = n;
            before = unit.decay_syn * latest;
            after = neuron.i;
        }
        latest = neuron.i;
    });
    values[thread] = largest;
    peak_step[thread] = step;
    share[thread] = step == 0 || step == steps ? real(0) : peak_share(largest, before, after);
}

// The threshold excess of emissions, which is in `current` at the entry of each.
extern "C" __global__ void read_threshold_excess(
    index_t count, const index_t *entries, const real *current, real *threshold_excess) {
    const index_t thread = thread_of_grid();
    if (thread < count) threshold_excess[thread] = current[entries[thread]];
}
