// Which spikes dropout drops: a hash of the sample's key, the unit and the number of the spike.
#include "grid.cuh"

// The finaliser of SplitMix64.
__device__ inline uint64 splitmix64_finaliser(uint64 bits) {
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9ull;
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBull;
    return bits ^ (bits >> 31);
}

// Whether the spike of a unit with this number in its sample, counted from 0, is dropped: the same
// function as is_dropped of evsim, bit by bit.
__device__ inline bool is_dropped(uint64 key, int unit, int number, double rate) {
    if (rate == 0.0) return false;
    const uint64 golden = 0x9E3779B97F4A7C15ull;
    uint64 bits = splitmix64_finaliser(key + static_cast<uint64>(unit + 1) * golden);
    bits = splitmix64_finaliser(bits + static_cast<uint64>(number + 1) * golden);
    return static_cast<double>(bits >> 11) * 0x1p-53 < rate;
}
