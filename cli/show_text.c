/* show_text.c: what attn show draws, in characters. */
#include "show.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    LINKS_DEFAULT = 5,
    LABEL_MOST = 20, /* columns of a label beside bars and lists */
    LABEL_SIZE = 512
};

typedef struct scene {
    const show_settings *settings;
    const show_stack *stack;
    const show_extent *extent;
    cli_terminal terminal;
} scene;

static int smaller(int a, int b) {
    return a < b ? a : b;
}

/* Prints the label of token i in at most `width` columns. */
static void print_token(const scene *s, const io_tokens *tokens, int64_t i, int width, bool pad) {
    char text[LABEL_SIZE];
    io_heatmap_label(tokens, 1, i, text, sizeof text);
    const int own = cli_terminal_width(&s->terminal, text);
    cli_terminal_print(&s->terminal, text, pad ? width : smaller(own, width), pad);
}

static void print_title(const scene *s, int64_t head) {
    char title[SHOW_TITLE_SIZE];
    show_title(s->stack, head < 0 ? -1 : s->extent->layer, head, title);
    cli_terminal_line(&s->terminal, title);
}

/* ---------------------------------------------------------------------------------------------
 * Matrix
 * ------------------------------------------------------------------------------------------- */

static void print_links(const scene *s, const cli_links *links) {
    enum {
        BESIDES = 34,
        LABEL_LEAST = 6
    }; /* columns that are not labels: weight, arrow, indices */
    const int room = (s->terminal.columns - BESIDES) / 2;
    const int most = room > LABEL_LEAST ? room : LABEL_LEAST;
    char text[LABEL_SIZE];
    int widest = 0;
    for (int i = 0; i < links->count; i++) {
        io_heatmap_label(s->stack->query_tokens, 1, links->link[i].query, text, sizeof text);
        const int width = cli_terminal_width(&s->terminal, text);
        if (width > widest) widest = width;
    }
    if (links->count > 0) printf("\nstrongest:\n");
    for (int i = 0; i < links->count; i++) {
        const cli_link *const link = &links->link[i];
        printf("%8.4f  ", (double)link->weight);
        print_token(s, s->stack->query_tokens, link->query, smaller(widest, most), true);
        printf(" -> ");
        print_token(s, s->stack->key_tokens, link->key, most, false);
        printf("  (%" PRId64 ", %" PRId64 ")\n", link->query, link->key);
    }
}

static bool draw_matrix(const scene *s, io_error *error) {
    const show_settings *const settings = s->settings;
    const io_heatmap labels = {.queries = s->stack->queries,
                               .keys = s->stack->keys,
                               .query_tokens = s->stack->query_tokens,
                               .key_tokens = s->stack->key_tokens};
    cli_links links = {.wanted = settings->links < 0 ? LINKS_DEFAULT : (int)settings->links};
    show_wanted wanted = {.map = true, .reduction = settings->reduction, .links = &links};
    char title[SHOW_TITLE_SIZE];
    show_head head;
    cli_terminal_room(&s->terminal, &labels, links.wanted > 0 ? links.wanted + 2 : 0,
                      &wanted.rows_most, &wanted.columns_most);
    if (wanted.rows_most < s->stack->queries && settings->links < 0) { /* the picture goes first */
        links.wanted = 0;
        cli_terminal_room(&s->terminal, &labels, 0, &wanted.rows_most, &wanted.columns_most);
    }
    const bool good =
        show_head_load(&head, s->stack, s->extent->layer, s->extent->heads[0], &wanted, error);
    show_title(s->stack, s->extent->layer, s->extent->heads[0], title);
    head.map.title = title;
    if (good) cli_terminal_draw(&s->terminal, &head.map);
    if (good) print_links(s, &links);
    show_head_free(&head);
    return good;
}

/* ---------------------------------------------------------------------------------------------
 * Lists of tokens
 * ------------------------------------------------------------------------------------------- */

/* Rows of a list that fit the window; the last line says how many more there are. */
static int64_t list_rows(const scene *s, int64_t count) {
    const int64_t room = s->terminal.rows - 4;
    return count <= room ? count : room > 1 ? room - 1 : 1;
}

static void print_left_out(int64_t count, int64_t shown, const char *what) {
    if (shown < count) printf("(and %" PRId64 " more %s)\n", count - shown, what);
}

/* "0.45 france", with its weight's ink or colour if it is known. Returns the columns it took. */
static int print_line_end(const scene *s, int64_t key, double weight, bool known) {
    char text[LABEL_SIZE];
    io_heatmap_label(s->stack->key_tokens, 1, key, text, sizeof text);
    const int width = smaller(cli_terminal_width(&s->terminal, text), LABEL_MOST);
    if (known) {
        cli_terminal_color(&s->terminal, weight);
        printf("%5.2f ", weight);
        cli_terminal_plain(&s->terminal);
        (void)putchar(' ');
    }
    cli_terminal_print(&s->terminal, text, width, false);
    return (known ? 7 : 0) + width;
}

