// Losses of a batch and their cotangents, a thread per sample, in double: what evsim.losses
// computes on the host.  L is Nowotny, Turner and Knight (loss shaping); W is Wunderlich and Pehle
// (EventProp); D is Mészáros, Knight and Nowotny (delay learning with EventProp).
#include "grid.cuh"
#include "training/failures.cuh"

__device__ inline bool is_finite_double(double value) {
    return value - value == 0;
}

// The logarithm of softmax, to all digits even where it is close to 0.  `largest` is the class with
// the largest logit.
template <class Logit>
struct LogSoftmax {
    Logit logit;
    double largest_logit, log_sum;  // log_sum is relative to the largest logit

    __device__ LogSoftmax(int width, int largest, Logit logit)
        : logit(logit), largest_logit(logit(largest)) {
        double others = 0;
        for (int k = 0; k < width; ++k)
            if (k != largest) others += exp(logit(k) - largest_logit);
        log_sum = log1p(others);
    }

    __device__ double operator()(int k) const { return logit(k) - largest_logit - log_sum; }
};

// Stores the loss of a sample and whether its prediction is correct.
__device__ inline void store_loss(int sample, double loss, bool is_correct, double *losses,
    int *correct, Failures *failures) {
    losses[sample] = loss;
    correct[sample] = is_correct;
    if (!is_finite_double(loss)) atomicMin(&failures->loss, static_cast<uint64>(sample));
}

// Softmax cross-entropy of readouts of the voltage (L 2, 29).
extern "C" __global__ void __launch_bounds__(128)
    cross_entropy(int samples, int width, const real *values, const int *labels, real *cotangents,
        double *losses, int *correct, void *failures) {
    const int sample = static_cast<int>(thread_of_grid());
    if (sample >= samples) return;
    Failures *const found = static_cast<Failures *>(failures);
    const index_t row = static_cast<index_t>(sample) * width;
    const real *const value = values + row;
    const int label = labels[sample];
    int largest = 0;
    for (int k = 0; k < width; ++k) {
        if (value[k] > value[largest]) largest = k;
        if (!is_finite(value[k])) atomicMin(&found->readout, static_cast<uint64>(row + k));
    }
    const auto logit = [value](int k) { return static_cast<double>(value[k]); };
    const LogSoftmax<decltype(logit)> log_probability(width, largest, logit);
    for (int k = 0; k < width; ++k) {
        const double log_p = log_probability(k);
        cotangents[row + k] = static_cast<real>((k == label ? expm1(log_p) : exp(log_p)) / samples);
    }
    store_loss(sample, -log_probability(label), largest == label, losses, correct, found);
}

// -- first spikes -----------------------------------------------------------------------------

// The step of the first emission of each unit that is read, and its entry in the arrays of its
// component; both -1 for a silent unit.
extern "C" __global__ void find_first_spikes(int samples, int steps, int columns, int first,
    int width, const unsigned *emitted, int *step, index_t *emission_entry) {
    const index_t thread = thread_of_grid();
    if (thread >= static_cast<index_t>(samples) * width) return;
    const int sample = static_cast<int>(thread / width);
    const int column = first + static_cast<int>(thread % width);
    const unsigned *const words = emitted + sample_words_begin(sample, steps, columns) + column;
    int found = -1;
    for (int word = 0; word < word_count(steps) && found < 0; ++word) {
        unsigned fired = words[static_cast<index_t>(word) * columns];
        if (fired) found = word * 32 + take_lowest(fired);
    }
    step[thread] = found;
    const index_t begin = sample_begin(sample, steps, columns) + column;
    emission_entry[thread] = found < 0 ? -1 : begin + static_cast<index_t>(found) * columns;
}

// The first spikes of a sample's outputs, and the gradients of the loss with respect to their
// times.  A silent output counts as a spike at the end of the trial; its gradient is that of the
// phantom spike there (L 4.1).
struct FirstSpikes {
    const int *step;
    double duration, dt;  // ms
    int steps, samples;
    real *gradients, *phantom;  // of each output

    __device__ bool is_silent(int k) const { return step[k] < 0; }

