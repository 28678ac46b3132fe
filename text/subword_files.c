/* subword_files.c: models of subwords, from and to files. */
#include "lines.h"
#include "map.h"
#include "subword.h"
#include "target.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool text_subword_open(text_subword **subword, const char *path, io_error *error) {
    io_map map;
    *subword = NULL;
    if (!io_map_open(&map, path, error)) return false;
    const bool good = text_subword_from_bytes(subword, map.data, map.size, path, error);
    io_map_close(&map);
    return good;
}

/* The sentences of several files, one after the other. */
typedef struct reading {
    const char *const *paths;
    size_t count, next;
    int column; /* as in text_subword_options */
    text_lines lines;
    char *rest; /* of the line at hand; NULL if it is done with */
} reading;

/* The next line of the files; *more is false after the last. */
static bool next_line(reading *files, bool *more, io_error *error) {
    for (;;) {
        if (!files->lines.name) {
            *more = files->next < files->count;
            if (!*more) return true;
            if (!text_lines_open(&files->lines, files->paths[files->next++], error)) return false;
        }
        const text_read got = text_lines_next(&files->lines, error);
        if (got != TEXT_READ_END) return got == TEXT_READ_LINE;
        text_lines_close(&files->lines);
    }
}

/* Leaves the wanted column of the line, alone, in files->rest. */
static bool choose_column(reading *files, io_error *error) {
    char *field = files->lines.text;
    for (int i = 1; i < files->column && field; i++) {
        field = strchr(field, '\t');
        if (field) field++;
    }
    if (!field) {
        return io_fail(error, "%s: line %" PRId64 " has too few columns: expected %d or more",
                       files->lines.name, files->lines.number, files->column);
    }
    files->rest = field;
    if (files->column > 0) field[strcspn(field, "\t")] = 0;
    return true;
}

static bool next_sentence(void *context, const char **sentence, io_error *error) {
    reading *const files = context;
    bool more = true;
    *sentence = NULL;
    if (!files->rest) {
        if (!next_line(files, &more, error)) return false;
        if (!more) return true;
        if (!choose_column(files, error)) return false;
    }
    char *const tab = strchr(files->rest, '\t');
    *sentence = files->rest;
    files->rest = tab ? tab + 1 : NULL;
    if (tab) *tab = 0;
    return true;
}

static bool write_vocabulary(FILE *stream, const void *bytes, size_t size, const char *path,
                             io_error *error) {
    text_subword *subword = NULL;
    if (!text_subword_from_bytes(&subword, bytes, size, path, error)) return false;
    const int32_t count = text_subword_vocabulary(subword);
    for (int32_t id = 0; id < count; id++) {
        (void)fprintf(stream, "%" PRId32 "\t%s\n", id, text_subword_piece(subword, id));
    }
    text_subword_close(subword);
    return true;
}

/* Before the work is done, so that nothing is lost where nothing can be written. */
static bool open_targets(io_target *targets, const char *prefix, io_error *error) {
    static const char *const endings[] = {"model", "vocab"};
    char path[4096];
    for (size_t i = 0; i < 2; i++) {
        if (snprintf(path, sizeof path, "%s.%s", prefix, endings[i]) >= (int)sizeof path) {
            return io_fail(error, "%.60s...: is too long for a path", prefix);
        }
        if (!io_target_open(&targets[i], path, error)) return false;
    }
    return true;
}

static bool train(reading *files, const text_subword_options *options, io_target *targets,
                  const char *prefix, io_error *error) {
    void *bytes = NULL;
    size_t size = 0;
    if (!text_subword_train_on(next_sentence, files, options, &bytes, &size, error)) return false;
    /* What could not be written is found when the targets are committed. */
    (void)fwrite(bytes, 1, size, targets[0].stream);
    const bool good = write_vocabulary(targets[1].stream, bytes, size, prefix, error);
    free(bytes);
    return good && io_targets_commit(targets, 2, error);
}

bool text_subword_train(const char *const *paths, size_t count, const text_subword_options *options,
                        const char *prefix, io_error *error) {
    reading files = {.paths = paths, .count = count, .column = options->column};
    io_target targets[2] = {{0}};
    const bool good =
        open_targets(targets, prefix, error) && train(&files, options, targets, prefix, error);
    text_lines_close(&files.lines);
    if (!good) {
        io_target_discard(&targets[0]);
        io_target_discard(&targets[1]);
    }
    return good;
}
