#include "safetensors_write.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 16 }; /* bytes that a tensor's make is asked for at a time */

/* A tensor on its way into the file. */
typedef struct place {
    const io_safetensors_tensor *tensor;
    int64_t elements;
    uint64_t begin, end; /* of its bytes, from the end of the header */
} place;

/* io_safetensors_type rises as the type's order in the reference implementation does. */
static int compare(const void *left, const void *right) {
    const io_safetensors_tensor *const a = ((const place *)left)->tensor;
    const io_safetensors_tensor *const b = ((const place *)right)->tensor;
    if (a->type != b->type) return a->type > b->type ? -1 : 1;
    return strcmp(a->name, b->name);
}

static bool measure(place *p, uint64_t *at, const char *path, io_error *error) {
    const io_safetensors_tensor *const tensor = p->tensor;
    int64_t size = (int64_t)io_safetensors_type_size(tensor->type);
    bool good = size > 0 && tensor->dims >= 0 && tensor->dims <= IO_SAFETENSORS_DIMS;
    p->elements = 1;
    for (int i = 0; good && i < tensor->dims; i++) {
        const int64_t length = tensor->shape[i];
        good = length >= 0 && (length == 0 || p->elements <= INT64_MAX / 8 / length);
        if (good) p->elements *= length;
    }
    if (!good || (uint64_t)(p->elements * size) > INT64_MAX - *at) {
        return io_fail(error, "%s: %s: its type or shape cannot be written", path, tensor->name);
    }
    p->begin = *at;
    p->end = *at += (uint64_t)(p->elements * size);
    return true;
}

static json_t *describe(const place *p) {
    json_t *const shape = json_array();
    for (int i = 0; i < p->tensor->dims; i++) {
        (void)json_array_append_new(shape, json_integer(p->tensor->shape[i]));
    }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", io_safetensors_type_name(p->tensor->type),
                     "shape", shape, "data_offsets", (json_int_t)p->begin, (json_int_t)p->end);
}

static json_t *describe_pairs(const io_safetensors_pair *metadata, size_t pairs) {
    json_t *const object = json_object();
    for (size_t i = 0; i < pairs; i++) {
        if (json_object_set_new(object, metadata[i].key, json_string(metadata[i].text))) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

/* The header's text, to be freed; NULL and a sentence if it cannot be made. */
static char *make_header(const place *places, size_t count, const io_safetensors_pair *metadata,
                         size_t pairs, const char *path, io_error *error) {
    json_t *const header = json_object();
    json_t *const object = pairs ? describe_pairs(metadata, pairs) : NULL;
    const char *bad = NULL;
    if (pairs && json_object_set_new(header, "__metadata__", object)) bad = "__metadata__";
    for (size_t i = 0; i < count && !bad; i++) {
        const char *const name = places[i].tensor->name;
        if (json_object_get(header, name) ||
            json_object_set_new(header, name, describe(&places[i]))) {
            bad = name;
        }
    }
    char *const text = bad ? NULL : json_dumps(header, JSON_COMPACT);
    json_decref(header);
    if (bad) {
        (void)io_fail(error,
                      "%s: %s cannot be written: it is named twice, is not UTF-8, or there is "
                      "no memory",
                      path, bad);
    } else if (!text) {
        (void)io_fail(error, "%s: out of memory", path);
    }
    return text;
}

static bool write_bytes(io_target *target, const void *bytes, size_t size, io_error *error) {
    if (size == 0 || fwrite(bytes, 1, size, target->stream) == size) return true;
    return io_fail(error, "%s: cannot be written: %s", target->path, strerror(errno));
}

static bool write_header(io_target *target, const char *text, io_error *error) {
    const size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    unsigned char size[8];
    for (int i = 0; i < 8; i++) size[i] = (unsigned char)((uint64_t)padded >> (8 * i));
    return write_bytes(target, size, sizeof size, error) &&
           write_bytes(target, text, length, error) &&
           write_bytes(target, "       ", padded - length, error);
}

static bool write_tensor(io_target *target, const place *p, void *piece, io_error *error) {
    const io_safetensors_tensor *const tensor = p->tensor;
    if (tensor->data) return write_bytes(target, tensor->data, (size_t)(p->end - p->begin), error);
    const int64_t size = (int64_t)io_safetensors_type_size(tensor->type), most = PIECE / size;
    for (int64_t first = 0; first < p->elements; first += most) {
        const int64_t count = p->elements - first < most ? p->elements - first : most;
        if (!tensor->make(tensor, first, count, piece, error) ||
            !write_bytes(target, piece, (size_t)(count * size), error)) {
            return false;
        }
    }
    return true;
}

/* With memory at hand: places [count] and a piece. */
static bool write_all(io_target *target, place *places, size_t count, void *piece,
                      const io_safetensors_pair *metadata, size_t pairs, io_error *error) {
    uint64_t at = 0;
    qsort(places, count, sizeof *places, compare);
    for (size_t i = 0; i < count; i++) {
        if (!measure(&places[i], &at, target->path, error)) return false;
    }
    char *const text = make_header(places, count, metadata, pairs, target->path, error);
    bool good = text && write_header(target, text, error);
    free(text);
    for (size_t i = 0; good && i < count; i++) {
        good = write_tensor(target, &places[i], piece, error);
    }
    return good;
}

bool io_safetensors_write(io_target *target, const io_safetensors_tensor *tensors, size_t count,
                          const io_safetensors_pair *metadata, size_t pairs, io_error *error) {
    place *const places = calloc(count + 1, sizeof *places); /* + 1: none is no failure */
    void *const piece = malloc(PIECE);
    for (size_t i = 0; places && i < count; i++) places[i].tensor = &tensors[i];
    const bool good = places && piece
                          ? write_all(target, places, count, piece, metadata, pairs, error)
                          : io_fail(error, "%s: out of memory", target->path);
    free(places);
    free(piece);
    return good;
}
