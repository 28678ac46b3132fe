/* sample.c: model files for test_python.py, and what C reads from those that Python writes.
 *
 *   sample model PATH PRECISION      writes a small model (PRECISION 0, 1, 2: F32, F16, I8), and prints
 *                                    its parameters: a line "NAME ROWS COLUMNS VALUE..." each
 *   sample types PATH                writes a file with a tensor of each type that can be written
 *   sample seed PATH PRECISION       writes a model, and a state beside it, as small as can be
 *   sample attention PATH PREFIX WIDTH
 *   sample block PATH PREFIX WIDTH CROSS
 *   sample lstm PATH PREFIX SUFFIX IN HIDDEN
 *                                    reads the module's weights and prints them likewise */
#include "attn/transformer.h"

#include "support.h"

#include "safetensors_write.h"

static int complain(const char *sentence) {
    (void)fprintf(stderr, "%s\n", sentence);
    return 2;
}

static void print_values(const attn_nn_layout *layout, const float *values) {
    for (int64_t i = 0; i < layout->count; i++) {
        const attn_nn_parameter *const p = &layout->parameters[i];
        printf("%s %lld %lld", p->name, (long long)p->rows, (long long)p->columns);
        for (int64_t k = 0; k < p->rows * p->columns; k++) {
            printf(" %.9g", (double)values[p->offset + k]);
        }
        printf("\n");
    }
}

static int write_model(const char *path, int precision) {
    const attn_nn_config config = transformer_config();
    model_file file = make_model(&config);
    io_error error = {0};
    if (!model_file_save(path, &file, (model_precision)precision, &error)) {
        return complain(error.text);
    }
    print_values(attn_nn_model_layout(file.model), file.values);
    model_file_free(&file);
    return 0;
}

/* For tests/fuzz/fuzz_model.c. */
static int write_seed(const char *path, int precision) {
    const attn_nn_config config = {.family = ATTN_NN_TRANSFORMER,
                                   .vocabulary = 4,
                                   .width = 2,
                                   .encoder_layers = 1,
                                   .heads = 1,
                                   .feed_forward = 2,
                                   .norm = ATTN_NN_RMS_NORM};
    model_file file = make_model(&config);
    model_state state = {.values = file.values,
                         .first = file.values,
                         .second = file.values,
                         .step = 1,
                         .options = json_object(),
                         .progress = json_object()};
    io_error error = {0};
    if (!model_state_save(path, &file, (model_precision)precision, &state, &error)) {
        return complain(error.text);
    }
    json_decref(state.options);
    json_decref(state.progress);
    model_file_free(&file);
    return 0;
}

/* Names and shapes that the reference implementation has to sort, escape and pad like this one. */
static int write_types(const char *path) {
    static const unsigned char bytes[48] = {1, 2, 3, 0, 1};
    const io_safetensors_tensor tensors[] = {
        {.name = "u8", .type = IO_SAFETENSORS_U8, .dims = 1, .shape = {5}, .data = bytes},
        {.name = "f32", .type = IO_SAFETENSORS_F32, .dims = 2, .shape = {2, 3}, .data = bytes},
        {.name = "b", .type = IO_SAFETENSORS_F64, .dims = 1, .shape = {2}, .data = bytes},
        {.name = "a", .type = IO_SAFETENSORS_F64, .dims = 0, .data = bytes},
        {.name = "i64", .type = IO_SAFETENSORS_I64, .dims = 3, .shape = {1, 2, 3}, .data = bytes},
        {.name = "i8", .type = IO_SAFETENSORS_I8, .dims = 1, .shape = {3}, .data = bytes},
        {.name = "f16", .type = IO_SAFETENSORS_F16, .dims = 1, .shape = {3}, .data = bytes},
        {.name = "i32 \"\xC3\xA9\"",
         .type = IO_SAFETENSORS_I32,
         .dims = 1,
         .shape = {1},
         .data = bytes},
        {.name = "none", .type = IO_SAFETENSORS_F32, .dims = 2, .shape = {0, 4}, .data = bytes},
        {.name = "bool", .type = IO_SAFETENSORS_BOOL, .dims = 1, .shape = {2}, .data = bytes + 3},
    };
    const io_safetensors_pair pair = {"format", "tab\tand \\"};
    io_target target;
    io_error error = {0};
    const size_t count = sizeof tensors / sizeof *tensors;
    if (!io_target_open(&target, path, &error)) return complain(error.text);
    if (!io_safetensors_write(&target, tensors, count, &pair, 1, &error) ||
        !io_targets_commit(&target, 1, &error)) {
        return complain(error.text);
    }
    return 0;
}

static int read_module(const char *path, const char *prefix, const char *suffix,
                       attn_nn_layout *layout) {
    const model_names names = {prefix, suffix, "module."};
    io_error error = {0};
    float *const values = calloc((size_t)layout->size, sizeof *values);
    const bool good = model_load_parameters(path, &names, layout, values, &error);
    if (good) print_values(layout, values);
    free(values);
    attn_nn_layout_free(layout);
    return good ? 0 : complain(error.text);
}

int main(int count, char **arguments) {
    const char *const what = count > 2 ? arguments[1] : "";
    attn_nn_layout layout = {0};
    if (count == 4 && strcmp(what, "model") == 0) {
        return write_model(arguments[2], (int)strtol(arguments[3], NULL, 10));
    }
    if (count == 4 && strcmp(what, "seed") == 0) {
        return write_seed(arguments[2], (int)strtol(arguments[3], NULL, 10));
    }
    if (count == 3 && strcmp(what, "types") == 0) return write_types(arguments[2]);
    if (count == 5 && strcmp(what, "attention") == 0) {
        (void)attn_nn_attention_make(&layout, "module", strtol(arguments[4], NULL, 10), 1, 0);
        return read_module(arguments[2], arguments[3], "", &layout);
    }
    if (count == 6 && strcmp(what, "block") == 0) {
        const attn_nn_block_options options = {.width = strtol(arguments[4], NULL, 10),
                                               .cross = strtol(arguments[5], NULL, 10) != 0};
        attn_nn_block block;
        if (attn_nn_block_make(&layout, "module", &options, &block) != ATTN_OK) {
            return complain(attn_nn_error_message());
        }
        return read_module(arguments[2], arguments[3], "", &layout);
    }
    if (count == 7 && strcmp(what, "lstm") == 0) {
        (void)attn_nn_recurrent_make(&layout, "module", ATTN_NN_LSTM,
                                     strtol(arguments[5], NULL, 10), strtol(arguments[6], NULL, 10),
                                     false);
        return read_module(arguments[2], arguments[3], arguments[4], &layout);
    }
    return complain("sample: see the top of its source");
}
