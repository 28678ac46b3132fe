/* attn/gradients.h: the derivatives of attn.h's attention, for training.
 *
 * attn_forward maps inputs to results; a loss L is some function of the results. Given the
 * derivatives of L with respect to the results, attn_backward finds those with respect to the
 * inputs:
 *
 *     attn_forward(NULL, &p);                       // p.output and p.lse are kept
 *     attn_result_gradients from = {.output = attn_tensor_f32(d_out, batch, heads, n_query, d)};
 *     attn_input_gradients to = {
 *         .query = attn_tensor_f32(d_q, batch, heads, n_query, d),
 *         .key = attn_tensor_f32(d_k, batch, kv_heads, n_key, d),
 *         .value = attn_tensor_f32(d_v, batch, kv_heads, n_key, d),
 *     };
 *     if (attn_backward(NULL, &p, &from, &to) != ATTN_OK) puts(attn_error_message());
 *
 * attn_jvp goes the other way: from a change of the inputs to that of the results.
 * The conventions of attn.h hold here too; docs/MATHS.md derives every formula. */
#ifndef ATTN_GRADIENTS_H
#define ATTN_GRADIENTS_H

#include "attn/attn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------
 * Backward
 * ------------------------------------------------------------------------------------------- */

/* dL/d(results of attn_forward), in query's dtype. Absent: 0, which is not computed with. H: the heads
 * that problem->views->heads chooses; all of them without; S: sequences, as in attn_views. n_key of
 * packed batches: the longest sequence's keys, or more. */
typedef struct attn_result_gradients {
    attn_tensor output;  /* [batch, heads, n_query, d_value] */
    attn_tensor lse;     /* [batch, heads, n_query, 1]; softmax's */
    attn_tensor weights; /* [batch, heads, n_query, n_key], as problem.weights */

    /* Of views: what each key received in all (coverage), and the entropy of each query, in nats. The
     * entropy of a weight of 0 counts as flat; of a negative one (linear) it is NaN. */
    attn_tensor received_sum; /* [S, H, 1, n_key], as views.received_sum */
    attn_tensor entropy;      /* [batch, H, n_query, 1], as views.entropy */

    uint64_t reserved[8]; /* zero */
} attn_result_gradients;

/* Goes backward through problem->score.callback. `scores` are what that callback was given; in
 * `gradients`, a rectangle of the same pairs, stands dL/d(what it left), which is to be changed in
 * place to dL/d(what it was given). What the mask hides, or the score callback set to -infinity, has
 * gradient 0, before and after. Rules as for attn_pairs_callback. */
typedef void attn_pairs_gradient_callback(void *user, const attn_pairs *scores,
                                          const attn_pairs *gradients);

/* dL/d(inputs), each computed only if it has a place; all in query's dtype, and of the very shape of
 * the input: where an input broadcasts over a dimension of size 1, the gradient is summed over it.
 * Numbers that are no tensors in the problem (scale, ...) have gradients [1, 1, 1, 1].
 * A gradient of an input that is absent from the problem is ATTN_ERROR_VALUE. */
typedef struct attn_input_gradients {
    attn_tensor query, key, value;

    /* score: scale is of the scale in effect, given or default; temperature of that of the normalizer,
     * 1 by default; scales, alibi_slopes and sinks are per head, as in attn_score. */
    attn_tensor bias, alibi_slopes, sinks, scales;
    attn_tensor scale, softcap, temperature;
    attn_tensor weight, projection, offset;
    attn_pairs_gradient_callback *callback; /* NULL (or not) if score.callback is (or not) */
    void *callback_user;

    /* score.relative; score.location */
    attn_tensor relative_bias, relative_keys, relative_queries, relative_values;
    attn_tensor content_bias, position_bias;
    attn_tensor previous, filters, location_projection;

    /* normalizer: sigmoid's bias; local.centers; local.sigma in effect. Which keys the window of local
     * attention shows does not change with its centre: that part has no derivative. */
    attn_tensor sigmoid_bias, centers, sigma;

    uint64_t reserved[8]; /* zero */
} attn_input_gradients;

