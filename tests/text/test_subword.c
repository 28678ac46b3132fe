/* test_subword.c: models trained here, on sentences of a small grammar, and what they make of text.
 * Without SentencePiece: that everything says so. */
#include "files.h"
#include "subword.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static io_error error;

/* --- What can be asked without a model ---------------------------------------------------------- */

/* Pieces as SentencePiece lays them over "Le  chat… dort": blanks with the word after them, or alone;
 * a character that became three, the first two of them empty; the end of the sentence. */
static void words_of_pieces(void **state) {
    static const struct {
        int32_t begin, end, word;
    } laid[] = {{0, 2, 0}, {2, 4, 1},  {4, 8, 1},   {8, 8, 1},
                {8, 8, 1}, {8, 11, 1}, {11, 14, 2}, {14, 16, 2}};
    text_pieces pieces = {0};
    int32_t word[COUNT(laid)];
    (void)state;
    assert_true(text_pieces_reserve(&pieces, (int64_t)COUNT(laid), &error));
    for (size_t i = 0; i < COUNT(laid); i++) {
        pieces.begin[i] = laid[i].begin;
        pieces.end[i] = laid[i].end;
    }
    pieces.count = (int64_t)COUNT(laid);
    assert_int_equal(text_pieces_words(&pieces, "Le  chat\xe2\x80\xa6 dort", word), 3);
    for (size_t i = 0; i < COUNT(laid); i++) assert_int_equal(word[i], laid[i].word);
    pieces.count = 0;
    assert_int_equal(text_pieces_words(&pieces, " a  bc d ", word), 3);
    assert_int_equal(text_pieces_words(&pieces, "  ", word), 0);
    text_pieces_free(&pieces);
}

#ifdef ATTN_HAVE_SENTENCEPIECE

/* --- A corpus: 8 x 12 x 8 sentences -------------------------------------------------------------- */

enum { SENTENCES = 8 * 12 * 8 };

static void make_sentence(int i, char *text, size_t size) {
    static const char *const who[] = {"le chat",   "la souris", "un chien",  "une poule",
                                      "le chaton", "Ève",       "mon oncle", "notre voisine"};
    static const char *const does[] = {"mange",     "mangera",   "mangeait", "regarde",
                                       "regardera", "regardait", "cherche",  "cherchera",
                                       "cherchait", "oublie",    "oubliera", "oubliait"};
    static const char *const what[] = {"du pain.", "la lune !",    "des noix…",     "l'été.",
                                       "12 œufs.", "deux lunes ?", "les voisines.", "un été"};
    (void)snprintf(text, size, "%s %s %s", who[i / 96], does[i / 8 % 12], what[i % 8]);
}

static bool next_sentence(void *context, const char **sentence, io_error *reason) {
    static char text[128];
    int *const i = context;
    (void)reason;
    *sentence = *i < SENTENCES ? text : NULL;
    if (*sentence) make_sentence((*i)++, text, sizeof text);
    return true;
}

static const char *const symbols[] = {"<fr>", "a,\"b\""};

static const text_subword_options plain = {
    .vocabulary = 64, .coverage = 1, .symbols = symbols, .symbols_count = COUNT(symbols)};

static void *train(text_subword_kind kind, size_t *size) {
    text_subword_options options = plain;
    void *bytes = NULL;
    int at = 0;
    options.kind = kind;
    if (!text_subword_train_on(next_sentence, &at, &options, &bytes, size, &error)) {
        fail_msg("%s", error.text);
    }
    return bytes;
}

static text_subword *model(text_subword_kind kind) {
    text_subword *subword = NULL;
    size_t size = 0;
    void *const bytes = train(kind, &size);
    assert_true(text_subword_from_bytes(&subword, bytes, size, "model", &error));
    free(bytes);
    return subword;
}

