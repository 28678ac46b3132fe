/* train_config.h: options of attn train from a file. */
#ifndef CLI_TRAIN_CONFIG_H
#define CLI_TRAIN_CONFIG_H

#include "options.h"

struct json_t;

/* A JSON object whose fields are names of options. */
typedef struct train_config {
    struct json_t *root;  /* what was read */
    struct json_t *texts; /* what the settings point to */
} train_config;

bool train_config_read(train_config *config, const char *path, io_error *error);

/* Applies all of its fields to the settings, but for those in `except` (ends with NULL). A list is an
 * option given several times; true is a flag, false none. "model", if it is an object, is for the
 * caller. The settings point into the config. */
bool train_config_apply(train_config *config, const char *path, const cli_usage *usage,
                        const char *const *except, void *settings, io_error *error);

/* The object under "model", or NULL. */
const struct json_t *train_config_model(const train_config *config);

void train_config_free(train_config *config); /* fine on a zeroed one */

#endif
