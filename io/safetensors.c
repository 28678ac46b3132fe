#include "safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

static const size_t HEADER_MAX = 100000000; /* the format's own limit */
static const char METADATA[] = "__metadata__";

/* Every type of the format, to check its size. Those with a dtype are arrays to attention, those with
 * a type can be read as they lie. */
static const struct {
    const char *name;
    int64_t size;
    io_safetensors_type type;
    attn_dtype dtype;
} types[] = {
    {"F32", 4, IO_SAFETENSORS_F32, ATTN_F32},
    {"F64", 8, IO_SAFETENSORS_F64, ATTN_F64},
    {"BOOL", 1, IO_SAFETENSORS_BOOL, ATTN_BOOL},
    {"U8", 1, IO_SAFETENSORS_U8, ATTN_BOOL},
    {"I8", 1, IO_SAFETENSORS_I8, ATTN_DTYPE_NONE},
    {"F8_E4M3", 1, IO_SAFETENSORS_OTHER, ATTN_DTYPE_NONE},
    {"F8_E5M2", 1, IO_SAFETENSORS_OTHER, ATTN_DTYPE_NONE},
    {"F16", 2, IO_SAFETENSORS_F16, ATTN_DTYPE_NONE},
    {"BF16", 2, IO_SAFETENSORS_BF16, ATTN_DTYPE_NONE},
    {"I16", 2, IO_SAFETENSORS_OTHER, ATTN_DTYPE_NONE},
    {"U16", 2, IO_SAFETENSORS_OTHER, ATTN_DTYPE_NONE},
    {"I32", 4, IO_SAFETENSORS_I32, ATTN_DTYPE_NONE},
    {"U32", 4, IO_SAFETENSORS_OTHER, ATTN_DTYPE_NONE},
    {"I64", 8, IO_SAFETENSORS_I64, ATTN_DTYPE_NONE},
    {"U64", 8, IO_SAFETENSORS_OTHER, ATTN_DTYPE_NONE},
};
enum { TYPES = sizeof types / sizeof types[0] };

const char *io_safetensors_type_name(io_safetensors_type type) {
    size_t i = 0;
    while (i < TYPES && (types[i].type != type || type == IO_SAFETENSORS_OTHER)) i++;
    return i < TYPES ? types[i].name : "(other)";
}

size_t io_safetensors_type_size(io_safetensors_type type) {
    size_t i = 0;
    while (i < TYPES && (types[i].type != type || type == IO_SAFETENSORS_OTHER)) i++;
    return i < TYPES ? (size_t)types[i].size : 0;
}

static size_t find_type(const json_t *entry) {
    const char *const name = json_string_value(json_object_get(entry, "dtype"));
    size_t i = 0;
    while (i < TYPES && !(name && strcmp(name, types[i].name) == 0)) i++;
    return i;
}

/* Multiplies size by the shape; false where a size is no number >= 0 or the product overflows. */
static bool multiply_shape(const json_t *shape, int64_t *size) {
    size_t i = 0;
    const json_t *item = NULL;
    if (!json_is_array(shape)) return false;
    json_array_foreach(shape, i, item) {
        const json_int_t length = json_integer_value(item);
        if (!json_is_integer(item) || length < 0) return false;
        if (length > 0 && *size > INT64_MAX / length) return false;
        *size *= length;
    }
    return true;
}

static bool check_entry(const io_safetensors *file, const char *name, const json_t *entry,
                        io_error *error) {
    const json_t *const offsets = json_object_get(entry, "data_offsets");
    const json_t *const first = json_array_get(offsets, 0);
    const json_t *const last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last)) {
        return io_fail(error, "%s: %s: its data_offsets are not two whole numbers", file->path,
                       name);
    }
    const int64_t begin = json_integer_value(first);
    const int64_t end = json_integer_value(last);
    if (begin < 0 || begin > end || (uint64_t)end > file->data_size) {
        return io_fail(error,
                       "%s: %s: its data_offsets [%" PRId64 ", %" PRId64 "] do not lie "
                       "within the %zu bytes of data that the file has: it is damaged or "
                       "cut short",
                       file->path, name, begin, end, file->data_size);
    }
    const size_t type = find_type(entry);
    int64_t size = type < TYPES ? types[type].size : 1;
    if (!multiply_shape(json_object_get(entry, "shape"), &size)) {
        return io_fail(error, "%s: %s: its shape is not a list of sizes, or overflows", file->path,
                       name);
    }
    if (type < TYPES && size != end - begin) {
        return io_fail(error,
                       "%s: %s: its shape needs %" PRId64 " bytes, but its data_offsets "
                       "span %" PRId64,
                       file->path, name, size, end - begin);
    }
    return true;
}

static bool check_header(const io_safetensors *file, io_error *error) {
    const char *name = NULL;
    json_t *entry = NULL;
    if (!json_is_object(file->header)) {
        return io_fail(error, "%s: its header is not a JSON object", file->path);
    }
    json_object_foreach(file->header, name, entry) {
        if (strcmp(name, METADATA) == 0) continue;
        if (!check_entry(file, name, entry, error)) return false;
    }
    return true;
}

