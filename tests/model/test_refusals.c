/* Files that are no model, or no longer one: each is refused, and the sentence says why. */
#include "support.h"

#include <inttypes.h>
#include <math.h>

static const char *path;

/* A good file at path, in that precision. */
static void make_file(model_precision precision) {
    const attn_nn_config config = transformer_config();
    model_file file = make_model(&config);
    io_error error = {0};
    path = in_folder("m.safetensors");
    assert_true(model_file_save(path, &file, precision, &error));
    model_file_free(&file);
}

/* The file once more, with `value` (NULL: nothing) for a field of metadata config. */
static void change_config(const char *field, json_t *value) {
    make_file(MODEL_F32);
    json_t *const config = read_metadata(path, "config");
    if (value) (void)json_object_set_new(config, field, value);
    else (void)json_object_del(config, field);
    char *const text = json_dumps(config, 0);
    write_metadata(path, "config", text);
    free(text);
    json_decref(config);
}

/* --- Whole files ------------------------------------------------------------------------------------------ */

static void test_foreign_files(void **state) {
    (void)state;
    path = in_folder("none.safetensors");
    assert_refused(path, "No such file or directory");
    path = in_folder("m.safetensors");
    write_file(path, "", 0);
    assert_refused(path, "is not a safetensors file");
    write_file(path, "PK\3\4 a zip file, as torch.save writes", 36);
    assert_refused(path, "its header says it is");
    write_file(path, "\2\0\0\0\0\0\0\0{}", 10);
    assert_refused(path, "is not a model of attn train: its metadata says the format is nothing, "
                         "expected libattn-seq2seq-1");
    make_file(MODEL_F32);
    write_metadata(path, "format", "pt");
    assert_refused(path, "the format is pt, expected libattn-seq2seq-1");
    write_metadata(path, "format", "libattn-seq2seq-2");
    assert_refused(path, "the format is libattn-seq2seq-2, expected libattn-seq2seq-1");
}

/* A copy that stopped anywhere. */
static void test_files_cut_short(void **state) {
    (void)state;
    for (int precision = MODEL_F32; precision <= MODEL_I8; precision++) {
        size_t size = 0;
        make_file((model_precision)precision);
        unsigned char *const bytes = read_file(path, &size);
        for (size_t cut = 0; cut < size; cut += 1 + size / 500) {
            write_file(path, bytes, cut);
            assert_refused(path, "");
        }
        write_file(path, bytes, size - 1);
        assert_refused(path, "it is damaged or cut short");
        free(bytes);
    }
}

/* --- Metadata --------------------------------------------------------------------------------------------- */

static void test_metadata(void **state) {
    (void)state;
    static const char *const keys[] = {"config", "training"};
    for (int i = 0; i < 2; i++) {
        char what[64];
        make_file(MODEL_F32);
        write_metadata(path, keys[i], NULL);
        (void)snprintf(what, sizeof what, "has no metadata %s", keys[i]);
        assert_refused(path, what);
        write_metadata(path, keys[i], "{");
        (void)snprintf(what, sizeof what, "metadata %s is not JSON: ", keys[i]);
        assert_refused(path, what);
        write_metadata(path, keys[i], "[1]");
        (void)snprintf(what, sizeof what, "metadata %s is not a JSON object", keys[i]);
        assert_refused(path, what);
    }
}

static void test_fields_of_config(void **state) {
    (void)state;
    change_config("width", NULL);
    assert_refused(path, "metadata config: has no field width");
    change_config("wings", json_integer(2));
    assert_refused(path, "metadata config: has a field wings, which this version does not know");
    change_config("width", json_string("12"));
    assert_refused(path, "metadata config: width is \"12\": expected a whole number");
    change_config("width", json_real(12));
    assert_refused(path, "metadata config: width is 12.0: expected a whole number");
    change_config("dropout", json_true());
    assert_refused(path, "metadata config: dropout is true: expected a number");
    change_config("untied", json_integer(1));
    assert_refused(path, "metadata config: untied is 1: expected true or false");
    change_config("activation", json_string("swish"));
    assert_refused(path, "metadata config: activation is \"swish\": expected relu, gelu or silu");
    change_config("family", json_integer(0));
    assert_refused(path, "metadata config: family is 0: expected transformer or recurrent");
}

