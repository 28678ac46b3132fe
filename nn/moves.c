/* moves.c: rows change places without a second array.
 *
 * Row r is to become what row from[r] is now. A row that nobody has yet to read may be overwritten, and once
 * it is, what it was made from may have one reader less, and be next. Where no row is left without a reader,
 * those left, n, have n reads of theirs, one each at least, and so one each: circles, each of which is walked
 * with its first row set aside. Every row that changes is copied once, and one more for each circle. */
#include "nn.h"

typedef struct moves {
    real *x, *aside;
    int64_t step, used;
    const int64_t *from;
    int64_t *readers; /* of each row, that have yet to read it */
    int64_t *ready;   /* rows that are to change and have no readers, [count] */
    int64_t count;
} moves;

static void copy(const moves *m, real *to, const real *row) {
    memcpy(to, row, (size_t)m->used * sizeof *to);
}

static real *row_of(const moves *m, int64_t r) {
    return m->x + r * m->step;
}

static bool changes(const moves *m, int64_t r) {
    return m->from[r] != r;
}

static void count_readers(moves *m, int64_t rows, int64_t before) {
    const int64_t all = rows > before ? rows : before;
    memset(m->readers, 0, (size_t)all * sizeof *m->readers);
    for (int64_t r = 0; r < rows; r++) m->readers[m->from[r]] += changes(m, r);
    for (int64_t r = 0; r < rows; r++) {
        if (changes(m, r) && m->readers[r] == 0) m->ready[m->count++] = r;
    }
}

static void move_ready(moves *m, int64_t rows) {
    while (m->count > 0) {
        const int64_t r = m->ready[--m->count], s = m->from[r];
        copy(m, row_of(m, r), row_of(m, s));
        if (--m->readers[s] == 0 && s < rows && changes(m, s)) m->ready[m->count++] = s;
    }
}

static void move_circle(moves *m, int64_t first) {
    int64_t r = first;
    copy(m, m->aside, row_of(m, first));
    for (; m->from[r] != first; r = m->from[r]) {
        copy(m, row_of(m, r), row_of(m, m->from[r]));
        m->readers[r] = 0;
    }
    copy(m, row_of(m, r), m->aside);
    m->readers[r] = 0;
}

bool attn_nn_move_rows(attn_nn_pass *pass, real *x, int64_t step, int64_t used, const int64_t *from,
                       int64_t rows, int64_t before) {
    const size_t mark = attn_nn_mark(pass);
    const size_t all = (size_t)(rows > before ? rows : before) * sizeof(int64_t);
    moves m = {.x = x, .step = step, .used = used, .from = from};
    m.aside = attn_nn_take(pass, used);
    m.readers = attn_nn_take_bytes(pass, all);
    m.ready = attn_nn_take_bytes(pass, all);
    if (!attn_nn_failed(pass)) {
        count_readers(&m, rows, before);
        move_ready(&m, rows);
        for (int64_t r = 0; r < rows; r++) {
            if (changes(&m, r) && m.readers[r] > 0) move_circle(&m, r);
        }
    }
    attn_nn_release(pass, mark);
    return !attn_nn_failed(pass);
}
