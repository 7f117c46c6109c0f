// The spikes of a source unit, visited one after the other by a warp or by a thread.
//
// InputSpikes are lists of steps, DeliveredSpikes the emissions of a component as bits.  Both have
// the same functions, so that a kernel is written once for either source.
#include "grid.cuh"

// What the lanes of a warp have read of a source unit's spikes: `value` is the number at index
// `begin` + lane, of those before index `end`.
template <class Number>
struct LaneValues {
    index_t begin, end;
    Number value;
};

// Spikes of inputs, as lists of steps in ascending order.  A dropped spike is stored as ~step, a
// number below 0; a spike after the end of the trial has step steps + 1.
struct InputSpikes {
    const int *step;
    const index_t *start;  // index of the first spike of each unit in each sample
    int units;             // of all populations
    int first_unit;        // the first source unit among them

    __device__ index_t list_of(int sample, int source) const {
        return static_cast<index_t>(sample) * units + first_unit + source;
    }

    // Reads the first spikes of a source unit, one per lane.
    __device__ LaneValues<int> fetch(int sample, int source) const {
        const index_t list = list_of(sample, source);
        return fetched_at(start[list], start[list + 1]);
    }

    __device__ LaneValues<int> fetched_at(index_t begin, index_t end) const {
        const int lane = threadIdx.x % 32;
        return {begin, end, begin + lane < end ? step[begin + lane] : 0};
    }

    // Calls visit(step, index among the spikes of all inputs) for each spike before step
    // `end_step`, with the whole warp together; `spikes` are those that `fetch` has read.
    template <class Visit>
    __device__ void visit_by_warp(LaneValues<int> spikes, int end_step, Visit visit) const {
        while (spikes.begin < spikes.end) {
            const index_t left = spikes.end - spikes.begin;
            const int count = left < 32 ? static_cast<int>(left) : 32;
            for (int spike = 0; spike < count; ++spike) {
                const int n = __shfl_sync(ALL_LANES, spikes.value, spike);
                if (n >= end_step) return;
                if (n >= 0) visit(n, spikes.begin + spike);
            }
            spikes = fetched_at(spikes.begin + 32, spikes.end);
        }
    }

    template <class Visit>
    __device__ void visit_by_thread(int sample, int source, int end_step, Visit visit) const {
        const index_t list = list_of(sample, source);
        const index_t end = start[list + 1];
        for (index_t index = start[list]; index < end; ++index) {
            const int n = step[index];
            if (n >= end_step) return;
            if (n >= 0) visit(n, index);
        }
    }
};

// Spikes of the units of a component: the emissions that dropout does not drop, as bits.
struct DeliveredSpikes {
    const unsigned *bits;
    int steps;
    int columns;
    int first_column;  // column of the first source unit

    // Reads the first words of a source unit, one per lane.
    __device__ LaneValues<unsigned> fetch(int sample, int source) const {
        const index_t begin = sample_words_begin(sample, steps, columns) + first_column + source;
        return fetched_at(begin, begin + static_cast<index_t>(word_count(steps)) * columns);
    }

    __device__ LaneValues<unsigned> fetched_at(index_t begin, index_t end) const {
        const index_t index = begin + static_cast<index_t>(threadIdx.x % 32) * columns;
        return {begin, end, index < end ? bits[index] : 0};
    }

    // Calls visit(step, -1) for each spike before step `end_step`, with the whole warp together.
    template <class Visit>
    __device__ void visit_by_warp(LaneValues<unsigned> words, int end_step, Visit visit) const {
        for (int first = 0; first < end_step && words.begin < words.end; first += 32 * 32) {
            unsigned lanes_with_spikes = __ballot_sync(ALL_LANES, words.value != 0);
            while (lanes_with_spikes) {
                const int lane = take_lowest(lanes_with_spikes);
                unsigned word = __shfl_sync(ALL_LANES, words.value, lane);
                while (word) {
                    const int n = first + lane * 32 + take_lowest(word);
                    if (n >= end_step) return;
                    visit(n, index_t(-1));
                }
            }
            words = fetched_at(words.begin + static_cast<index_t>(32) * columns, words.end);
        }
    }

    template <class Visit>
    __device__ void visit_by_thread(int sample, int source, int end_step, Visit visit) const {
        const unsigned *const words =
            bits + sample_words_begin(sample, steps, columns) + first_column + source;
        for (int number = 0; number * 32 < end_step; ++number) {
            unsigned word = words[static_cast<index_t>(number) * columns];
            while (word) {
                const int n = number * 32 + take_lowest(word);
                if (n >= end_step) return;
                visit(n, index_t(-1));
            }
        }
    }
};
