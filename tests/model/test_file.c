/* Model files: what is written is read again, within the bounds of its precision; what is there stays
 * when writing fails. */
#include "support.h"

#include "config.h"

#include <math.h>

static model_file load(const char *path) {
    model_file file;
    io_error error = {0};
    if (!model_file_load(path, &file, &error)) {
        print_error("%s\n", error.text);
        fail();
    }
    return file;
}

static void save(const char *path, const model_file *file, model_precision precision) {
    io_error error = {0};
    if (!model_file_save(path, file, precision, &error)) {
        print_error("%s\n", error.text);
        fail();
    }
}

static void assert_same_but_values(const model_file *a, const model_file *b) {
    assert_null(
        model_config_difference(attn_nn_model_config(a->model), attn_nn_model_config(b->model)));
    assert_int_equal(a->subwords_size, b->subwords_size);
    assert_memory_equal(a->subwords, b->subwords, a->subwords_size);
    assert_true(json_equal(a->training, b->training));
}

/* --- Round trips ----------------------------------------------------------------------------------------- */

static void check_float32(const attn_nn_config *config) {
    model_file file = make_model(config);
    const char *const path = in_folder("m.safetensors");
    save(path, &file, MODEL_F32);
    model_file read = load(path);
    assert_same_but_values(&file, &read);
    assert_same_values(&file, &read);
    assert_int_equal((uintptr_t)read.values % 64, 0);
    model_file_free(&read);
    model_file_free(&file);
}

static void test_transformers(void **state) {
    (void)state;
    attn_nn_config config = transformer_config();
    for (int p = ATTN_NN_SINUSOIDAL; p <= ATTN_NN_NO_POSITIONS; p++) {
        config.positions = (attn_nn_positions)p;
        config.post_norm = p % 2;
        config.norm = (attn_nn_norm_kind)(p % 2);
        check_float32(&config);
    }
}

static void test_recurrent_models(void **state) {
    (void)state;
    attn_nn_config config = recurrent_config();
    for (int l = ATTN_NN_LOOK_NONE; l <= ATTN_NN_LOOK_MULTI_HEAD; l++) {
        config.look = (attn_nn_look)l;
        config.cell = (attn_nn_cell)(l % 2);
        check_float32(&config);
    }
}

static void test_without_subwords(void **state) {
    (void)state;
    const attn_nn_config config = transformer_config();
    model_file file = make_model(&config);
    free(file.subwords);
    json_decref(file.training);
    file.subwords = NULL, file.training = NULL;
    const char *const path = in_folder("m.safetensors");
    save(path, &file, MODEL_F32);
    model_file read = load(path);
    assert_null(read.subwords);
    assert_int_equal(json_object_size(read.training), 0);
    model_file_free(&read);
    model_file_free(&file);
}

/* binary16 has 11 bits: half a step is 2^-12 of the power of two above |x|, so at most 2^-11 |x|; below
 * 2^-14 steps are 2^-24. */
static double half_error(double x) {
    return fmax(fabs(x) * 0x1p-11, 0x1p-25);
}

/* Half a step, which is the row's largest magnitude / 127, rounded up to the next float and to a multiple
 * of 2^-149 (at most twice 2^-24 of it more); the quotient's rounding (test_numbers.c); and the
 * product's, 2^-24 of a number that is no larger than 127.5 steps. */
static double byte_error(const float *row, int64_t columns) {
    double largest = 0;
    for (int64_t i = 0; i < columns; i++) largest = fmax(largest, fabs((double)row[i]));
    const double step = largest / 127 * (1 + 0x1p-23) + 0x1p-149;
    return step * (0.5 + 0x1p-46 + 127.5 * 0x1p-24) + 0x1p-150;
}

static void check_close(const model_file *file, const model_file *read, model_precision precision,
                        bool *differs) {
    const attn_nn_layout *const layout = attn_nn_model_layout(file->model);
    for (int64_t i = 0; i < layout->count; i++) {
        const attn_nn_parameter *const p = &layout->parameters[i];
        for (int64_t k = 0; k < p->rows * p->columns; k++) {
            const float *const row = file->values + p->offset + k / p->columns * p->columns;
            const double x = (double)file->values[p->offset + k];
            const double error = fabs((double)read->values[p->offset + k] - x);
            const double bound = p->rows == 1             ? 0
                                 : precision == MODEL_F16 ? half_error(x)
                                                          : byte_error(row, p->columns);
            assert_true(error <= bound);
            if (error > 0) *differs = true;
        }
    }
}

