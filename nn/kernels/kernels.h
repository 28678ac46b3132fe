/* kernels.h: what is done to rows between the matrix products, one table per instruction set. All are
 * functions of whole arrays that lie dense; nothing is aligned, any length will do. */
#ifndef NN_KERNELS_H
#define NN_KERNELS_H

#include "attn/nn.h"

typedef struct attn_nn_adam_factors {
    attn_nn_real rate, mean_keep, square_keep; /* learning rate; beta 1 and 2 */
    attn_nn_real mean_by, square_by;           /* 1/(1 - beta^step), for the bias of the start */
    attn_nn_real epsilon, decay;               /* decay: weights shrink by rate*decay */
    attn_nn_real gradient_by;                  /* multiplies the gradient: clipping */
} attn_nn_adam_factors;

typedef struct attn_nn_kernels {
    /* y += a*x; y *= a. */
    void (*add)(attn_nn_real *y, attn_nn_real a, const attn_nn_real *x, int64_t count);
    void (*multiply)(attn_nn_real *y, attn_nn_real a, int64_t count);
    double (*sum_of_squares)(const attn_nn_real *x, int64_t count);

    /* sums [columns] += x [rows, columns], over rows. */
    void (*add_columns)(attn_nn_real *sums, const attn_nn_real *x, int64_t rows, int64_t columns);

    /* attn_nn_activation: y from x; d times the slope at x. */
    void (*activate)(attn_nn_activation kind, attn_nn_real *y, const attn_nn_real *x,
                     int64_t count);
    void (*slope)(attn_nn_activation kind, attn_nn_real *d, const attn_nn_real *x, int64_t count);

    /* x to 0 with probability rate, else x/(1 - rate); the noise is that of (stream, index). */
    void (*drop)(attn_nn_real *x, int64_t count, double rate, uint64_t stream);

    /* attn_nn_norm; weight's and bias's gradients are added to sums [columns]. bias NULL: RMS. */
    void (*normalize)(bool center, attn_nn_real *y, const attn_nn_real *x,
                      const attn_nn_real *weight, const attn_nn_real *bias, int64_t rows,
                      int64_t columns);
    void (*normalize_back)(bool center, attn_nn_real *d_x, attn_nn_real *d_weight,
                           attn_nn_real *d_bias, const attn_nn_real *x, const attn_nn_real *d_y,
                           const attn_nn_real *weight, int64_t rows, int64_t columns);

    /* One row: its log-sum-exp; its sum; x -= by. And back: x = scale*(exp(x - lse) - smooth). */
    double (*log_sum_exp)(const attn_nn_real *x, int64_t count);
    double (*sum)(const attn_nn_real *x, int64_t count);
    void (*subtract)(attn_nn_real *x, double by, int64_t count);
    void (*softmax_gradient)(attn_nn_real *x, double lse, double smooth, double scale,
                             int64_t count);

    /* Cells, see attn_nn_recurrent: gates [rows, 4 hidden] of sums become i, f, g, o in place; c and h
     * [rows, hidden] from the old c. And back: from d_h and d_c (of the new c; becomes that of the old)
     * to d_gates, of sums. c_old NULL: 0. GRU: gates [rows, 3 hidden] hold W_ih x + b_ih, state W_hh h +
     * b_hh; state's last part is what attn_nn_recurrent_saved keeps as cells. */
    void (*lstm)(attn_nn_real *gates, const attn_nn_real *c_old, attn_nn_real *c, attn_nn_real *h,
                 int64_t rows, int64_t hidden);
    void (*lstm_back)(attn_nn_real *d_gates, const attn_nn_real *gates, const attn_nn_real *c_old,
                      const attn_nn_real *c, const attn_nn_real *d_h, attn_nn_real *d_c,
                      int64_t rows, int64_t hidden);
    void (*gru)(attn_nn_real *gates, const attn_nn_real *state, const attn_nn_real *h_old,
                attn_nn_real *h, int64_t rows, int64_t hidden);
    /* d_gates: of W_ih x + b_ih; d_state: of W_hh h + b_hh; d_h becomes z*d_h, h_old's direct share. */
    void (*gru_back)(attn_nn_real *d_gates, attn_nn_real *d_state, const attn_nn_real *gates,
                     const attn_nn_real *cells, const attn_nn_real *h_old, attn_nn_real *d_h,
                     int64_t rows, int64_t hidden);

    /* tanh, in place; and back from its value: d *= 1 - y^2. */
    void (*tanh)(attn_nn_real *x, int64_t count);
    void (*tanh_back)(attn_nn_real *d, const attn_nn_real *y, int64_t count);

    /* y [rows, columns] = x [rows, inner] W^T, or with `keep` y += that; W in panels of `panel` rows each,
     * panel_step apart, from row `first` of the first one on, see panels.h and attn_nn_pack. A row has
     * the same bits whatever rows are beside it. */
    void (*multiply_panels)(const attn_nn_real *x, int64_t x_step, const attn_nn_real *panels,
                            int64_t panel_step, int first, attn_nn_real *y, int64_t y_step,
                            int64_t rows, int64_t columns, int64_t inner, bool keep);
    int panel;

    /* AdamW (Loshchilov & Hutter 2019). */
    void (*adam)(const attn_nn_adam_factors *by, attn_nn_real *values,
                 const attn_nn_real *gradients, attn_nn_real *mean, attn_nn_real *square,
                 int64_t count);
} attn_nn_kernels;

const attn_nn_kernels *attn_nn_kernels_for(attn_isa isa);

#endif
