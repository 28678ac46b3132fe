/* safetensors_write.h: named arrays into one file.
 *
 * The bytes are those of the reference implementation (https://github.com/huggingface/safetensors):
 * tensors in the order of their types, the widest first, and then of their names; no gaps; a header
 * padded by blanks to a multiple of 8 bytes, so that every element is aligned. Elements are asked
 * for in pieces and written as they come, so no second copy of the arrays ever exists.
 */
#ifndef IO_SAFETENSORS_WRITE_H
#define IO_SAFETENSORS_WRITE_H

#include "safetensors.h"
#include "target.h"

typedef struct io_safetensors_tensor io_safetensors_tensor;

struct io_safetensors_tensor {
    const char *name;         /* UTF-8 */
    io_safetensors_type type; /* not OTHER */
    int dims;                 /* 0 to IO_SAFETENSORS_DIMS */
    int64_t shape[IO_SAFETENSORS_DIMS];

    const void *data; /* dense; or NULL, and: */

    /* Makes elements first .. first + count - 1, in order, each once; false: *error says why. */
    bool (*make)(const io_safetensors_tensor *tensor, int64_t first, int64_t count, void *elements,
                 io_error *error);
    const void *user; /* for make */
};

typedef struct io_safetensors_pair {
    const char *key, *text; /* UTF-8 */
} io_safetensors_pair;

/* Writes the whole file into target->stream. Whether all of it reached the disk, io_targets_commit
 * finds out; if this fails, call io_target_discard. */
bool io_safetensors_write(io_target *target, const io_safetensors_tensor *tensors, size_t count,
                          const io_safetensors_pair *metadata, size_t pairs, io_error *error);

#endif