    __device__ double time(int k) const {
        return is_silent(k) || step[k] == steps ? duration : step[k] * dt;
    }

    // The unit that spikes first; -1 if all are silent.
    __device__ int prediction(int width) const {
        int first = -1;
        for (int k = 0; k < width; ++k)
            if (!is_silent(k) && (first < 0 || step[k] < step[first])) first = k;
        return first;
    }

    __device__ void set_gradient(int k, double gradient) const {
        const real of_mean = static_cast<real>(gradient / samples);
        gradients[k] = of_mean;
        phantom[k] = is_silent(k) ? of_mean : real(0);
    }
};

__device__ inline FirstSpikes first_spikes_of(int sample, int samples, int width, const int *step,
    double duration, int steps, real *gradients, real *phantom) {
    const index_t row = static_cast<index_t>(sample) * width;
    return {step + row, duration, duration / steps, steps, samples, gradients + row, phantom + row};
}

// Cross-entropy of softmax(-t/tau0) plus the term alpha (exp(t_c/tau1) - 1), which is smaller for
// an early spike of the true class c (W 3, L `L_time`).  Until training has stopped, the spike time
// of the true class is written to `true_times`.
extern "C" __global__ void __launch_bounds__(128)
    first_spike_cross_entropy(int samples, int width, const int *step, const int *labels,
        double duration, int steps, double tau0, double tau1, double alpha, const uint64 *status,
        double *true_times, real *gradients, real *phantom, double *losses, int *correct,
        void *failures) {
    const int sample = static_cast<int>(thread_of_grid());
    if (sample >= samples) return;
    Failures *const found = static_cast<Failures *>(failures);
    const int label = labels[sample];
    const FirstSpikes spikes =
        first_spikes_of(sample, samples, width, step, duration, steps, gradients, phantom);
    int earliest = 0;
    for (int k = 1; k < width; ++k)
        if (spikes.time(k) < spikes.time(earliest)) earliest = k;
    const auto logit = [spikes, tau0](int k) { return -spikes.time(k) / tau0; };
    const LogSoftmax<decltype(logit)> log_probability(width, earliest, logit);
    const double exponent = spikes.time(label) / tau1;
    const double early_spike_term = alpha != 0 ? alpha * expm1(exponent) : 0;
    const double term_gradient = alpha != 0 ? alpha / tau1 * exp(exponent) : 0;
    if (status[0] == NOT_STOPPED) true_times[sample] = spikes.time(label);
    if (!is_finite_double(early_spike_term) || !is_finite_double(term_gradient))
        atomicMin(&found->early_spike_term, static_cast<uint64>(sample));
    for (int k = 0; k < width; ++k) {
        const double log_p = log_probability(k);
        if (k == label) spikes.set_gradient(k, -expm1(log_p) / tau0 + term_gradient);
        else spikes.set_gradient(k, spikes.is_silent(k) ? 0 : -exp(log_p) / tau0);
    }
    const bool is_correct = spikes.prediction(width) == label;
    const double loss = early_spike_term - log_probability(label);
    store_loss(sample, loss, is_correct, losses, correct, found);
}

// Half the sum of (t_k - t_c - delta)^2 over the classes k other than the true class c (D 71).
extern "C" __global__ void __launch_bounds__(128)
    time_invariant_mse(int samples, int width, const int *step, const int *labels, double duration,
        int steps, double delta, real *gradients, real *phantom, double *losses, int *correct,
        void *failures) {
    const int sample = static_cast<int>(thread_of_grid());
    if (sample >= samples) return;
    const int label = labels[sample];
    const FirstSpikes spikes =
        first_spikes_of(sample, samples, width, step, duration, steps, gradients, phantom);
    double squares = 0, sum = 0;
    for (int k = 0; k < width; ++k) {
        if (k == label) continue;
        const double error = spikes.time(k) - spikes.time(label) - delta;
        squares += error * error;
        sum += error;
        spikes.set_gradient(k, spikes.is_silent(k) ? 0 : error);
    }
    spikes.set_gradient(label, -sum);
    store_loss(sample, 0.5 * squares, spikes.prediction(width) == label, losses, correct,
        static_cast<Failures *>(failures));
}
