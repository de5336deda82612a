"""What a model is asked, as one number a row: the log-probability of an answer, or of two."""

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from inspector.errors import BadOption, UnsupportedModel
from inspector.model.features import check_ids
from inspector.model.kinds import Kind
from inspector.model.load import Model
from inspector.results import show_plain

LEAST_KEPT = 4  # places: two or three rows times a vocabulary take longer than four (MKL)
SAME = {torch.float32: 1e-3, torch.bfloat16: 0.25, torch.float16: 0.05}  # nats between two forwards


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """A prompt's ids and the answers whose log-probability is asked: one, or one against another.

    `named` are the answers as they were given; of a classifier an answer is the number of its
    label. `places` are the masked positions.
    """

    ids: Int[Tensor, " tokens"]
    answers: tuple[tuple[int, ...], ...]
    named: tuple[str, ...] = ()
    places: tuple[int, ...] = ()


def target_ids(model: Model, target: str) -> tuple[int, ...]:
    """The ids of an answer as it is written, or the number of the label it names."""
    if model.kind == "encoder":
        raise UnsupportedModel(
            f"{type(model.network).__name__} predicts nothing: it has no head to ask. Give a model "
            "that continues a text, fills a mask or names a class."
        )
    if model.kind == "classifier":
        return (_label(model, target),)
    if not _is_text(target):
        raise BadOption("The target holds half a surrogate pair, which is no text.")
    ids = tuple(model.tokenizer(target, add_special_tokens=False)["input_ids"])
    check_ids(model, ids)
    if not ids:
        raise BadOption("The target is empty: give the word or text whose probability is asked.")
    if model.tokenizer.unk_token_id in ids:
        raise BadOption(
            f"The target {show_plain(target)!r} holds something that the tokenizer does not know: "
            "its probability would be that of any unknown word."
        )
    return ids


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_classes(model: Model) -> None:
    """Raise UnsupportedModel for a classifier of one output: it has a number and no classes."""
    config = model.network.config
    if config.num_labels == 1 or config.problem_type == "regression":
        raise UnsupportedModel(
            f"{type(model.network).__name__} predicts a number (num_labels {config.num_labels}): "
            "there are no classes whose probability could be asked."
        )


def _label(model: Model, target: str) -> int:
    check_classes(model)
    names: dict[str, int] = {
        str(k): int(v) for k, v in (model.network.config.label2id or {}).items()
    }
    if target in names:
        return names[target]
    if target.isascii() and target.isdigit() and int(target) < len(names):
        return int(target)
    shown = ", ".join(show_plain(name) for name in list(names)[:20])
    raise BadOption(f"The model has no label {show_plain(target)!r}; known are {shown}.")


