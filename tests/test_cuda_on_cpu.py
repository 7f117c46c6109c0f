"""Tests of the CUDA emulator itself: it must detect what would go wrong on a GPU."""

from __future__ import annotations

import time

import numpy as np
import pytest
from cuda_on_cpu import install, needs_compiler
from nvrtc import NvrtcError, compile_kernels, needs_nvrtc

pytestmark = pytest.mark.slow

SOURCE = r"""
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif

extern "C" __global__ void saxpy(const float* x, float* y, float a, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}

extern "C" __global__ void places(int3* place) {
    const int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    place[block * blockDim.x * blockDim.y * blockDim.z + thread] =
        make_int3(blockIdx.z * 100 + threadIdx.z, blockIdx.y * 100 + threadIdx.y,
                  blockIdx.x * 100 + threadIdx.x);
}

// One value per block: shuffles within warps, shared memory between them.
template <class T>
__device__ T sum_of_block(T value) {
    __shared__ T of_warp[32];
    for (int by = 16; by > 0; by /= 2) value += __shfl_down_sync(0xffffffffu, value, by);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    if (threadIdx.x < 32) {
        value = threadIdx.x < blockDim.x / 32 ? of_warp[threadIdx.x] : 0;
        for (int by = 16; by > 0; by /= 2) value += __shfl_xor_sync(0xffffffffu, value, by);
    }
    return value;
}

extern "C" __global__ void sums(const double* x, double* sum, const int* count, int* total) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const double numbers = sum_of_block(x[i]);
    const int counts = sum_of_block(count[i]);
    if (threadIdx.x == 0) {
        sum[blockIdx.x] = numbers;
        total[blockIdx.x] = counts;
    }
}

extern "C" __global__ void __launch_bounds__(512) rotate(float* x, int steps) {
    DYNAMIC_SHARED(float, shared);
    float value = x[threadIdx.x];
    for (int step = 0; step < steps; ++step) {
        shared[threadIdx.x] = value;
        __syncthreads();
        value = shared[(threadIdx.x + 1) % blockDim.x];
#ifndef WITHOUT_SECOND_BARRIER
        __syncthreads();
#endif
    }
    x[threadIdx.x] = value;
}

// The numbers of those that are not 0, ascending, warp by warp.
extern "C" __global__ void compact(const int* x, int n, int* kept, int* length) {
    const unsigned everyone = 0xffffffffu;
    int found = 0;
    for (int begin = 0; begin < n; begin += 32) {
        const int i = begin + threadIdx.x;
        const unsigned ballot = __ballot_sync(everyone, i < n && x[i] != 0);
        if (ballot >> threadIdx.x & 1)
            kept[found + __popc(ballot & ((1u << threadIdx.x) - 1))] = i;
        found += __popc(ballot);
    }
    if (threadIdx.x == 0) *length = found;
}

extern "C" __global__ void collect(int* place, int* list) {
    list[atomicAdd(place, 1)] = blockIdx.x * blockDim.x + threadIdx.x;
}

template <class T>
__device__ T what_was_there(T value) {
    __shared__ T kept[32];
    const T before = kept[threadIdx.x];
    kept[threadIdx.x] = value;
    return before;
}

extern "C" __global__ void uninitialised(float* x) {
    __shared__ float fixed[32];
    DYNAMIC_SHARED(float, shared);
    x += 3 * (blockIdx.x * blockDim.x + threadIdx.x);
    x[0] = fixed[threadIdx.x];
    x[1] = shared[threadIdx.x];
    x[2] = what_was_there(1.0f);
    fixed[threadIdx.x] = shared[threadIdx.x] = 1;
}

extern "C" __global__ void some_leave_early(int* x) {
    if (threadIdx.x >= 40) return;
    __syncthreads();
    x[threadIdx.x] = __syncthreads_count(threadIdx.x % 2);
}

extern "C" __global__ void barriers_apart(int* x) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        x[0] = 1;
        __syncthreads();
    }
}

extern "C" __global__ void barrier_against_warp(int* x) {
    if (threadIdx.x == 5) __syncthreads();
    else x[threadIdx.x] = __any_sync(0xffffffffu, 1);
}

extern "C" __global__ void operations_apart(int* x) {
    if (threadIdx.x < 16) x[threadIdx.x] = __any_sync(0xffffffffu, 1);
    else x[threadIdx.x] = __all_sync(0xffffffffu, 1);
}

extern "C" __global__ void not_in_its_mask(int* x) {
    x[threadIdx.x] = __shfl_sync(0xfu, x[threadIdx.x], 0);
}

extern "C" __global__ void add_at(float* x, int i) { atomicAdd(&x[i], 1e-6f); }
extern "C" __global__ void add_at_shared(int i) {
    DYNAMIC_SHARED(float, shared);
    shared[i] += 1e-6f;
}

extern "C" __global__ void same_place(int* x) { x[0] += 1; }
extern "C" __global__ void between_warps(int* x) {
    __shared__ int first;
    if (threadIdx.x == 0) first = 3;
#ifdef RACE
    __syncwarp();
#else
    __syncthreads();
#endif
    x[threadIdx.x] = first;
}
extern "C" __global__ void between_lanes(int* x) {
    x[threadIdx.x] = threadIdx.x;
#ifndef RACE
    __syncwarp();
#endif
    const int other = x[threadIdx.x ^ 1];
    __syncwarp();
    x[threadIdx.x] = other;
}
extern "C" __global__ void between_blocks(int* x) { x[1 - blockIdx.x] = x[blockIdx.x]; }
extern "C" __global__ void atomic_and_plain(int* x) {
    atomicAdd(&x[0], 1);
    x[threadIdx.x + 1] = x[0];
}
extern "C" __global__ void neighbouring_bytes(unsigned char* x) { x[threadIdx.x] = threadIdx.x; }
"""

