/* test_cpu.c: which instruction set is chosen, on machines that we have and on those that we
 * describe by their registers; names; ceilings by call, by context and by environment. */
#define _DEFAULT_SOURCE /* setenv, fork */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "isa/cpu.h"

/* ----------------------------------------------------------------------- what registers mean */

enum { FMA = 1u << 12, OSXSAVE = 1u << 27, AVX = 1u << 28, F16C = 1u << 29 }; /* leaf 1, ECX */
static const uint32_t AVX2 = 1u << 5, F = 1u << 16, DQ = 1u << 17, BW = 1u << 30,
                      VL = 1u << 31; /* leaf 7, EBX */
enum {
    XMM = 1u << 1,
    YMM = 1u << 2,
    OPMASK = 1u << 5,
    ZMM_LOW = 1u << 6,
    ZMM_HIGH = 1u << 7
}; /* XCR0 */

static void described_machines(void **state) {
    (void)state;
    const uint32_t avx = FMA | OSXSAVE | AVX | F16C, x512 = AVX2 | F | DQ | BW | VL;
    const uint64_t ymm = 1 | XMM | YMM, zmm = ymm | OPMASK | ZMM_LOW | ZMM_HIGH;
    const struct {
        const char *name;
        attn_x86_cpu cpu;
        attn_isa best;
    } machines[] = {
        {"nothing at all", {0, 0, 0, 0}, ATTN_ISA_GENERIC},
        {"Penryn: no AVX, no XSAVE", {13, 0, 0, 0}, ATTN_ISA_GENERIC},
        {"Sandy Bridge: AVX alone", {13, OSXSAVE | AVX, 0, ymm}, ATTN_ISA_GENERIC},
        {"Piledriver: FMA without AVX2", {13, avx, 0, ymm}, ATTN_ISA_GENERIC},
        {"Eden X4: AVX2 without FMA", {13, OSXSAVE | AVX | F16C, AVX2, ymm}, ATTN_ISA_GENERIC},
        {"Haswell", {13, avx, AVX2, ymm}, ATTN_ISA_AVX2},
        {"Haswell, system without XSAVE",
         {13, avx & ~(uint32_t)OSXSAVE, AVX2, 0},
         ATTN_ISA_GENERIC},
        {"Haswell, system saves XMM alone", {13, avx, AVX2, 1 | XMM}, ATTN_ISA_GENERIC},
        {"Haswell, CPUID cut at leaf 6", {6, avx, AVX2, ymm}, ATTN_ISA_GENERIC},
        {"Knights Landing: F without VL, BW, DQ", {13, avx, AVX2 | F, zmm}, ATTN_ISA_AVX2},
        {"Skylake-SP", {22, avx, x512, zmm}, ATTN_ISA_AVX512},
        {"Skylake-SP, system saves YMM alone", {22, avx, x512, ymm}, ATTN_ISA_AVX2},
        {"Alder Lake: AVX-512 fused off", {32, avx, AVX2, ymm}, ATTN_ISA_AVX2},
        {"Zen 5", {16, avx, x512, zmm | 1u << 9}, ATTN_ISA_AVX512},
        {"a hypervisor that shows AVX-512 but not AVX2",
         {22, avx, x512 & ~AVX2, zmm},
         ATTN_ISA_GENERIC},
    };
    for (size_t k = 0; k < COUNT(machines); k++) {
        if (attn_x86_best_isa(&machines[k].cpu) == machines[k].best) continue;
        fail_msg("%s: %s, but expected %s", machines[k].name,
                 attn_isa_name(attn_x86_best_isa(&machines[k].cpu)),
                 attn_isa_name(machines[k].best));
    }
}

/* Every bit that AVX-512 needs is looked at: without any one of them it is not chosen. */
static void each_bit_counts(void **state) {
    (void)state;
    const attn_x86_cpu whole = {22, FMA | OSXSAVE | AVX, AVX2 | F | DQ | BW | VL, 0xe7};
    const uint32_t ecx[] = {FMA, OSXSAVE, AVX}, ebx[] = {AVX2, F, DQ, BW, VL};
    const uint64_t xcr0[] = {XMM, YMM, OPMASK, ZMM_LOW, ZMM_HIGH};
    assert_int_equal(attn_x86_best_isa(&whole), ATTN_ISA_AVX512);
    for (size_t k = 0; k < COUNT(ecx); k++) {
        attn_x86_cpu less = whole;
        less.leaf1_ecx &= ~ecx[k];
        assert_int_equal(attn_x86_best_isa(&less), ATTN_ISA_GENERIC);
    }
    for (size_t k = 0; k < COUNT(ebx); k++) {
        attn_x86_cpu less = whole;
        less.leaf7_ebx &= ~ebx[k];
        assert_int_equal(attn_x86_best_isa(&less),
                         ebx[k] == AVX2 ? ATTN_ISA_GENERIC : ATTN_ISA_AVX2);
    }
    for (size_t k = 0; k < COUNT(xcr0); k++) {
        attn_x86_cpu less = whole;
        less.xcr0 &= ~xcr0[k];
        assert_int_equal(attn_x86_best_isa(&less), k < 2 ? ATTN_ISA_GENERIC : ATTN_ISA_AVX2);
    }
}