/* What attn_nn_model_create says of values, with the file's name in front. */
static void test_values_of_config(void **state) {
    (void)state;
    change_config("dropout", json_integer(1));
    assert_refused(path, "metadata config.dropout: expected 0 or more and less than 1");
    change_config("heads", json_integer(5));
    assert_refused(path, "metadata config.heads: expected a divisor");
    change_config("heads", json_integer(-1));
    assert_refused(path, "metadata config.heads: expected 1 to 1048576");
    change_config("width", json_integer(0));
    assert_refused(path, "metadata config: width is 0: expected");
}

/* A configuration cannot make the loader take memory that the file has nothing for. */
static void test_giants(void **state) {
    (void)state;
    change_config("encoder_layers", json_integer(1 << 20));
    assert_refused(path, "encoder_layers is 1048576, decoder_layers 3: expected no more than the ");
    change_config("decoder_layers", json_integer(1 << 20));
    assert_refused(path, "encoder_layers is 2, decoder_layers 1048576: expected no more than the ");
    change_config("width", json_integer(INT64_C(1) << 40));
    assert_refused(path, "metadata config: a size is 1.09951e+12: expected one that fits");
    change_config("feed_forward",
                  json_integer(1 << 20)); /* a few GB: nothing is allocated for it */
    assert_refused(path, "encoder.layers.0.linear1.weight is F32 [20, 12], expected [1048576, 12]");
}

/* --- Tensors ---------------------------------------------------------------------------------------------- */

static void rename_tensor(const char *from, const char *to) {
    json_t *const header = read_header(path);
    json_t *const entry = json_incref(json_object_get(header, from));
    assert_non_null(entry);
    (void)json_object_del(header, from);
    if (to) (void)json_object_set(header, to, entry);
    write_header(path, header);
    json_decref(entry);
    json_decref(header);
}

/* Gives a tensor another type or shape, of as many bytes. */
static void retype(const char *name, const char *dtype, json_t *shape) {
    json_t *const header = read_header(path);
    json_t *const entry = json_object_get(header, name);
    assert_non_null(entry);
    if (dtype) (void)json_object_set_new(entry, "dtype", json_string(dtype));
    if (shape) (void)json_object_set_new(entry, "shape", shape);
    write_header(path, header);
    json_decref(header);
}

static void test_names(void **state) {
    (void)state;
    make_file(MODEL_F32);
    rename_tensor("encoder.layers.1.linear1.bias", NULL);
    assert_refused(path, "its tensors do not fit the model: missing encoder.layers.1.linear1.bias");
    make_file(MODEL_F32);
    rename_tensor("encoder.layers.1.linear1.bias", "x");
    assert_refused(path, "missing encoder.layers.1.linear1.bias; unexpected x");
    rename_tensor("embedding.weight", "y");
    rename_tensor("output.weight", "z");
    rename_tensor("output.bias", "w");
    assert_refused(path, " and 1 more; unexpected "); /* both lists show 3 of 4 */
}

static void test_shapes(void **state) {
    (void)state;
    make_file(MODEL_F32);
    retype("embedding.weight", NULL, json_pack("[i, i]", 12, 23));
    assert_refused(path, "embedding.weight is F32 [12, 23], expected [23, 12]");
    retype("embedding.weight", NULL, json_pack("[i]", 276));
    assert_refused(path, "embedding.weight is F32 [276], expected [23, 12]");
    retype("embedding.weight", NULL, json_pack("[i, i, i]", 1, 23, 12));
    assert_refused(path, "embedding.weight is F32 [1, 23, 12], expected [23, 12]");
    retype("embedding.weight", NULL, json_pack("[i, i, i, i, i]", 1, 1, 1, 23, 12));
    assert_refused(path, "embedding.weight has more than 4 dimensions, expected [23, 12]");
    make_file(MODEL_F32);
    retype("output.bias", NULL, json_pack("[i, i]", 23, 1));
    assert_refused(path, "output.bias is F32 [23, 1], expected [23]");
    change_config("vocabulary", json_integer(24));
    assert_refused(path, "subwords has 23 pieces, but config.vocabulary is 24");
}

