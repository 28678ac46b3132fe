/* Any bytes as a model file, as the state of a training, and as a state dict: refused with a sentence,
 * or finite numbers in every parameter.
 *
 * An input is the header up to its first byte of 0, which JSON has none of, and then the data; the length
 * before the header is made to fit. The seeds are what `sample seed` (tests/model/sample.c) writes, as
 * 32 and as 8 bits, in that form. */
#include "files.h"
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { LENGTH = 8 };

/* The file's bytes, to be freed. */
static uint8_t *frame(const uint8_t *bytes, size_t size, size_t *framed) {
    uint8_t *const file = malloc(LENGTH + size + 1);
    const uint8_t *const end = size ? memchr(bytes, 0, size) : NULL;
    const size_t header = end ? (size_t)(end - bytes) : size, skipped = end ? 1 : 0;
    if (!file) abort();
    for (int i = 0; i < LENGTH; i++) file[i] = (uint8_t)((uint64_t)header >> (8 * i));
    if (size) memcpy(file + LENGTH, bytes, header);
    if (end) memcpy(file + LENGTH + header, end + 1, size - header - 1);
    *framed = LENGTH + size - skipped;
    return file;
}

static void check(const float *values, int64_t count) {
    for (int64_t k = 0; k < count; k++) {
        if (!isfinite(values[k])) abort();
    }
}

/* The seeds' model, whose state other inputs may be. */
static const attn_nn_model *known_model(void) {
    static attn_nn_model *model;
    const attn_nn_config config = {.family = ATTN_NN_TRANSFORMER,
                                   .vocabulary = 4,
                                   .width = 2,
                                   .encoder_layers = 1,
                                   .heads = 1,
                                   .feed_forward = 2,
                                   .norm = ATTN_NN_RMS_NORM};
    if (!model && attn_nn_model_create(&model, &config) != ATTN_OK) abort();
    return model;
}

static void read_model(const char *path) {
    model_file file;
    io_error error = {0};
    if (model_file_load(path, &file, &error)) {
        check(file.values, attn_nn_model_layout(file.model)->size);
        model_file_free(&file);
    } else {
        fuzz_refused(&error);
        if (file.model || file.values || file.subwords || file.training) abort();
    }
}

static void read_state(const char *path) {
    model_state state;
    io_error error = {0};
    if (model_state_read(path, known_model(), &state, &error)) {
        check(state.second, attn_nn_model_layout(known_model())->size);
        model_state_free(&state);
    } else {
        fuzz_refused(&error);
    }
}

static void read_dict(const char *path) {
    static const model_names names = {"encoder.layers.0.", "", "decoder.layers.0."};
    const attn_nn_layout *const layout = attn_nn_model_layout(known_model());
    io_error error = {0};
    float *const values = calloc((size_t)layout->size, sizeof *values);
    if (!values) abort();
    if (model_load_parameters(path, &names, layout, values, &error)) check(values, layout->size);
    else fuzz_refused(&error);
    free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    size_t framed = 0;
    uint8_t *const file = frame(bytes, size, &framed);
    const char *const path = fuzz_file(file, framed);
    read_model(path);
    read_state(path);
    read_dict(path);
    free(file);
    return 0;
}