/* And what was read can be written and read again: halves to the same bits. */
static void check_precision(const attn_nn_config *config, model_precision precision) {
    const char *const path = in_folder("m.safetensors"), *const again = in_folder("n.safetensors");
    model_file file = make_model(config);
    bool differs = false;
    save(path, &file, precision);
    model_file read = load(path);
    assert_same_but_values(&file, &read);
    check_close(&file, &read, precision, &differs);
    assert_true(differs); /* or nothing was rounded */
    save(again, &read, precision);
    model_file second = load(again);
    check_close(&read, &second, precision, &differs);
    if (precision == MODEL_F16) assert_same_values(&read, &second);
    model_file_free(&second);
    model_file_free(&read);
    model_file_free(&file);
}

static void test_small_transformers(void **state) {
    (void)state;
    const attn_nn_config config = transformer_config();
    check_precision(&config, MODEL_F16);
    check_precision(&config, MODEL_I8);
}

static void test_small_recurrent_models(void **state) {
    (void)state;
    const attn_nn_config config = recurrent_config();
    check_precision(&config, MODEL_F16);
    check_precision(&config, MODEL_I8);
}

/* A matrix that is made in several pieces (io/safetensors_write.c: 65536 bytes), which do not end where
 * its rows do. */
static void test_large_matrices(void **state) {
    (void)state;
    attn_nn_config config = transformer_config();
    config.vocabulary = 20000, config.width = 14;
    check_float32(&config);
    check_precision(&config, MODEL_F16);
    check_precision(&config, MODEL_I8);
}

/* A matrix is 4, 2 or 1 bytes a number, and a scale a row. */
static void test_sizes(void **state) {
    (void)state;
    const attn_nn_config config = transformer_config();
    model_file file = make_model(&config);
    const attn_nn_layout *const layout = attn_nn_model_layout(file.model);
    for (int precision = MODEL_F32; precision <= MODEL_I8; precision++) {
        const char *const path = in_folder("m.safetensors");
        static const size_t bytes[] = {4, 2, 1}, scale[] = {0, 0, 4};
        size_t expected = file.subwords_size, size = 0;
        for (int64_t i = 0; i < layout->count; i++) {
            const size_t rows = (size_t)layout->parameters[i].rows;
            const size_t numbers = rows * (size_t)layout->parameters[i].columns;
            expected +=
                rows == 1 ? 4 * numbers : bytes[precision] * numbers + scale[precision] * rows;
        }
        save(path, &file, (model_precision)precision);
        unsigned char *const all = read_file(path, &size);
        assert_int_equal(size - 8 - all[0] - 256 * all[1] - 65536 * all[2], expected);
        assert_int_equal(all[0] % 8, 0);
        free(all);
    }
    model_file_free(&file);
}

/* --- Configurations -------------------------------------------------------------------------------------- */

static void assert_config(const attn_nn_config *config, const char *expected) {
    json_t *const object = model_config_to_json(config);
    char *const text = json_dumps(object, JSON_COMPACT);
    assert_string_equal(text, expected);
    attn_nn_config read;
    io_error error = {0};
    assert_true(model_config_from_json(&read, object, "here", &error));
    assert_null(model_config_difference(config, &read));
    free(text);
    json_decref(object);
}

