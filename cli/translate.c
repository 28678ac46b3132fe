/* attn translate: sentences in, sentences out, and where each word comes from. */
#include "cli.h"
#include "options.h"
#include "terminal.h"
#include "translate_show.h"
#include "translator_options.h"

#include "corpus.h"
#include "lines.h"
#include "utf8.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct translate_settings {
    cli_search search;
    cli_extraction extraction;
    const char *input, *html;
    bool alignments, show, json, unbuffered;
} translate_settings;

#define AT(field) offsetof(translate_settings, field)

static const cli_option text_options[] = {
    {"input", "FILE", "a sentence a line, plain or gzip (standard input)", cli_text, AT(input)},
    {"unbuffered", NULL, "translate each line as it comes", cli_flag, AT(unbuffered)},
    {0},
};

static const cli_option result_options[] = {
    {"alignments", NULL, "after a tab, links i-j from word i of the source to word j", cli_flag,
     AT(alignments)},
    {"show", NULL, "draw where each word looked", cli_flag, AT(show)},
    {"html", "FILE", "write a page to hover words in, with their links", cli_text, AT(html)},
    {"json", NULL, "one JSON object a sentence, with subwords and scores", cli_flag, AT(json)},
    {0},
};

static const cli_group groups[] = {{"text", text_options, 0},
                                   {"result", result_options, 0},
                                   {"model", cli_model_options, AT(search)},
                                   {"search", cli_search_options, AT(search)},
                                   {"alignments", cli_extraction_options, AT(extraction)},
                                   {0}};

static const cli_usage usage = {
    "attn translate", "attn translate [OPTION]... [SENTENCE]...",
    "Translates sentences: those given, or those of --input, or of standard input, one a line. With\n"
    "--n-best, a score and a tab come before each translation.",
    groups, CLI_OPERANDS_MAX};

/* Everything at hand while sentences pass through. */
typedef struct work {
    const translate_settings *settings;
    translator translator;
    translate_options options;
    translate_page *page;
    cli_terminal terminal;
} work;

/* --- One sentence's result -------------------------------------------------------------------------- */

static bool print_links(const work *w, const char *sentence, const translated *result,
                        const translation *t, io_error *error) {
    text_links links = {0};
    const bool good = align_translation(&w->translator, sentence, result, t,
                                        &w->settings->extraction.align, &links, error);
    if (good) {
        putchar('\t');
        text_links_print(&links, stdout);
    }
    text_links_free(&links);
    return good;
}

static json_t *pieces_json(const text_subword *subword, const int32_t *ids, int64_t count) {
    json_t *const list = json_array();
    for (int64_t i = 0; i < count; i++) {
        (void)json_array_append_new(list, json_string(text_subword_piece(subword, ids[i])));
    }
    return list;
}

static json_t *links_json(const text_links *links) {
    json_t *const list = json_array();
    for (int64_t l = 0; l < links->count; l++) {
        (void)json_array_append_new(
            list, json_pack("[i, i]", links->link[l].source, links->link[l].target));
    }
    return list;
}

static bool print_json(const work *w, const char *sentence, const translated *result,
                       io_error *error) {
    const text_subword *const subword = w->translator.subword;
    json_t *const list = json_array();
    bool good = true;
    for (int64_t b = 0; good && b < result->count; b++) {
        const translation *const t = &result->best[b];
        json_t *const one =
            json_pack("{s:s, s:f, s:f, s:o}", "text", t->text, "score", t->score, "log_p", t->log_p,
                      "subwords", pieces_json(subword, t->tokens, t->length));
        if (t->weights) {
            text_links links = {0};
            good = align_translation(&w->translator, sentence, result, t,
                                     &w->settings->extraction.align, &links, error);
            (void)json_object_set_new(one, "links", links_json(&links));
            text_links_free(&links);
        }
        (void)json_array_append_new(list, one);
    }
    json_t *const object = json_pack("{s:s, s:o, s:o}", "source", sentence, "subwords",
                                     pieces_json(subword, result->source.id, result->source.count),
                                     "translations", list);
    char *const text = object ? json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    json_decref(object);
    if (good && !text) good = io_fail(error, "out of memory");
    if (good) puts(text);
    free(text);
    return good;
}

static bool print_result(work *w, const char *sentence, const translated *result, io_error *error) {
    const translate_settings *const s = w->settings;
    if (w->page && !translate_page_add(w->page, &w->translator, sentence, result, error)) {
        return false;
    }
    if (s->json) return print_json(w, sentence, result, error);
    for (int64_t b = 0; b < result->count; b++) {
        const translation *const t = &result->best[b];
        if (s->search.n_best > 1) printf("%.4f\t", t->score);
        (void)fputs(t->text, stdout);
        if (s->alignments && !print_links(w, sentence, result, t, error)) return false;
        putchar('\n');
        if (s->show && !translate_show(&w->translator, &w->terminal, sentence, result, t, error)) {
            return false;
        }
    }
    return true;
}

/* Blank lines are translated by blank lines, so that lines stay side by side. */
static bool print_blank(work *w, const char *sentence, io_error *error) {
    const translated nothing = {0};
    if (w->settings->json) return print_json(w, sentence, &nothing, error);
    putchar('\n');
    return true;
}

/* --- Sentences in groups ---------------------------------------------------------------------------- */

enum { GROUP = 1024 };