/* Each query with its strongest keys, as far as the line goes. */
static bool draw_lines(const scene *s, io_error *error) {
    enum { SHOWN = 4, ROOM = 7 + LABEL_MOST + 2 };
    const show_stack *const stack = s->stack;
    const int64_t top = s->settings->top > 0 ? s->settings->top : SHOWN;
    const show_wanted wanted = {.lines = true, .top = top};
    const int64_t rows = list_rows(s, stack->queries);
    const int label = cli_terminal_widest(&s->terminal, stack->query_tokens, 1, rows, LABEL_MOST);
    show_head head;
    const bool good =
        show_head_load(&head, stack, s->extent->layer, s->extent->heads[0], &wanted, error);
    if (good) print_title(s, s->extent->heads[0]);
    for (int64_t i = 0; good && i < rows; i++) {
        int used = label + 4;
        print_token(s, stack->query_tokens, i, label, true);
        printf(" -> ");
        for (int64_t rank = 0; rank < head.top; rank++) {
            const int64_t at = i * head.top + rank;
            if (head.top_keys[at] < 0 || used + ROOM > s->terminal.columns) break;
            used +=
                print_line_end(s, head.top_keys[at], (double)head.top_weights[at], head.weighed) +
                2;
            (void)fputs("  ", stdout);
        }
        (void)putchar('\n');
    }
    if (good) print_left_out(stack->queries, rows, "queries");
    show_head_free(&head);
    return good;
}

static void print_span(const scene *s, const int64_t span[2]) {
    if (span[0] < 0) {
        printf("-\n");
        return;
    }
    for (int64_t key = span[0]; key <= span[1] && key < span[0] + 8; key++) {
        if (key > span[0]) (void)putchar(' ');
        print_token(s, s->stack->key_tokens, key, LABEL_MOST, false);
    }
    printf("%s  (%" PRId64 " to %" PRId64 ")\n", span[1] > span[0] + 7 ? " ..." : "", span[0],
           span[1]);
}

static bool draw_path(const scene *s, io_error *error) {
    const show_wanted wanted = {.path = true};
    const int64_t rows = list_rows(s, s->stack->queries);
    const int label =
        cli_terminal_widest(&s->terminal, s->stack->query_tokens, 1, rows, LABEL_MOST);
    show_head head;
    const bool good =
        show_head_load(&head, s->stack, s->extent->layer, s->extent->heads[0], &wanted, error);
    if (good) print_title(s, s->extent->heads[0]);
    for (int64_t i = 0; good && i < rows; i++) {
        print_token(s, s->stack->query_tokens, i, label, true);
        printf(" -> ");
        print_span(s, head.path + 2 * i);
    }
    if (good) print_left_out(s->stack->queries, rows, "queries");
    show_head_free(&head);
    return good;
}

/* ---------------------------------------------------------------------------------------------
 * Bars
 * ------------------------------------------------------------------------------------------- */

static void print_bars(const scene *s, const io_tokens *tokens, const float *values, int64_t count,
                       int64_t block) {
    enum { NUMBER = 9 };
    const int label = cli_terminal_widest(&s->terminal, tokens, block, count, LABEL_MOST);
    const int room = s->terminal.columns - label - NUMBER - 3;
    char text[LABEL_SIZE];
    double most = 0;
    for (int64_t i = 0; i < count; i++) most = fmax(most, fabs((double)values[i]));
    for (int64_t i = 0; i < count; i++) {
        io_heatmap_label(tokens, block, i, text, sizeof text);
        cli_terminal_print(&s->terminal, text, label, true);
        printf(" %*.4g ", NUMBER, (double)values[i]);
        if (most > 0 && room > 0) {
            (void)cli_terminal_bar(&s->terminal, fabs((double)values[i]) / most, room);
        }
        (void)putchar('\n');
    }
}

static bool draw_bars(const scene *s, io_error *error) {
    const show_stack *const stack = s->stack;
    const show_view view = show_first_bars(stack);
    const bool of_keys = view < SHOW_FIRST_QUERY_BARS;
    const int64_t room = s->terminal.rows - 4;
    show_wanted wanted = {0};
    int64_t count = of_keys ? stack->keys : stack->queries;
    show_head head;
    wanted.bars[view] = true;
    const bool good =
        show_head_load(&head, stack, s->extent->layer, s->extent->heads[0], &wanted, error);
    if (good) {
        const int64_t block = show_reduce_bars(head.bars[view], &count, room > 1 ? room : 1);
        print_title(s, s->extent->heads[0]);
        cli_terminal_line(&s->terminal, show_view_label(view));
        print_bars(s, of_keys ? stack->key_tokens : stack->query_tokens, head.bars[view], count,
                   block);
        if (block > 1) printf("each bar is the greatest of %" PRId64 "\n", block);
    }
    show_head_free(&head);
    return good;
}

/* ---------------------------------------------------------------------------------------------
 * Many heads
 * ------------------------------------------------------------------------------------------- */

enum { THUMB_ROWS = 8, THUMB_COLUMNS = 16 };

