// What a loss adds to the adjoints of the units that it reads, as jumps at grid points: dF/dV of D
// Table 1, and the phantom spikes of L 4.1.  D is Mészáros, Knight and Nowotny (delay learning with
// EventProp); L is Nowotny, Turner and Knight (loss shaping).
#include "neuron.cuh"

// The sources of the columns `first` to `first` + `width` - 1 of a component.  `width` is 0 where
// the loss does not read the component.  evsim_gpu/cuda/backward.py explains the fields.
struct AdjointSources {
    int first, width;
    int mean_steps;  // steps of the mean; 0 where the loss reads no mean
    const real *f, *g, *form;
    const real *cotangents;
    int has_peak;
    const int *peak_step;
    const real *peak_share;
    int has_phantom;
    const real *phantom;
    const int *moment_step;
    index_t first_moment;  // of the sample
    const real *moment_lambda_v, *moment_lambda_i;

    __device__ bool reads(int column) const { return column >= first && column < first + width; }

    __device__ index_t index_of(int sample, int column) const {
        return static_cast<index_t>(sample) * width + column - first;
    }
};

// The parameters that the backward time loops of layers and of recurrent components share.
#define ADJOINT_SOURCE_PARAMETERS                                                         \
    int first, int width, int mean_steps, const real *f, const real *g, const real *form, \
        const real *cotangents, int has_peak, const int *peak_step,                       \
        const real *peak_share, int has_phantom, const real *phantom,                     \
        const int *moment_step, const index_t *moment_start, const real *moment_lambda_v, \
        const real *moment_lambda_i
#define ADJOINT_SOURCES_OF_SAMPLE                                                               \
    first, width, mean_steps, f, g, form, cotangents, has_peak, peak_step, peak_share,          \
        has_phantom, phantom, moment_step, moment_start[sample], moment_lambda_v, moment_lambda_i

// The adjoints of a unit right after a grid point, in time order; the loop goes backwards in time.
struct Adjoint {
    real v, i;
    real restart;         // (I - reset) lambda_V at the end of the refractory period that the loop
                          // is in
    int latest_emission;  // the latest emission up to the grid point; -1 for none
};

// Adds the sources at grid point n.  `moment` is the last of the sample's moments that the loop has
// not passed yet.  Returns the part of them that does not apply to arrivals at n: at a peak only
// their share of the jump of lambda_V applies to these.  All of it applies to earlier events.
__device__ inline real add_sources(const AdjointSources &sources, const Unit &unit, int sample,
    int column, int n, index_t moment, Adjoint &adjoint) {
    const int column_read = column - sources.first;
    const index_t index = sources.index_of(sample, column);
    real unseen = 0;
    if (n < sources.mean_steps) {
        const real f = sources.f[n], g = sources.g[n], *const form = sources.form + column_read;
        const int width = sources.width;
        const real cotangent = sources.cotangents[index];
        adjoint.v -= cotangent * (f * form[0] + g * form[width]) / unit.tau_mem;
        adjoint.i -= cotangent * (f * form[2 * width] + g * form[3 * width]) / unit.tau_syn;
    }
    if (sources.has_peak && n > 0 && sources.peak_step[index] == n) {
        const real jump = -sources.cotangents[index] / unit.tau_mem;
        adjoint.v += jump;
        unseen = (1 - sources.peak_share[index]) * jump;
    }
    for (; moment >= sources.first_moment && sources.moment_step[moment] == n; --moment) {
        adjoint.v -= sources.moment_lambda_v[moment * sources.width + column_read];
        adjoint.i -= sources.moment_lambda_i[moment * sources.width + column_read];
    }
    return unseen;
}

// The last moment of a sample before grid point n; one less than its first moment if there is none.
__device__ inline index_t moment_before(const AdjointSources &sources, int n, index_t moment) {
    while (moment >= sources.first_moment && sources.moment_step[moment] >= n) --moment;
    return moment;
}

// The phantom spike of a silent output: an emission at the end of the trial, hence before the
// arrivals there.
__device__ inline void add_phantom(const AdjointSources &sources, const Unit &unit, int sample,
    int column, double &threshold_gradient, Adjoint &adjoint) {
    if (!sources.has_phantom || !sources.reads(column)) return;
    const real phantom = sources.phantom[sources.index_of(sample, column)];
    adjoint.v += phantom;
    threshold_gradient += unit.tau_mem * phantom;
}