/* The gradients of attn_forward's results. With z the scores over the temperature, w the weights and
 * G[i][j] = dL/dw[i][j] = dot(d_output[i], value[j]) + d_weights[i][j] + d_received[j]
 *                         - d_entropy[i] (log w[i][j] + 1),
 * softmax gives
 *
 *     d_value[j] = sum_i w[i][j] d_output[i]
 *     dz[i][j]   = w[i][j] (G[i][j] - sum_j' w[i][j'] G[i][j'] + d_lse[i])
 *     d_query[i] = scale/temperature sum_j dz[i][j] key[j]
 *     d_key[j]   = scale/temperature sum_i dz[i][j] query[i]
 *
 * and docs/MATHS.md the same for every score, normaliser and term.
 *
 * context    threads, table, memory; NULL: the default one
 * problem    the one that attn_forward was given; only read. Of its results, `output` and `lse` are
 *            read if they have a place: what the forward left there. A softmax for which they do not
 *            is run forward again for them. Its other results, views included, are neither read nor
 *            written
 * from       what flows in
 * to         places for what flows out; nothing may overlap in memory
 *
 * Cost: 10 operations per visible pair and feature; weights are computed anew, tile by tile. 4 more
 * where rows must be known first: if `from` has weights, received_sum or entropy and the normalizer
 * is a softmax; for sparsemax and entmax; and for a softmax without `output` or `lse`.
 *
 * Memory: the tensors; a number for each query and head (sparsemax and entmax 4; and a log-sum-exp and
 * a whole output if those were not given); a word for each 64 queries and each 384 keys of a head; per
 * thread some (9 d + 4 d_value + 1000) * 64 + 384 * (d + d_value) elements for dot products and a
 * softmax, the sums of the parameters asked for, and 64 rows of weights for sparsemax, entmax and
 * hardmax.
 *
 * Threads: heads and stretches of 384 keys are tasks of their own, however heads share keys. Tasks wait
 * for each other: a callback must not run other iterations of the caller's parallel loop.
 * Bits: as attn_forward, gradients do not depend on the number of threads, nor those of query, key
 * and value on batch size, position in the batch, padding, packing, or which others are asked for.
 * What is summed over a batch is summed in its order.
 *
 * Rows that see nothing, padding, and keys that nobody sees have gradient 0; such a row's sink has
 * that of its log-sum-exp. What the mask hides is never looked at. A NaN in a visible input gives NaN
 * wherever the formula would; nothing flows through a weight of sparsemax or entmax that is 0, nor
 * from hardmax to scores.
 *
 * Errors: as attn_forward, for all tensors; on any of them no gradient has been touched.
 *
 * Source: recomputation from the log-sum-exp: Dao et al. 2022; sparsemax, entmax: Martins & Astudillo
 * 2016, Peters et al. 2019; sums in order: docs/DESIGN.md. */
ATTN_API attn_status attn_backward(attn_context *context, const attn_problem *problem,
                                   const attn_result_gradients *from,
                                   const attn_input_gradients *to);

/* The same by the textbook, in float64, one row at a time: what every test compares with, and
 * src/attention/reference_backward.c the file to read. Everything is summed in float64 and rounded
 * to its dtype at the very end. It runs the forward itself: problem's results are not read. Slow. One
 * thread; memory from the C library: a copy in float64 of every gradient asked for. Same errors. */
ATTN_API attn_status attn_reference_backward(const attn_problem *problem,
                                             const attn_result_gradients *from,
                                             const attn_input_gradients *to);

/* ---------------------------------------------------------------------------------------------
 * Forward mode
 * ------------------------------------------------------------------------------------------- */

/* Changes of the inputs, and of the results with them: tensors as the problem's own, query's dtype. */
typedef struct attn_tangents {
    attn_tensor query, key, value, bias; /* given; absent: 0 */
    attn_tensor output, lse, weights;    /* results, each computed only if it has a place */
    uint64_t reserved[8];                /* zero */
} attn_tangents;

/* Jacobian-vector product: how the results change, to first order, if the inputs change so:
 *
 *     t_s[i][j]   = scale (dot(t_query[i], key[j]) + dot(query[i], t_key[j])), through soft cap,
 *                   + t_bias[i][j]; over the temperature
 *     t_lse[i]    = sum_j w[i][j] t_s[i][j]
 *     t_w[i][j]   = w[i][j] (t_s[i][j] - t_lse[i])
 *     t_output[i] = sum_j t_w[i][j] value[j] + w[i][j] t_value[j]
 *
 * for ATTN_SCORE_DOT with a softmax, any mask, bias, soft cap, slopes, sinks, scales and dropout;
 * anything else (relative, local, callbacks of scores, other kinds) is ATTN_ERROR_UNSUPPORTED.
 * problem's output and lse are read, or computed, as by attn_backward.
 *
 * Cost: 10 operations per visible pair and feature, 6 more for the weights. Memory, threads, bits,
 * errors: as attn_forward.
 * On any error no result has been touched. Source: docs/MATHS.md. */
ATTN_API attn_status attn_jvp(attn_context *context, const attn_problem *problem,
                              const attn_tangents *tangents);

/* The same by the textbook, in float64, one row at a time. Same errors. */
ATTN_API attn_status attn_reference_jvp(const attn_problem *problem, const attn_tangents *tangents);

#ifdef __cplusplus
}
#endif

#endif
