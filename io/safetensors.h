/* safetensors.h: named arrays in one file, mapped.
 *
 * Format: 8 bytes little-endian header length, that many bytes of JSON
 *     {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...,
 *      "__metadata__": {"key": "text", ...}}
 * then the data, which offsets count from. https://github.com/huggingface/safetensors
 */
#ifndef IO_SAFETENSORS_H
#define IO_SAFETENSORS_H

#include "array.h"
#include "tokens.h"

struct json_t;

typedef struct io_safetensors {
    const char *path; /* the caller's */
    io_map map;
    struct json_t *header;
    const unsigned char *data;
    size_t data_size;
} io_safetensors;

/* Maps the file and checks its header: every tensor's offsets, and their agreement with its shape
 * and dtype. path must outlive the result. Close with io_safetensors_close. */
bool io_safetensors_open(io_safetensors *file, const char *path, io_error *error);

bool io_safetensors_has(const io_safetensors *file, const char *name);

/* The named tensor: F32, F64, BOOL, or U8 as bool; at most 4 dimensions. It points into the file,
 * which must stay open as long as the array. */
bool io_safetensors_array(const io_safetensors *file, const char *name, io_array *array,
                          io_error *error);

/* The text under that key of the metadata, or NULL. */
const char *io_safetensors_metadata(const io_safetensors *file, const char *key);

/* A JSON list of strings kept as text under that key of the metadata; none is no error. */
bool io_safetensors_tokens(const io_safetensors *file, const char *key, io_tokens *tokens,
                           io_error *error);

void io_safetensors_close(io_safetensors *file);

#endif
