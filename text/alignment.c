/* alignment.c: lists of links: read, written, judged. */
#include "links.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void text_links_free(text_links *links) {
    free(links->link);
    *links = (text_links){0};
}

bool text_links_add(text_links *links, text_link link, io_error *error) {
    if (links->count == links->capacity) {
        const int64_t capacity = links->capacity > 0 ? 2 * links->capacity : 64;
        text_link *const longer = realloc(links->link, (size_t)capacity * sizeof *longer);
        if (!longer) return io_fail(error, "no memory for %" PRId64 " links", capacity);
        links->link = longer;
        links->capacity = capacity;
    }
    links->link[links->count++] = link;
    return true;
}

static int compare_places(const text_link *a, const text_link *b) {
    if (a->source != b->source) return a->source < b->source ? -1 : 1;
    return (a->target > b->target) - (a->target < b->target);
}

/* Of the same link, the sure one comes first. */
static int compare(const void *left, const void *right) {
    const text_link *const a = left, *const b = right;
    const int order = compare_places(a, b);
    return order != 0 ? order : a->possible - b->possible;
}

void text_links_sort(text_links *links) {
    int64_t kept = 0;
    if (links->count > 0) qsort(links->link, (size_t)links->count, sizeof *links->link, compare);
    for (int64_t i = 0; i < links->count; i++) {
        if (kept > 0 && compare_places(&links->link[kept - 1], &links->link[i]) == 0) continue;
        links->link[kept++] = links->link[i];
    }
    links->count = kept;
}

/* Digits at *text, which moves behind them; -1 if there are none or too many. */
static int32_t read_number(const char **text) {
    int64_t value = 0;
    const char *const start = *text;
    for (; **text >= '0' && **text <= '9'; ++*text) {
        if (value <= INT32_MAX) value = 10 * value + (**text - '0');
    }
    return *text > start && value <= INT32_MAX ? (int32_t)value : -1;
}

/* The sentence for the link that starts at `text`. */
static bool refuse(const char *text, const text_links_format *format, const char *what,
                   io_error *error) {
    const int length = (int)strcspn(text, " ");
    return io_fail(error, "%s: line %" PRId64 ": link '%.*s' %s", format->name, format->line,
                   length < 40 ? length : 40, text, what);
}

static bool read_link(const char **text, const text_links_format *format, text_link *link,
                      io_error *error) {
    const char *const start = *text;
    const int32_t first = read_number(text);
    const char joint = **text;
    *text += joint == '-' || joint == 'p';
    const int32_t second = joint == '-' || joint == 'p' ? read_number(text) : -1;
    if (first < 0 || second < 0 || (**text && **text != ' ')) {
        return refuse(start, format, "is not two numbers: expected i-j, or ipj", error);
    }
    *link = (text_link){
        .source = (format->target_first ? second : first) - format->base,
        .target = (format->target_first ? first : second) - format->base,
        .possible = joint == 'p',
    };
    if (link->source < 0 || link->target < 0) {
        return refuse(start, format, "has a word 0: expected words counted from 1", error);
    }
    if (format->sources >= 0 && link->source >= format->sources) {
        return refuse(start, format, "is past the last word of the source", error);
    }
    if (format->targets >= 0 && link->target >= format->targets) {
        return refuse(start, format, "is past the last word of the target", error);
    }
    return true;
}

bool text_links_parse(text_links *links, const char *text, const text_links_format *format,
                      io_error *error) {
    links->count = 0;
    for (;;) {
        text_link link;
        text += strspn(text, " ");
        if (!*text) break;
        if (!read_link(&text, format, &link, error)) return false;
        if (!text_links_add(links, link, error)) return false;
    }
    text_links_sort(links);
    return true;
}

void text_links_print(const text_links *links, FILE *stream) {
    for (int64_t i = 0; i < links->count; i++) {
        (void)fprintf(stream, "%s%" PRId32 "-%" PRId32, i > 0 ? " " : "", links->link[i].source,
                      links->link[i].target);
    }
}

void text_links_count(const text_links *found, const text_links *gold, text_link_counts *sum) {
    int64_t j = 0;
    sum->found += found->count;
    for (int64_t i = 0; i < gold->count; i++) sum->sure += !gold->link[i].possible;
    for (int64_t i = 0; i < found->count; i++) {
        while (j < gold->count && compare_places(&gold->link[j], &found->link[i]) < 0) j++;
        if (j == gold->count) break;
        if (compare_places(&gold->link[j], &found->link[i]) > 0) continue;
        sum->in_possible++;
        sum->in_sure += !gold->link[j].possible;
    }
}

static double share(int64_t part, int64_t whole) {
    return whole > 0 ? (double)part / (double)whole : 1;
}

text_link_scores text_links_score(const text_link_counts *counts) {
    const int64_t right = counts->in_sure + counts->in_possible;
    return (text_link_scores){
        .precision = share(counts->in_possible, counts->found),
        .recall = share(counts->in_sure, counts->sure),
        .error = 1 - share(right, counts->found + counts->sure),
    };
}
