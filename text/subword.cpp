// subword.cpp: subword.h on SentencePiece. The one C++ file: every entry catches what is thrown.
#include "subword.h"

#include <climits>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace spm = sentencepiece;

struct text_subword {
    spm::SentencePieceProcessor processor;
    std::string bytes;
};

namespace {

// Runs body(), which returns bool; a C++ exception becomes a sentence.
template <typename Body> bool guarded(const char *name, io_error *error, Body body) {
    try {
        return body();
    } catch (const std::bad_alloc &) {
        return io_fail(error, "%s: no memory", name);
    } catch (const std::exception &problem) {
        return io_fail(error, "%s: %s", name, problem.what());
    } catch (...) {
        return io_fail(error, "%s: SentencePiece failed", name);
    }
}

bool succeeded(const spm::util::Status &status, const char *name, io_error *error) {
    return status.ok() || io_fail(error, "%s: SentencePiece: %s", name, status.message());
}

bool in_range(const text_subword *subword, int32_t id) {
    return id >= 0 && id < subword->processor.GetPieceSize();
}

bool copy_pieces(const spm::ImmutableSentencePieceText &text, text_pieces *pieces,
                 io_error *error) {
    const size_t count = text.pieces_size();
    pieces->count = 0;
    if (!text_pieces_reserve(pieces, static_cast<int64_t>(count), error)) return false;
    for (size_t i = 0; i < count; i++) {
        const auto piece = text.pieces(static_cast<int>(i));
        pieces->id[i] = static_cast<int32_t>(piece.id());
        pieces->begin[i] = static_cast<int32_t>(piece.begin());
        pieces->end[i] = static_cast<int32_t>(piece.end());
    }
    pieces->count = static_cast<int64_t>(count);
    return true;
}

// The caller's sentences as SentencePiece wants to have them.
class Sentences final : public spm::SentenceIterator {
  public:
    Sentences(text_subword_next next, void *context, io_error *error)
        : next_(next), context_(context), error_(error) {
        Next();
    }
    bool done() const override { return done_; }
    void Next() override {
        const char *sentence = nullptr;
        failed_ = !next_(context_, &sentence, error_);
        done_ = failed_ || !sentence;
        if (!done_) value_ = sentence;
    }
    const std::string &value() const override { return value_; }
    spm::util::Status status() const override {
        if (!failed_) return spm::util::Status();
        return spm::util::Status(spm::util::StatusCode::kInvalidArgument, "");
    }
    bool failed() const { return failed_; }

  private:
    text_subword_next next_;
    void *context_;
    io_error *error_;
    std::string value_;
    bool done_ = false, failed_ = false;
};

// The symbols as one line of comma-separated values, each in quotes.
std::string quoted(const text_subword_options *options) {
    std::string line;
    for (size_t i = 0; i < options->symbols_count; i++) {
        if (i > 0) line += ',';
        line += '"';
        for (const char *at = options->symbols[i]; *at; at++) {
            if (*at == '"') line += '"';
            line += *at;
        }
        line += '"';
    }
    return line;
}

// What decides about the model is said here, the number of threads included: expected counts are
// summed per thread, in floating point. The machine has no say.
std::unordered_map<std::string, std::string> arguments(const text_subword_options *options) {
    std::unordered_map<std::string, std::string> all = {
        {"vocab_size", std::to_string(options->vocabulary)},
        {"model_type", text_subword_kind_names[options->kind]},
        {"character_coverage", std::to_string(options->coverage > 0 ? options->coverage : 0.9995)},
        {"normalization_rule_name", options->normalization ? options->normalization : "nmt_nfkc"},
        {"byte_fallback", options->byte_fallback ? "true" : "false"},
        {"pad_id", std::to_string(TEXT_PAD)},
        {"unk_id", std::to_string(TEXT_UNK)},
        {"bos_id", std::to_string(TEXT_BOS)},
        {"eos_id", std::to_string(TEXT_EOS)},
        {"num_threads", "4"},
        {"minloglevel", "3"},
    };
    if (options->fewer) all["hard_vocab_limit"] = "false";
    if (options->symbols_count > 0) all["user_defined_symbols"] = quoted(options);
    return all;
}

bool check_options(const text_subword_options *options, io_error *error) {
    static const char *const rules[] = {"nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity"};
    if (options->vocabulary <= TEXT_EOS + 1) {
        return io_fail(error, "a vocabulary of %d subwords: expected more than its %d special ones",
                       options->vocabulary, TEXT_EOS + 1);
    }
    if (options->kind < TEXT_UNIGRAM || options->kind >= TEXT_SUBWORD_KINDS) {
        return io_fail(error, "kind of subwords %d: expected one of unigram and bpe",
                       static_cast<int>(options->kind));
    }
    if (!(options->coverage == 0 || (options->coverage >= 0.98 && options->coverage <= 1))) {
        return io_fail(error, "a character coverage of %g: expected 0.98 to 1", options->coverage);
    }
    for (size_t i = 0; i < options->symbols_count; i++) {
        if (*options->symbols[i] == 0) return io_fail(error, "symbol %zu is empty", i + 1);
    }
    if (!options->normalization) return true;
    for (const char *rule : rules) {
        if (strcmp(rule, options->normalization) == 0) return true;
    }
    return io_fail(error,
                   "normalization %s: expected one of nmt_nfkc, nfkc, nmt_nfkc_cf, nfkc_cf and "
                   "identity",
                   options->normalization);
}

// The status begins with the place in SentencePiece's source, which is of no use to the reader.
const char *reason(const spm::util::Status &status) {
    const char *const bracket = strstr(status.message(), "] ");
    return bracket && bracket[2] ? bracket + 2 : status.message();
}

} // namespace