static void test_configurations(void **state) {
    (void)state;
    const attn_nn_config transformer = transformer_config();
    assert_config(
        &transformer,
        "{\"family\":\"transformer\",\"vocabulary\":23,\"width\":12,\"encoder_layers\":2,"
        "\"decoder_layers\":3,\"heads\":2,\"untied\":true,\"dropout\":0.10000000000000001,"
        "\"feed_forward\":20,\"attention_dropout\":0.33333333333333331,"
        "\"activation_dropout\":0.050000000000000003,\"norm\":\"rms\",\"post_norm\":true,"
        "\"activation\":\"silu\",\"positions\":\"learned\",\"max_length\":17,\"hidden\":0,"
        "\"cell\":\"lstm\",\"look\":\"none\",\"look_width\":0,\"no_input_feeding\":false,"
        "\"coverage\":false,\"copy\":false,\"align_layer\":3,\"align_heads\":1,\"align_after\":false}");
    attn_nn_config recurrent = recurrent_config();
    recurrent.coverage = recurrent.copy = true;
    assert_config(
        &recurrent,
        "{\"family\":\"recurrent\",\"vocabulary\":23,\"width\":10,\"encoder_layers\":2,"
        "\"decoder_layers\":1,\"heads\":2,\"untied\":false,\"dropout\":0.25,"
        "\"feed_forward\":0,\"attention_dropout\":0.0,\"activation_dropout\":0.0,"
        "\"norm\":\"layer\",\"post_norm\":false,\"activation\":\"relu\","
        "\"positions\":\"sinusoidal\",\"max_length\":0,\"hidden\":12,\"cell\":\"gru\","
        "\"look\":\"additive\",\"look_width\":8,\"no_input_feeding\":true,"
        "\"coverage\":true,\"copy\":true,\"align_layer\":0,\"align_heads\":0,\"align_after\":false}");
}

/* The words, in the order of the enums of attn/nn.h. */
static void test_words(void **state) {
    (void)state;
    static const char *const activations[] = {"relu", "gelu", "silu"};
    static const char *const positions[] = {"sinusoidal", "learned", "rotary", "relative", "none"};
    static const char *const looks[] = {"none",     "dot",      "general",   "concat",
                                        "additive", "location", "multi_head"};
    for (unsigned i = 0; i < 7; i++) {
        const attn_nn_config config = {.activation = (attn_nn_activation)(i % 3),
                                       .positions = (attn_nn_positions)(i % 5),
                                       .look = (attn_nn_look)i};
        json_t *const object = model_config_to_json(&config);
        const char *activation = NULL, *position = NULL, *look = NULL;
        assert_int_equal(json_unpack(object, "{s:s, s:s, s:s}", "activation", &activation,
                                     "positions", &position, "look", &look),
                         0);
        assert_string_equal(activation, activations[i % 3]);
        assert_string_equal(position, positions[i % 5]);
        assert_string_equal(look, looks[i]);
        json_decref(object);
    }
}

