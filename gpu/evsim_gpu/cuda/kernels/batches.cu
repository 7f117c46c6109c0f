// Batches of input spikes, made on the device of recordings that stay there.
#include "grid.cuh"

// A part of a sample: evsim_gpu.training.augmented_samples.PART, which explains it.
struct Part {
    double delay;
    word_t key;
    int source, shift, first, last, moved, known_first, known_last, blended;
};

// All recordings: times by sample, channel and time, and where those of each channel begin.
struct Recordings {
    const double *times;
    const index_t *start;
    int channels;
    double probability, duration;  // with which a spike of a blend is kept; of the trial
};

// The spikes of one channel of a part's source, one after the other.
struct Channel {
    Recordings all;
    Part part;
    int channel;
    index_t begin, place, end;

    // Whether the blend keeps the spike that was taken last.
    __device__ bool is_kept() const {
        const int number = static_cast<int>(place - 1 - begin);
        return !part.blended ||
               is_dropped(part.key, channel + part.moved, number, all.probability);
    }

    // Goes to the next spike of the part, if there is one; those lost on the way are counted.
    __device__ bool take(double &time, word_t &lost) {
        while (place < end) {
            time = all.times[place++] + part.delay;
            if (!is_kept()) continue;
            if (!part.blended || (time >= 0 && time <= all.duration)) return true;
            ++lost;
        }
        return false;
    }
};

__device__ inline Channel channel_of(const Recordings &all, const Part &part, int channel) {
    const bool exists = part.source >= 0 && channel >= 0 && channel < all.channels;
    const index_t list = static_cast<index_t>(part.source) * all.channels + channel;
    const index_t begin = exists ? all.start[list] : 0;
    return {all, part, channel, begin, begin, exists ? all.start[list + 1] : 0};
}

// The spikes of a part that come to a channel of the sample.
__device__ inline Channel spikes_at(const Recordings &all, const Part &part, int channel) {
    const int from = channel - part.shift;
    const bool stays = from >= part.first && from < part.last;
    return channel_of(all, part, stays ? from : -1);
}

// How many spikes of a source's channel a blend keeps and moves out of all channels.
__device__ inline word_t moved_out(const Recordings &all, const Part &part, int channel) {
    if (!part.blended || channel < part.known_first || channel >= part.known_last) return 0;
    if (channel >= part.first && channel < part.last) return 0;
    Channel own = channel_of(all, part, channel);
    word_t lost = 0;
    for (; own.place < own.end; lost += own.is_kept()) ++own.place;
    return lost;
}

// A thread per unit of all populations and sample: how many spikes there are, and how many of
// blends are lost, which are counted at their channel of arrival, or at their own if there is none.
extern "C" __global__ void __launch_bounds__(128)
    count_inputs(int samples, int units, int first_unit, int channels, const void *parts,
        const double *times, const index_t *start, double probability, double duration,
        index_t *count, word_t *lost) {
    const index_t list = thread_of_grid();
    if (list >= static_cast<index_t>(samples) * units) return;
    const Recordings all = {times, start, channels, probability, duration};
    const int channel = static_cast<int>(list % units) - first_unit;
    index_t total = 0;
    word_t missing = 0;
    if (channel >= 0 && channel < channels) {
        for (int which = 0; which < 2; ++which) {
            const Part part = static_cast<const Part *>(parts)[list / units * 2 + which];
            Channel own = spikes_at(all, part, channel);
            double time;
            if (part.blended)
                while (own.take(time, missing)) ++total;
            else
                total += own.end - own.begin;
            missing += moved_out(all, part, channel);
        }
    }
    count[list] = total;
    if (missing > 0) atomicAdd(lost, missing);
}

// The step of a time as evsim_gpu.model.layout.to_steps rounds it; steps + 1 after the trial.
__device__ inline int step_of(double time, double duration, double dt, int steps) {
    if (time > duration) return steps + 1;
    return static_cast<int>(fmin(rint(time / dt), static_cast<double>(steps) + 1));
}

// The steps of the spikes of each unit in each sample, those of both parts in order of time.
extern "C" __global__ void __launch_bounds__(128)
    write_inputs(int samples, int units, int first_unit, int channels, const void *parts,
        const double *times, const index_t *start, double probability, double duration, double dt,
        int steps, const index_t *places, int *step) {
    const index_t list = thread_of_grid();
    if (list >= static_cast<index_t>(samples) * units) return;
    const Recordings all = {times, start, channels, probability, duration};
    const int channel = static_cast<int>(list % units) - first_unit;
    if (channel < 0 || channel >= channels) return;
    const Part *const both = static_cast<const Part *>(parts) + list / units * 2;
    Channel one = spikes_at(all, both[0], channel), other = spikes_at(all, both[1], channel);
    word_t lost = 0;
    double first = 0, second = 0;
    bool has_first = one.take(first, lost), has_second = other.take(second, lost);
    for (index_t place = places[list]; has_first || has_second; ++place) {
        const bool next = has_first && (!has_second || first <= second);
        step[place] = step_of(next ? first : second, duration, dt, steps);
        if (next) has_first = one.take(first, lost);
        else has_second = other.take(second, lost);
    }
}