static void draw_thumb_row(const scene *s, const io_heatmap *map, int row) {
    for (int column = 0; column < THUMB_COLUMNS; column++) {
        const int64_t i = row * map->rows / THUMB_ROWS;
        const int64_t j = column * map->columns / THUMB_COLUMNS;
        const double share = io_heatmap_share(map, i, j);
        cli_terminal_color(&s->terminal, share);
        (void)putchar(s->terminal.colors == CLI_COLORS_NONE ? cli_terminal_shade(share) : ' ');
    }
    cli_terminal_plain(&s->terminal);
}

/* A few heads side by side; they are loaded before anything of them is printed. */
static bool draw_thumbs(const scene *s, int64_t layer, int64_t first, int64_t count,
                        io_error *error) {
    const show_wanted wanted = {.map = true,
                                .rows_most = THUMB_ROWS,
                                .columns_most = THUMB_COLUMNS,
                                .reduction = s->settings->reduction};
    show_head *const heads = calloc((size_t)count, sizeof *heads);
    bool good = heads || io_fail(error, "no memory for %" PRId64 " heads", count);
    for (int64_t i = 0; good && i < count; i++) {
        good =
            show_head_load(&heads[i], s->stack, layer, s->extent->heads[first + i], &wanted, error);
    }
    for (int64_t i = 0; good && i < count; i++) {
        printf("%-*.*s  ", THUMB_COLUMNS, THUMB_COLUMNS,
               io_token(&s->stack->head_names, s->extent->heads[first + i]));
    }
    for (int row = 0; good && row < THUMB_ROWS; row++) {
        (void)putchar('\n');
        for (int64_t i = 0; i < count; i++) {
            draw_thumb_row(s, &heads[i].map, row);
            (void)fputs("  ", stdout);
        }
    }
    if (good) printf("\n");
    for (int64_t i = 0; heads && i < count; i++) show_head_free(&heads[i]);
    free(heads);
    return good;
}

static bool draw_grid(const scene *s, io_error *error) {
    const int64_t fitting = s->terminal.columns / (THUMB_COLUMNS + 2);
    const int64_t across = fitting > 0 ? fitting : 1, count = s->extent->head_count;
    bool good = true;
    print_title(s, -1);
    for (int64_t layer = 0; good && layer < s->extent->layers; layer++) {
        printf("\n%s, heads\n", io_token(&s->stack->layer_names, s->extent->layer + layer));
        for (int64_t first = 0; good && first < count; first += across) {
            const int64_t left = count - first;
            good = draw_thumbs(s, s->extent->layer + layer, first, left < across ? left : across,
                               error);
        }
    }
    if (good) printf("each map is scaled to its own largest weight\n");
    return good;
}

enum { NUMBER_WIDTH = 7 };

static void print_table(const scene *s, const io_heatmap *map, int label, int64_t first,
                        int64_t count) {
    printf("%*s", label, "");
    for (int64_t j = first; j < first + count; j++) {
        printf("%*.*s", NUMBER_WIDTH, NUMBER_WIDTH, io_token(map->key_tokens, j));
    }
    (void)putchar('\n');
    for (int64_t i = 0; i < map->rows; i++) {
        print_token(s, map->query_tokens, i, label, true);
        for (int64_t j = first; j < first + count; j++) {
            const double value = (double)map->cells[i * map->columns + j];
            (void)putchar(' ');
            cli_terminal_color(&s->terminal, io_heatmap_share(map, i, j));
            printf(fabs(value) < 1000 ? "%*.2f" : "%*.3g", NUMBER_WIDTH - 1, value);
            cli_terminal_plain(&s->terminal);
        }
        (void)putchar('\n');
    }
}

static bool draw_tables(const scene *s, io_error *error) {
    show_tables tables;
    const bool good = show_tables_load(&tables, s->stack, s->extent, error);
    if (good) print_title(s, -1);
    for (int which = 0; good && which < ATTN_HEAD_STATISTICS; which++) {
        const io_heatmap *const map = &tables.map[which];
        const int label =
            cli_terminal_widest(&s->terminal, map->query_tokens, 1, map->rows, LABEL_MOST);
        const int64_t fitting = (s->terminal.columns - label) / NUMBER_WIDTH;
        const int64_t across = fitting > 0 ? fitting : 1;
        (void)putchar('\n');
        cli_terminal_line(&s->terminal, map->title);
        for (int64_t first = 0; first < map->columns; first += across) {
            const int64_t left = map->columns - first;
            print_table(s, map, label, first, left < across ? left : across);
        }
    }
    show_tables_free(&tables);
    return good;
}

bool show_on_terminal(const show_settings *settings, const show_stack *stack,
                      const show_extent *extent, io_error *error) {
    static bool (*const draw[SHOW_KINDS])(const scene *, io_error *) = {
        [SHOW_AS_AUTO] = draw_matrix, [SHOW_AS_MATRIX] = draw_matrix, [SHOW_AS_LINES] = draw_lines,
        [SHOW_AS_BARS] = draw_bars,   [SHOW_AS_GRID] = draw_grid,     [SHOW_AS_TABLE] = draw_tables,
        [SHOW_AS_PATH] = draw_path,
    };
    scene s = {settings, stack, extent, cli_terminal_detect()};
    if (settings->colors >= 0) s.terminal.colors = (cli_colors)settings->colors;
    return draw[settings->kind](&s, error);
}