static void same_bytes(void **state) {
    (void)state;
    for (int kind = 0; kind < TEXT_SUBWORD_KINDS; kind++) {
        size_t size = 0, again_size = 0, kept_size = 0;
        void *const bytes = train((text_subword_kind)kind, &size);
        void *const again = train((text_subword_kind)kind, &again_size);
        text_subword *subword = NULL;
        assert_int_equal(size, again_size);
        assert_memory_equal(bytes, again, size);
        assert_true(text_subword_from_bytes(&subword, bytes, size, "model", &error));
        const void *const kept = text_subword_bytes(subword, &kept_size);
        assert_int_equal(kept_size, size);
        assert_memory_equal(kept, bytes, size);
        text_subword_close(subword);
        free(bytes);
        free(again);
    }
}

static void vocabulary(void **state) {
    (void)state;
    for (int kind = 0; kind < TEXT_SUBWORD_KINDS; kind++) {
        text_subword *const subword = model((text_subword_kind)kind);
        const text_subword_specials ids = text_subword_special_ids(subword);
        assert_true(ids.pad == TEXT_PAD && ids.unk == TEXT_UNK);
        assert_true(ids.bos == TEXT_BOS && ids.eos == TEXT_EOS);
        assert_int_equal(text_subword_vocabulary(subword), plain.vocabulary);
        assert_string_equal(text_subword_piece(subword, TEXT_EOS), "</s>");
        assert_string_equal(text_subword_piece(subword, 4), "<fr>");
        assert_string_equal(text_subword_piece(subword, 5), "a,\"b\"");
        assert_string_equal(text_subword_piece(subword, -1), "");
        assert_string_equal(text_subword_piece(subword, plain.vocabulary), "");
        assert_int_equal(text_subword_id(subword, "<fr>"), 4);
        assert_int_equal(text_subword_id(subword, "no such piece"), TEXT_UNK);
        assert_true(text_subword_is_control(subword, TEXT_PAD));
        assert_false(text_subword_is_control(subword, 4));
        assert_false(text_subword_is_control(subword, plain.vocabulary));
        for (int32_t id = 0; id < plain.vocabulary; id++) {
            const bool begins = strncmp(text_subword_piece(subword, id), "▁", strlen("▁")) == 0;
            assert_int_equal(text_subword_begins_word(subword, id), begins);
        }
        text_subword_close(subword);
    }
}

static void there_and_back(void **state) {
    char text[128], *back = NULL;
    text_pieces pieces = {0};
    (void)state;
    for (int kind = 0; kind < TEXT_SUBWORD_KINDS; kind++) {
        text_subword *const subword = model((text_subword_kind)kind);
        for (int i = 0; i < SENTENCES; i++) {
            make_sentence(i, text, sizeof text);
            char *const points = strstr(text, "…"); /* which NFKC makes three points of */
            if (points) memcpy(points, "...", 3);
            const size_t length = strlen(text);
            assert_true(text_subword_encode(subword, text, length, &pieces, &error));
            int32_t at = 0; /* the pieces lie end to end */
            for (int64_t k = 0; k < pieces.count; k++) {
                assert_int_equal(pieces.begin[k], at);
                at = pieces.end[k];
            }
            assert_int_equal(at, length);
            assert_true(text_subword_decode(subword, pieces.id, pieces.count, &back, &error));
            assert_string_equal(back, text);
            free(back);
        }
        text_subword_close(subword);
    }
    text_pieces_free(&pieces);
}

