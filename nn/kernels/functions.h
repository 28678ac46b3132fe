/* functions.h: the row functions for one instruction set, and their table. A file of this folder includes
 * it once, after tiles/common.h and the header of its instruction set in tiles/. Written over vec.h, whose
 * vectors they share with the core's tile functions. */

#ifdef ATTN_NN_DOUBLE
#define REAL double
#define REAL_BITS 64
#define SUFFIX _f64
#ifdef VEC_FMA_f64
#define VEC_FMA VEC_FMA_f64
#endif
#ifdef VEC_MAX_f64
#define VEC_MAX VEC_MAX_f64
#endif
#ifdef VEC_LOAD_PART_f64
#define VEC_LOAD_PART VEC_LOAD_PART_f64
#endif
#define REAL_SQRT sqrt
#else
#define REAL float
#define REAL_BITS 32
#define SUFFIX _f32
#ifdef VEC_FMA_f32
#define VEC_FMA VEC_FMA_f32
#endif
#ifdef VEC_MAX_f32
#define VEC_MAX VEC_MAX_f32
#endif
#ifdef VEC_LOAD_PART_f32
#define VEC_LOAD_PART VEC_LOAD_PART_f32
#endif
#define REAL_SQRT sqrtf
#endif
/* Six rows of so many vectors, one more for each vector, and one number: two fit 16 registers, four 32. */
#ifndef PANEL_VECS
#define PANEL_VECS 2
#endif
#define VEC_BYTES (ISA_BYTES ? ISA_BYTES : REAL_BITS / 8)
#define NAME(name) JOIN2(name, SUFFIX)
#define INT_SIGN_BIT ((INT)((JOIN3(uint, REAL_BITS, _t))1 << (REAL_BITS - 1)))

#include "tiles/vec.h"

#include "tiles/exp.h"

/* Vectors of an array, the last perhaps in part: lanes beyond it are 0 and are not stored. */
#define FOR_VECTORS(i, count) for (int64_t i = 0; i < (count); i += LANES)
#define LEFT(i, count) ((count) - (i) < LANES ? (int)((count) - (i)) : LANES)

INLINE vec get(const REAL *p, int left) {
    return left == LANES ? NAME(load)(p) : NAME(load_part)(p, left);
}

INLINE void put(REAL *p, vec v, int left) {
    if (left == LANES) {
        NAME(store)(p, v);
    } else {
        NAME(store_part)(p, v, left);
    }
}

INLINE vec all(double x) {
    return NAME(splat)((REAL)x);
}

INLINE double add_lanes(vec v) {
    REAL lanes[VEC_BYTES / sizeof(REAL)];
    double sum = 0;
    NAME(store)(lanes, v);
    for (int i = 0; i < LANES; i++) sum += (double)lanes[i];
    return sum;
}

#include "rows.h"

#include "activations.h"

#include "norms.h"

#include "cells.h"

#include "adam.h"

#include "panels.h"

const attn_nn_kernels JOIN2(attn_nn_kernels_, ISA) = {
    .add = add,
    .multiply = multiply,
    .sum_of_squares = sum_of_squares,
    .add_columns = add_columns,
    .activate = activate,
    .slope = slope,
    .drop = drop,
    .normalize = normalize,
    .normalize_back = normalize_back,
    .log_sum_exp = log_sum_exp,
    .sum = sum,
    .softmax_gradient = softmax_gradient,
    .subtract = subtract,
    .lstm = lstm,
    .lstm_back = lstm_back,
    .gru = gru,
    .gru_back = gru_back,
    .tanh = tanh_each,
    .tanh_back = tanh_back,
    .adam = adam,
    .multiply_panels = multiply_panels,
    .panel = PANEL,
};
