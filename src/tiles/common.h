/* common.h: what every instantiation of the tile functions shares; included before any target is
 * set, so that nothing of the C library is compiled for an instruction set the machine may lack. */
#ifndef ATTN_TILES_COMMON_H
#define ATTN_TILES_COMMON_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "tiles/table.h"
#include "tiles/threefry.h"

#define JOIN2_(a, b) a##b
#define JOIN2(a, b) JOIN2_(a, b)
#define JOIN3_(a, b, c) a##b##c
#define JOIN3(a, b, c) JOIN3_(a, b, c)

/* Static, always: an inline function with other linkage could be merged with another file's copy,
 * made for another instruction set. */
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* Register tiles live in registers only if every loop over them is unrolled whole: at -O2, gcc
 * otherwise keeps the sums in memory, three times slower. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 16")
#else
#define UNROLL
#endif

/* Vectors of features that a tile of few queries sums at once: enough to cover the latency of an
 * addition (4 cycles, one or two a cycle). */
enum { MAX_FEW_VECS = 8 };

/* 2 log2(e) to more digits than a double has. */
#define TWICE_LOG2_E 2.885390081777926814719849362004L

/* Keys in a register tile of additive scores: enough divisions at a time to hide their latency. */
enum { MAX_ADDITIVE_ROWS = 4 };

/* Keys in a register tile of pairwise gradients: they share a division, and have a sum each. */
enum { MAX_PAIRWISE_KEYS = 4 };

/* How far ahead few queries ask for keys and values: they are read once, so memory sets the pace. */
enum { KEYS_AHEAD = 32, VALUES_AHEAD = 16 };

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define HAVE_SHUFFLE 1
#endif
#endif
#ifndef HAVE_SHUFFLE
#define HAVE_SHUFFLE 0
#endif

#endif