WRONG = 'extern "C" __global__ void wrong(int* x) {\n x[0] = nothing; }'


@pytest.fixture
def cupy(monkeypatch):
    return install(monkeypatch)


def kernel_of(cupy, name, *options):
    return cupy.RawModule(code=SOURCE, options=options).get_function(name)


@needs_compiler
@pytest.mark.parametrize("seed", [0, 1, 2])
class TestKernels:
    @pytest.fixture
    def cupy(self, monkeypatch, seed):
        return install(monkeypatch, seed=seed)

    def test_ragged_grid(self, cupy):
        x = np.random.default_rng(1).normal(size=1000).astype(np.float32)
        y = cupy.asarray(x + 1)
        arguments = (cupy.asarray(x), y, np.float32(0.5), np.int32(1000))
        kernel_of(cupy, "saxpy")((8,), (128,), arguments)
        np.testing.assert_array_equal(y.get(), np.float32(0.5) * x + (x + 1))

    def test_three_dimensions(self, cupy):
        grid, block = (2, 3, 2), (5, 3, 4)
        place = cupy.empty((2, 3, 2, 4, 3, 5, 3), np.int32)
        kernel_of(cupy, "places")(grid, block, (place,))
        index = np.indices((2, 3, 2, 4, 3, 5))
        np.testing.assert_array_equal(place.get(), np.moveaxis(100 * index[:3] + index[3:], 0, -1))

    def test_sums_of_blocks(self, cupy):
        numbers = np.random.default_rng(2).integers(-99, 99, size=(7, 256))
        sums, totals = cupy.empty(7, float), cupy.empty(7, np.int32)
        x, count = cupy.asarray(numbers, float), cupy.asarray(numbers, np.int32)
        kernel_of(cupy, "sums")((7,), (256,), (x, sums, count, totals))
        np.testing.assert_array_equal(sums.get(), numbers.sum(axis=1))
        np.testing.assert_array_equal(totals.get(), numbers.sum(axis=1))

    def test_many_barriers(self, cupy):
        x = cupy.arange(512, dtype=np.float32)
        rotate = kernel_of(cupy, "rotate")
        begin = time.perf_counter()
        rotate((1,), (512,), (x, np.int32(1000)), shared_mem=2048)
        assert time.perf_counter() - begin < 1  # about 0.02 s: a million waits
        np.testing.assert_array_equal(x.get(), np.roll(np.arange(512), -1000))

    def test_ballots_keep_the_order(self, cupy):
        x = np.random.default_rng(3).integers(0, 2, size=333).astype(np.int32)
        kept, length = cupy.empty(333, np.int32), cupy.empty(1, np.int32)
        kernel_of(cupy, "compact")((1,), (32,), (cupy.asarray(x), np.int32(333), kept, length))
        np.testing.assert_array_equal(kept.get()[: int(length[0])], np.flatnonzero(x))

    def test_uninitialised_shared_memory_is_no_number_in_every_block(self, cupy):
        x = cupy.zeros((3, 32, 3), np.float32)
        kernel_of(cupy, "uninitialised")((3,), (32,), (x,), shared_mem=128)
        assert np.isnan(x.get()).all()

    def test_barriers_do_not_wait_for_threads_that_ended(self, cupy):
        x = cupy.empty(40, np.int32)
        kernel_of(cupy, "some_leave_early")((1,), (64,), (x,))
        np.testing.assert_array_equal(x.get(), 20)