class Scorer:
    """F of rows of embeddings: log p(answer), or log p(answer) - log p(other), in nats.

    Rows may be given without the positions before which they equal the prompt: a causal model
    then reads those from memory. `forwards` and `tokens` count what was run.
    """

    def __init__(self, model: Model, question: Question) -> None:
        self.model, self.question = model, question
        self.network = model.network
        self.forwards = self.tokens = 0
        self.reuse = model.kind == "causal"
        parameters = inspect.signature(model.network.forward).parameters
        self.short_logits = "logits_to_keep" in parameters
        self._known: list[tuple[Tensor, Tensor]] | None = None

    def embed(self, ids: Int[Tensor, "*rows tokens"]) -> Float[Tensor, "*rows tokens width"]:
        """The embeddings as the model's first block is given them, before positions are added."""
        found: Tensor = self.network.get_input_embeddings()(ids)
        return found

    def run(self, **given: Any) -> Any:
        """One forward of the network, counted."""
        self.count(given["inputs_embeds"] if "inputs_embeds" in given else given["input_ids"])
        return self.network(**given)

    def count(
        self, given: Float[Tensor, "rows tokens *width"] | Int[Tensor, "rows tokens"]
    ) -> None:
        """Count one forward of that many rows of tokens."""
        self.forwards += 1
        self.tokens += given.shape[0] * given.shape[1]

    def each(self, tail: Float[Tensor, "rows tail width"]) -> Float[Tensor, "rows answers"]:
        """Log-probability of every answer; `tail` are the embeddings of the last positions."""
        return KINDS[self.model.kind](self, tail.to(self.model.dtype))

    def __call__(self, tail: Float[Tensor, "rows tail width"]) -> Float[Tensor, " rows"]:
        """The number that is explained."""
        return contrast(self.each(tail))

    def plain(self) -> Float[Tensor, " answers"]:
        """The same of the prompt itself by one ordinary forward an answer, without shortcuts."""
        with torch.no_grad():
            return torch.stack([PLAIN[self.model.kind](self, a) for a in self.question.answers])

    def remembered(self, start: int, rows: int) -> DynamicCache | None:
        """Keys and values of the prompt before `start`, once per row, after `plain` has run."""
        if start == 0:
            return None
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(self._known or ()):
            width = (rows, -1, -1, -1)
            cache.update(
                keys[:, :, :start].expand(width), values[:, :, :start].expand(width), layer
            )
        return cache

    def learn(self, cache: Any) -> None:
        """Keep the keys and values of the prompt."""
        end = len(self.question.ids)
        self._known = [(layer.keys[:, :, :end], layer.values[:, :, :end]) for layer in cache.layers]


def contrast(each: Float[Tensor, "rows answers"]) -> Float[Tensor, " rows"]:
    """The first column, less the second where there is one."""
    return each[:, 0] - each[:, 1] if each.shape[1] == 2 else each[:, 0]


def log_probability(
    logits: Float[Tensor, "rows places vocabulary"], answer: Sequence[int]
) -> Float[Tensor, " rows"]:
    """Sum over places of the log-probability of one id each."""
    wanted = torch.tensor(answer, device=logits.device).expand(len(logits), -1)[..., None]
    # one fused pass; logsumexp takes ten times as long over a large vocabulary
    return logits.float().log_softmax(-1).gather(-1, wanted)[..., 0].sum(-1)


def _causal(ask: Scorer, tail: Tensor) -> Tensor:
    """Answers that are fed alike (those of one token: nothing is) share one forward."""
    fed = list(dict.fromkeys(answer[:-1] for answer in ask.question.answers))
    longest = max(map(len, fed))
    given = [torch.cat([tail, _after(ask, one, longest, len(tail))], 1) for one in fed]
    rows = len(tail) * len(fed)
    start = len(ask.question.ids) - tail.shape[1]
    cache = ask.remembered(start, rows)
    keep = {"logits_to_keep": longest + 1} if ask.short_logits else {}
    out = ask.run(
        inputs_embeds=torch.cat(given),
        past_key_values=cache,
        use_cache=cache is not None,
        **keep,
    )
    logits = out.logits[:, -longest - 1 :].split(len(tail))
    return torch.stack(
        [
            log_probability(logits[fed.index(answer[:-1])][:, : len(answer)], answer)
            for answer in ask.question.answers
        ],
        1,
    )


def _after(ask: Scorer, fed: tuple[int, ...], longest: int, rows: int) -> Tensor:
    """Embeddings of what is fed after the prompt; padded behind, where no causal model looks."""
    ids = torch.tensor(
        [*fed, *[0] * (longest - len(fed))], device=ask.model.device, dtype=torch.long
    )
    return ask.embed(ids).detach().expand(rows, -1, -1)


def _masked(ask: Scorer, tail: Tensor) -> Tensor:
    logits = ask.run(inputs_embeds=tail).logits[:, list(ask.question.places)]
    return torch.stack([log_probability(logits, a) for a in ask.question.answers], 1)


