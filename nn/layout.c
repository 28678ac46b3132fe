#include "attn/nn.h"

#include "noise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Each parameter begins on a line of the cache: 16 numbers of 4 bytes. */
enum { ROUND_UP = 16 };

/* Of all numbers: their bytes fit any size, and no sum of places overflows. */
static const int64_t most = (int64_t)1 << 56;

static bool grow(attn_nn_layout *layout) {
    if (layout->count < layout->capacity) return true;
    const int64_t capacity = layout->capacity ? 2 * layout->capacity : 64;
    void *const more = realloc(layout->parameters, (size_t)capacity * sizeof *layout->parameters);
    if (more == NULL) return false;
    layout->parameters = more;
    layout->capacity = capacity;
    return true;
}

int64_t attn_nn_layout_add(attn_nn_layout *layout, const char *name, int64_t rows, int64_t columns,
                           attn_nn_start start, double scale) {
    if (strlen(name) >= ATTN_NN_NAME_MAX || rows < 0 || columns < 0 ||
        (columns > 0 && rows > (most - layout->size) / columns) || !grow(layout)) {
        layout->failed = true;
        return 0;
    }
    attn_nn_parameter *const p = &layout->parameters[layout->count++];
    memset(p, 0, sizeof *p);
    memcpy(p->name, name, strlen(name));
    p->rows = rows, p->columns = columns;
    p->offset = layout->size;
    p->start = start, p->scale = scale;
    layout->size += (rows * columns + ROUND_UP - 1) / ROUND_UP * ROUND_UP;
    return p->offset;
}

const attn_nn_parameter *attn_nn_layout_find(const attn_nn_layout *layout, const char *name) {
    for (int64_t i = 0; i < layout->count; i++) {
        if (strcmp(layout->parameters[i].name, name) == 0) return &layout->parameters[i];
    }
    return NULL;
}

/* Box and Muller (1958): the root of an exponential number by the cosine of an angle is normal. */
static double normal(attn_nn_noise noise) {
    const double two_pi = 6.283185307179586477;
    return sqrt(-2 * log(attn_nn_uniform(noise.a))) * cos(two_pi * attn_nn_uniform(noise.b));
}

void attn_nn_layout_start(const attn_nn_layout *layout, uint64_t seed, attn_nn_real *values) {
    memset(values, 0, (size_t)layout->size * sizeof *values);
    for (int64_t i = 0; i < layout->count; i++) {
        const attn_nn_parameter *const p = &layout->parameters[i];
        const uint64_t stream = attn_nn_stream(seed, (uint64_t)i);
        for (int64_t k = 0; k < p->rows * p->columns; k++) {
            const attn_nn_noise noise = attn_nn_noise_at(stream, (uint64_t)k);
            double value = p->start == ATTN_NN_ONE ? 1 : 0;
            if (p->start == ATTN_NN_UNIFORM) value = p->scale * (2 * attn_nn_uniform(noise.a) - 1);
            if (p->start == ATTN_NN_NORMAL) value = p->scale * normal(noise);
            values[p->offset + k] = (attn_nn_real)value;
        }
    }
}

void attn_nn_layout_free(attn_nn_layout *layout) {
    free(layout->parameters);
    memset(layout, 0, sizeof *layout);
}