extern "C" {

bool text_subword_available(void) {
    return true;
}

bool text_subword_from_bytes(text_subword **subword, const void *bytes, size_t size,
                             const char *name, io_error *error) {
    *subword = nullptr;
    return guarded(name, error, [&] {
        auto made = std::make_unique<text_subword>();
        made->bytes.assign(static_cast<const char *>(bytes), size);
        // An empty message is valid protobuf, and a model of nothing.
        if (size == 0 || !made->processor.LoadFromSerializedProto(made->bytes).ok() ||
            made->processor.GetPieceSize() == 0) {
            return io_fail(error, "%s: is not a SentencePiece model", name);
        }
        *subword = made.release();
        return true;
    });
}

void text_subword_close(text_subword *subword) {
    delete subword;
}

const void *text_subword_bytes(const text_subword *subword, size_t *size) {
    *size = subword->bytes.size();
    return subword->bytes.data();
}

int32_t text_subword_vocabulary(const text_subword *subword) {
    return subword->processor.GetPieceSize();
}

text_subword_specials text_subword_special_ids(const text_subword *subword) {
    const auto &processor = subword->processor;
    return {processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id()};
}

const char *text_subword_piece(const text_subword *subword, int32_t id) {
    return in_range(subword, id) ? subword->processor.IdToPiece(id).c_str() : "";
}

int32_t text_subword_id(const text_subword *subword, const char *piece) {
    return subword->processor.PieceToId(piece);
}

bool text_subword_begins_word(const text_subword *subword, int32_t id) {
    return strncmp(text_subword_piece(subword, id), "\xe2\x96\x81", 3) == 0;
}

bool text_subword_is_control(const text_subword *subword, int32_t id) {
    return in_range(subword, id) && subword->processor.IsControl(id);
}

bool text_subword_encode(const text_subword *subword, const char *sentence, size_t length,
                         text_pieces *pieces, io_error *error) {
    pieces->count = 0;
    if (length > INT_MAX) return io_fail(error, "a sentence of %zu bytes: too long", length);
    return guarded("subwords", error, [&] {
        spm::ImmutableSentencePieceText text;
        const auto status = subword->processor.Encode({sentence, length}, text.mutable_proto());
        return succeeded(status, "subwords", error) && copy_pieces(text, pieces, error);
    });
}

bool text_subword_sample(const text_subword *subword, int64_t count, const char *const *sentences,
                         double alpha, uint32_t seed, text_pieces *pieces, io_error *error) {
    static std::mutex one_at_a_time; // the seed that new threads take is one for the process
    return guarded("subwords", error, [&] {
        bool good = true;
        const auto draw = [&] {
            good = guarded("subwords", error, [&] {
                for (int64_t i = 0; i < count; i++) {
                    spm::ImmutableSentencePieceText text;
                    const auto status = subword->processor.SampleEncode(
                        sentences[i], -1, static_cast<float>(alpha), text.mutable_proto());
                    if (!succeeded(status, "subwords", error)) return false;
                    if (!copy_pieces(text, &pieces[i], error)) return false;
                }
                return true;
            });
        };
        const std::lock_guard<std::mutex> lock(one_at_a_time);
        // The largest seed would ask for one from the system.
        spm::SetRandomGeneratorSeed(seed == UINT32_MAX ? 0 : seed);
        std::thread(draw).join();
        return good;
    });
}

bool text_subword_decode(const text_subword *subword, const int32_t *ids, int64_t count,
                         char **text, io_error *error) {
    *text = nullptr;
    for (int64_t i = 0; i < count; i++) {
        if (in_range(subword, ids[i])) continue;
        return io_fail(error, "subword %d: expected 0 to %d", ids[i],
                       subword->processor.GetPieceSize() - 1);
    }
    return guarded("subwords", error, [&] {
        std::string decoded;
        const std::vector<int> list(ids, ids + count);
        if (!succeeded(subword->processor.Decode(list, &decoded), "subwords", error)) return false;
        *text = strdup(decoded.c_str());
        return *text != nullptr || io_fail(error, "no memory for a sentence");
    });
}

bool text_subword_train_on(text_subword_next next, void *context,
                           const text_subword_options *options, void **bytes, size_t *size,
                           io_error *error) {
    *bytes = nullptr;
    *size = 0;
    if (!check_options(options, error)) return false;
    return guarded("training of subwords", error, [&] {
        std::string model;
        Sentences sentences(next, context, error);
        if (sentences.failed()) return false;
        if (sentences.done()) return io_fail(error, "training of subwords: there is no sentence");
        const auto status =
            spm::SentencePieceTrainer::Train(arguments(options), &sentences, &model);
        if (sentences.failed()) return false; // and has said why
        if (!status.ok()) return io_fail(error, "training of subwords: %s", reason(status));
        *bytes = malloc(model.size());
        if (!*bytes) return io_fail(error, "training of subwords: no memory for the model");
        memcpy(*bytes, model.data(), model.size());
        *size = model.size();
        return true;
    });
}
}
