// Losses of a batch, a thread per sample, in double: what evsim.losses computes on the host.
#include "grid.cuh"
#include "incidents.cuh"

__device__ inline bool is_number(double value) {
    return value - value == 0;
}

// log softmax(logit(k))_k, to all digits however close to 0 it is; `largest` has the largest logit.
template <class Logit>
struct LogSoftmax {
    Logit logit;
    double top, rest;

    __device__ LogSoftmax(int width, int largest, Logit logit) : logit(logit), top(logit(largest)) {
        double others = 0;
        for (int k = 0; k < width; ++k)
            if (k != largest) others += exp(logit(k) - top);
        rest = log1p(others);
    }

    __device__ double operator()(int k) const { return logit(k) - top - rest; }
};

// What a loss leaves of a sample.
__device__ inline void conclude(int sample, double loss, bool is_correct, double *losses,
    int *correct, LossIncidents *incidents) {
    losses[sample] = loss;
    correct[sample] = is_correct;
    if (!is_number(loss)) atomicMin(&incidents->loss, static_cast<word_t>(sample));
}

// Softmax cross-entropy of voltages.
extern "C" __global__ void __launch_bounds__(128)
    cross_entropy(int samples, int width, const real *values, const int *labels, real *cotangents,
        double *losses, int *correct, void *incidents) {
    const int sample = static_cast<int>(thread_of_grid());
    if (sample >= samples) return;
    LossIncidents *const found = static_cast<LossIncidents *>(incidents);
    const index_t row = static_cast<index_t>(sample) * width;
    const real *const own = values + row;
    const int label = labels[sample];
    int largest = 0;
    for (int k = 0; k < width; ++k) {
        if (own[k] > own[largest]) largest = k;
        if (!is_finite(own[k])) atomicMin(&found->readout, static_cast<word_t>(row + k));
    }
    const auto logit = [own](int k) { return static_cast<double>(own[k]); };
    const LogSoftmax<decltype(logit)> log_probability(width, largest, logit);
    for (int k = 0; k < width; ++k) {
        const double log_p = log_probability(k);
        cotangents[row + k] = static_cast<real>((k == label ? expm1(log_p) : exp(log_p)) / samples);
    }
    conclude(sample, -log_probability(label), largest == label, losses, correct, found);
}

// -- first spikes -----------------------------------------------------------------------------

// The step of the first emission of each unit that is read, -1 for none, and its place in the
// arrays of its component.
extern "C" __global__ void find_first_spikes(int samples, int steps, int columns, int first,
    int width, const unsigned *emitted, int *step, index_t *place) {
    const index_t thread = thread_of_grid();
    if (thread >= static_cast<index_t>(samples) * width) return;
    const int sample = static_cast<int>(thread / width);
    const int column = first + static_cast<int>(thread % width);
    const unsigned *const words = emitted + words_row_of(sample, steps, columns) + column;
    int found = -1;
    for (int word = 0; word < words_of(steps) && found < 0; ++word) {
        unsigned fired = words[static_cast<index_t>(word) * columns];
        if (fired) found = word * 32 + take_lowest(fired);
    }
    step[thread] = found;
    const index_t row = row_of(sample, steps, columns) + column;
    place[thread] = found < 0 ? -1 : row + static_cast<index_t>(found) * columns;
}

// The first spikes of a sample's outputs, and what a loss makes of their times.
struct FirstSpikes {
    const int *step;
    double duration, spacing;  // of the trial, of grid points: ms
    int steps, samples;
    real *slopes, *phantom;  // derivatives by their times, and at the end for silent outputs

    __device__ bool is_silent(int k) const { return step[k] < 0; }

    __device__ double time(int k) const {
        return is_silent(k) || step[k] == steps ? duration : step[k] * spacing;
    }

    // The unit that spikes first, -1 where all are silent.
    __device__ int prediction(int width) const {
        int first = -1;
        for (int k = 0; k < width; ++k)
            if (!is_silent(k) && (first < 0 || step[k] < step[first])) first = k;
        return first;
    }

    __device__ void set_derivative(int k, double derivative) const {
        const real share = static_cast<real>(derivative / samples);
        slopes[k] = share;
        phantom[k] = is_silent(k) ? share : real(0);
    }
};

__device__ inline FirstSpikes first_spikes_of(int sample, int samples, int width, const int *step,
    double duration, int steps, real *slopes, real *phantom) {
    const index_t row = static_cast<index_t>(sample) * width;
    return {step + row, duration, duration / steps, steps, samples, slopes + row, phantom + row};
}

// Cross-entropy of softmax(-t/tau0), with a pull to early spikes of the true class.  Until
// training has been stopped, `true_times` gets when that class spikes.
extern "C" __global__ void __launch_bounds__(128)
    first_spike_cross_entropy(int samples, int width, const int *step, const int *labels,
        double duration, int steps, double tau0, double tau1, double alpha, const word_t *status,
        double *true_times, real *slopes, real *phantom, double *losses, int *correct,
        void *incidents) {
    const int sample = static_cast<int>(thread_of_grid());
    if (sample >= samples) return;
    LossIncidents *const found = static_cast<LossIncidents *>(incidents);
    const int label = labels[sample];
    const FirstSpikes own =
        first_spikes_of(sample, samples, width, step, duration, steps, slopes, phantom);
    int earliest = 0;
    for (int k = 1; k < width; ++k)
        if (own.time(k) < own.time(earliest)) earliest = k;
    const auto logit = [own, tau0](int k) { return -own.time(k) / tau0; };
    const LogSoftmax<decltype(logit)> log_probability(width, earliest, logit);
    const double late = own.time(label) / tau1;
    const double pull = alpha != 0 ? alpha * expm1(late) : 0;
    const double steepness = alpha != 0 ? alpha / tau1 * exp(late) : 0;
    if (status[0] == 0) true_times[sample] = own.time(label);
    if (!is_number(pull) || !is_number(steepness))
        atomicMin(&found->pull, static_cast<word_t>(sample));
    for (int k = 0; k < width; ++k) {
        const double log_p = log_probability(k);
        if (k == label) own.set_derivative(k, -expm1(log_p) / tau0 + steepness);
        else own.set_derivative(k, own.is_silent(k) ? 0 : -exp(log_p) / tau0);
    }
    const bool is_correct = own.prediction(width) == label;
    conclude(sample, pull - log_probability(label), is_correct, losses, correct, found);
}

// Half the sum over the other classes of (t_k - t_c - delta)^2.
extern "C" __global__ void __launch_bounds__(128)
    time_invariant_mse(int samples, int width, const int *step, const int *labels, double duration,
        int steps, double delta, real *slopes, real *phantom, double *losses, int *correct,
        void *incidents) {
    const int sample = static_cast<int>(thread_of_grid());
    if (sample >= samples) return;
    const int label = labels[sample];
    const FirstSpikes own =
        first_spikes_of(sample, samples, width, step, duration, steps, slopes, phantom);
    double squares = 0, sum = 0;
    for (int k = 0; k < width; ++k) {
        if (k == label) continue;
        const double error = own.time(k) - own.time(label) - delta;
        squares += error * error;
        sum += error;
        own.set_derivative(k, own.is_silent(k) ? 0 : error);
    }
    own.set_derivative(label, -sum);
    conclude(sample, 0.5 * squares, own.prediction(width) == label, losses, correct,
        static_cast<LossIncidents *>(incidents));
}