@needs_compiler
class TestOrder:
    def rotated(self, monkeypatch, seed, *options):
        cupy = install(monkeypatch, seed=seed)
        x = cupy.arange(256, dtype=np.float32)
        kernel_of(cupy, "rotate", *options)((1,), (256,), (x, np.int32(20)), shared_mem=1024)
        return x.get()

    def test_a_missing_barrier_shows_as_results_that_differ(self, monkeypatch):
        right = np.roll(np.arange(256), -20)
        results = [
            self.rotated(monkeypatch, seed, "-DWITHOUT_SECOND_BARRIER") for seed in range(1, 6)
        ]
        assert not any(np.array_equal(result, right) for result in results)
        assert not np.array_equal(results[0], results[1])

    def test_a_seed_gives_the_same_order_again(self, monkeypatch):
        results = [self.rotated(monkeypatch, 7, "-DWITHOUT_SECOND_BARRIER") for _ in range(2)]
        np.testing.assert_array_equal(*results)

    def test_blocks_warps_and_lanes_are_shuffled(self, monkeypatch):
        orders = []
        for seed in range(3):
            cupy = install(monkeypatch, seed=seed)
            order = cupy.empty(320, np.int32)
            kernel_of(cupy, "collect")((5,), (64,), (cupy.zeros(1, np.int32), order))
            orders.append(order.get())
            np.testing.assert_array_equal(np.sort(order.get()), np.arange(320))
        np.testing.assert_array_equal(orders[0], np.arange(320))
        for shuffled in orders[1:]:
            assert len({*(shuffled[::64] // 64)}) == 5
            for place in (shuffled // 64, shuffled % 64 // 32, shuffled % 32):
                assert (np.diff(place) < 0).any()
        assert not np.array_equal(orders[1], orders[2])


@needs_compiler
class TestDeadlocks:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("barriers_apart", r"block \(0, 0, 0\): threads wait at different barriers: .*line "),
            (
                "barrier_against_warp",
                r"for ever: 31 at __any_sync in line \d+ \(mask 0xffffffff\), "
                r"1 at __syncthreads in line",
            ),
            ("operations_apart", r"for ever: 16 at __all_sync .*, 16 at __any_sync "),
            ("not_in_its_mask", r"__shfl_sync in line \d+: lane 4 is not in its own mask"),
        ],
    )
    def test_threads_that_cannot_meet_are_told(self, cupy, name, message):
        kernel, x = kernel_of(cupy, name), cupy.zeros(64, np.int32)
        threads = 32 if name != "barriers_apart" else 64
        with pytest.raises(cupy.cuda.driver.CUDADriverError, match=f"{name}: .*{message}"):
            kernel((1,), (threads,), (x,))
        # The next launch starts anew.
        y = cupy.empty(40, np.int32)
        kernel_of(cupy, "some_leave_early")((1,), (64,), (y,))
        assert (y.get() == 20).all()


@needs_compiler
class TestRaces:
    @pytest.fixture
    def cupy(self, monkeypatch):
        return install(monkeypatch, races=True)

    @pytest.mark.parametrize(
        ("name", "threads", "message"),
        [
            ("same_place", 2, r"thread 0 of block 0 wrote at line (\d+), .* 1 .* read at line \1"),
            ("between_warps", 64, r"thread 0 of block 0 wrote at .* thread 32 .* read at line"),
            ("between_lanes", 32, r"thread 0 of block 0 read at .* thread 1 .* wrote at line"),
            ("between_blocks", 1, r"thread 0 of block 0 .* thread 0 of block 1 "),
            ("atomic_and_plain", 2, r"thread 0 .* read at .* thread 1 .* changed atomically at"),
        ],
    )
    def test_found_in_any_order(self, cupy, name, threads, message):
        x = cupy.zeros(64, np.int32)
        with pytest.raises(cupy.cuda.driver.CUDADriverError, match=f"{name}: .*race: {message}"):
            kernel_of(cupy, name, "-DRACE")((2,), (threads,), (x,))

    @pytest.mark.parametrize("seed", [0, 1])
    def test_none_where_there_is_none(self, monkeypatch, seed):
        cupy = install(monkeypatch, seed=seed, races=True)
        for name in ("between_warps", "between_lanes"):
            kernel_of(cupy, name)((1,), (64,), (cupy.zeros(64, np.int32),))
        x = cupy.arange(256, dtype=np.float32)
        kernel_of(cupy, "rotate")((1,), (256,), (x, np.int32(20)), shared_mem=1024)
        np.testing.assert_array_equal(x.get(), np.roll(np.arange(256), -20))
        numbers = np.arange(1024).reshape(4, 256)
        sums, totals = cupy.empty(4, float), cupy.empty(4, np.int32)
        arrays = cupy.asarray(numbers, float), sums, cupy.asarray(numbers, np.int32), totals
        kernel_of(cupy, "sums")((4,), (256,), arrays)
        np.testing.assert_array_equal(sums.get(), numbers.sum(axis=1))
        order = cupy.empty(320, np.int32)
        kernel_of(cupy, "collect")((5,), (64,), (cupy.zeros(1, np.int32), order))
        bytes_ = cupy.zeros(64, np.uint8)
        kernel_of(cupy, "neighbouring_bytes")((1,), (64,), (bytes_,))
        np.testing.assert_array_equal(bytes_.get(), np.arange(64))


@needs_compiler
class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({2: 0.5}, r"saxpy: argument 2 \(f4\) is Python's 0.5"),
            ({3: 10}, r"argument 3 \(i4\) is Python's 10"),
            ({3: np.int64(10)}, r"argument 3 \(i4\) is a number of type int64"),
            ({1: np.zeros(10, np.float32)}, r"argument 1 .*Unsupported type"),
            ({1: "float64"}, r"argument 1 \(\*f4\) is an array of type float64"),
            ({1: "strided"}, r"argument 1 .* is not contiguous"),
            ({4: np.int32(1)}, r"saxpy takes 4 arguments; 5 were given"),
        ],
    )
    def test_arguments(self, cupy, change, message):
        x = cupy.zeros(10, np.float32)
        made = {"float64": x.astype(float), "strided": cupy.zeros(20, np.float32)[::2]}
        arguments = dict(enumerate((x, x, np.float32(0.5), np.int32(10))))
        arguments |= {i: made.get(v, v) if isinstance(v, str) else v for i, v in change.items()}
        with pytest.raises((TypeError, ValueError), match=message):
            kernel_of(cupy, "saxpy")((1,), (32,), tuple(arguments.values()))

    def test_sizes_of_launches(self, cupy):
        rotate, saxpy = kernel_of(cupy, "rotate"), kernel_of(cupy, "saxpy")
        x = cupy.arange(32, dtype=np.float32)
        error = cupy.cuda.driver.CUDADriverError
        with pytest.raises(error, match="49153 bytes of dynamic shared memory; at most 49152"):
            rotate((1,), (32,), (x, np.int32(1)), shared_mem=49153)
        with pytest.raises(error, match=r"block \(513, 1, 1\): 1 to 512 threads"):
            rotate((1,), (513,), (x, np.int32(1)))
        with pytest.raises(error, match=r"block \(32, 33, 1\): 1 to 1024 threads"):
            saxpy((1,), (32, 33), (x, x, np.float32(1), np.int32(32)))
        with pytest.raises(error, match=r"grid \(0, 1, 1\): at least 1"):
            rotate((0,), (32,), (x, np.int32(1)))
        with pytest.raises(error, match="232449 bytes of shared memory; the device has 232448"):
            rotate.max_dynamic_shared_size_bytes = 232449
        rotate.max_dynamic_shared_size_bytes = 232448
        rotate((1,), (32,), (x, np.int32(1)), shared_mem=232448)
        np.testing.assert_array_equal(x.get(), np.roll(np.arange(32), -1))

    def test_sources(self, cupy):
        with pytest.raises(cupy.cuda.driver.CUDADriverError, match="'saxpi'; the kernels are "):
            kernel_of(cupy, "saxpi")
        with pytest.raises(cupy.cuda.compiler.CompileException, match=r"kernels.cu:2.*'?nothing'?"):
            cupy.RawModule(code=WRONG).get_function("wrong")
        with pytest.raises(cupy.cuda.compiler.CompileException, match="'--use_fast_math' is not"):
            kernel_of(cupy, "saxpy", "--use_fast_math")

    @pytest.mark.parametrize("element", [-1, 10])
    def test_writes_out_of_bounds(self, cupy, element):
        x = cupy.zeros(10, np.float32)
        with pytest.raises(
            cupy.cuda.driver.CUDADriverError,
            match=rf"add_at: argument 0.* written out of bounds, at element {element} of .* 10",
        ):
            kernel_of(cupy, "add_at")((1,), (1,), (x, np.int32(element)))

    def test_writes_behind_shared_memory(self, cupy):
        add = kernel_of(cupy, "add_at_shared")
        add((1,), (1,), (np.int32(9),), shared_mem=40)
        with pytest.raises(
            cupy.cuda.driver.CUDADriverError, match="behind the 40 bytes of dynamic shared memory"
        ):
            add((1,), (1,), (np.int32(10),), shared_mem=40)