/* The compiler's run-time library looks at the same registers by a way of its own. */
static void this_machine(void **state) {
    (void)state;
    const attn_isa detected = attn_detected_isa();
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq");
    assert_int_equal(detected, avx512 ? ATTN_ISA_AVX512 : avx2 ? ATTN_ISA_AVX2 : ATTN_ISA_GENERIC);
#elif defined(__aarch64__)
    assert_int_equal(detected, ATTN_ISA_NEON);
#endif
    assert_true(attn_isa_available(ATTN_ISA_GENERIC));
    assert_false(attn_isa_available(ATTN_ISA_BEST));
    assert_false(attn_isa_available((attn_isa)99));
    assert_false(attn_isa_available((attn_isa)-1));
    for (int isa = ATTN_ISA_GENERIC; isa <= ATTN_ISA_AVX512; isa++) {
        if (isa > (int)detected) assert_false(attn_isa_available((attn_isa)isa));
    }
    assert_false(attn_isa_available(ATTN_ISA_NEON) && attn_isa_available(ATTN_ISA_AVX2));
}

/* --------------------------------------------------------------------------------- names */

static void names(void **state) {
    (void)state;
    static const char *const all[] = {"best", "generic", "neon", "avx2", "avx512"};
    for (size_t k = 0; k < COUNT(all); k++) {
        attn_isa isa = (attn_isa)77;
        assert_string_equal(attn_isa_name((attn_isa)k), all[k]);
        assert_int_equal(attn_isa_from_name(all[k], &isa), ATTN_OK);
        assert_int_equal(isa, k);
    }
    attn_isa isa = ATTN_ISA_NEON;
    assert_int_equal(attn_isa_from_name("AVX2", &isa), ATTN_OK);
    assert_int_equal(isa, ATTN_ISA_AVX2);
    assert_null(attn_isa_name((attn_isa)COUNT(all)));
    assert_null(attn_isa_name((attn_isa)-1));
    static const char *const wrong[] = {"", "avx", "avx2 ", "avx5122", "sse2"};
    for (size_t k = 0; k < COUNT(wrong); k++) {
        isa = ATTN_ISA_NEON;
        assert_int_equal(attn_isa_from_name(wrong[k], &isa), ATTN_ERROR_VALUE);
        assert_int_equal(isa, ATTN_ISA_NEON);
        assert_non_null(strstr(attn_error_message(), wrong[k]));
        assert_non_null(
            strstr(attn_error_message(), "must be best, generic, neon, avx2 or avx512"));
    }
    assert_int_equal(attn_isa_from_name(NULL, &isa), ATTN_ERROR_NULL);
    assert_int_equal(attn_isa_from_name("avx2", NULL), ATTN_ERROR_NULL);
}

/* ------------------------------------------------------------------------------- ceilings */

static attn_isa isa_of_context(attn_isa ceiling) {
    const attn_context_options options = {.threads = 1, .max_isa = ceiling};
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context, &options), ATTN_OK);
    const attn_isa isa = attn_context_isa(context);
    attn_context_destroy(context);
    return isa;
}

/* The best that is available at or below a ceiling; generic below one of another architecture. */
static attn_isa best_under(attn_isa ceiling) {
    attn_isa best = ATTN_ISA_GENERIC;
    const bool foreign = ceiling == ATTN_ISA_NEON
                             ? !attn_isa_available(ATTN_ISA_NEON)
                             : ceiling > ATTN_ISA_NEON && attn_isa_available(ATTN_ISA_NEON);
    for (int isa = ATTN_ISA_GENERIC; isa <= ATTN_ISA_AVX512 && !foreign; isa++) {
        if (ceiling != ATTN_ISA_BEST && isa > (int)ceiling) break;
        if (attn_isa_available((attn_isa)isa)) best = (attn_isa)isa;
    }
    return best;
}

