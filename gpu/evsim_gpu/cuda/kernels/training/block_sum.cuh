// The sum over a block of threads, in double.
#include "grid.cuh"

constexpr int SUM_THREADS = 256;  // threads of a block that sums

// The sum over a block, the same in all threads; the terms are always added in the same tree.
__device__ inline double sum_of_block(double value) {
    __shared__ double sums[SUM_THREADS];
    const int thread = static_cast<int>(threadIdx.x);
    sums[thread] = value;
    __syncthreads();
    for (int half = SUM_THREADS / 2; half > 0; half /= 2) {
        if (thread < half) sums[thread] += sums[thread + half];
        __syncthreads();
    }
    const double total = sums[0];
    __syncthreads();
    return total;
}
