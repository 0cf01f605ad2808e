// Max pooling over 2×2 windows: max_pool.rs. The pixels of a plane may stand side by side ([batch, channels, h, w]: inner = 1) or
// `inner` apart ([h, w, batch, channels]: one plane whose pixels are rows of batch × channels).
//
// Versions considered: (1) remembering the place of each largest value: an index more to write and to read for each window;
// (2) looking again in the backward pass, which has to write the four values anyway; (3) the backward pass by window, edges and
// all, so that every value of dx is written once and none has to be cleared. Bound by memory bandwidth: forward reads 4 values for
// 1 written, backward 5 for 4.
#include "device.cuh"

// Which of the window's four values, row by row, is the first largest, and that value; a NaN counts as largest.
__device__ __forceinline__ int largest_of(float first, float right, float below, float last, float& largest) {
    int best = 0;
    largest = first;
    auto compare = [&](int place, float value) {
        if (largest >= value || largest != largest) return;
        best = place;
        largest = value;
    };
    compare(1, right);
    compare(2, below);
    compare(3, last);
    return best;
}

// x: [planes, height, width, inner], y: [planes, height/2, width/2, inner]. Grid: rows of windows/blockDim.y × values of such a
// row/blockDim.x; rows: planes · height/2.
KERNEL max_pool_forward(const float* __restrict__ x, float* __restrict__ y, int rows, int height, int width, int inner) {
    const int out_height = height / 2, columns = width / 2 * inner;
    const int row = blockIdx.x * blockDim.y + threadIdx.y, column = blockIdx.y * blockDim.x + threadIdx.x;
    if (row >= rows || column >= columns) return;
    const long long line = static_cast<long long>(width) * inner;
    const float* from = x + (static_cast<long long>(row / out_height) * height + 2 * (row % out_height)) * line +
                        column / inner * 2 * inner + column % inner;
    float largest;
    largest_of(from[0], from[inner], from[line], from[line + inner], largest);
    y[static_cast<long long>(row) * columns + column] = largest;
}

// Writes dx, [planes, height, width, inner]: 0 but where a window's largest value stands. Windows that the edge cuts off count
// here: rows is planes · (height + 1)/2.
KERNEL max_pool_backward(const float* __restrict__ x, const float* __restrict__ dy, float* __restrict__ dx, int rows, int height,
                         int width, int inner) {
    const int windows_down = (height + 1) / 2, columns = (width + 1) / 2 * inner;
    const int row = blockIdx.x * blockDim.y + threadIdx.y, column = blockIdx.y * blockDim.x + threadIdx.x;
    if (row >= rows || column >= columns) return;
    const int plane = row / windows_down, i = row % windows_down, j = column / inner, within = column % inner;
    const long long line = static_cast<long long>(width) * inner;
    const long long first = (static_cast<long long>(plane) * height + 2 * i) * line + 2 * j * inner + within;
    const bool has_right = 2 * j + 1 < width, has_below = 2 * i + 1 < height;
    int best = -1;
    float gradient = 0.f, largest;
    if (has_right && has_below) {
        best = largest_of(x[first], x[first + inner], x[first + line], x[first + line + inner], largest);
        gradient = dy[((static_cast<long long>(plane) * (height / 2) + i) * (width / 2) + j) * inner + within];
    }
    dx[first] = best == 0 ? gradient : 0.f;
    if (has_right) dx[first + inner] = best == 1 ? gradient : 0.f;
    if (has_below) dx[first + line] = best == 2 ? gradient : 0.f;
    if (has_right && has_below) dx[first + line + inner] = best == 3 ? gradient : 0.f;
}
