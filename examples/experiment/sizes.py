"""How many parameters a model has, and which width of the states gives as many as another has."""

# How widths may vary: states are cut in two directions and into four heads.
STEP = 4


def transformer(vocabulary, width, encoder_layers, decoder_layers, feed_forward):
    """A pre-norm Transformer with tied embeddings and no learned positions
    (nn/models/transformer.c)."""
    attention = 4 * width * width + 4 * width
    norm = 2 * width
    feed = 2 * width * feed_forward + feed_forward + width
    return (
        vocabulary * (width + 1)
        + encoder_layers * (attention + feed + 2 * norm)
        + decoder_layers * (2 * attention + feed + 3 * norm)
        + 2 * norm
    )


def lstm(vocabulary, width, encoder_layers, decoder_layers, hidden, look):
    """An LSTM whose encoder reads both ways, with tied embeddings (nn/models/recurrent.c). look:
    "none", "dot" or "additive"."""
    ends = vocabulary * (width + 1)
    encoder = sum(
        2 * cell(width if layer == 0 else hidden, hidden // 2) for layer in range(encoder_layers)
    )
    # Without a look, all that is known of the source joins every input; else what was found there.
    fed = hidden if look == "none" else width
    decoder = sum(
        cell(width + fed if layer == 0 else hidden, hidden) for layer in range(decoder_layers)
    )
    bridges = decoder_layers * 2 * (hidden * hidden + hidden)
    looks = {"none": 0, "dot": 0, "additive": 2 * hidden * hidden + 2 * hidden}[look]
    mix = 2 * hidden * width + width
    return ends + encoder + decoder + bridges + looks + mix


def cell(inputs, hidden):
    """An LSTM's layer, one direction: four gates, with two biases each, as PyTorch has them."""
    return 4 * hidden * (inputs + hidden + 2)


def fit(target, count):
    """The multiple of STEP whose count(hidden), which rises, is nearest to the target."""
    hidden = STEP
    while count(hidden + STEP) <= target:
        hidden += STEP
    return min(hidden, hidden + STEP, key=lambda h: abs(count(h) - target))


def plan(vocabulary, width):
    """The fields of each model (for attn train --set) and its parameters; the Transformer's count
    is what the LSTMs' states are fitted to."""
    fields = {"width": width, "encoder_layers": 3, "decoder_layers": 3, "feed_forward": 4 * width}
    models = {"transformer": (fields, transformer(vocabulary, **fields))}
    target = models["transformer"][1]
    for name, look in (("lstm-none", "none"), ("lstm-dot", "dot"), ("lstm", "additive")):
        rest = {"width": width, "encoder_layers": 2, "decoder_layers": 1}

        def count(hidden, rest=rest, look=look):
            return lstm(vocabulary, hidden=hidden, look=look, **rest)

        rest = dict(rest, hidden=fit(target, count))
        models[name] = (rest, lstm(vocabulary, look=look, **rest))
    return models


def spread(counts):
    """How far the largest is above the smallest, as a share of the smallest."""
    return max(counts) / min(counts) - 1
