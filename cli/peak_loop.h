/* peak_loop.h: the loop of peak.c, included once for each instruction set and element type, after
 *     PEAK_NAME             the function's name
 *     PEAK_TARGET           its target attribute, if any
 *     PEAK_REAL             float or double
 *     PEAK_VECTOR           a vector of them
 *     PEAK_CHAINS           how many results are under way at a time: at least latency x units of
 *                           any known core, and at most the registers less two
 *     PEAK_STEP(x, a, b)    the next x: one multiplication and one addition
 */
PEAK_TARGET static double PEAK_NAME(volatile double *sink) {
    enum { ROUNDS = 20000, LANES = sizeof(PEAK_VECTOR) / sizeof(PEAK_REAL) };
    const volatile PEAK_REAL one = 1; /* the compiler must not know */
    const PEAK_VECTOR a = one - (PEAK_VECTOR){0};
    const PEAK_VECTOR b = a;
    PEAK_VECTOR x[PEAK_CHAINS];
    PEAK_VECTOR sum = {0};
    for (int i = 0; i < PEAK_CHAINS; i++) x[i] = a * (PEAK_REAL)i;
    for (int round = 0; round < ROUNDS; round++) {
#pragma GCC unroll 32
        for (int i = 0; i < PEAK_CHAINS; i++) x[i] = PEAK_STEP(x[i], a, b);
    }
    for (int i = 0; i < PEAK_CHAINS; i++) sum += x[i];
    *sink = (double)sum[0];
    return 2.0 * ROUNDS * PEAK_CHAINS * LANES;
}

#undef PEAK_NAME
#undef PEAK_TARGET
#undef PEAK_REAL
#undef PEAK_VECTOR
#undef PEAK_CHAINS
#undef PEAK_STEP
