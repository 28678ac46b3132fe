#include "train_config.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

bool train_config_read(train_config *config, const char *path, io_error *error) {
    json_error_t why;
    *config = (train_config){0};
    FILE *const stream = fopen(path, "rbe");
    if (stream == NULL) return io_fail(error, "%s: %s", path, strerror(errno));
    config->root = json_loadf(stream, JSON_REJECT_DUPLICATES, &why);
    (void)fclose(stream);
    if (config->root == NULL) {
        return io_fail(error, "%s: line %d: %s: expected a JSON object of options", path, why.line,
                       why.text);
    }
    config->texts = json_array();
    if (json_is_object(config->root) && config->texts) return true;
    train_config_free(config);
    return io_fail(error, "%s: expected a JSON object of options", path);
}

void train_config_free(train_config *config) {
    json_decref(config->root);
    json_decref(config->texts);
    *config = (train_config){0};
}

const json_t *train_config_model(const train_config *config) {
    const json_t *const model = json_object_get(config->root, "model");
    return json_is_object(model) ? model : NULL;
}

/* A value as the command line would have it; it lives as long as the config. NULL: it is none. */
static const char *text_of(train_config *config, const json_t *value) {
    char text[64] = "";
    if (json_is_string(value)) return json_string_value(value);
    if (json_is_integer(value)) {
        (void)snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_real(value)) {
        (void)snprintf(text, sizeof text, "%.17g", json_real_value(value));
    } else {
        return NULL;
    }
    json_t *const kept = json_string(text);
    return json_array_append_new(config->texts, kept) == 0 ? json_string_value(kept) : NULL;
}

static bool apply_one(train_config *config, const char *name, const json_t *value,
                      const cli_usage *usage, void *settings, io_error *error) {
    const cli_option *const option = cli_find(usage, name);
    if (json_is_boolean(value) && option && !option->argument) {
        return json_is_false(value) || cli_apply(usage, name, NULL, settings, error);
    }
    if (json_is_boolean(value) && option) return io_fail(error, "--%s: expected a value", name);
    const char *const text = text_of(config, value);
    if (text) return cli_apply(usage, name, text, settings, error);
    return io_fail(error, "--%.60s: expected a string, a number, true or false, or a list of them",
                   name);
}

static bool is_among(const char *name, const char *const *names) {
    while (*names && strcmp(*names, name) != 0) names++;
    return *names;
}

static bool apply(train_config *config, const cli_usage *usage, const char *const *except,
                  void *settings, io_error *error) {
    const char *name = NULL;
    json_t *value = NULL;
    bool good = true;
    json_object_foreach(config->root, name, value) {
        const bool model = strcmp(name, "model") == 0 && json_is_object(value);
        if (!good || model || is_among(name, except)) continue;
        if (!json_is_array(value)) {
            good = apply_one(config, name, value, usage, settings, error);
        }
        for (size_t i = 0; good && json_is_array(value) && i < json_array_size(value); i++) {
            good = apply_one(config, name, json_array_get(value, i), usage, settings, error);
        }
    }
    return good;
}

bool train_config_apply(train_config *config, const char *path, const cli_usage *usage,
                        const char *const *except, void *settings, io_error *error) {
    io_error reason;
    if (apply(config, usage, except, settings, &reason)) return true;
    return io_fail(error, "%s: %s", path, reason.text);
}