static void test_types(void **state) {
    (void)state;
    make_file(MODEL_F32);
    retype("output.bias", "I32", NULL);
    assert_refused(path, "output.bias is I32 [23], expected F32, F64, F16, BF16 or I8 [23]");
    make_file(MODEL_F32);
    retype("output.bias", "I64", json_pack("[i]", 23));
    assert_refused(path, "output.bias: its shape needs 184 bytes");
    make_file(MODEL_I8);
    rename_tensor("embedding.weight.scale", NULL);
    assert_refused(path, "missing embedding.weight.scale");
    make_file(MODEL_I8);
    retype("embedding.weight.scale", "I32", NULL);
    assert_refused(path, "embedding.weight.scale is I32 [23], expected F32 [23]");
    make_file(MODEL_I8);
    retype("embedding.weight", "U8", NULL);
    assert_refused(path, "embedding.weight is U8 [23, 12], expected F32, F64, F16, BF16 or I8");
    make_file(MODEL_F32);
    retype("subwords", "I8", NULL);
    assert_refused(path, "subwords is I8 with 1 dimensions: expected U8 with 1");
    /* Scales of what has none belong to nothing. */
    make_file(MODEL_F32);
    rename_tensor("subwords", "embedding.weight.scale");
    assert_refused(path, "unexpected embedding.weight.scale");
}

/* --- Elements --------------------------------------------------------------------------------------------- */

/* Sets the element of that index, of `size` bytes, to all ones, which is NaN in every type of float. */
static void spoil(const char *name, size_t index, size_t size) {
    json_t *const header = read_header(path);
    const json_t *const entry = json_object_get(header, name);
    const json_t *const begin = json_array_get(json_object_get(entry, "data_offsets"), 0);
    size_t all = 0, length = 0;
    unsigned char *const bytes = read_file(path, &all);
    for (int i = 7; i >= 0; i--) length = length << 8 | bytes[i];
    memset(bytes + 8 + length + (size_t)json_integer_value(begin) + index * size, 0xFF, size);
    write_file(path, bytes, all);
    free(bytes);
    json_decref(header);
}

static void test_elements(void **state) {
    (void)state;
    make_file(MODEL_F32);
    spoil("embedding.weight", 14, 4);
    assert_refused(path, "embedding.weight [1, 2] is ");
    make_file(MODEL_F16);
    spoil("embedding.weight", 14, 2);
    assert_refused(path, "nan: expected a finite number");
    make_file(MODEL_I8);
    spoil("embedding.weight.scale", 2, 4);
    assert_refused(path, "embedding.weight [2, 0] is ");
    make_file(MODEL_I8);
    spoil("output.bias", 22, 4);
    assert_refused(path, "output.bias [0, 22] is ");
}

static void test_subwords(void **state) {
    (void)state;
    make_file(MODEL_F32);
    spoil("subwords", 0, 1); /* a tag that does not end, or of no wire type */
    assert_refused(path, "subwords is not a SentencePiece model");
    /* Lengths of pieces that lead out of the file, in each of them. */
    for (size_t i = 0; i < VOCABULARY; i++) {
        make_file(MODEL_F32);
        spoil("subwords", 4 * i + 1, 1);
        assert_refused(path, "subwords ");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_foreign_files),
        cmocka_unit_test(test_files_cut_short),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_fields_of_config),
        cmocka_unit_test(test_values_of_config),
        cmocka_unit_test(test_giants),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_elements),
        cmocka_unit_test(test_subwords),
    };
    return cmocka_run_group_tests_name("refusals", tests, NULL, NULL);
}
