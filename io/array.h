/* array.h: numbers in a file, as the library wants to see them. */
#ifndef IO_ARRAY_H
#define IO_ARRAY_H

#include "error.h"
#include "map.h"

#include <attn/attn.h>

typedef struct io_array {
    attn_dtype dtype;
    int dims; /* 0 to 4 */
    int64_t shape[4];
    int64_t stride[4]; /* in elements */
    const void *data;
    io_map map; /* what data points into, if it is this array's own */
    void *copy; /* or this */
} io_array;

/* Sets dense strides, in C order (last index fastest) or Fortran order (first index fastest), and
 * *bytes to what the elements take. False if that is no number below 2^63; sizes of 0 count as 1
 * there, so that the strides of empty arrays cannot overflow either. */
bool io_array_lay_out(io_array *array, bool fortran_order, size_t *bytes);

/* Files may hold elements at addresses that C does not allow them at. Copies such an array (and
 * only such) into memory of its own. `name` is for the sentence. */
bool io_array_align(io_array *array, size_t bytes, const char *name, io_error *error);

/* The array's dimensions as those that end before `end` of four, the others 1: with end = 4
 * [length, width] becomes [1, 1, length, width], with end = 2 [heads] becomes [1, heads, 1, 1]. */
attn_tensor io_array_tensor(const io_array *array, int end);

void io_array_close(io_array *array);

/* "float32", "float64", "bool", "float16", "uint8", "int32", "int64". */
const char *io_dtype_name(attn_dtype dtype);
size_t io_dtype_size(attn_dtype dtype);

#endif
