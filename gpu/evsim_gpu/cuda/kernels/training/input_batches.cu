// Batches of input spikes on the grid, made on the device from recordings that stay there.
// Augmented samples are described by parts, see evsim_gpu/training/augmented_samples.py.
#include "dropout.cuh"
#include "grid.cuh"

// A record of SAMPLE_PART there, which explains the fields.
struct SamplePart {
    double delay;
    uint64 key;
    int source, shift, first, last;
    int shift_before_blend, first_before_blend, last_before_blend, blended;
};

// All recordings: spike times in ms, ordered by sample, channel and time, and the index of the
// first spike of each channel in each sample.
struct Recordings {
    const double *times;
    const index_t *start;
    int channels;
    double probability;  // of a spike of a blend to be kept
    double duration;     // of the trial, ms
};

// The spikes of one channel of the source of a part, taken one after the other.
struct ChannelSpikes {
    Recordings recordings;
    SamplePart part;
    int channel;
    index_t begin, next, end;

    // Whether the blend keeps the spike that was taken last.
    __device__ bool is_kept() const {
        const int number = static_cast<int>(next - 1 - begin);
        const int unit = channel + part.shift_before_blend;
        return !part.blended || is_dropped(part.key, unit, number, recordings.probability);
    }

    // Takes the next spike of the part; false if there is none.  Adds to `lost` the spikes of a
    // blend that lie outside the trial.
    __device__ bool take(double &time, uint64 &lost) {
        while (next < end) {
            time = recordings.times[next++] + part.delay;
            if (!is_kept()) continue;
            if (!part.blended || (time >= 0 && time <= recordings.duration)) return true;
            ++lost;
        }
        return false;
    }
};

// The spikes of a channel of the source; none if there is no such channel.
__device__ inline ChannelSpikes channel_of(
    const Recordings &recordings, const SamplePart &part, int channel) {
    const bool exists = part.source >= 0 && channel >= 0 && channel < recordings.channels;
    const index_t list = static_cast<index_t>(part.source) * recordings.channels + channel;
    const index_t begin = exists ? recordings.start[list] : 0;
    const index_t end = exists ? recordings.start[list + 1] : 0;
    return {recordings, part, channel, begin, begin, end};
}

// The spikes of a part at a channel of the sample.
__device__ inline ChannelSpikes spikes_at(
    const Recordings &recordings, const SamplePart &part, int channel) {
    const int from = channel - part.shift;
    const bool stays = from >= part.first && from < part.last;
    return channel_of(recordings, part, stays ? from : -1);
}

// How many spikes of a channel of the source a blend keeps and then moves out of the channels.
__device__ inline uint64 moved_out(
    const Recordings &recordings, const SamplePart &part, int channel) {
    if (!part.blended) return 0;
    if (channel < part.first_before_blend || channel >= part.last_before_blend) return 0;
    if (channel >= part.first && channel < part.last) return 0;
    ChannelSpikes spikes = channel_of(recordings, part, channel);
    uint64 lost = 0;
    for (; spikes.next < spikes.end; lost += spikes.is_kept()) ++spikes.next;
    return lost;
}

// Counts the spikes of each unit of all populations in each sample, a thread each, and adds to
// `lost` the spikes that blends lose.  Those outside the trial are counted at the channel of the
// sample, those moved out of the channels at the channel of the source.
extern "C" __global__ void __launch_bounds__(128)
    count_input_spikes(int samples, int units, int first_unit, int channels, const void *parts,
        const double *times, const index_t *start, double probability, double duration,
        index_t *count, uint64 *lost) {
    const index_t list = thread_of_grid();
    if (list >= static_cast<index_t>(samples) * units) return;
    const Recordings recordings = {times, start, channels, probability, duration};
    const int channel = static_cast<int>(list % units) - first_unit;
    index_t total = 0;
    uint64 lost_here = 0;
    if (channel >= 0 && channel < channels) {
        for (int which = 0; which < 2; ++which) {
            const SamplePart part =
                static_cast<const SamplePart *>(parts)[list / units * 2 + which];
            ChannelSpikes spikes = spikes_at(recordings, part, channel);
            double time;
            if (part.blended)
                while (spikes.take(time, lost_here)) ++total;
            else
                total += spikes.end - spikes.begin;
            lost_here += moved_out(recordings, part, channel);
        }
    }
    count[list] = total;
    if (lost_here > 0) atomicAdd(lost, lost_here);
}

// The grid point nearest to a time, rounded as on the host; steps + 1 after the end of the trial.
__device__ inline int step_of(double time, double duration, double dt, int steps) {
    if (time > duration) return steps + 1;
    return static_cast<int>(fmin(rint(time / dt), static_cast<double>(steps) + 1));
}

// Writes the steps of the spikes of each unit in each sample; the spikes of both parts are merged
// in order of time.
extern "C" __global__ void __launch_bounds__(128)
    write_input_spikes(int samples, int units, int first_unit, int channels, const void *parts,
        const double *times, const index_t *start, double probability, double duration, double dt,
        int steps, const index_t *list_start, int *step) {
    const index_t list = thread_of_grid();
    if (list >= static_cast<index_t>(samples) * units) return;
    const Recordings recordings = {times, start, channels, probability, duration};
    const int channel = static_cast<int>(list % units) - first_unit;
    if (channel < 0 || channel >= channels) return;
    const SamplePart *const both = static_cast<const SamplePart *>(parts) + list / units * 2;
    ChannelSpikes one = spikes_at(recordings, both[0], channel);
    ChannelSpikes other = spikes_at(recordings, both[1], channel);
    uint64 lost = 0;
    double first = 0, second = 0;
    bool has_first = one.take(first, lost), has_second = other.take(second, lost);
    for (index_t spike = list_start[list]; has_first || has_second; ++spike) {
        const bool is_first = has_first && (!has_second || first <= second);
        step[spike] = step_of(is_first ? first : second, duration, dt, steps);
        if (is_first) has_first = one.take(first, lost);
        else has_second = other.take(second, lost);
    }
}
