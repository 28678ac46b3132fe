/* functions.h: all tile functions for one element type on one instruction set, and their table.
 * See instantiate.h for the parameters; it undefines those of the element type. */

#define NAME(name) JOIN2(name, SUFFIX)
#define INT_SIGN_BIT ((INT)((JOIN3(uint, REAL_BITS, _t))1 << (REAL_BITS - 1)))

/* Covers `width` queries by panels as wide as a register tile, and one narrower at the end. */
#define FOR_EACH_PANEL(width, panel)                                               \
    do {                                                                           \
        int q_ = 0;                                                                \
        for (; q_ + MAX_TILE_VECS * LANES <= (width); q_ += MAX_TILE_VECS * LANES) \
            panel(MAX_TILE_VECS, q_);                                              \
        switch (((width)-q_) / LANES) { LAST_PANEL(panel) }                        \
    } while (0)
#undef LAST_PANEL
#if MAX_TILE_VECS == 4
#define LAST_PANEL(panel)        \
    case 3: panel(3, q_); break; \
    case 2: panel(2, q_); break; \
    case 1: panel(1, q_); break; \
    default:                     \
        break;
#else
#define LAST_PANEL(panel)        \
    case 1: panel(1, q_); break; \
    default:                     \
        break;
#endif

#if REAL_BITS == 32
#define REAL_LOWEST (-FLT_MAX)
#else
#define REAL_LOWEST (-DBL_MAX)
#endif

/* Queries whose few sums of 4 vectors each fill half the registers, or three quarters of 16. */
#undef FEW_ROWS
#define FEW_ROWS (MAX_TILE_VECS == 4 ? 4 : 2)

#include "tiles/vec.h"

#include "tiles/exp.h"
#include "tiles/transpose.h"
#include "tiles/score.h"
#include "tiles/modify.h"
#include "tiles/weigh.h"
#include "tiles/aggregate.h"

enum { NAME(TILE_BLOCK) = 256 / sizeof(REAL) };

const attn_tiles JOIN3(attn_tiles, SUFFIX, JOIN2(__, ISA)) = {
    .element_size = sizeof(REAL),
    .lanes = LANES,
    .block = NAME(TILE_BLOCK),
    .load_transposed = NAME(load_transposed),
    .store_transposed = NAME(store_transposed),
    .store_rows = NAME(store_rows),
    .load_rows = NAME(load_rows),
    .scale_rows = NAME(scale_rows),
    .zero_rows = NAME(zero_rows),
    .fill = NAME(fill),
    .score = NAME(score),
    .score_few = NAME(score_few),
    .softcap = NAME(softcap),
    .add_bias = NAME(add_bias),
    .add_alibi = NAME(add_alibi),
    .mask_range = NAME(mask_range),
    .mask_documents = NAME(mask_documents),
    .load_allowed = NAME(load_allowed),
    .weigh = NAME(weigh),
    .weigh_few = NAME(weigh_few),
    .aggregate = NAME(aggregate),
    .aggregate_few = NAME(aggregate_few),
    .aggregate_visible = NAME(aggregate_visible),
    .all_finite = NAME(all_finite),
    .merge = NAME(merge),
    .merge_few = NAME(merge_few),
    .rescale = NAME(rescale),
    .finish = NAME(finish),
    .zero_masked = NAME(zero_masked),
};

#undef NAME
#undef INT_SIGN_BIT
#undef REAL_LOWEST
#undef FOR_EACH_PANEL
#undef REAL
#undef REAL_BITS
#undef SUFFIX
#undef VEC_BYTES
#undef VEC_FMA
#undef VEC_MAX
#undef VEC_LOAD_PART
#undef VEC_IS_SCALAR
#undef VEC_MASK
#undef FOR_EACH_VECTOR
#undef SQUARES
#undef INTERLEAVE_LOW
#undef INTERLEAVE_HIGH
