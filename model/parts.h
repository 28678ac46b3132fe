/* parts.h: what model files and state files have in common. */
#ifndef MODEL_PARTS_H
#define MODEL_PARTS_H

#include "safetensors_write.h"

#include <attn/nn.h>

struct json_t;

/* Whether metadata "format" is `format`; `what` is for the sentence: "a model". */
bool model_check_format(const io_safetensors *file, const char *format, const char *what,
                        io_error *error);

/* Metadata `key` as a JSON object, or NULL and a sentence. */
struct json_t *model_metadata_object(const io_safetensors *file, const char *key, io_error *error);

/* Metadata "config". */
bool model_metadata_config(const io_safetensors *file, attn_nn_config *config, io_error *error);

/* Texts for metadata, to be freed; NULL: no memory. An absent object is an empty one. */
char *model_object_text(const struct json_t *object);
char *model_config_text(const attn_nn_config *config);

/* Room for a layout's numbers, aligned to 64 bytes, zeroed; NULL: no memory. */
attn_nn_real *model_room(int64_t count);

#endif