static bool translate_group(work *w, char **sentences, int64_t count, io_error *error) {
    const char *real[GROUP] = {0};
    translated results[GROUP];
    int64_t place[GROUP], reals = 0;
    for (int64_t i = 0; i < count; i++) {
        place[i] = text_is_blank(sentences[i]) ? -1 : reals;
        if (place[i] >= 0) real[reals++] = sentences[i];
    }
    if (!translate_sentences(&w->translator, NULL, real, reals, &w->options, results, error)) {
        return false;
    }
    bool good = true;
    for (int64_t i = 0; good && i < count; i++) {
        if (place[i] < 0) {
            good = print_blank(w, sentences[i], error);
        } else {
            good = print_result(w, sentences[i], &results[place[i]], error);
        }
    }
    translated_free(results, reals);
    if (good && (fflush(stdout) != 0 || ferror(stdout))) {
        good = io_fail(error, "standard output: %s", strerror(errno));
    }
    return good;
}

static bool translate_lines(work *w, text_lines *lines, int64_t group, io_error *error) {
    char *sentences[GROUP];
    bool good = true, ended = false;
    while (good && !ended) {
        int64_t count = 0;
        while (count < group && good && !ended) {
            const text_read got = text_lines_next(lines, error);
            good = got != TEXT_READ_FAILED, ended = got == TEXT_READ_END;
            if (got != TEXT_READ_LINE) continue;
            sentences[count] = strdup(lines->text);
            if (sentences[count] == NULL) good = io_fail(error, "out of memory");
            else count++;
        }
        /* What came before a bad line is translated before it is refused. */
        io_error other;
        const bool done = count == 0 || translate_group(w, sentences, count, good ? error : &other);
        good = good && done;
        for (int64_t i = 0; i < count; i++) free(sentences[i]);
    }
    return good;
}

static bool translate_input(work *w, io_error *error) {
    const translate_settings *const s = w->settings;
    text_lines lines = {0};
    if (s->input) {
        if (!text_lines_open(&lines, s->input, error)) return false;
    } else {
        text_lines_from(&lines, stdin, "standard input");
    }
    lines.limit = TRANSLATE_SENTENCE_LIMIT;
    const bool typed = s->unbuffered || (!s->input && isatty(STDIN_FILENO));
    const bool good = translate_lines(w, &lines, typed ? 1 : GROUP, error);
    text_lines_close(&lines);
    return good;
}

static bool translate_arguments(work *w, int argc, char **argv, io_error *error) {
    char *group[GROUP];
    int64_t count = 0;
    for (int i = 0; cli_operand(argc, argv, i); i++) {
        char *const sentence = (char *)(uintptr_t)cli_operand(argc, argv, i);
        const size_t length = strlen(sentence);
        if (text_utf8_valid(sentence, length) != length) {
            return io_fail(error, "sentence %d is not valid UTF-8", i + 1);
        }
        if (length > TRANSLATE_SENTENCE_LIMIT) {
            return io_fail(error, "sentence %d is %zu bytes long: expected at most %d", i + 1,
                           length, TRANSLATE_SENTENCE_LIMIT);
        }
        group[count++] = sentence;
        if (count == GROUP || !cli_operand(argc, argv, i + 1)) {
            if (!translate_group(w, group, count, error)) return false;
            count = 0;
        }
    }
    return true;
}

/* What is wrong whatever the model. */
static bool check(const translate_settings *s, int argc, char **argv, io_error *error) {
    if (s->input && cli_operand(argc, argv, 0)) {
        return io_fail(error, "expected --input or sentences, not both");
    }
    if (s->json && (s->show || s->alignments)) {
        return io_fail(error, "--json excludes %s: links are in it",
                       s->show ? "--show" : "--alignments");
    }
    return true;
}

static bool want_weights(work *w, io_error *error) {
    const translate_settings *const s = w->settings;
    const char *const wanted = s->alignments ? "--alignments" : s->show ? "--show" : "--html";
    w->options.search.want_weights = s->alignments || s->show || s->html || s->json;
    if (align_possible(&w->translator)) return true;
    w->options.search.want_weights = false;
    if (!s->alignments && !s->show && !s->html) return true;
    return io_fail(error, "%s: the model has no attention", wanted);
}

static bool run(work *w, int argc, char **argv, io_error *error) {
    const bool good = cli_operand(argc, argv, 0) ? translate_arguments(w, argc, argv, error)
                                                 : translate_input(w, error);
    return good && (!w->page || translate_page_commit(w->page, error));
}

bool cli_translate(int argc, char **argv, io_error *error) {
    translate_settings settings = {.search = cli_search_defaults,
                                   .extraction = {.align = align_defaults()}};
    const cli_parsed parsed = cli_parse(&usage, argc, argv, &settings, error);
    if (parsed != CLI_PARSED) return parsed == CLI_HELP_SHOWN;
    work w = {.settings = &settings, .terminal = cli_terminal_detect()};
    const bool good = check(&settings, argc, argv, error) &&
                      (!settings.html || translate_page_open(&w.page, settings.html, error)) &&
                      cli_load_translator(&w.translator, &settings.search, error) &&
                      translator_pack(&w.translator, error) &&
                      cli_search_settings(&settings.search, &w.translator, &w.options, error) &&
                      cli_extraction_settings(&settings.extraction, &w.translator, error) &&
                      want_weights(&w, error) && run(&w, argc, argv, error);
    translate_page_close(w.page);
    translator_free(&w.translator);
    return good;
}
