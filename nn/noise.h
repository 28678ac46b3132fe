/* noise.h: numbers that pass for random, as a function of a place: Threefry-2x32 (Salmon et al. 2011),
 * as the core's dropout has it. */
#ifndef NN_NOISE_H
#define NN_NOISE_H

#include "tiles/threefry.h"

#include <stdint.h>

typedef struct attn_nn_noise {
    uint32_t a, b;
} attn_nn_noise;

/* The noise of a stream at a place. */
static inline attn_nn_noise attn_nn_noise_at(uint64_t stream, uint64_t place) {
    attn_nn_noise n = {(uint32_t)place, (uint32_t)(place >> 32)};
    ATTN_THREEFRY(n.a, n.b, (uint32_t)stream, (uint32_t)(stream >> 32));
    return n;
}

/* A stream of its own for each (seed, number). */
static inline uint64_t attn_nn_stream(uint64_t seed, uint64_t number) {
    const attn_nn_noise n = attn_nn_noise_at(seed, number);
    return (uint64_t)n.b << 32 | n.a;
}

/* Within 0 and 1. */
static inline double attn_nn_uniform(uint32_t word) {
    return ((double)word + 0.5) * 0x1p-32;
}

#endif
