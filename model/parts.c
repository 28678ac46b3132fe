#include "parts.h"

#include "config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

bool model_check_format(const io_safetensors *file, const char *format, const char *what,
                        io_error *error) {
    const char *const is = io_safetensors_metadata(file, "format");
    if (is && strcmp(is, format) == 0) return true;
    return io_fail(error, "%s: is not %s: its metadata says the format is %.100s, expected %s",
                   file->path, what, is ? is : "nothing", format);
}

json_t *model_metadata_object(const io_safetensors *file, const char *key, io_error *error) {
    const char *const text = io_safetensors_metadata(file, key);
    json_error_t problem;
    if (!text) {
        (void)io_fail(error, "%s: has no metadata %s: expected a JSON object", file->path, key);
        return NULL;
    }
    json_t *const object = json_loads(text, JSON_REJECT_DUPLICATES, &problem);
    if (!object) {
        (void)io_fail(error, "%s: metadata %s is not JSON: %s", file->path, key, problem.text);
    } else if (!json_is_object(object)) {
        (void)io_fail(error, "%s: metadata %s is not a JSON object", file->path, key);
        json_decref(object);
        return NULL;
    }
    return object;
}

bool model_metadata_config(const io_safetensors *file, attn_nn_config *config, io_error *error) {
    char where[512];
    json_t *const object = model_metadata_object(file, "config", error);
    if (!object) return false;
    (void)snprintf(where, sizeof where, "%s: metadata config", file->path);
    const bool good = model_config_from_json(config, object, where, error);
    json_decref(object);
    return good;
}

char *model_object_text(const json_t *object) {
    return object ? json_dumps(object, JSON_COMPACT) : strdup("{}");
}

char *model_config_text(const attn_nn_config *config) {
    json_t *const object = model_config_to_json(config);
    char *const text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

attn_nn_real *model_room(int64_t count) {
    const size_t size = ((size_t)count * sizeof(attn_nn_real) + 63) / 64 * 64 + 64;
    attn_nn_real *const room = aligned_alloc(64, size);
    if (room) memset(room, 0, size);
    return room;
}