static void odd_sentences(void **state) {
    static const char text[] = "<fr> chat 漢a,\"b\"";
    static const int32_t control[] = {TEXT_BOS, TEXT_PAD, TEXT_EOS}, outside[] = {64};
    text_subword *const subword = model(TEXT_UNIGRAM);
    text_pieces pieces = {0};
    int64_t unknown = 0, symbol = 0;
    char *back = NULL;
    (void)state;
    assert_true(text_subword_encode(subword, "", 0, &pieces, &error));
    assert_int_equal(pieces.count, 0);
    assert_true(text_subword_encode(subword, text, strlen(text), &pieces, &error));
    for (int64_t i = 0; i < pieces.count; i++) {
        unknown += pieces.id[i] == TEXT_UNK;
        symbol += pieces.id[i] == 4 || pieces.id[i] == 5;
    }
    assert_int_equal(unknown, 1);
    assert_int_equal(symbol, 2);
    assert_true(text_subword_decode(subword, control, 3, &back, &error));
    assert_string_equal(back, "");
    free(back);
    assert_false(text_subword_decode(subword, outside, 1, &back, &error));
    assert_says(error.text, "subword 64: expected 0 to 63");
    text_pieces_free(&pieces);
    text_subword_close(subword);
}

static bool equal(const text_pieces *a, const text_pieces *b) {
    return a->count == b->count && memcmp(a->id, b->id, (size_t)a->count * sizeof *a->id) == 0;
}

/* The seed alone decides, whatever was drawn before; with another some sentences are cut otherwise;
 * all give the sentence back. */
static void sampling(void **state) {
    enum { MANY = 50 };
    char texts[MANY][128];
    const char *sentences[MANY];
    text_pieces drawn[3][MANY] = {{{0}}};
    (void)state;
    for (int i = 0; i < MANY; i++) {
        make_sentence(8 * i, texts[i], sizeof texts[i]); /* which end in "du pain." */
        sentences[i] = texts[i];
    }
    for (int kind = 0; kind < TEXT_SUBWORD_KINDS; kind++) {
        text_subword *const subword = model((text_subword_kind)kind);
        int64_t differ = 0;
        for (uint32_t k = 0; k < 3; k++) {
            const uint32_t seed = k == 2 ? 12 : 11;
            assert_true(text_subword_sample(subword, MANY, sentences, 0.2, seed, drawn[k], &error));
        }
        for (int i = 0; i < MANY; i++) {
            char *back = NULL;
            const text_pieces *const other = &drawn[2][i];
            assert_true(equal(&drawn[0][i], &drawn[1][i]));
            differ += !equal(&drawn[0][i], other);
            assert_true(text_subword_decode(subword, other->id, other->count, &back, &error));
            assert_string_equal(back, sentences[i]);
            free(back);
        }
        assert_true(differ > 0);
        text_subword_close(subword);
    }
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < MANY; i++) text_pieces_free(&drawn[k][i]);
    }
}

static void no_models(void **state) {
    static const char text[] = "this is a text, not a model";
    text_subword *subword = NULL;
    size_t size = 0;
    char *const bytes = train(TEXT_UNIGRAM, &size);
    (void)state;
    assert_false(text_subword_from_bytes(&subword, text, sizeof text, "here", &error));
    assert_says(error.text, "here: is not a SentencePiece model");
    assert_false(text_subword_from_bytes(&subword, bytes, size / 2 + 1, "here", &error));
    assert_says(error.text, "here: is not a SentencePiece model");
    assert_false(text_subword_from_bytes(&subword, "", 0, "here", &error));
    assert_false(text_subword_open(&subword, file_of("", 0), &error));
    assert_false(text_subword_open(&subword, "no/such.model", &error));
    assert_says(error.text, "no/such.model");
    assert_null(subword);
    free(bytes);
}

