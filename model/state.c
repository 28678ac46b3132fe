#include "config.h"
#include "internal.h"
#include "parts.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char FORMAT[] = "libattn-seq2seq-state-1";

/* --- What a state consists of -------------------------------------------------------------------------- */

typedef struct array_field {
    const char *name;
    size_t offset;
    bool optional;
} array_field;

static const array_field arrays[] = {
    {"values", offsetof(model_state, values), false},
    {"first", offsetof(model_state, first), false},
    {"second", offsetof(model_state, second), false},
    {"average", offsetof(model_state, average), true},
};
enum { ARRAYS = sizeof arrays / sizeof arrays[0] };

/* The seed, which is unsigned, has its bits. */
static const struct {
    const char *name;
    size_t offset;
} numbers[] = {
    {"step", offsetof(model_state, step)},
    {"epoch", offsetof(model_state, epoch)},
    {"position", offsetof(model_state, position)},
    {"seed", offsetof(model_state, seed)},
};
enum { NUMBERS = sizeof numbers / sizeof numbers[0] };

static attn_nn_real *get_array(const model_state *state, size_t i) {
    attn_nn_real *array = NULL;
    memcpy(&array, (const char *)state + arrays[i].offset, sizeof array);
    return array;
}

static void set_array(model_state *state, size_t i, attn_nn_real *array) {
    memcpy((char *)state + arrays[i].offset, &array, sizeof array);
}

char *model_state_path(const char *path) {
    static const char end[] = ".safetensors";
    const size_t length = strlen(path), cut = length >= strlen(end) ? length - strlen(end) : length;
    const int stem = (int)(strcmp(path + cut, end) == 0 ? cut : length);
    const size_t size = length + sizeof ".state.safetensors";
    char *const made = malloc(size);
    if (made) (void)snprintf(made, size, "%.*s.state%s", stem, path, end);
    return made;
}

/* --- Saving --------------------------------------------------------------------------------------------- */

typedef struct texts {
    char *config, *options, *progress;
    char numbers[NUMBERS][24];
} texts;

/* A state that could not be loaded again is not saved: the one before it is worth more. */
static bool check_finite(const attn_nn_real *array, int64_t size, const char *name,
                         const char *path, io_error *error) {
    for (int64_t i = 0; i < size; i++) {
        if (isfinite(array[i])) continue;
        return io_fail(error, "%s: %s [%" PRId64 "] is %g: expected a finite number", path, name, i,
                       (double)array[i]);
    }
    return true;
}

static bool write_tensors(io_target *target, const attn_nn_model *model, const model_state *state,
                          const texts *t, io_error *error) {
    io_safetensors_tensor tensors[ARRAYS];
    size_t count = 0;
    for (size_t i = 0; i < ARRAYS; i++) {
        const attn_nn_real *const data = get_array(state, i);
        if (!data) continue;
        tensors[count++] = (io_safetensors_tensor){.name = arrays[i].name,
                                                   .type = IO_SAFETENSORS_F32,
                                                   .dims = 1,
                                                   .shape = {attn_nn_model_layout(model)->size},
                                                   .data = data};
    }
    io_safetensors_pair metadata[4 + NUMBERS] = {{"format", FORMAT},
                                                 {"config", t->config},
                                                 {"options", t->options},
                                                 {"progress", t->progress}};
    for (size_t i = 0; i < NUMBERS; i++) {
        metadata[4 + i] = (io_safetensors_pair){numbers[i].name, t->numbers[i]};
    }
    return io_safetensors_write(target, tensors, count, metadata, 4 + NUMBERS, error);
}

static void make_numbers(const model_state *state, texts *t) {
    for (size_t i = 0; i < NUMBERS; i++) {
        uint64_t bits = 0;
        memcpy(&bits, (const char *)state + numbers[i].offset, sizeof bits);
        (void)snprintf(t->numbers[i], sizeof t->numbers[i], "%" PRIu64, bits);
    }
}

static bool check_state(const char *path, const attn_nn_model *model, const model_state *state,
                        io_error *error) {
    const int64_t size = attn_nn_model_layout(model)->size;
    for (size_t i = 0; i < ARRAYS; i++) {
        const attn_nn_real *const array = get_array(state, i);
        if (array && !check_finite(array, size, arrays[i].name, path, error)) return false;
        if (!array && !arrays[i].optional) {
            return io_fail(error, "%s: there is no array %s to save", path, arrays[i].name);
        }
    }
    if (state->step >= 0 && state->epoch >= 0 && state->position >= 0) return true;
    return io_fail(error, "%s: step, epoch or position is less than 0", path);
}