static void ceilings_only_lower(void **state) {
    (void)state;
    for (int process = ATTN_ISA_BEST; process <= ATTN_ISA_AVX512; process++) {
        assert_int_equal(attn_set_max_isa((attn_isa)process), ATTN_OK);
        assert_int_equal(attn_context_isa(NULL), best_under((attn_isa)process));
        for (int own = ATTN_ISA_BEST; own <= ATTN_ISA_AVX512; own++) {
            const attn_isa a = best_under((attn_isa)process), b = best_under((attn_isa)own);
            assert_int_equal(isa_of_context((attn_isa)own), a < b ? a : b);
        }
    }
    assert_int_equal(attn_set_max_isa((attn_isa)42), ATTN_ERROR_VALUE);
    assert_non_null(strstr(attn_error_message(), "ceiling is 42"));
    assert_int_equal(attn_context_isa(NULL), best_under(ATTN_ISA_AVX512)); /* as it was */
    assert_int_equal(attn_set_max_isa(ATTN_ISA_BEST), ATTN_OK);
    assert_int_equal(attn_context_isa(NULL), best_under(ATTN_ISA_BEST));
}

static void a_context_keeps_its_table(void **state) {
    (void)state;
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context, NULL), ATTN_OK);
    const attn_isa isa = attn_context_isa(context);
    assert_int_equal(attn_set_max_isa(ATTN_ISA_GENERIC), ATTN_OK);
    assert_int_equal(attn_context_isa(context), isa);
    assert_int_equal(attn_set_max_isa(ATTN_ISA_BEST), ATTN_OK);
    attn_context_destroy(context);
    attn_context_destroy(NULL);
}

/* ---------------------------------------------------------------------------- the environment */

/* In a child process, as the variable is read but once. The child must not have asked before. */
static void in_child_with(const char *value, bool (*holds)(const char *value)) {
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const int set = value ? setenv("ATTN_MAX_ISA", value, 1) : unsetenv("ATTN_MAX_ISA");
        _exit(set == 0 && holds(value) ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status != 0) fail_msg("with ATTN_MAX_ISA=%s", value ? value : "(unset)");
}

static bool reason_has(const char *text) {
    char reason[400];
    attn_isa_reason(reason, sizeof reason);
    if (strstr(reason, text) != NULL) return true;
    fprintf(stderr, "\"%s\" lacks \"%s\"\n", reason, text);
    return false;
}

static bool lowers(const char *value) {
    char variable[64];
    attn_isa ceiling = ATTN_ISA_BEST;
    if (attn_isa_from_name(value, &ceiling) != ATTN_OK) return false;
    const attn_isa chosen = best_under(ceiling);
    snprintf(variable, sizeof variable, "ATTN_MAX_ISA=%s", attn_isa_name(ceiling));
    return attn_context_isa(NULL) == chosen && reason_has(attn_isa_name(chosen)) &&
           (chosen == best_under(ATTN_ISA_BEST) || reason_has(variable));
}

static bool is_ignored(const char *value) {
    return attn_context_isa(NULL) == best_under(ATTN_ISA_BEST) && reason_has(value) &&
           reason_has("ignored");
}

static bool says_nothing(const char *value) {
    (void)value;
    return attn_context_isa(NULL) == best_under(ATTN_ISA_BEST) &&
           reason_has(attn_isa_name(best_under(ATTN_ISA_BEST)));
}

static bool yields_to_a_call(const char *value) {
    (void)value;
    return attn_context_isa(NULL) == ATTN_ISA_GENERIC &&
           attn_set_max_isa(ATTN_ISA_BEST) == ATTN_OK &&
           attn_context_isa(NULL) == best_under(ATTN_ISA_BEST);
}

static void environment(void **state) {
    (void)state;
    in_child_with("generic", lowers);
    in_child_with("Generic", lowers);
    in_child_with("avx2", lowers);
    in_child_with("avx512", lowers);
    in_child_with("neon", lowers);
    in_child_with("best", lowers);
    in_child_with("avx1024", is_ignored);
    in_child_with("", says_nothing);
    in_child_with(NULL, says_nothing);
    in_child_with("generic", yields_to_a_call);
}

/* attn_isa_reason fits what it is given, and says how long the whole is. */
static void reasons_are_cut_to_fit(void **state) {
    (void)state;
    char whole[400], part[8];
    const size_t length = attn_isa_reason(whole, sizeof whole);
    assert_int_equal(length, strlen(whole));
    assert_true(length >= sizeof part);
    memset(part, 'x', sizeof part);
    assert_int_equal(attn_isa_reason(part, 5), length);
    assert_memory_equal(part, whole, 4);
    assert_memory_equal(part + 4, "\0xxx", 4);
    assert_int_equal(attn_isa_reason(NULL, 0), length);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(environment), /* first: nobody may have asked for the ceiling yet */
        cmocka_unit_test(described_machines),
        cmocka_unit_test(each_bit_counts),
        cmocka_unit_test(this_machine),
        cmocka_unit_test(names),
        cmocka_unit_test(ceilings_only_lower),
        cmocka_unit_test(a_context_keeps_its_table),
        cmocka_unit_test(reasons_are_cut_to_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
