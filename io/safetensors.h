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

/* Types of elements; the format has some more, which are OTHER here. */
typedef enum io_safetensors_type {
    IO_SAFETENSORS_OTHER = 0,
    IO_SAFETENSORS_BOOL,
    IO_SAFETENSORS_U8,
    IO_SAFETENSORS_I8,
    IO_SAFETENSORS_F16,
    IO_SAFETENSORS_BF16,
    IO_SAFETENSORS_I32,
    IO_SAFETENSORS_F32,
    IO_SAFETENSORS_F64,
    IO_SAFETENSORS_I64
} io_safetensors_type;

const char *io_safetensors_type_name(io_safetensors_type type); /* "F32" */
size_t io_safetensors_type_size(io_safetensors_type type);      /* in bytes; OTHER: 0 */

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

/* The name of the tensor after this one in the header's order, which is none; NULL: the first. NULL
 * after the last. It lives as long as the file is open. */
const char *io_safetensors_next(const io_safetensors *file, const char *name);

/* A tensor as its bytes lie in the file, which must stay open: of any type, little-endian, and at any
 * address. */
enum { IO_SAFETENSORS_DIMS = 4 };
typedef struct io_safetensors_raw {
    io_safetensors_type type;
    const char *type_name; /* as the file has it */
    int dims;
    int64_t shape[IO_SAFETENSORS_DIMS];
    const unsigned char *bytes;
    size_t size; /* of bytes; agrees with shape and type, unless that is OTHER */
} io_safetensors_raw;

bool io_safetensors_raw_tensor(const io_safetensors *file, const char *name,
                               io_safetensors_raw *raw, io_error *error);

/* The text under that key of the metadata, or NULL. */
const char *io_safetensors_metadata(const io_safetensors *file, const char *key);

/* A JSON list of strings kept as text under that key of the metadata; none is no error. */
bool io_safetensors_tokens(const io_safetensors *file, const char *key, io_tokens *tokens,
                           io_error *error);

void io_safetensors_close(io_safetensors *file);

#endif