static bool write_state(io_target *target, const char *path, const attn_nn_model *model,
                        const model_state *state, io_error *error) {
    if (!check_state(path, model, state, error) || !io_target_open(target, path, error)) {
        return false;
    }
    texts t = {.config = model_config_text(attn_nn_model_config(model)),
               .options = model_object_text(state->options),
               .progress = model_object_text(state->progress)};
    make_numbers(state, &t);
    const bool good = t.config && t.options && t.progress
                          ? write_tensors(target, model, state, &t, error)
                          : io_fail(error, "%s: out of memory", path);
    free(t.config);
    free(t.options);
    free(t.progress);
    if (!good) io_target_discard(target);
    return good;
}

/* The state goes first: if the machine stops between the two renames, it is the model that is older,
 * and a training goes on from the state alone. */
static bool save(const char *path, const char *state_path, const model_file *file,
                 model_precision precision, const model_state *state, io_error *error) {
    io_target targets[2] = {{0}, {0}};
    if (!write_state(&targets[0], state_path, file->model, state, error)) return false;
    if (!model_file_write(&targets[1], path, file, precision, error)) {
        io_target_discard(&targets[0]);
        return false;
    }
    return io_targets_commit(targets, 2, error);
}

bool model_state_save(const char *path, const model_file *file, model_precision precision,
                      const model_state *state, io_error *error) {
    char *const state_path = model_state_path(path);
    if (!state_path) return io_fail(error, "%s: out of memory", path);
    const bool good = save(path, state_path, file, precision, state, error);
    free(state_path);
    return good;
}

/* --- Loading -------------------------------------------------------------------------------------------- */

static bool load_number(const io_safetensors *file, size_t i, model_state *state, io_error *error) {
    const char *const text = io_safetensors_metadata(file, numbers[i].name);
    const bool is_signed = numbers[i].offset != offsetof(model_state, seed);
    char *end = NULL;
    errno = 0;
    const uint64_t bits = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (!end || *end != '\0' || errno || (is_signed && bits > INT64_MAX)) {
        return io_fail(error, "%s: metadata %s is %.100s: expected a whole number, 0 or more",
                       file->path, numbers[i].name, text ? text : "nothing");
    }
    memcpy((char *)state + numbers[i].offset, &bits, sizeof bits);
    return true;
}

static bool load_array(const io_safetensors *file, size_t i, int64_t size, model_state *state,
                       io_error *error) {
    io_safetensors_raw raw;
    const char *const name = arrays[i].name;
    if (arrays[i].optional && !io_safetensors_has(file, name)) return true;
    if (!io_safetensors_raw_tensor(file, name, &raw, error)) return false;
    if (raw.type != IO_SAFETENSORS_F32 || raw.dims != 1 || raw.shape[0] != size) {
        return io_fail(error,
                       "%s: %s is %s of %d dimensions, %zu bytes: expected F32 [%" PRId64 "]",
                       file->path, name, raw.type_name, raw.dims, raw.size, size);
    }
    attn_nn_real *const array = model_room(size);
    if (!array) return io_fail(error, "%s: out of memory", file->path);
    memcpy(array, raw.bytes, raw.size);
    set_array(state, i, array);
    return check_finite(array, size, name, file->path, error);
}

static bool check_config(const io_safetensors *file, const attn_nn_model *model, io_error *error) {
    attn_nn_config config;
    if (!model_metadata_config(file, &config, error)) return false;
    const char *const field = model_config_difference(&config, attn_nn_model_config(model));
    if (!field) return true;
    return io_fail(error, "%s: is the state of another model: its config.%s differs", file->path,
                   field);
}

static bool load(const io_safetensors *file, const attn_nn_model *model, model_state *state,
                 io_error *error) {
    if (!model_check_format(file, FORMAT, "the state of a training", error) ||
        !check_config(file, model, error)) {
        return false;
    }
    for (size_t i = 0; i < NUMBERS; i++) {
        if (!load_number(file, i, state, error)) return false;
    }
    for (size_t i = 0; i < ARRAYS; i++) {
        if (!load_array(file, i, attn_nn_model_layout(model)->size, state, error)) return false;
    }
    state->options = model_metadata_object(file, "options", error);
    if (state->options) state->progress = model_metadata_object(file, "progress", error);
    return state->progress != NULL;
}

bool model_state_read(const char *state_path, const attn_nn_model *model, model_state *state,
                      io_error *error) {
    io_safetensors file;
    *state = (model_state){0};
    if (!io_safetensors_open(&file, state_path, error)) return false;
    const bool good = load(&file, model, state, error);
    if (!good) model_state_free(state);
    io_safetensors_close(&file);
    return good;
}

bool model_state_load(const char *path, const attn_nn_model *model, model_state *state,
                      io_error *error) {
    char *const state_path = model_state_path(path);
    *state = (model_state){0};
    if (!state_path) return io_fail(error, "%s: out of memory", path);
    const bool good = model_state_read(state_path, model, state, error);
    free(state_path);
    return good;
}

void model_state_free(model_state *state) {
    for (size_t i = 0; i < ARRAYS; i++) free(get_array(state, i));
    json_decref(state->options);
    json_decref(state->progress);
    *state = (model_state){0};
}
