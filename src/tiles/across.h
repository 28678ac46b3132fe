/* across.h: from the lanes of one vector to one number. */

/* Every lane gets the sum of all lanes, added up in the order of a tree. */
INLINE vec NAME(sum_across)(vec v) {
#if SQUARES
    UNROLL for (int half = LANES / 2; half >= 1; half /= 2) v =
        INTERLEAVE_LOW(v, v) + INTERLEAVE_HIGH(v, v);
    return v;
#else
    REAL lanes[VEC_BYTES / sizeof(REAL)];
    NAME(store)(lanes, v);
    for (int half = LANES / 2; half >= 1; half /= 2)
        for (int j = 0; j < half; j++) lanes[j] += lanes[j + half];
    return NAME(splat)(lanes[0]);
#endif
}

/* Every lane gets the maximum of all lanes. */
INLINE vec NAME(max_across)(vec v) {
#if SQUARES
    UNROLL for (int half = LANES / 2; half >= 1; half /= 2) v =
        NAME(max)(INTERLEAVE_LOW(v, v), INTERLEAVE_HIGH(v, v));
    return v;
#else
    REAL lanes[VEC_BYTES / sizeof(REAL)];
    NAME(store)(lanes, v);
    for (int j = 1; j < LANES; j++) lanes[0] = lanes[0] > lanes[j] ? lanes[0] : lanes[j];
    return NAME(splat)(lanes[0]);
#endif
}
