/* words.h: sentences cut into words, without a language's rules.
 *
 * A word is a run of letters and digits, and an apostrophe that follows one ends it and belongs to it
 * ("l'" "homme"); every other character is a word by itself, blanks are none. Letters are those of
 * ASCII and all characters from U+00C0 on but for U+00D7, U+00F7, general punctuation (U+2000 to U+206F)
 * and that of CJK (U+3000 to U+303F). tools/corpus/guide cuts in the same way.
 */
#ifndef TEXT_WORDS_H
#define TEXT_WORDS_H

#include "subword.h"

/* word[i]: in which word, from 0, the first letter of piece i of the sentence (valid UTF-8) lies; a piece
 * of blanks alone belongs to the word after it. Returns the number of words; -1: no memory. */
int64_t text_words_of_pieces(const text_pieces *pieces, const char *sentence, int32_t *word);

#endif
