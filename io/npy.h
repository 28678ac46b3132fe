/* npy.h: NumPy's .npy files, format versions 1, 2 and 3, little endian.
 *
 * Read:    float16, float32, float64, bool, uint8, int32 and int64; 0 to 4 dimensions; C and
 *          Fortran order.
 * Written: the same types, version 1, C order.
 * Format:  https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
#ifndef IO_NPY_H
#define IO_NPY_H

#include "array.h"
#include "target.h"

/* Maps the file and reads its header. The data is not touched. Close with io_array_close. */
bool io_npy_open(io_array *array, const char *path, io_error *error);

/* Opens a target for path that holds an array of this dtype and shape, and returns in *data where
 * its elements (now zeros) are to be written. Finish the target as target.h says. */
bool io_npy_create(io_target *target, const char *path, attn_dtype dtype, int dims,
                   const int64_t *shape, void **data, io_error *error);

#endif