static void wrong_options(void **state) {
    static const char *const empty[] = {""};
    const struct {
        text_subword_options options;
        const char *part;
    } cases[] = {
        {{.vocabulary = 4}, "a vocabulary of 4 subwords: expected more than its 4 special ones"},
        {{.vocabulary = 64, .kind = TEXT_SUBWORD_KINDS}, "expected one of unigram and bpe"},
        {{.vocabulary = 64, .coverage = 0.5}, "a character coverage of 0.5: expected 0.98 to 1"},
        {{.vocabulary = 64, .normalization = "nfd"}, "normalization nfd: expected one of"},
        {{.vocabulary = 64, .symbols = empty, .symbols_count = 1}, "symbol 1 is empty"},
        {{.vocabulary = 8000}, "Vocabulary size too high (8000)"},
        {{.vocabulary = 8}, "Vocabulary size is smaller than required_chars"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        void *bytes = NULL;
        size_t size = 0;
        int at = 0;
        assert_false(
            text_subword_train_on(next_sentence, &at, &cases[i].options, &bytes, &size, &error));
        assert_says(error.text, cases[i].part);
        assert_null(bytes);
    }
    void *bytes = NULL;
    size_t size = 0;
    int at = SENTENCES;
    assert_false(text_subword_train_on(next_sentence, &at, &plain, &bytes, &size, &error));
    assert_says(error.text, "there is no sentence");
}

/* A file of pairs: both columns are sentences, or one of them is; what is wrong in it is said, and
 * then nothing is written. */
static void from_files(void **state) {
    static char pairs[SENTENCES * 140], folder[] = "subword.XXXXXX", prefix[64], path[80];
    size_t size = 0;
    text_subword_options options = plain;
    text_subword *subword = NULL;
    struct stat there;
    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(prefix, sizeof prefix, "%s/m", folder);
    (void)snprintf(path, sizeof path, "%s/m.model", folder);
    for (int i = 0; i < SENTENCES; i++) {
        make_sentence(i, pairs + size, 120);
        size += strlen(pairs + size);
        size += (size_t)sprintf(pairs + size, "\tWXYZ\n");
    }
    const char *const input = file_of(pairs, size);
    for (options.column = 0; options.column <= 2; options.column++) {
        options.vocabulary = options.column == 2 ? 11 : 64; /* W X Y Z and the blank */
        if (!text_subword_train(&input, 1, &options, prefix, &error)) fail_msg("%s", error.text);
        assert_true(text_subword_open(&subword, path, &error));
        assert_int_equal(text_subword_id(subword, "W") == TEXT_UNK, options.column == 1);
        assert_int_equal(text_subword_id(subword, "m") == TEXT_UNK, options.column == 2);
        text_subword_close(subword);
    }
    assert_int_equal(unlink(path), 0);
    assert_false(text_subword_train(&input, 1, &options, prefix, &error)); /* column 3 */
    assert_says(error.text, "line 1 has too few columns: expected 3 or more");
    options.column = 0;
    pairs[5] = '\xff';
    file_of(pairs, size);
    assert_false(text_subword_train(&input, 1, &options, prefix, &error));
    assert_says(error.text, "line 1 is not UTF-8");
    assert_int_not_equal(stat(path, &there), 0);
    assert_false(text_subword_train(&input, 1, &options, "no/such/folder/m", &error));
    assert_says(error.text, "no/such/folder");
    (void)snprintf(path, sizeof path, "%s/m.vocab", folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0); /* and nothing else is in it */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_of_pieces), cmocka_unit_test(same_bytes),
        cmocka_unit_test(vocabulary),      cmocka_unit_test(there_and_back),
        cmocka_unit_test(odd_sentences),   cmocka_unit_test(sampling),
        cmocka_unit_test(no_models),       cmocka_unit_test(wrong_options),
        cmocka_unit_test(from_files),
    };
    assert_true(text_subword_available());
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

static void says_so(void **state) {
    static const char sentence[] = "this build has no SentencePiece (Debian: libsentencepiece-dev)";
    text_subword *subword = NULL;
    text_subword_options options = {.vocabulary = 64};
    const char *const path = file_of("a\n", 2);
    (void)state;
    assert_false(text_subword_available());
    assert_false(text_subword_open(&subword, path, &error));
    assert_string_equal(error.text, sentence);
    assert_false(text_subword_train(&path, 1, &options, "m", &error));
    assert_string_equal(error.text, sentence);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_of_pieces),
        cmocka_unit_test(says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
