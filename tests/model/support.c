#define _GNU_SOURCE
#include "support.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

/* --- Models ------------------------------------------------------------------------------------------- */

unsigned char *make_subwords(int64_t pieces, size_t *size) {
    /* Field 1 (a piece): 2 bytes, within which field 1 (its text) is empty. Then field 2 (how it was
     * trained): 3 bytes; as in files of the library. */
    static const unsigned char piece[] = {0x0A, 0x02, 0x0A, 0x00};
    static const unsigned char trainer[] = {0x12, 0x03, 0x0A, 0x01, 'x'};
    unsigned char *const bytes = malloc((size_t)pieces * sizeof piece + sizeof trainer);
    for (int64_t i = 0; i < pieces; i++) {
        memcpy(bytes + (size_t)i * sizeof piece, piece, sizeof piece);
    }
    memcpy(bytes + (size_t)pieces * sizeof piece, trainer, sizeof trainer);
    *size = (size_t)pieces * sizeof piece + sizeof trainer;
    return bytes;
}

model_file make_model(const attn_nn_config *config) {
    model_file file = {0};
    assert_int_equal(attn_nn_model_create(&file.model, config), ATTN_OK);
    const attn_nn_layout *const layout = attn_nn_model_layout(file.model);
    file.values = aligned_alloc(64, (size_t)layout->size * sizeof *file.values);
    attn_nn_layout_start(layout, 7, file.values);
    /* Vectors start as 0 and 1, which any type holds: make them thirds. */
    for (int64_t i = 0; i < layout->count; i++) {
        const attn_nn_parameter *const p = &layout->parameters[i];
        for (int64_t k = 0; p->rows == 1 && k < p->columns; k++) {
            file.values[p->offset + k] = (float)(k + 1) / 3;
        }
    }
    file.subwords = make_subwords(config->vocabulary, &file.subwords_size);
    file.training =
        json_pack("{s:i, s:f, s:s}", "step", 12345, "dev_bleu", 42.5, "data", "Tatoeba");
    return file;
}

attn_nn_config transformer_config(void) {
    return (attn_nn_config){
        .family = ATTN_NN_TRANSFORMER,
        .vocabulary = VOCABULARY,
        .width = 12,
        .encoder_layers = 2,
        .decoder_layers = 3,
        .heads = 2,
        .untied = true,
        .dropout = 0.1,
        .feed_forward = 20,
        .attention_dropout = 1.0 / 3,
        .activation_dropout = 0.05,
        .norm = ATTN_NN_RMS_NORM,
        .post_norm = true,
        .activation = ATTN_NN_SILU,
        .positions = ATTN_NN_LEARNED,
        .max_length = 17,
        .align_layer = 3,
        .align_heads = 1,
    };
}

attn_nn_config recurrent_config(void) {
    return (attn_nn_config){
        .family = ATTN_NN_RECURRENT,
        .vocabulary = VOCABULARY,
        .width = 10,
        .encoder_layers = 2,
        .decoder_layers = 1,
        .heads = 2,
        .dropout = 0.25,
        .hidden = 12,
        .cell = ATTN_NN_GRU,
        .look = ATTN_NN_LOOK_ADDITIVE,
        .look_width = 8,
        .no_input_feeding = true,
    };
}

/* --- Files -------------------------------------------------------------------------------------------- */

static char folder[256];
static pid_t owner; /* a child of fork removes nothing */

static void remove_folder(void) {
    DIR *const open = getpid() == owner ? opendir(folder) : NULL;
    for (const struct dirent *entry = open ? readdir(open) : NULL; entry; entry = readdir(open)) {
        char path[600];
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        (void)unlink(path);
    }
    if (open) (void)closedir(open), (void)rmdir(folder);
}

static void make_folder(void) {
    const char *const base = getenv("TMPDIR");
    if (*folder) return;
    (void)snprintf(folder, sizeof folder, "%s/attn_model.XXXXXX", base && *base ? base : P_tmpdir);
    assert_non_null(mkdtemp(folder));
    owner = getpid();
    (void)atexit(remove_folder);
}

