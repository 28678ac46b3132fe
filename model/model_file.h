/* model_file.h: models in files.
 *
 * A model is one file, NAME.safetensors:
 *
 *   tensors    the layout's parameters under their names; vectors [columns], matrices [rows, columns].
 *              F32; or matrices F16; or matrices I8 with "X.scale" F32 [rows] beside each X, where the
 *              number is q * scale of its row. Vectors are F32 always: they are few.
 *   "subwords" U8 [bytes]: the SentencePiece model, which has as many pieces as config.vocabulary
 *   metadata   "format": "libattn-seq2seq-1"
 *              "config": attn_nn_config as JSON, every field by its name, enums as words
 *              "training": a JSON object of whatever should be known of the training
 *
 * What it takes to go on training to the same bits is a second file, NAME.state.safetensors:
 *
 *   tensors    "values", "first", "second" and perhaps "average": F32 [layout->size], as they are
 *   metadata   "format": "libattn-seq2seq-state-1"; "config"; "options" and "progress", JSON objects;
 *              "step", "epoch", "position", "seed": whole numbers, as text
 *
 * Both are written beside their places and renamed together at the end (io/target.h). Each is whole
 * and enough for its purpose, so that even a power cut between the two renames costs nothing but that
 * the model is a save older than the state.
 *
 * What is read may be foreign, cut short or damaged: every function then says which file and field,
 * what is there and what was expected. Values that are not finite are refused, in and out.
 */
#ifndef MODEL_MODEL_FILE_H
#define MODEL_MODEL_FILE_H

#include "error.h"

#include <attn/nn.h>

struct json_t;

/* How matrices are written. */
typedef enum model_precision {
    MODEL_F32 = 0,
    MODEL_F16 = 1, /* binary16, rounded to nearest; larger than 65504 is an error */
    MODEL_I8 = 2   /* 8 bits, symmetric, a scale for each row */
} model_precision;

typedef struct model_file {
    attn_nn_model *model;
    attn_nn_real *values;    /* [layout->size], aligned to 64 bytes */
    unsigned char *subwords; /* NULL: none */
    size_t subwords_size;
    struct json_t *training; /* an object; NULL when saving: an empty one */
} model_file;

/* Writes the file, or leaves what is there as it is. */
bool model_file_save(const char *path, const model_file *file, model_precision precision,
                     io_error *error);

/* Reads a file of any precision. On success free it. */
bool model_file_load(const char *path, model_file *file, io_error *error);

/* Frees all of it and zeroes; fine on a zeroed file. */
void model_file_free(model_file *file);

/* Where a training stands. Arrays are [layout->size]. */
typedef struct model_state {
    attn_nn_real *values;         /* of all parameters, float32 whatever the model file has */
    attn_nn_real *first, *second; /* the optimiser's moments */
    attn_nn_real *average;        /* of values; NULL: none */
    int64_t step, epoch, position;
    uint64_t seed;
    struct json_t *options;  /* what the training was asked for; NULL when saving: nothing */
    struct json_t *progress; /* what else it has to remember */
} model_state;

/* "a/b.safetensors" to "a/b.state.safetensors", and other names to NAME.state.safetensors; to be
 * freed; NULL: no memory. */
char *model_state_path(const char *path);

/* Writes the model file at path and the state beside it, both or neither. */
bool model_state_save(const char *path, const model_file *file, model_precision precision,
                      const model_state *state, io_error *error);

/* Reads the state beside the model file at path, for a model of the same configuration. On success
 * free it. */
bool model_state_load(const char *path, const attn_nn_model *model, model_state *state,
                      io_error *error);

/* Frees all of it and zeroes; fine on a zeroed state. */
void model_state_free(model_state *state);

/* Which tensors of a file are which parameters: PREFIX + x + SUFFIX in the file is PARAMETERS + x in
 * the layout. NULL is "". With a state dict of PyTorch's, of a module that holds an nn.LSTM under the
 * name "encoder": {"encoder.", "_l0", "lstm."} reads "encoder.weight_ih_l0" into "lstm.weight_ih". */
typedef struct model_names {
    const char *prefix, *suffix, *parameters;
} model_names;

/* Reads tensors of any safetensors file (F32, F64, F16, BF16, or I8 as above) into values
 * [layout->size]. Refuses if one is missing, is of another shape, or has a name that fits and no
 * parameter; values are then as they were. */
bool model_load_parameters(const char *path, const model_names *names, const attn_nn_layout *layout,
                           attn_nn_real *values, io_error *error);

#endif
