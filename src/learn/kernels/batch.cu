// The images of a batch out of a data set that lies on the device: its reference is gather of src/data/batch.rs, to the bit.
//
// The order of an epoch lies on the device too, and `cursor` says where in it the step stands, so that a step needs nothing from
// the host. An image goes where the first convolution reads it, [height][width][batch][channels], and where the reconstruction
// is held against it, [batch][channels x height x width].
//
// Versions: (1) one thread a value, reading bytes along rows. 0.1 MB of bytes and 0.8 MB of floats at full size and a batch of 128:
// a few microseconds, most of it the launch.
#include "device.cuh"

// SplitMix64, as in batch.rs.
__device__ __forceinline__ unsigned long long batch_mix(unsigned long long counter) {
    unsigned long long z = counter + 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// How far a draw of 32 bits moves an image: uniform in -most..=most.
__device__ __forceinline__ int batch_draw(unsigned long long bits, int most) {
    return static_cast<int>((bits * static_cast<unsigned long long>(2 * most + 1)) >> 32) - most;
}

// images [n][channels x height x width], classes [n]; order [..] or null for images in their own order; cursor[1]: the first of
// the batch in the order. shift: seed and epoch; most: the largest shift, 0 for none. Grid: blocks of pixels x samples.
// Writes map [height][width][batch][channels], flat [batch][pixels], labels [batch].
KERNEL batch_gather(const unsigned char* images, const unsigned char* classes, const int* order, const int* cursor,
                    const unsigned long long* shift, int most, int channels, int height, int width, float* map, float* flat,
                    int* labels) {
    const int sample = blockIdx.y, batch = gridDim.y, pixels = channels * height * width;
    const int place = cursor[1] + sample, index = order ? order[place] : place;
    int right = 0, down = 0;
    if (most > 0) {
        const unsigned long long hash =
            batch_mix(batch_mix(batch_mix(shift[0]) ^ shift[1]) ^ static_cast<unsigned long long>(index));
        right = batch_draw(hash >> 32, most);
        down = batch_draw(hash & 0xffffffffull, most);
    }
    if (blockIdx.x == 0 && threadIdx.x == 0) labels[sample] = classes[index];
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= pixels) return;
    const int x = pixel % width, y = pixel / width % height, channel = pixel / (width * height);
    const int from_x = x - right, from_y = y - down;
    float value = 0.f;
    if (from_x >= 0 && from_x < width && from_y >= 0 && from_y < height) {
        const long long from = (static_cast<long long>(index) * channels + channel) * height * width + from_y * width + from_x;
        value = static_cast<float>(images[from]) / 255.f;
    }
    flat[static_cast<long long>(sample) * pixels + pixel] = value;
    map[(static_cast<long long>(y * width + x) * batch + sample) * channels + channel] = value;
}
