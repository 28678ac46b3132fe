/* instantiate.h: makes the tables attn_tiles_f32__<isa> and attn_tiles_f64__<isa>. A file in isa/
 * includes it once, after common.h, with what the header of its instruction set defines (avx2.h ...; the row
 * functions of nn/kernels are made with the same)
 *
 *     ISA                      the suffix of the tables' names
 *     ISA_BYTES                bytes of a vector; 0: no vectors, plain C
 *     VEC_ANY_HERE(mask)       optional: whether any lane of an integer vector is not 0
 *     VEC_ANY_NOT_LE_f32, f64(a, b)    optional: whether a <= b fails in any lane
 *     VEC_FMA_f32 … f64, VEC_MAX_f32 … f64, VEC_LOAD_PART_f32 … f64    optional, see vec.h
 *     SCALAR_FMA               defined where fma() and fmaf() are one instruction
 *
 * and with
 *
 *     MAX_TILE_VECS            vectors of queries in a register tile
 *     MAX_TILE_ROWS            the tallest register tile
 *     TILE_ROWS(vecs)          its height for so many vectors: a divisor of ATTN_KEY_BLOCK, such that
 *                              rows*vecs sums, vecs operands and a broadcast fit the registers */

#define REAL float
#define REAL_BITS 32
#define SUFFIX _f32
#if ISA_BYTES
#define VEC_BYTES ISA_BYTES
#else
#define VEC_BYTES 4
#endif
#ifdef VEC_FMA_f32
#define VEC_FMA VEC_FMA_f32
#endif
#ifdef VEC_MAX_f32
#define VEC_MAX VEC_MAX_f32
#endif
#ifdef VEC_ANY_HERE
#define VEC_ANY VEC_ANY_HERE
#endif
#ifdef VEC_ANY_NOT_LE_f32
#define VEC_ANY_NOT_LE VEC_ANY_NOT_LE_f32
#endif
#ifdef VEC_LOAD_PART_f32
#define VEC_LOAD_PART VEC_LOAD_PART_f32
#endif
#include "tiles/functions.h"

#define REAL double
#define REAL_BITS 64
#define SUFFIX _f64
#if ISA_BYTES
#define VEC_BYTES ISA_BYTES
#else
#define VEC_BYTES 8
#endif
#ifdef VEC_FMA_f64
#define VEC_FMA VEC_FMA_f64
#endif
#ifdef VEC_MAX_f64
#define VEC_MAX VEC_MAX_f64
#endif
#ifdef VEC_ANY_HERE
#define VEC_ANY VEC_ANY_HERE
#endif
#ifdef VEC_ANY_NOT_LE_f64
#define VEC_ANY_NOT_LE VEC_ANY_NOT_LE_f64
#endif
#ifdef VEC_LOAD_PART_f64
#define VEC_LOAD_PART VEC_LOAD_PART_f64
#endif
#include "tiles/functions.h"