/* One field, or some, of a configuration that is there already. */
static void test_assignments(void **state) {
    (void)state;
    attn_nn_config config = transformer_config();
    io_error error = {0};
    assert_true(model_config_set(&config, "heads=4", &error) && config.heads == 4);
    assert_true(model_config_set(&config, "dropout=0.5", &error) && config.dropout == 0.5);
    assert_true(model_config_set(&config, "copy=true", &error) && config.copy);
    assert_true(model_config_set(&config, "positions=none", &error));
    assert_int_equal(config.positions, ATTN_NN_NO_POSITIONS);
    attn_nn_config before = config;
    static const char *const bad[][2] = {
        {"heads=four", "heads is \"four\": expected a whole number"},
        {"heads=", "heads is \"\": expected a whole number"},
        {"heads", "expected FIELD=VALUE"},
        {"wings=2", "has no field wings"},
        {"look=hard", "look is \"hard\": expected none, dot, general, concat, additive, location "
                      "or multi_head"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(model_config_set(&config, bad[i][0], &error));
        assert_says(&error, "", bad[i][1]);
    }
    assert_null(model_config_difference(&config, &before));
    json_t *const some = json_pack("{s:i, s:s}", "width", 64, "cell", "gru");
    assert_true(model_config_update(&config, some, "here", &error));
    assert_true(config.width == 64 && config.cell == ATTN_NN_GRU && config.heads == 4);
    json_decref(some);
}

static void test_differences(void **state) {
    (void)state;
    const attn_nn_config a = transformer_config();
    attn_nn_config b = a;
    assert_null(model_config_difference(&a, &b));
    b.attention_dropout = 0;
    assert_string_equal(model_config_difference(&a, &b), "attention_dropout");
    b = a, b.post_norm = false;
    assert_string_equal(model_config_difference(&a, &b), "post_norm");
    b = a, b.cell = ATTN_NN_GRU;
    assert_string_equal(model_config_difference(&a, &b), "cell");
}

/* --- What cannot be saved, and what is left then ---------------------------------------------------------- */

/* Saving fails and says that; the file is as it was, and there is no other. */
static void assert_not_saved(const char *path, const model_file *file, model_precision precision,
                             const char *what) {
    io_error error = {0};
    size_t before = 0, after = 0;
    unsigned char *const old = read_file(path, &before);
    const int files = files_in_folder();
    assert_false(model_file_save(path, file, precision, &error));
    assert_says(&error, path, what);
    unsigned char *const now = read_file(path, &after);
    assert_int_equal(before, after);
    assert_memory_equal(old, now, before);
    assert_int_equal(files_in_folder(), files);
    free(old);
    free(now);
}

static void test_values_that_are_refused(void **state) {
    (void)state;
    const attn_nn_config config = transformer_config();
    const char *const path = in_folder("m.safetensors");
    model_file file = make_model(&config);
    save(path, &file, MODEL_F32);
    const attn_nn_layout *const layout = attn_nn_model_layout(file.model);
    const attn_nn_parameter *const p = attn_nn_layout_find(layout, "embedding.weight");
    const attn_nn_parameter *const bias = attn_nn_layout_find(layout, "output.bias");
    float *const x = file.values + p->offset + p->columns + 2;
    *x = NAN;
    assert_not_saved(path, &file, MODEL_F32,
                     "embedding.weight [1, 2] is nan: expected a finite number");
    *x = -INFINITY;
    assert_not_saved(path, &file, MODEL_I8, "embedding.weight [1, 2] is -inf");
    *x = 65520;
    assert_not_saved(path, &file, MODEL_F16,
                     "embedding.weight [1, 2] is 65520: expected at most 65504 in binary16");
    *x = nextafterf(65520, 0);         /* is rounded to 65504 */
    file.values[bias->offset] = 1e30F; /* vectors are not halves */
    save(path, &file, MODEL_F16);
    model_file read = load(path);
    assert_true(read.values[p->offset + p->columns + 2] == 65504);
    assert_true(read.values[bias->offset] == 1e30F);
    model_file_free(&read);
    model_file_free(&file);
}

static void test_subwords_that_are_refused(void **state) {
    (void)state;
    const attn_nn_config config = transformer_config();
    const char *const path = in_folder("m.safetensors");
    model_file file = make_model(&config);
    save(path, &file, MODEL_F32);
    free(file.subwords);
    file.subwords = make_subwords(VOCABULARY - 1, &file.subwords_size);
    assert_not_saved(path, &file, MODEL_F32,
                     "subwords has 22 pieces, but config.vocabulary is 23: expected as many");
    file.subwords_size--; /* the last field is cut */
    assert_not_saved(path, &file, MODEL_F32, "subwords is not a SentencePiece model");
    file.subwords_size = 0;
    assert_not_saved(path, &file, MODEL_F32, "subwords is not a SentencePiece model");
    model_file_free(&file);
}

static void test_no_room(void **state) {
    (void)state;
    attn_nn_config config = transformer_config();
    const char *const path = in_folder("m.safetensors");
    model_file file = make_model(&config);
    save(path, &file, MODEL_F32);
    size_t size = 0;
    free(read_file(path, &size));
    file.values[0] = 1; /* or the old and the new file would be the same */
    for (size_t room = 1; room < size; room += 1 + size / 40) {
        limit_files(room);
        assert_not_saved(path, &file, MODEL_F32, "cannot be written: File too large");
    }
    limit_files(0);
    save(path, &file, MODEL_F32);
    model_file read = load(path);
    assert_same_values(&file, &read);
    model_file_free(&read);
    model_file_free(&file);
}

static void test_no_place(void **state) {
    (void)state;
    const attn_nn_config config = transformer_config();
    model_file file = make_model(&config);
    const char *const nowhere = in_folder("nothing/m.safetensors");
    io_error error = {0};
    assert_false(model_file_save(nowhere, &file, MODEL_F32, &error));
    assert_says(&error, nowhere, "No such file or directory");
    model_file_free(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transformers),
        cmocka_unit_test(test_recurrent_models),
        cmocka_unit_test(test_without_subwords),
        cmocka_unit_test(test_small_transformers),
        cmocka_unit_test(test_small_recurrent_models),
        cmocka_unit_test(test_large_matrices),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_configurations),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_assignments),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_values_that_are_refused),
        cmocka_unit_test(test_subwords_that_are_refused),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_no_place),
    };
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
