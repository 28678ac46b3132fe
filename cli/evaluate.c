/* attn evaluate: how well a model translates, and aligns. */
#include "cli.h"
#include "options.h"
#include "progress.h"
#include "translator_options.h"

#include "../io/target.h"

#include "bootstrap.h"
#include "evaluation.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct evaluate_settings {
    cli_search search;
    cli_extraction extraction;
    const char *data, *output;
    bool json, links_target_first;
    int64_t links_base;
} evaluate_settings;

#define AT(field) offsetof(evaluate_settings, field)

static const cli_option text_options[] = {
    {"data", "FILE",
     "pairs: source, tab, target a line, and perhaps, after another tab,\n"
     "the links between their words: i-j sure, ipj possible",
     cli_text, AT(data)},
    {"links-base", "N", "the number of the first word in links (0)", cli_count, AT(links_base)},
    {"links-target-first", NULL, "links are target-source", cli_flag, AT(links_target_first)},
    {0},
};

static const cli_option result_options[] = {
    {"json", NULL, "print one JSON object", cli_flag, AT(json)},
    {"output", "FILE", "write the translations, a line each; -o is short for it", cli_text,
     AT(output)},
    {0},
};

static const cli_group groups[] = {{"text", text_options, 0},
                                   {"result", result_options, 0},
                                   {"model", cli_model_options, AT(search)},
                                   {"search", cli_search_options, AT(search)},
                                   {"heads", cli_heads_options, AT(extraction)},
                                   {"links", cli_extraction_options, AT(extraction)},
                                   {0}};

static const cli_usage usage = {
    "attn evaluate", "attn evaluate --data FILE [OPTION]...",
    "Translates the sources of a file of pairs and compares with the targets: BLEU and chrF, as\n"
    "sacreBLEU has them, with 95 % intervals; the loss of the targets; and, where the file has links,\n"
    "the alignment error rate.",
    groups, 0};

/* Everything at hand. */
typedef struct work {
    const evaluate_settings *settings;
    translator translator;
    translate_options options;
    io_target target; /* of --output */
} work;

typedef struct figures {
    int64_t sentences;
    text_interval bleu, chrf;
    attn_nn_loss loss;
    bool aligned;
    text_link_scores links;
} figures;

/* --- Scores ----------------------------------------------------------------------------------------- */

/* As many resamples as sacreBLEU takes. */
enum { RESAMPLES = 1000 };

static bool score(const text_pairs *pairs, const translated *results, figures *f, io_error *error) {
    evaluation e;
    if (!evaluation_open(&e, pairs->count, error)) return false;
    bool good = true;
    for (int64_t i = 0; good && i < pairs->count; i++) {
        good = evaluation_count(&e, i, results[i].best[0].text, pairs->target[i], error);
    }
    if (good && (!text_bootstrap(evaluation_bleu, &e, e.count, RESAMPLES, 1, &f->bleu) ||
                 !text_bootstrap(evaluation_chrf, &e, e.count, RESAMPLES, 1, &f->chrf))) {
        good = io_fail(error, "out of memory");
    }
    evaluation_free(&e);
    return good;
}

static void write_lines(FILE *stream, const translated *results, int64_t count) {
    for (int64_t i = 0; i < count; i++) fprintf(stream, "%s\n", results[i].best[0].text);
}

static bool show_progress(void *user, int64_t done) {
    cli_progress *const p = user;
    cli_progress_show(p, done, p->all, "sentences");
    return true;
}

static bool translate_all(const work *w, const text_pairs *pairs, figures *f, io_error *error) {
    translate_options options = w->options;
    cli_progress progress;
    translated *const results = calloc((size_t)pairs->count + 1, sizeof *results);
    if (results == NULL) return io_fail(error, "out of memory");
    cli_progress_open(&progress, "translating", 0);
    progress.all = pairs->count;
    options.progress = show_progress, options.user = &progress;
    bool good = translate_sentences(&w->translator, NULL, pairs->source, pairs->count, &options,
                                    results, error);
    cli_progress_clear(&progress);
    if (good) {
        good = score(pairs, results, f, error);
        if (good && w->target.stream) write_lines(w->target.stream, results, pairs->count);
        translated_free(results, pairs->count);
    }
    free(results);
    return good;
}

/* --- Links ------------------------------------------------------------------------------------------ */

static bool count_links(const evaluate_settings *s, const text_pairs *pairs,
                        const text_links *found, text_link_counts *sum, io_error *error) {
    text_links gold = {0};
    bool good = true;
    for (int64_t i = 0; good && i < pairs->count; i++) {
        const text_links_format format = {.base = (int32_t)s->links_base,
                                          .target_first = s->links_target_first,
                                          .sources = (int32_t)text_word_count(pairs->source[i]),
                                          .targets = (int32_t)text_word_count(pairs->target[i]),
                                          .name = s->data,
                                          .line = pairs->line[i]};
        good = text_links_parse(&gold, pairs->rest[i], &format, error);
        if (good) text_links_count(&found[i], &gold, sum);
    }
    text_links_free(&gold);
    return good;
}

