/* sequence.c: see sequence.h. */
#include "attention/sequence.h"

int64_t attn_sequence_count(const attn_problem *p) {
    return p->mask.query_starts ? p->mask.sequences : p->query.shape[0];
}

attn_sequence attn_sequence_at(const attn_problem *p, int64_t index) {
    const attn_mask *const m = &p->mask;
    attn_sequence s = {.index = index, .batch = index};
    s.query_slot = p->query.shape[2];
    s.keys = p->key.shape[2];
    if (m->query_starts) {
        s.batch = 0;
        s.query_first = m->query_starts[index];
        s.key_first = m->key_starts[index];
        s.query_slot = m->query_starts[index + 1] - s.query_first;
        s.keys = m->key_starts[index + 1] - s.key_first;
    }
    s.queries = m->query_lengths ? m->query_lengths[index] : s.query_slot;
    if (m->key_lengths) s.keys = m->key_lengths[index];
    if (m->prefix_lengths) s.prefix = m->prefix_lengths[index];
    s.position = m->query_offset;
    if (m->alignment == ATTN_ALIGN_BOTTOM_RIGHT) s.position += s.keys - s.queries;
    return s;
}

attn_key_range attn_visible_keys(const attn_problem *p, const attn_sequence *s, int64_t query) {
    const attn_mask *const m = &p->mask;
    /* Sizes are below 2^56 and offsets below 2^41, so limits beyond this one are no limits, and
     * within it no sum overflows. */
    const int64_t unlimited = (int64_t)1 << 60;
    const int64_t position = s->position + query;
    attn_key_range r = {0, s->keys};
    if (m->causal) r.last = attn_smaller(r.last, attn_larger(position + 1, s->prefix));
    if (m->window.enabled && m->window.left >= 0)
        r.first = attn_larger(r.first, position - attn_smaller(m->window.left, unlimited));
    if (m->window.enabled && m->window.right >= 0)
        r.last = attn_smaller(r.last, position + attn_smaller(m->window.right, unlimited) + 1);
    return r;
}