static bool load_header(io_safetensors *file, io_error *error) {
    const unsigned char *const bytes = file->map.data;
    uint64_t length = 0;
    json_error_t problem;
    if (file->map.size < 8) {
        return io_fail(error, "%s: is not a safetensors file: it has fewer than 8 bytes",
                       file->path);
    }
    for (int i = 7; i >= 0; i--) length = length << 8 | bytes[i];
    if (length > HEADER_MAX || length > file->map.size - 8) {
        return io_fail(error,
                       "%s: its header says it is %" PRIu64 " bytes long: expected at most "
                       "%zu, and no more than the file",
                       file->path, length, HEADER_MAX);
    }
    file->data = bytes + 8 + length;
    file->data_size = file->map.size - 8 - (size_t)length;
    file->header =
        json_loadb((const char *)bytes + 8, (size_t)length, JSON_REJECT_DUPLICATES, &problem);
    if (!file->header) {
        return io_fail(error, "%s: its header is not JSON: %s", file->path, problem.text);
    }
    return check_header(file, error);
}

bool io_safetensors_open(io_safetensors *file, const char *path, io_error *error) {
    *file = (io_safetensors){.path = path};
    if (!io_map_open(&file->map, path, error)) return false;
    if (load_header(file, error)) return true;
    io_safetensors_close(file);
    return false;
}

const char *io_safetensors_next(const io_safetensors *file, const char *name) {
    void *at = name ? json_object_iter_next(file->header, json_object_iter_at(file->header, name))
                    : json_object_iter(file->header);
    if (at && strcmp(json_object_iter_key(at), METADATA) == 0) {
        at = json_object_iter_next(file->header, at);
    }
    return json_object_iter_key(at);
}

bool io_safetensors_raw_tensor(const io_safetensors *file, const char *name,
                               io_safetensors_raw *raw, io_error *error) {
    const json_t *const entry = json_object_get(file->header, name);
    const json_t *const shape = json_object_get(entry, "shape");
    const json_t *const offsets = json_object_get(entry, "data_offsets");
    *raw = (io_safetensors_raw){0};
    if (!entry || strcmp(name, METADATA) == 0) {
        return io_fail(error, "%s: has no tensor named %s", file->path, name);
    }
    if (json_array_size(shape) > IO_SAFETENSORS_DIMS) {
        return io_fail(error, "%s: %s has %zu dimensions: expected at most %d", file->path, name,
                       json_array_size(shape), IO_SAFETENSORS_DIMS);
    }
    const size_t type = find_type(entry);
    const json_int_t begin = json_integer_value(json_array_get(offsets, 0));
    raw->type = type < TYPES ? types[type].type : IO_SAFETENSORS_OTHER;
    raw->type_name = json_string_value(json_object_get(entry, "dtype"));
    if (!raw->type_name) raw->type_name = "(none)";
    raw->dims = (int)json_array_size(shape);
    for (int i = 0; i < raw->dims; i++) {
        raw->shape[i] = json_integer_value(json_array_get(shape, (size_t)i));
    }
    raw->bytes = file->data + begin;
    raw->size = (size_t)(json_integer_value(json_array_get(offsets, 1)) - begin);
    return true;
}

bool io_safetensors_has(const io_safetensors *file, const char *name) {
    return json_object_get(file->header, name) != NULL;
}

bool io_safetensors_array(const io_safetensors *file, const char *name, io_array *array,
                          io_error *error) {
    const json_t *const entry = json_object_get(file->header, name);
    const json_t *const shape = json_object_get(entry, "shape");
    *array = (io_array){0};
    if (!entry) return io_fail(error, "%s: has no tensor named %s", file->path, name);
    const size_t type = find_type(entry);
    if (type == TYPES || types[type].dtype == ATTN_DTYPE_NONE) {
        const char *const dtype = json_string_value(json_object_get(entry, "dtype"));
        return io_fail(error, "%s: %s holds elements of type %s: expected F32, F64 or BOOL",
                       file->path, name, dtype ? dtype : "(none)");
    }
    if (json_array_size(shape) > 4) {
        return io_fail(error, "%s: %s has %zu dimensions: expected at most 4", file->path, name,
                       json_array_size(shape));
    }
    array->dtype = types[type].dtype;
    array->dims = (int)json_array_size(shape);
    for (int i = 0; i < array->dims; i++) {
        array->shape[i] = json_integer_value(json_array_get(shape, (size_t)i));
    }
    size_t bytes = 0;
    if (!io_array_lay_out(array, false, &bytes)) {
        return io_fail(error, "%s: %s: its shape overflows", file->path, name);
    }
    const json_t *const offsets = json_object_get(entry, "data_offsets");
    array->data = file->data + json_integer_value(json_array_get(offsets, 0));
    return io_array_align(array, bytes, file->path, error);
}

const char *io_safetensors_metadata(const io_safetensors *file, const char *key) {
    return json_string_value(json_object_get(json_object_get(file->header, METADATA), key));
}

bool io_safetensors_tokens(const io_safetensors *file, const char *key, io_tokens *tokens,
                           io_error *error) {
    const char *const json = io_safetensors_metadata(file, key);
    io_error reason;
    *tokens = (io_tokens){0};
    if (!json || io_tokens_parse_json(tokens, json, key, &reason)) return true;
    return io_fail(error, "%s: metadata %s", file->path, reason.text);
}

void io_safetensors_close(io_safetensors *file) {
    json_decref(file->header);
    io_map_close(&file->map);
    *file = (io_safetensors){0};
}