static bool align_all(const evaluate_settings *s, const translator *t, const text_pairs *pairs,
                      figures *f, io_error *error) {
    for (int64_t i = 0; i < pairs->count; i++) {
        if (!pairs->rest[i] && pairs->rest[0]) {
            return io_fail(error, "%s: line %lld has no links, the first has", s->data,
                           (long long)pairs->line[i]);
        }
    }
    /* Attributions, as Tatoeba's, are no links; and some models make none. */
    if (!pairs->rest[0] || !align_possible(t) ||
        strspn(pairs->rest[0], "0123456789-p ") != strlen(pairs->rest[0])) {
        return true;
    }
    text_links *const found = calloc((size_t)pairs->count + 1, sizeof *found);
    if (found == NULL) return io_fail(error, "out of memory");
    text_link_counts sum = {0};
    const bool good = align_pairs(t, pairs->source, pairs->target, pairs->count,
                                  &s->extraction.align, found, error) &&
                      count_links(s, pairs, found, &sum, error);
    for (int64_t i = 0; i < pairs->count; i++) text_links_free(&found[i]);
    free(found);
    f->aligned = good;
    if (good) f->links = text_links_score(&sum);
    return good;
}

/* --- Everything ------------------------------------------------------------------------------------- */

static void print_text(const figures *f) {
    const double loss = f->loss.likelihood / (double)f->loss.rows;
    printf("sentences   %lld\n", (long long)f->sentences);
    printf("BLEU        %.2f  (%.2f to %.2f)\n", f->bleu.score, f->bleu.low, f->bleu.high);
    printf("chrF2       %.2f  (%.2f to %.2f)\n", f->chrf.score, f->chrf.low, f->chrf.high);
    printf("loss        %.4f a token, perplexity %.3f\n", loss, exp(loss));
    if (!f->aligned) return;
    printf("AER         %.2f  (precision %.2f, recall %.2f)\n", 100 * f->links.error,
           100 * f->links.precision, 100 * f->links.recall);
}

static void print_json(const figures *f) {
    json_t *const object = json_pack(
        "{s:I, s:f, s:[f, f], s:f, s:[f, f], s:f, s:I}", "sentences", (json_int_t)f->sentences,
        "bleu", f->bleu.score, "bleu_interval", f->bleu.low, f->bleu.high, "chrf", f->chrf.score,
        "chrf_interval", f->chrf.low, f->chrf.high, "loss",
        f->loss.likelihood / (double)f->loss.rows, "tokens", (json_int_t)f->loss.rows);
    if (f->aligned) {
        (void)json_object_set_new(object, "aer", json_real(f->links.error));
        (void)json_object_set_new(object, "precision", json_real(f->links.precision));
        (void)json_object_set_new(object, "recall", json_real(f->links.recall));
    }
    (void)json_dumpf(object, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(object);
}

static bool evaluate(work *w, io_error *error) {
    const evaluate_settings *const s = w->settings;
    const translator *const t = &w->translator;
    translate_pairs all;
    if (!translate_pairs_read(&all, &s->data, 1, error)) return false;
    const text_pairs *const pairs = &all.files[0];
    figures f = {.sentences = pairs->count};
    const bool good = translate_pairs_short(&all, &s->data, error) &&
                      align_all(s, t, pairs, &f, error) &&
                      evaluation_loss(t, &all, (int)w->options.threads, &f.loss, error) &&
                      translate_all(w, pairs, &f, error) &&
                      (!s->output || io_targets_commit(&w->target, 1, error));
    if (good) (s->json ? print_json : print_text)(&f);
    translate_pairs_free(&all);
    return good;
}

static bool check(const evaluate_settings *s, io_error *error) {
    if (!s->data) return io_fail(error, "--data is missing: expected a file of pairs");
    if (s->search.n_best > 1) return io_fail(error, "--n-best: one translation is judged");
    return s->links_base <= 1 ||
           io_fail(error, "--links-base %lld: expected 0 or 1", (long long)s->links_base);
}

bool cli_evaluate(int argc, char **argv, io_error *error) {
    evaluate_settings settings = {.search = cli_search_defaults,
                                  .extraction = {.align = align_defaults()}};
    const cli_parsed parsed = cli_parse(&usage, argc, argv, &settings, error);
    if (parsed != CLI_PARSED) return parsed == CLI_HELP_SHOWN;
    work w = {.settings = &settings};
    const bool good = check(&settings, error) &&
                      (!settings.output || io_target_open(&w.target, settings.output, error)) &&
                      cli_load_translator(&w.translator, &settings.search, error) &&
                      cli_search_settings(&settings.search, &w.translator, &w.options, error) &&
                      cli_extraction_settings(&settings.extraction, &w.translator, error) &&
                      evaluate(&w, error);
    io_target_discard(&w.target);
    translator_free(&w.translator);
    return good;
}