class TestArrays:
    def test_the_host_sees_arrays_of_the_device_only_when_it_asks(self, cupy):
        host = np.arange(6.0).reshape(2, 3)
        x = cupy.asarray(host)
        host[:] = -1
        np.testing.assert_array_equal(x.get(), np.arange(6.0).reshape(2, 3))
        for mix in (np.asarray, np.ascontiguousarray, lambda x: x + host, lambda x: host * x):
            with pytest.raises(TypeError, match=r"not allowed|Unsupported type"):
                mix(x)
        with pytest.raises(TypeError, match="Unsupported type"):
            x[0] = host[0]

    def test_views_share_memory_and_results_do_not(self, cupy):
        x = cupy.asarray(np.arange(6.0))
        x.reshape(2, 3)[1, :2] += 10
        x[x < 1] = 7
        x[5].fill(8)
        np.testing.assert_array_equal(x.get(), [7, 1, 2, 13, 14, 8])
        sums = cupy.cumsum(x[1:])
        sums[:] = 0
        np.testing.assert_array_equal(x.get(), [7, 1, 2, 13, 14, 8])
        assert isinstance(x.sum(), cupy.ndarray)
        assert float(x.sum()) == 45

    def test_memory_is_counted_limited_and_full_of_garbage(self, cupy):
        pool = cupy.get_default_memory_pool()
        before = pool.used_bytes()
        x = cupy.empty(1000, np.float32)
        assert np.isnan(x.get()).all()
        assert (cupy.empty(3, np.int32).get() == -1).all()
        assert pool.used_bytes() - before == 4096
        assert cupy.cuda.Device(0).mem_info[1] - cupy.cuda.Device(0).mem_info[0] == before + 4096
        pool.set_limit(before + 5000)
        try:
            with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match=r"allocating 1,024 bytes"):
                cupy.empty(113, np.float64)
        finally:
            pool.set_limit(0)
        del x
        assert pool.used_bytes() == before


@needs_nvrtc
class TestNvrtc:
    @pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
    def test_kernels_compile_for_devices(self, architecture):
        compiled = compile_kernels(SOURCE, ["--std=c++17"], architecture)
        assert compiled.cubin.startswith(b"\x7fELF")
        assert not compiled.warnings
        assert 1 <= compiled.resources["saxpy"].registers <= 255
        assert compiled.resources["uninitialised"].shared == 256
        assert compiled.resources["saxpy"].shared == compiled.resources["saxpy"].spilled == 0

    def test_warnings_are_handed_on(self):
        code = 'extern "C" __global__ void idle() { int never_used; }'
        assert "never_used" in compile_kernels(code).warnings

    def test_errors_carry_the_log(self):
        with pytest.raises(NvrtcError, match=r"kernels.cu\(2\).*\n?.*nothing"):
            compile_kernels(WRONG)
        with pytest.raises(NvrtcError, match="unrecognized option --no-such-option"):
            compile_kernels("", ["--no-such-option"])
