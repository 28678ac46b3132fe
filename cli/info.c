/* attn info: which library this is, on which machine, and what it makes of it. */
#include "cli.h"
#include "machine.h"
#include "options.h"

#include "../io/picture.h"

#include "subword.h"

#include <attn/attn.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

typedef struct info_settings {
    bool json;
} info_settings;

static const cli_option output_options[] = {
    {"json", NULL, "print one JSON object", cli_flag, offsetof(info_settings, json)},
    {0},
};

static const cli_group groups[] = {{"output", output_options, 0}, {0}};

static const cli_usage usage = {
    "attn info", "attn info [--json]",
    "Prints the version, the compiler, the CPU, the instruction set in use and why, the number of\n"
    "threads, and which libraries the command was built with.",
    groups, 0};

#if defined(__clang__)
static const char compiler[] = __VERSION__; /* names itself */
#else
static const char compiler[] = "gcc " __VERSION__;
#endif

typedef struct facts {
    char cpu[256];
    char reason[512];
    const char *isa;
    int threads;
} facts;

/* Each BLAS says in its own way what it is; of others the interface is all that is known. */
extern char *openblas_get_config(void) __attribute__((weak));

static const char *blas(void) {
    return openblas_get_config ? openblas_get_config() : "CBLAS";
}

static const char *or_none(bool there, const char *what) {
    return there ? what : "none";
}

static void print_text(const facts *f) {
    printf("version    %s\ncompiler   %s\ncpu        %s\nprocessors %ld\n", attn_version(),
           compiler, f->cpu, cli_cpu_count());
    printf("caches     ");
    for (int level = 1; level <= 3; level++) {
        const int64_t bytes = cli_cache_bytes(level);
        if (bytes > 0) printf("%sL%d %" PRId64 " KiB", level > 1 ? ", " : "", level, bytes / 1024);
    }
    printf("\ntables    ");
    for (attn_isa isa = ATTN_ISA_GENERIC; attn_isa_name(isa); isa++) {
        if (attn_isa_available(isa)) printf(" %s", attn_isa_name(isa));
    }
    printf("\nin use     %s\nthreads    %d\n", f->reason, f->threads);
    printf("blas       %s\nsubwords   %s\npictures   %s\n", blas(),
           or_none(text_subword_available(), "SentencePiece"),
           or_none(io_picture_available(), "cairo"));
}

static bool print_json(const facts *f, io_error *error) {
    json_t *const tables = json_array();
    json_t *const caches = json_array();
    for (int level = 1; level <= 3; level++) {
        (void)json_array_append_new(caches, json_integer(cli_cache_bytes(level)));
    }
    for (attn_isa isa = ATTN_ISA_GENERIC; attn_isa_name(isa); isa++) {
        if (!attn_isa_available(isa)) continue;
        (void)json_array_append_new(tables, json_string(attn_isa_name(isa)));
    }
    json_t *const all = json_pack(
        "{s:s, s:s, s:s, s:I, s:o, s:o, s:s, s:s, s:i, s:s, s:b, s:b}", "version", attn_version(),
        "compiler", compiler, "cpu", f->cpu, "processors", (json_int_t)cli_cpu_count(),
        "cache_bytes", caches, "tables", tables, "isa", f->isa, "reason", f->reason, "threads",
        f->threads, "blas", blas(), "sentencepiece", (int)text_subword_available(), "cairo",
        (int)io_picture_available());
    const int failed = all ? json_dumpf(all, stdout, 0) : -1;
    printf("\n");
    json_decref(all);
    return failed ? io_fail(error, "the JSON object could not be printed") : true;
}

bool cli_info(int argc, char **argv, io_error *error) {
    info_settings settings = {0};
    facts f = {0};
    const cli_parsed parsed = cli_parse(&usage, argc, argv, &settings, error);
    if (parsed != CLI_PARSED) return parsed == CLI_HELP_SHOWN;
    cli_cpu_name(f.cpu, sizeof f.cpu);
    (void)attn_isa_reason(f.reason, sizeof f.reason);
    f.isa = attn_isa_name(attn_context_isa(NULL));
    f.threads = attn_context_threads(NULL);
    if (settings.json) return print_json(&f, error);
    print_text(&f);
    return true;
}
