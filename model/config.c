#include "config.h"

#include <inttypes.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* What enums are called, in the order of their numbers. */
static const char *const families[] = {"transformer", "recurrent", NULL};
static const char *const norms[] = {"layer", "rms", NULL};
static const char *const activations[] = {"relu", "gelu", "silu", NULL};
static const char *const positions[] = {"sinusoidal", "learned", "rotary",
                                        "relative",   "none",    NULL};
static const char *const cells[] = {"lstm", "gru", NULL};
static const char *const looks[] = {"none",     "dot",      "general",    "concat",
                                    "additive", "location", "multi_head", NULL};

typedef enum kind { SIZE, SHARE, FLAG, WORD } kind; /* int64_t, double, bool, an enum */

typedef struct field {
    const char *name;
    kind kind;
    size_t offset;
    const char *const *words; /* of WORD */
} field;

#define AT(name) offsetof(attn_nn_config, name)
static const field fields[] = {
    {"family", WORD, AT(family), families},
    {"vocabulary", SIZE, AT(vocabulary), NULL},
    {"width", SIZE, AT(width), NULL},
    {"encoder_layers", SIZE, AT(encoder_layers), NULL},
    {"decoder_layers", SIZE, AT(decoder_layers), NULL},
    {"heads", SIZE, AT(heads), NULL},
    {"untied", FLAG, AT(untied), NULL},
    {"dropout", SHARE, AT(dropout), NULL},
    {"feed_forward", SIZE, AT(feed_forward), NULL},
    {"attention_dropout", SHARE, AT(attention_dropout), NULL},
    {"activation_dropout", SHARE, AT(activation_dropout), NULL},
    {"norm", WORD, AT(norm), norms},
    {"post_norm", FLAG, AT(post_norm), NULL},
    {"activation", WORD, AT(activation), activations},
    {"positions", WORD, AT(positions), positions},
    {"max_length", SIZE, AT(max_length), NULL},
    {"hidden", SIZE, AT(hidden), NULL},
    {"cell", WORD, AT(cell), cells},
    {"look", WORD, AT(look), looks},
    {"look_width", SIZE, AT(look_width), NULL},
    {"no_input_feeding", FLAG, AT(no_input_feeding), NULL},
    {"coverage", FLAG, AT(coverage), NULL},
    {"copy", FLAG, AT(copy), NULL},
    {"align_layer", SIZE, AT(align_layer), NULL},
    {"align_heads", SIZE, AT(align_heads), NULL},
    {"align_after", FLAG, AT(align_after), NULL},
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

/* The last field of all, and the size that follows: a field that is new in attn/nn.h belongs above. */
_Static_assert(sizeof(attn_nn_config) == AT(align_after) + sizeof(int64_t) &&
                   AT(align_after) == 160,
               "attn_nn_config has changed: the table of its fields has to as well");

/* Enums are read and written as the unsigned numbers that they are to GCC and Clang. */
_Static_assert(sizeof(attn_nn_family) == sizeof(unsigned) &&
                   sizeof(attn_nn_look) == sizeof(unsigned),
               "an enum of the configuration is no unsigned");

static int64_t size_at(const attn_nn_config *config, const field *f) {
    int64_t value = 0;
    memcpy(&value, (const char *)config + f->offset, sizeof value);
    return value;
}

static double share_at(const attn_nn_config *config, const field *f) {
    double value = 0;
    memcpy(&value, (const char *)config + f->offset, sizeof value);
    return value;
}

static bool flag_at(const attn_nn_config *config, const field *f) {
    bool value = false;
    memcpy(&value, (const char *)config + f->offset, sizeof value);
    return value;
}

static unsigned word_at(const attn_nn_config *config, const field *f) {
    unsigned value = 0;
    memcpy(&value, (const char *)config + f->offset, sizeof value);
    return value;
}

static const char *word(const field *f, unsigned value) {
    for (unsigned i = 0; f->words[i]; i++) {
        if (i == value) return f->words[i];
    }
    return NULL;
}

static json_t *to_json(const attn_nn_config *config, const field *f) {
    switch (f->kind) {
    case SIZE: return json_integer(size_at(config, f));
    case SHARE: return json_real(share_at(config, f));
    case FLAG: return json_boolean(flag_at(config, f));
    case WORD: return json_string(word(f, word_at(config, f)));
    }
    return NULL;
}

json_t *model_config_to_json(const attn_nn_config *config) {
    json_t *const object = json_object();
    for (size_t i = 0; i < FIELDS; i++) {
        if (json_object_set_new(object, fields[i].name, to_json(config, &fields[i]))) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

/* "lstm or gru", "relu, gelu or silu". */
static void list_words(const field *f, char *text, size_t size) {
    size_t used = 0;
    for (int i = 0; f->words[i] && used < size; i++) {
        const char *const between = i == 0 ? "" : f->words[i + 1] ? ", " : " or ";
        used += (size_t)snprintf(text + used, size - used, "%s%s", between, f->words[i]);
    }
}

static bool wrong(const field *f, const json_t *value, const char *where, io_error *error) {
    static const char *const expected[] = {"a whole number", "a number", "true or false"};
    char words[128] = "";
    if (f->kind == WORD) list_words(f, words, sizeof words);
    char *const text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    io_describe(error, "%s: %s is %.100s: expected %s", where, f->name, text ? text : "(unknown)",
                f->kind == WORD ? words : expected[f->kind]);
    free(text);
    return false;
}

static bool word_from_json(unsigned *number, const json_t *value, const field *f) {
    const char *const text = json_string_value(value);
    *number = 0;
    while (text && f->words[*number] && strcmp(text, f->words[*number]) != 0) ++*number;
    return text && f->words[*number];
}

static bool from_json(attn_nn_config *config, const json_t *value, const field *f) {
    char *const place = (char *)config + f->offset;
    const int64_t size = json_integer_value(value);
    const double share = json_number_value(value);
    const bool flag = json_is_true(value);
    unsigned number = 0;
    switch (f->kind) {
    case SIZE: return json_is_integer(value) && memcpy(place, &size, sizeof size);
    case SHARE: return json_is_number(value) && memcpy(place, &share, sizeof share);
    case FLAG: return json_is_boolean(value) && memcpy(place, &flag, sizeof flag);
    case WORD: return word_from_json(&number, value, f) && memcpy(place, &number, sizeof number);
    }
    return false;
}

static const field *find(const char *name) {
    for (size_t i = 0; i < FIELDS; i++) {
        if (strcmp(name, fields[i].name) == 0) return &fields[i];
    }
    return NULL;
}

bool model_config_update(attn_nn_config *config, const json_t *object, const char *where,
                         io_error *error) {
    const char *name = NULL;
    const json_t *value = NULL;
    if (!json_is_object(object)) return io_fail(error, "%s: is not a JSON object", where);
    json_object_foreach((json_t *)(uintptr_t)object, name, value) {
        const field *const f = find(name);
        if (!f) {
            return io_fail(error, "%s: has a field %.100s, which this version does not know", where,
                           name);
        }
        if (!from_json(config, value, f)) return wrong(f, value, where, error);
    }
    return true;
}

bool model_config_from_json(attn_nn_config *config, const json_t *object, const char *where,
                            io_error *error) {
    *config = (attn_nn_config){0};
    if (!model_config_update(config, object, where, error)) return false;
    for (size_t i = 0; i < FIELDS; i++) {
        if (!json_object_get(object, fields[i].name)) {
            return io_fail(error, "%s: has no field %s", where, fields[i].name);
        }
    }
    return true;
}

bool model_config_set(attn_nn_config *config, const char *assignment, io_error *error) {
    const size_t length = strcspn(assignment, "=");
    char name[64];
    if (assignment[length] == 0 || length >= sizeof name) {
        return io_fail(error, "--set %.60s: expected FIELD=VALUE, as in width=256", assignment);
    }
    memcpy(name, assignment, length);
    name[length] = 0;
    const field *const f = find(name);
    if (!f) return io_fail(error, "--set: a model has no field %s", name);
    const char *const text = assignment + length + 1;
    json_t *value = f->kind == WORD ? NULL : json_loads(text, JSON_DECODE_ANY, NULL);
    if (!value) value = json_string(text);
    const bool good = from_json(config, value, f) || wrong(f, value, "--set", error);
    json_decref(value);
    return good;
}

static bool same(const attn_nn_config *a, const attn_nn_config *b, const field *f) {
    switch (f->kind) {
    case SIZE: return size_at(a, f) == size_at(b, f);
    case SHARE: return share_at(a, f) == share_at(b, f);
    case FLAG: return flag_at(a, f) == flag_at(b, f);
    case WORD: return word_at(a, f) == word_at(b, f);
    }
    return false;
}

const char *model_config_difference(const attn_nn_config *a, const attn_nn_config *b) {
    for (size_t i = 0; i < FIELDS; i++) {
        if (!same(a, b, &fields[i])) return fields[i].name;
    }
    return NULL;
}
