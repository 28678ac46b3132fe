#include "numbers.h"

#include <math.h>
#include <string.h>

enum { HALF_INFINITY = 0x7C00, HALF_NAN = 0x7E00 };

static uint32_t bits_of(float x) {
    uint32_t bits = 0;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* binary32 has 8 bits of exponent, biased by 127, and 23 of fraction; binary16 5, biased by 15, and
 * 10. So a number keeps its upper bits, less 127 - 15 in the exponent, and 13 bits are rounded away. */
uint16_t model_half_from_float(float x) {
    const uint32_t bits = bits_of(x);
    const uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return (uint16_t)(sign | HALF_NAN);
    if (fabsf(x) >= 65520) return (uint16_t)(sign | HALF_INFINITY); /* 65504 and half a step */
    if (fabsf(x) < 0x1p-14F) { /* multiples of 2^-24; 1024 of them are the first normal number */
        return (uint16_t)(sign | (uint32_t)rintf(fabsf(x) * 0x1p24F));
    }
    magnitude += 0x0FFFu + (magnitude >> 13 & 1u); /* a tie reaches the next one if this is odd */
    return (uint16_t)(sign | (magnitude - ((127u - 15u) << 23)) >> 13);
}

float model_float_from_half(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = half & 0x7FFFu;
    uint32_t bits = 0;
    if (magnitude >= HALF_INFINITY) bits = 0x7F800000u | magnitude << 13;
    else if (magnitude < 0x0400) bits = bits_of((float)magnitude * 0x1p-24F);
    else bits = (magnitude << 13) + ((127u - 15u) << 23);
    bits |= sign;
    float x = 0;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Rounded up, so that no quotient exceeds 127 and all are within half a step. */
float model_scale(const float *x, int64_t count) {
    float largest = 0;
    for (int64_t i = 0; i < count; i++) largest = fmaxf(largest, fabsf(x[i]));
    const float scale = largest / 127;
    return 127.0 * (double)scale < (double)largest ? nextafterf(scale, INFINITY) : scale;
}

int8_t model_quantize(float x, float scale) {
    return scale > 0 ? (int8_t)rint((double)x / (double)scale) : 0;
}