const char *in_folder(const char *name) {
    static char paths[8][512];
    static int used;
    char *const path = paths[used++ % 8];
    make_folder();
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

int files_in_folder(void) {
    int count = 0;
    make_folder();
    DIR *const open = opendir(folder);
    assert_non_null(open);
    while (readdir(open)) count++;
    (void)closedir(open);
    return count - 2; /* itself and the one above */
}

unsigned char *read_file(const char *path, size_t *size) {
    FILE *const stream = fopen(path, "rb");
    assert_non_null(stream);
    assert_int_equal(fseek(stream, 0, SEEK_END), 0);
    *size = (size_t)ftell(stream);
    rewind(stream);
    unsigned char *const bytes = malloc(*size + 1);
    assert_int_equal(fread(bytes, 1, *size, stream), *size);
    (void)fclose(stream);
    return bytes;
}

void write_file(const char *path, const void *bytes, size_t size) {
    FILE *const stream = fopen(path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, size, stream), size);
    assert_int_equal(fclose(stream), 0);
}

static size_t header_length(const unsigned char *bytes) {
    size_t length = 0;
    for (int i = 7; i >= 0; i--) length = length << 8 | bytes[i];
    return length;
}

json_t *read_header(const char *path) {
    size_t size = 0;
    unsigned char *const bytes = read_file(path, &size);
    json_t *const header = json_loadb((const char *)bytes + 8, header_length(bytes), 0, NULL);
    assert_non_null(header);
    free(bytes);
    return header;
}

void write_header(const char *path, const json_t *header) {
    size_t size = 0;
    unsigned char *const old = read_file(path, &size);
    char *const text = json_dumps(header, JSON_COMPACT);
    const size_t length = strlen(text), data = size - 8 - header_length(old);
    unsigned char *const bytes = malloc(8 + length + data);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)length >> (8 * i));
    memcpy(bytes + 8, text, length);
    memcpy(bytes + 8 + length, old + size - data, data);
    write_file(path, bytes, 8 + length + data);
    free(bytes);
    free(text);
    free(old);
}

json_t *read_metadata(const char *path, const char *key) {
    json_t *const header = read_header(path);
    const json_t *const text = json_object_get(json_object_get(header, "__metadata__"), key);
    json_t *const value = json_loads(json_string_value(text), JSON_DECODE_ANY, NULL);
    json_decref(header);
    return value;
}

void write_metadata(const char *path, const char *key, const char *text) {
    json_t *const header = read_header(path);
    json_t *const metadata = json_object_get(header, "__metadata__");
    if (text) (void)json_object_set_new(metadata, key, json_string(text));
    else (void)json_object_del(metadata, key);
    write_header(path, header);
    json_decref(header);
}

/* --- What should be ------------------------------------------------------------------------------------ */

void assert_says(const io_error *error, const char *path, const char *what) {
    if (!strstr(error->text, path) || !strstr(error->text, what)) {
        print_error("said: %s\nexpected: %s: ...%s...\n", error->text, path, what);
        fail();
    }
}

void assert_refused(const char *path, const char *what) {
    model_file file;
    io_error error = {0};
    if (model_file_load(path, &file, &error)) {
        print_error("loaded, but expected to be refused: %s\n", what);
        fail();
    }
    assert_says(&error, path, what);
    assert_null(file.model);
    assert_null(file.values);
}

void assert_same_values(const model_file *a, const model_file *b) {
    const attn_nn_layout *const layout = attn_nn_model_layout(a->model);
    assert_int_equal(layout->size, attn_nn_model_layout(b->model)->size);
    assert_memory_equal(a->values, b->values, (size_t)layout->size * sizeof *a->values);
}

void limit_files(uint64_t bytes) {
    struct rlimit limit;
    (void)signal(SIGXFSZ, SIG_IGN); /* as the command does: writes then fail */
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes ? (rlim_t)bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}
