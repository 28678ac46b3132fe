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
#define LOWEST_BIASED (-0x1p28f)
#define REAL_EPSILON FLT_EPSILON
#define REAL_MIN FLT_MIN
#define REAL_SQRT sqrtf
#else
#define LOWEST_BIASED (-0x1p57)
#define REAL_EPSILON DBL_EPSILON
#define REAL_MIN DBL_MIN
#define REAL_SQRT sqrt
#endif

/* Queries whose few sums of 4 vectors each fill half the registers, or three quarters of 16. */
#undef FEW_ROWS
#define FEW_ROWS (MAX_TILE_VECS == 4 ? 4 : 2)

#include "tiles/vec.h"

#include "tiles/exp.h"
#include "tiles/transpose.h"
#include "tiles/across.h"
#include "tiles/score.h"
#include "tiles/modify.h"
#include "tiles/additive.h"
#include "tiles/random.h"
#include "tiles/weigh.h"
#include "tiles/elementwise.h"
#include "tiles/sparse.h"
#include "tiles/aggregate.h"
#include "tiles/views.h"
#include "tiles/gradient.h"
#include "tiles/pairwise.h"

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
    .score_distance = NAME(score_distance),
    .score_distance_few = NAME(score_distance_few),
    .score_additive = NAME(score_additive),
    .score_additive_few = NAME(score_additive_few),
    .score_tanh = NAME(score_tanh),
    .score_tanh_few = NAME(score_tanh_few),
    .exp_twice = NAME(exp_twice),
    .column_ranges = NAME(column_ranges),
    .normalize_rows = NAME(normalize_rows),
    .multiply = NAME(multiply),
    .softcap = NAME(softcap),
    .add_bias = NAME(add_bias),
    .add_alibi = NAME(add_alibi),
    .add_relative = NAME(add_relative),
    .sum_relative = NAME(sum_relative),
    .uniform = NAME(uniform),
    .drop = NAME(drop),
    .add_gumbel = NAME(add_gumbel),
    .multiply_gaussian = NAME(multiply_gaussian),
    .mask_range = NAME(mask_range),
    .mask_documents = NAME(mask_documents),
    .load_allowed = NAME(load_allowed),
    .weigh = NAME(weigh),
    .weigh_few = NAME(weigh_few),
    .entropies = NAME(entropies),
    .weigh_each = NAME(weigh_each),
    .maxima = NAME(maxima),
    .maxima_few = NAME(maxima_few),
    .begin_threshold = NAME(begin_threshold),
    .any_above = NAME(any_row_above),
    .power_sums = NAME(power_sums),
    .power_sums_few = NAME(power_sums_few),
    .move_threshold = NAME(move_threshold),
    .power_weights = NAME(power_weights),
    .power_weights_few = NAME(power_weights_few),
    .hardmax = NAME(hardmax),
    .aggregate = NAME(aggregate),
    .aggregate_few = NAME(aggregate_few),
    .aggregate_visible = NAME(aggregate_visible),
    .all_finite = NAME(all_finite),
    .merge = NAME(merge),
    .merge_few = NAME(merge_few),
    .rescale = NAME(rescale),
    .finish = NAME(finish),
    .zero_masked = NAME(zero_masked),
    .begin_top = NAME(begin_top),
    .top = NAME(top),
    .top_few = NAME(top_few),
    .top_key = NAME(top_key),
    .received_maxima = NAME(received_maxima),
    .received_maxima_few = NAME(received_maxima_few),
    .accumulate = NAME(accumulate),
    .accumulate_maxima = NAME(accumulate_maxima),
    .add_block_sums = NAME(add_block_sums),
    .add_distances = NAME(add_distances),
    .add_distances_few = NAME(add_distances_few),
    .add_entropies = NAME(add_entropies),
    .add_entropies_few = NAME(add_entropies_few),
    .narrow = NAME(narrow),
    .distribute = NAME(distribute),
    .distribute_visible = NAME(distribute_visible),
    .weigh_known = NAME(weigh_known),
    .center = NAME(center),
    .weigh_and_center = NAME(weigh_and_center),
    .slope_each = NAME(slope_each),
    .power_slopes = NAME(power_slopes),
    .multiply_rows = NAME(multiply_rows),
    .add_entropy_gradient = NAME(add_entropy_gradient),
    .row_products = NAME(row_products),
    .dot_rows = NAME(dot_rows),
    .add_rows = NAME(add_rows),
    .slope_softcap = NAME(slope_softcap),
    .slope_of_cap = NAME(slope_of_cap),
    .normalize_gradient = NAME(normalize_gradient),
    .pairwise_gradient = NAME(pairwise_gradient),
};

#undef NAME
#undef INT_SIGN_BIT
#undef LOWEST_BIASED
#undef REAL_EPSILON
#undef REAL_MIN
#undef REAL_SQRT
#undef MANTISSA_BITS
#undef EXPONENT_BIAS
#undef ROUND_TO_INTEGER
#undef FOR_EACH_PANEL
#undef REAL
#undef REAL_BITS
#undef SUFFIX
#undef VEC_BYTES
#undef VEC_FMA
#undef VEC_MAX
#undef VEC_ANY
#undef VEC_ANY_NOT_LE
#undef VEC_LOAD_PART
#undef VEC_IS_SCALAR
#undef VEC_MASK
#undef FOR_EACH_VECTOR
#undef FEW_OR_NOT
#undef SQUARES
#undef INTERLEAVE_LOW
#undef INTERLEAVE_HIGH
