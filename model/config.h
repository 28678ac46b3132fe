/* config.h: a model's configuration as JSON, every field by its name, enums as words. */
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include "error.h"

#include <attn/nn.h>

struct json_t;

/* A new object of all fields; NULL: no memory. */
struct json_t *model_config_to_json(const attn_nn_config *config);

/* Reads an object that has every field and no other. `where` begins the sentences: "FILE: config".
 * Whether the values make a model, attn_nn_model_create says. */
bool model_config_from_json(attn_nn_config *config, const struct json_t *object, const char *where,
                            io_error *error);

/* The same from an object of any fields: those that it does not have stay as they are. */
bool model_config_update(attn_nn_config *config, const struct json_t *object, const char *where,
                         io_error *error);

/* "FIELD=VALUE" of one field. */
bool model_config_set(attn_nn_config *config, const char *assignment, io_error *error);

/* The name of a field in which the two differ, or NULL. */
const char *model_config_difference(const attn_nn_config *a, const attn_nn_config *b);

#endif