def _classifier(ask: Scorer, tail: Tensor) -> Tensor:
    with _any_padding(ask.network):
        logits = ask.run(inputs_embeds=tail).logits
    return torch.stack([_of_label(ask, logits, a) for a in ask.question.answers], 1)


@contextlib.contextmanager
def _any_padding(network: PreTrainedModel) -> Iterator[None]:
    """A decoder that classifies but names no padding refuses rows, though these have none."""
    config = network.config.get_text_config()
    before = config.pad_token_id
    try:
        config.pad_token_id = 0 if before is None else before
        yield
    finally:
        config.pad_token_id = before


def _of_label(ask: Scorer, logits: Tensor, answer: tuple[int, ...]) -> Tensor:
    if ask.network.config.problem_type == "multi_label_classification":
        return torch.nn.functional.logsigmoid(logits.float())[:, answer[0]]
    return log_probability(logits[:, None], answer)


def _encoder_decoder(ask: Scorer, tail: Tensor) -> Tensor:
    """The text is read once for all answers."""
    ask.count(tail)
    read = ask.network.get_encoder()(inputs_embeds=tail)
    found = []
    for answer in ask.question.answers:
        out = ask.network(encoder_outputs=read, decoder_input_ids=_fed(ask, answer, len(tail)))
        found.append(log_probability(out.logits, answer))
    return torch.stack(found, 1)


def _fed(ask: Scorer, answer: tuple[int, ...], rows: int) -> Tensor:
    start = first_fed(ask.network)
    return torch.tensor([start, *answer[:-1]], device=ask.model.device).expand(rows, -1)


def first_fed(network: PreTrainedModel) -> int:
    """What a decoder is given before any answer."""
    for config in (network.config, network.generation_config):
        start = getattr(config, "decoder_start_token_id", None)
        if start is not None:
            return int(start)
    if network.config.model_type == "t5" and network.config.pad_token_id is not None:
        return int(network.config.pad_token_id)
    raise UnsupportedModel(
        "config.json and generation_config.json name no decoder_start_token_id: with what an "
        "answer begins is not known."
    )


def _plain_causal(ask: Scorer, answer: tuple[int, ...]) -> Tensor:
    """What the prompt leaves in memory is kept: no other forward has to read it again."""
    ids = torch.cat([ask.question.ids, torch.tensor(answer[:-1], device=ask.model.device).long()])
    kept = max(len(answer), LEAST_KEPT) if len(answer) > 1 else 1
    keep = {"logits_to_keep": kept} if ask.short_logits else {}
    cache = DynamicCache()  # without the config: a sliding window would forget what is needed
    logits = ask.run(input_ids=ids[None], past_key_values=cache, use_cache=True, **keep).logits
    ask.learn(cache)
    return log_probability(logits[:, -len(answer) :], answer)[0]


def _plain_masked(ask: Scorer, answer: tuple[int, ...]) -> Tensor:
    logits = ask.run(input_ids=ask.question.ids[None]).logits
    return log_probability(logits[:, list(ask.question.places)], answer)[0]


def _plain_classifier(ask: Scorer, answer: tuple[int, ...]) -> Tensor:
    return _of_label(ask, ask.run(input_ids=ask.question.ids[None]).logits, answer)[0]


def _plain_encoder_decoder(ask: Scorer, answer: tuple[int, ...]) -> Tensor:
    fed = _fed(ask, answer, 1)
    out = ask.run(input_ids=ask.question.ids[None], decoder_input_ids=fed)
    return log_probability(out.logits, answer)[0]


KINDS: dict[Kind, Callable[[Scorer, Tensor], Tensor]] = {
    "causal": _causal,
    "masked": _masked,
    "classifier": _classifier,
    "encoder-decoder": _encoder_decoder,
}
PLAIN: dict[Kind, Callable[[Scorer, tuple[int, ...]], Tensor]] = {
    "causal": _plain_causal,
    "masked": _plain_masked,
    "classifier": _plain_classifier,
    "encoder-decoder": _plain_encoder_decoder,
}
