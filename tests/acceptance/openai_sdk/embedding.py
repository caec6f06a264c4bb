"""Embeddings: texts, lists of tokens, both encodings, and what is refused."""

import base64
from array import array
from typing import Any

import openai

from tests.acceptance.openai_sdk.platform import CHAT, Customer


def embed(at: Customer, given: Any, **more: Any) -> Any:
    """The answer to a request for embeddings."""
    return at.client.embeddings.create(model=CHAT, input=given, **more)


def text_is_embedded(at: Customer) -> None:
    answer = embed(at, "one")

    (vector,) = answer.data
    assert len(vector.embedding) == at.backend.embedding_dimensions
    assert all(isinstance(number, float) for number in vector.embedding)
    assert (vector.index, vector.object, answer.object, answer.model) == (0, "embedding", "list", CHAT)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 0
    assert (at.left(), [job["job_type"] for job in at.jobs()]) == (9, ["embeddings"])


def each_text_of_a_list_has_its_vector(at: Customer) -> None:
    answer = embed(at, ["one", "two", "one"])

    first, second, third = answer.data
    assert [first.index, second.index, third.index] == [0, 1, 2]
    assert first.embedding == third.embedding != second.embedding
    assert at.left() == 9


def tokens_are_embedded(at: Customer) -> None:
    assert len(embed(at, [1, 2, 3]).data) == 1
    assert len(embed(at, [[1, 2, 3], [4]]).data) == 2


def both_encodings_say_the_same(at: Customer) -> None:
    # The client asks for base64 by itself, and unpacks it.
    by_default = embed(at, "one").data[0].embedding
    plain = embed(at, "one", encoding_format="float").data[0].embedding
    packed = embed(at, "one", encoding_format="base64").data[0].embedding

    assert array("f", base64.b64decode(packed)).tolist() == by_default
    assert max(abs(one - other) for one, other in zip(plain, by_default, strict=True)) < 1e-6


def dimensions_are_chosen(at: Customer) -> None:
    assert len(embed(at, "one", dimensions=4).data[0].embedding) == 4


def embedding_tells_cost_and_balance(at: Customer) -> None:
    headers = at.client.embeddings.with_raw_response.create(model=CHAT, input="one").headers

    assert (headers["x-saasllm-credits-charged"], headers["x-saasllm-credits-remaining"]) == ("1", "9")


def embedding_of_nothing_is_refused(at: Customer) -> None:
    for given, param in (([], "input"), ("", "input"), (["a", ""], "input[1]"), ([[]], "input[0]")):
        try:
            embed(at, given)
            refused = None
        except openai.BadRequestError as error:
            refused = error.param

        assert refused == param, given
    assert at.jobs() == []


CHECKS = (
    text_is_embedded,
    each_text_of_a_list_has_its_vector,
    tokens_are_embedded,
    both_encodings_say_the_same,
    dimensions_are_chosen,
    embedding_tells_cost_and_balance,
    embedding_of_nothing_is_refused,
)
