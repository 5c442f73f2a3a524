/* Passes over bf16 values that PyTorch would make one after the other; cpu.py calls them.

   Sums are in 32 bits. gcc makes vector instructions of each loop marked `simd`. */
#include <math.h>
#include <omp.h>
#include <stdint.h>

typedef uint16_t bf16;

static inline float widened(bf16 x) {
    union { uint32_t bits; float value; } of = {(uint32_t)x << 16};
    return of.value;
}

/* To the nearest, and to the even one of two; NaN stays NaN. */
static inline bf16 narrowed(float x) {
    union { float value; uint32_t bits; } of = {x};
    uint32_t nearest = (of.bits + 0x7fff + (of.bits >> 16 & 1)) >> 16;
    return x == x ? nearest : 0x7fc0;
}

/* e^x for x <= 0, within 2e-7 of it: 2^n e^r with |r| <= ln(2) / 2, where a polynomial of Cephes'
   expf gives e^r. Below -87 it is e^-87. */
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    float n = rintf(x * 1.44269504f);
    float r = fmaf(n, 2.12194440e-4f, fmaf(n, -0.693359375f, x)); /* x - n ln(2) */
    float e = 1.9875691500e-4f;
    e = fmaf(e, r, 1.3981999507e-3f);
    e = fmaf(e, r, 8.3334519073e-3f);
    e = fmaf(e, r, 4.1665795894e-2f);
    e = fmaf(e, r, 1.6666665459e-1f);
    e = fmaf(e, r, 5.0000001201e-1f);
    e = fmaf(e, r * r, r) + 1;
    union { uint32_t bits; float value; } power = {(uint32_t)((int32_t)n + 127) << 23};
    return e * power.value;
}

/* The loss of each row of `logits + bias`, what its label counts as right, and the gradient in the
   place of the logits. Each thread has 2 * words values of `buffers`, all 0: in the first half it
   adds up its rows' gradients, which is the gradient of the bias. */
void cross_entropy(bf16 *logits, const float *bias, const int64_t *labels, int64_t rows,
                   int64_t words, float most_nats, float *nll, float *correct, float *buffers,
                   int64_t threads) {
#pragma omp parallel num_threads(threads)
    {
        float *sums = buffers + 2 * words * omp_get_thread_num();
        float *x = sums + words;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row++) {
            bf16 *at = logits + row * words;
            int64_t label = labels[row];
            float highest = -INFINITY, total = 0, equal = 0;
#pragma omp simd reduction(max : highest)
            for (int64_t word = 0; word < words; word++) {
                x[word] = widened(at[word]) + bias[word];
                highest = x[word] > highest ? x[word] : highest;
            }
            float right = x[label];
            if (right == highest)
                for (int64_t word = 0; word < words; word++) equal += x[word] == highest;
            correct[row] = equal ? 1 / equal : 0;
#pragma omp simd reduction(+ : total)
            for (int64_t word = 0; word < words; word++) {
                x[word] = exponential(x[word] - highest);
                total += x[word];
            }
            float lost = highest - right + logf(total);
            nll[row] = lost > most_nats ? most_nats : lost; /* NaN stays NaN */
            float scale = 1 / total;
            x[label] -= total; /* p - one-hot, before it is divided by the total */
#pragma omp simd
            for (int64_t word = 0; word < words; word++) {
                float gradient = x[word] * scale;
                at[word] = narrowed(gradient);
                sums[word] += gradient;
            }
        }
    }
}

/* sums += values */
void accumulate(float *sums, const bf16 *values, int64_t count, int64_t threads) {
#pragma omp parallel for simd schedule(static) num_threads(threads)
    for (int64_t i = 0; i < count; i++) sums[i] += widened(values[i]);
}

/* What dropout leaves of a value for which it drew these bits. */
static inline float dropped(bf16 value, int16_t bits, int16_t lowest, float scale) {
    return (bits >= lowest ? scale : 0) * widened(value);
}

/* sum = x + dropout(more), and out = its LayerNorm; `bias` may be missing. */
void add_norm(const bf16 *x, const bf16 *more, const int16_t *bits, int16_t lowest, float scale,
              const float *weight, const float *bias, float eps, int64_t rows, int64_t width,
              bf16 *sum, bf16 *out, float *means, float *scales, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < rows; row++) {
        int64_t at = row * width;
        float total = 0, squares = 0;
#pragma omp simd reduction(+ : total)
        for (int64_t i = at; i < at + width; i++) {
            bf16 both = narrowed(widened(x[i]) + dropped(more[i], bits[i], lowest, scale));
            sum[i] = both;
            total += widened(both);
        }
        float mean = total / width;
#pragma omp simd reduction(+ : squares)
        for (int64_t i = at; i < at + width; i++) {
            float distance = widened(sum[i]) - mean;
            squares += distance * distance;
        }
        float of_row = 1 / sqrtf(squares / width + eps);
#pragma omp simd
        for (int64_t j = 0; j < width; j++) {
            float normal = (widened(sum[at + j]) - mean) * of_row * weight[j];
            out[at + j] = narrowed(bias ? normal + bias[j] : normal);
        }
        means[row] = mean;
        scales[row] = of_row;
    }
}

/* The gradients of x and more, and, of each thread in `buffers`, those of weight and bias. */
void add_norm_backward(const bf16 *grad, const bf16 *sum, const int16_t *bits, int16_t lowest,
                       float scale, const float *weight, const float *means, const float *scales,
                       int64_t rows, int64_t width, bf16 *grad_x, bf16 *grad_more, float *buffers,
                       int64_t threads) {
#pragma omp parallel num_threads(threads)
    {
        float *grad_weight = buffers + 2 * width * omp_get_thread_num();
        float *grad_bias = grad_weight + width;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row++) {
            int64_t at = row * width;
            float mean = means[row], of_row = scales[row], total = 0, along = 0;
#pragma omp simd reduction(+ : total, along)
            for (int64_t j = 0; j < width; j++) {
                float normal = (widened(sum[at + j]) - mean) * of_row;
                float g = widened(grad[at + j]);
                grad_weight[j] += g * normal;
                grad_bias[j] += g;
                total += g * weight[j];
                along += g * weight[j] * normal;
            }
            total /= width;
            along /= width;
#pragma omp simd
            for (int64_t j = 0; j < width; j++) {
                float normal = (widened(sum[at + j]) - mean) * of_row;
                float g = widened(grad[at + j]) * weight[j];
                bf16 both = narrowed(of_row * (g - total - normal * along));
                grad_x[at + j] = both;
                grad_more[at + j] = narrowed(dropped(both, bits[at + j], lowest, scale));
            }
        }
    }
}
