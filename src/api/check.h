/* check.h: arguments are checked once, here, before anything is computed. */
#ifndef ATTN_API_CHECK_H
#define ATTN_API_CHECK_H

#include "attn/gradients.h"

#if defined(__GNUC__)
#define ATTN_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define ATTN_PRINTF(format_index, first)
#endif

/* Keeps the sentence for attn_error_message() on this thread and returns status. */
attn_status attn_fail(attn_status status, const char *format, ...) ATTN_PRINTF(2, 3);

/* ATTN_OK if the problem keeps every rule of attn.h; else the status and sentence of the first
 * broken one. After ATTN_OK no size, stride or address computed from the problem can overflow. */
attn_status attn_check_problem(const attn_problem *problem);

/* The same for gradients.h's calls. Of the problem's results only `output` and `lse` are looked at,
 * as inputs, and of its views only which heads they choose. */
attn_status attn_check_backward(const attn_problem *problem, const attn_result_gradients *from,
                                const attn_input_gradients *to);
attn_status attn_check_jvp(const attn_problem *problem, const attn_tangents *tangents);

/* Whether a tensor takes part: it has data, or it has a type and a dimension of 0. */
bool attn_tensor_present(const attn_tensor *tensor);

/* Bytes of one element; 0 for ATTN_DTYPE_NONE and unknown types. */
size_t attn_dtype_size(attn_dtype dtype);

/* How many of a problem's heads the views show. */
int64_t attn_view_heads(const attn_views *views, int64_t heads);

#endif
