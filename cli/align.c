/* attn align: links between the words of pairs, by where a model looks; or the monotone path through
 * weights. */
#include "cli.h"
#include "layers.h"
#include "translator_options.h"
#include "views.h"

#include "../io/target.h"

#include "corpus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct align_settings {
    const char *output, *data;
    cli_search search;
    cli_extraction extraction;
} align_settings;

static const cli_option pairs_options[] = {
    {"data", "FILE", "pairs of sentences, their words cut by blanks: source, tab, target", cli_text,
     offsetof(align_settings, data)},
    {0},
};

static const cli_option result_options[] = {
    {"output", "FILE",
     "write the path, .npy, or the links (standard output); -o is short\n"
     "for it",
     cli_text, offsetof(align_settings, output)},
    {0},
};

static const cli_group groups[] = {
    {"pairs", pairs_options, 0},
    {"result", result_options, 0},
    {"model", cli_model_options, offsetof(align_settings, search)},
    {"heads", cli_heads_options, offsetof(align_settings, extraction)},
    {"links", cli_extraction_options, offsetof(align_settings, extraction)},
    {0}};

static const cli_usage usage = {
    "attn align", "attn align --data FILE [OPTION]...\n       attn align WEIGHTS.npy --output FILE",
    "Of pairs of sentences: which words translate each other, by where a model looks; a line of\n"
    "links i-j for each pair, source-target, from 0 (Pharaoh).\n"
    "Of weights, [queries, keys]: the monotone path that collects the most of them, by dynamic time\n"
    "warping. For each query, writes the first and the last key that it visits.",
    groups, 1};

/* --- Pairs ------------------------------------------------------------------------------------------ */

static bool write_links(FILE *stream, const text_links *links, int64_t count, io_error *error) {
    for (int64_t i = 0; i < count; i++) {
        text_links_print(&links[i], stream);
        (void)fputc('\n', stream);
    }
    /* What goes to a file is found out when that is finished. */
    return stream != stdout || (fflush(stdout) == 0 && !ferror(stdout)) ||
           io_fail(error, "standard output: %s", strerror(errno));
}

static bool link_pairs(align_settings *s, const translator *t, FILE *stream, io_error *error) {
    translate_pairs all;
    if (!translate_pairs_read(&all, &s->data, 1, error)) return false;
    const text_pairs *const pairs = &all.files[0];
    text_links *const links = calloc((size_t)pairs->count + 1, sizeof *links);
    bool good = links != NULL || io_fail(error, "out of memory");
    good = good && translate_pairs_short(&all, &s->data, error) &&
           align_pairs(t, pairs->source, pairs->target, pairs->count, &s->extraction.align, links,
                       error) &&
           write_links(stream, links, pairs->count, error);
    for (int64_t i = 0; links && i < pairs->count; i++) text_links_free(&links[i]);
    free(links);
    translate_pairs_free(&all);
    return good;
}

static bool align_data(align_settings *s, io_error *error) {
    translator t = {0};
    io_target target = {0};
    bool good = (!s->output || io_target_open(&target, s->output, error)) &&
                cli_load_translator(&t, &s->search, error) &&
                cli_extraction_settings(&s->extraction, &t, error) &&
                (align_possible(&t) || io_fail(error, "the model has no attention"));
    s->extraction.align.threads = (int)s->search.threads;
    good = good && link_pairs(s, &t, s->output ? target.stream : stdout, error) &&
           (!s->output || io_targets_commit(&target, 1, error));
    io_target_discard(&target);
    translator_free(&t);
    return good;
}

/* --- Weights ---------------------------------------------------------------------------------------- */

static attn_status align(attn_context *context, const cli_layers *layers, const void *settings,
                         const attn_tensor *result) {
    (void)settings;
    return attn_alignment_path(context, &layers->tensors[0], result);
}

static bool compute(const cli_layers *layers, const char *path, io_error *error) {
    const int64_t *const size = layers->tensors[0].shape;
    const int64_t shape[4] = {size[0], size[1], size[2], 2};
    return cli_layers_compute(layers, align, NULL, cli_index_dtype(size[3]), shape, path, error);
}

bool cli_align(int argc, char **argv, io_error *error) {
    align_settings settings = {.search = cli_search_defaults,
                               .extraction = {.align = align_defaults()}};
    cli_layers layers = {0};
    const cli_parsed parsed = cli_parse(&usage, argc, argv, &settings, error);
    if (parsed != CLI_PARSED) return parsed == CLI_HELP_SHOWN;
    if (settings.data && cli_operand(argc, argv, 0)) {
        return io_fail(error, "expected --data or weights, not both");
    }
    if (settings.data) return align_data(&settings, error);
    if (!settings.output) return io_fail(error, "--output is missing: expected a file to write");
    const bool good = cli_layers_open(&layers, &usage, argc, argv, error) &&
                      compute(&layers, settings.output, error);
    cli_layers_close(&layers);
    return good;
}
