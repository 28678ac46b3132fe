"""Greedy and beam search over torch_models.Transformer, with caches: what libattn_nn's nn/search.c does, as
one writes it in PyTorch. Sentences that are done leave the batch; keys and values of the source stand
once for all hypotheses of a sentence."""

import torch
import torch_models
from torch.nn import functional as F


class Decoder:
    """Hypotheses [sentences, beam], all of the same length so far."""

    def __init__(self, model, rows, tokens, beam):
        self.model, self.beam, self.said = model, beam, 0
        memory = model.encode(rows, tokens)
        self.mask = rows.mask
        self.source = [b.multihead_attn.keys_and_values(rows, memory).unbind()
                       for b in model.decoder.layers]  # fmt: skip
        self.caches = [None] * len(self.source)

    def split(self, x, parts, heads):
        """[hypotheses, parts * width] to `parts` of [hypotheses, heads, 1, each]."""
        return x.unflatten(-1, (parts, heads, 1, -1)).unbind(1)

    def oneself(self, n, attention, x):
        both = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = self.split(both, 3, attention.heads)
        if self.caches[n] is not None:
            key = torch.cat((self.caches[n][0], key), 2)
            value = torch.cat((self.caches[n][1], value), 2)
        self.caches[n] = (key, value)
        return attention.out_proj(attention.attend(query, key, value).flatten(1))

    def other(self, n, attention, x):
        """Hypotheses of a sentence are its queries."""
        query = attention.queries(x).unflatten(0, (-1, self.beam))
        query = query.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        mixed = attention.attend(query, *self.source[n], self.mask)
        return attention.out_proj(mixed.transpose(1, 2).flatten(2).flatten(0, 1))

    def step(self, tokens):
        """log p [sentences, beam, vocabulary] of what follows tokens [sentences, beam]."""
        model = self.model
        x = model.embed(tokens.flatten()) + model.places[self.said]
        for n, block in enumerate(model.decoder.layers):
            x = x + self.oneself(n, block.self_attn, block.norm1(x))
            x = x + self.other(n, block.multihead_attn, block.norm2(x))
            x = x + block.feed(block.norm3(x))
        self.said += 1
        logits = model.logits(model.decoder.norm(x))
        return logits.log_softmax(-1).unflatten(0, tokens.shape)

    def reorder(self, sentences, parents):
        """Goes on with those sentences, and in each from hypotheses `parents` [sentences, beam]."""
        rows = (sentences[:, None] * self.beam + parents).flatten()
        self.caches = [(key[rows], value[rows]) for key, value in self.caches]
        if len(sentences) < len(self.source[0][0]):
            self.source = [(key[sentences], value[sentences]) for key, value in self.source]
            self.mask = None if self.mask is None else self.mask[sentences]


class Search:
    """score = log p / (length + 1), the end among both; see attn_nn_search_options' defaults."""

    def __init__(self, model, begin, end, pad, beam, max_length=256, max_factor=2, max_more=10):
        self.model, self.begin, self.end, self.pad, self.beam = model, begin, end, pad, beam
        self.limits = lambda length: min(max_length, int(max_factor * length) + max_more)

    @torch.inference_mode()
    def __call__(self, sources):
        """Token lists that end with the end, to token lists without."""
        lengths = [len(s) for s in sources]
        rows = torch_models.Rows(lengths)
        tokens = torch.tensor([t for s in sources for t in s])
        decoder, count, beam = Decoder(self.model, rows, tokens, self.beam), len(sources), self.beam
        best, finished = [(-torch.inf, [])] * count, [0] * count
        open_ones, limits = list(range(count)), [self.limits(n) for n in lengths]
        total = torch.full((count, beam), -torch.inf)
        total[:, 0] = 0  # at first all hypotheses are the same one
        words = torch.full((count, beam), self.begin)
        said = torch.empty(count, beam, 0, dtype=torch.int64)
        while open_ones:
            log_p = decoder.step(words)
            log_p[..., [self.begin, self.pad]] = -torch.inf
            length = decoder.said - 1
            found, places = (total[..., None] + log_p).flatten(1).topk(2 * beam)
            parents, tokens = places // log_p.shape[-1], places % log_p.shape[-1]
            kept, chosen, still = [], [], []
            lists = zip(found.tolist(), parents.tolist(), tokens.tolist())
            for i, (scores, from_, to) in enumerate(lists):
                k = open_ones[i]
                if length == limits[k]:  # nothing but the end
                    score, at = (total[i] + log_p[i, :, self.end]).max(-1)
                    self.finish(best, k, score.item(), said[i, at], length)
                    continue
                for c in [c for c in range(beam) if to[c] == self.end]:
                    self.finish(best, k, scores[c], said[i, from_[c]], length)
                    finished[k] += 1
                go_on = [c for c in range(2 * beam) if to[c] != self.end][:beam]
                if self.is_done(best[k][0], finished[k], scores[go_on[0]], length, limits[k]):
                    continue
                kept.append(i)
                chosen.append(go_on)
                still.append(k)
            open_ones = still
            if not open_ones:
                break
            kept, chosen = torch.tensor(kept), torch.tensor(chosen)
            total, words = (x[kept].gather(1, chosen) for x in (found, tokens))
            parents = parents[kept].gather(1, chosen)
            before = said[kept].gather(1, parents[..., None].expand(-1, -1, length))
            said = torch.cat((before, words[..., None]), -1)
            decoder.reorder(kept, parents)
        return [words for _, words in best]

    def finish(self, best, k, total, words, length):
        score = total / (length + 1)
        if score > best[k][0]:
            best[k] = (score, words.tolist())

    def is_done(self, score, finished, total, length, limit):
        """No open hypothesis can win, or as many have finished as the beam is wide."""
        if finished == 0:
            return False
        if finished >= self.beam:
            return True
        return max(total / (length + 2), total / (limit + 1)) <= score
