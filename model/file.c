#include "config.h"
#include "internal.h"
#include "parameters.h"
#include "parts.h"
#include "pieces.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char FORMAT[] = "libattn-seq2seq-1";
static const char SUBWORDS[] = "subwords";

/* --- Both ways --------------------------------------------------------------------------------------- */

static bool check_subwords(const unsigned char *subwords, size_t size, const attn_nn_config *config,
                           const char *path, io_error *error) {
    if (!subwords) return true;
    const int64_t pieces = model_count_pieces(subwords, size);
    if (pieces < 0) {
        return io_fail(error, "%s: %s is not a SentencePiece model", path, SUBWORDS);
    }
    if (pieces == config->vocabulary) return true;
    return io_fail(error,
                   "%s: %s has %" PRId64 " pieces, but config.vocabulary is %" PRId64
                   ": expected as many",
                   path, SUBWORDS, pieces, config->vocabulary);
}

/* --- Saving ------------------------------------------------------------------------------------------- */

static bool write_tensors(io_target *target, const model_file *file, model_tensors *made,
                          io_error *error) {
    char *const config = model_config_text(attn_nn_model_config(file->model));
    char *const training = model_object_text(file->training);
    const io_safetensors_pair metadata[] = {
        {"format", FORMAT}, {"config", config}, {"training", training}};
    if (file->subwords) {
        made->tensors[made->count++] =
            (io_safetensors_tensor){.name = SUBWORDS,
                                    .type = IO_SAFETENSORS_U8,
                                    .dims = 1,
                                    .shape = {(int64_t)file->subwords_size},
                                    .data = file->subwords};
    }
    const bool good = config && training ? io_safetensors_write(target, made->tensors, made->count,
                                                                metadata, 3, error)
                                         : io_fail(error, "%s: out of memory", target->path);
    free(config);
    free(training);
    return good;
}

bool model_file_write(io_target *target, const char *path, const model_file *file,
                      model_precision precision, io_error *error) {
    const attn_nn_layout *const layout = attn_nn_model_layout(file->model);
    const attn_nn_config *const config = attn_nn_model_config(file->model);
    model_tensors made;
    if (!check_subwords(file->subwords, file->subwords_size, config, path, error) ||
        !model_tensors_make(&made, layout, file->values, precision, path, error)) {
        return false;
    }
    const bool opened = io_target_open(target, path, error);
    const bool good = opened && write_tensors(target, file, &made, error);
    if (opened && !good) io_target_discard(target);
    model_tensors_free(&made);
    return good;
}

bool model_file_save(const char *path, const model_file *file, model_precision precision,
                     io_error *error) {
    io_target target;
    return model_file_write(&target, path, file, precision, error) &&
           io_targets_commit(&target, 1, error);
}

/* --- Loading ------------------------------------------------------------------------------------------ */

/* Before a model is made of a configuration that may ask for any amount of memory: a layer has a tensor
 * of its own at least, and no tensor's size may overflow. The largest has no more than 4 size^2 numbers,
 * and a layer fewer than 16 such. */
static bool check_plausible(const io_safetensors *file, const attn_nn_config *c, io_error *error) {
    const int64_t sizes[] = {c->vocabulary, c->width, c->feed_forward, c->max_length,
                             c->hidden,     c->heads, c->look_width};
    int64_t tensors = 0;
    double largest = 64;
    for (const char *name = io_safetensors_next(file, NULL); name;
         name = io_safetensors_next(file, name)) {
        tensors++;
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if ((double)sizes[i] > largest) largest = (double)sizes[i];
    }
    if (c->encoder_layers > tensors || c->decoder_layers > tensors) {
        return io_fail(error,
                       "%s: metadata config: encoder_layers is %" PRId64 ", decoder_layers %" PRId64
                       ": expected no more than the %" PRId64 " tensors of the file",
                       file->path, c->encoder_layers, c->decoder_layers, tensors);
    }
    if (2 * (double)(tensors + 1) * 64 * largest * largest < 0x1p62) return true;
    return io_fail(error, "%s: metadata config: a size is %g: expected one that fits a machine",
                   file->path, largest);
}

static bool load_model(const io_safetensors *file, model_file *loaded, io_error *error) {
    attn_nn_config config;
    if (!model_metadata_config(file, &config, error) || !check_plausible(file, &config, error)) {
        return false;
    }
    if (attn_nn_model_create(&loaded->model, &config) != ATTN_OK) {
        return io_fail(error, "%s: metadata %s", file->path, attn_nn_error_message());
    }
    const char *const differs =
        model_config_difference(&config, attn_nn_model_config(loaded->model));
    if (!differs) return true;
    return io_fail(error, "%s: metadata config: %s is 0: expected its value, not a default",
                   file->path, differs);
}

static bool load_subwords(const io_safetensors *file, model_file *loaded, io_error *error) {
    io_safetensors_raw raw;
    if (!io_safetensors_has(file, SUBWORDS)) return true;
    if (!io_safetensors_raw_tensor(file, SUBWORDS, &raw, error)) return false;
    if (raw.type != IO_SAFETENSORS_U8 || raw.dims != 1) {
        return io_fail(error, "%s: %s is %s with %d dimensions: expected U8 with 1", file->path,
                       SUBWORDS, raw.type_name, raw.dims);
    }
    const attn_nn_config *const config = attn_nn_model_config(loaded->model);
    if (!check_subwords(raw.bytes, raw.size, config, file->path, error)) return false;
    loaded->subwords = malloc(raw.size + 1);
    if (!loaded->subwords) return io_fail(error, "%s: out of memory", file->path);
    memcpy(loaded->subwords, raw.bytes, raw.size);
    loaded->subwords_size = raw.size;
    return true;
}

static bool load_values(const io_safetensors *file, model_file *loaded, io_error *error) {
    static const char *const also[] = {SUBWORDS, NULL};
    static const model_names names = {0};
    const attn_nn_layout *const layout = attn_nn_model_layout(loaded->model);
    if (!model_parameters_check(file, &names, also, layout, error)) return false;
    loaded->values = model_room(layout->size);
    if (!loaded->values) return io_fail(error, "%s: out of memory", file->path);
    return model_parameters_read(file, &names, layout, loaded->values, error);
}

static bool load(const io_safetensors *file, model_file *loaded, io_error *error) {
    if (!model_check_format(file, FORMAT, "a model of attn train", error)) return false;
    loaded->training = model_metadata_object(file, "training", error);
    return loaded->training && load_model(file, loaded, error) &&
           load_subwords(file, loaded, error) && load_values(file, loaded, error);
}

bool model_file_load(const char *path, model_file *loaded, io_error *error) {
    io_safetensors file;
    *loaded = (model_file){0};
    if (!io_safetensors_open(&file, path, error)) return false;
    const bool good = load(&file, loaded, error);
    if (!good) model_file_free(loaded);
    io_safetensors_close(&file);
    return good;
}

void model_file_free(model_file *file) {
    attn_nn_model_destroy(file->model);
    free(file->values);
    free(file->subwords);
    json_decref(file->training);
    *file = (model_file){0};
}
