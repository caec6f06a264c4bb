"""The demo provider: the same answer to the same question, and an honest bill."""

from typing import Any

import pytest

from apps.jobs.gateway import routes
from apps.jobs.gateway.demo import DemoProvider, count_tokens
from apps.jobs.gateway.interface import Completion, CompletionRequest, GatewayError


def ask(*contents: Any, system: str | None = None, **parameters: Any) -> Completion:
    messages = [{"role": "user", "content": content} for content in contents]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    request = CompletionRequest("call", "attempt", "acme", "demo-chat", {"messages": messages, **parameters})
    return DemoProvider().complete(request, timeout_s=1)


def text(completion: Completion) -> str:
    content: str = completion.choices[0]["message"]["content"]
    return content


def test_same_question_has_the_same_answer():
    first, second = ask("What is Python?"), ask("What is Python?")

    assert (first.choices, first.usage, first.provider_id) == (second.choices, second.usage, second.provider_id)
    assert ask("What is Flask?").provider_id != first.provider_id


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("What is Python?", "Python is"),
        ("Tell me about FastAPI", "FastAPI is"),
        ("What is Recursion?", "calls itself"),
    ],
)
def test_topics_are_known(question: str, word: str):
    assert word in text(ask(question))


def test_anything_else_is_repeated_and_says_that_it_is_a_demo():
    answer = text(ask("How many   moons\nhas Jupiter"))

    assert answer.startswith("You asked: How many moons has Jupiter")
    assert "Demo answer" in answer


def test_answer_has_openai_s_shape():
    completion = ask("Hello")

    assert completion.choices == [
        {"index": 0, "message": {"role": "assistant", "content": text(completion)}, "finish_reason": "stop"}
    ]
    assert completion.resolved_model == "demo-chat"
    assert completion.created > 1_700_000_000


def test_usage_is_what_it_read_and_wrote():
    completion = ask("one two three", "four, five", system="be brief")

    assert completion.usage is not None
    assert completion.usage.prompt_tokens == 3 + 3 + 2
    assert completion.usage.completion_tokens == count_tokens(text(completion))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("cap", [1, 2, 5, 10])
def test_cap_cuts_the_answer_and_the_bill(name: str, cap: int):
    completion = ask("What is Python?", **{name: cap})

    assert completion.usage is not None
    assert 1 <= completion.usage.completion_tokens <= cap
    assert completion.choices[0]["finish_reason"] == "length"
    assert text(ask("What is Python?")).startswith(text(completion))


def test_cap_that_is_not_reached_changes_nothing():
    assert ask("What is Python?", max_tokens=1_000).choices == ask("What is Python?").choices


def test_several_answers_are_billed_each():
    one, three = ask("What is Python?"), ask("What is Python?", n=3)

    assert [choice["index"] for choice in three.choices] == [0, 1, 2]
    assert one.usage is not None
    assert three.usage is not None
    assert three.usage.completion_tokens == 3 * one.usage.completion_tokens
    assert three.usage.prompt_tokens == one.usage.prompt_tokens


@pytest.mark.parametrize(
    ("review", "sentiment"),
    [
        ("This product is amazing! I love it!", "positive"),
        ("Terrible experience, would not recommend.", "negative"),
        ("It's okay, nothing special.", "neutral"),
    ],
)
def test_sentiment_is_one_word(review: str, sentiment: str):
    system = "Classify the sentiment as positive, negative, or neutral. Respond with one word."

    assert text(ask(review, system=system)) == sentiment


def test_summary_is_the_first_sentences_of_the_document():
    document = "Summarize this document:\n\nFirst sentence. Second one! Third?"

    assert text(ask(document)) == "First sentence. Second one!"


def test_key_points_are_a_list():
    assert (
        text(ask("Extract key points:\n\nFirst. Second.", system="You extract key points.")) == "- First.\n- Second."
    )


@pytest.mark.parametrize(
    "content", ["", None, [], [{"type": "image_url"}], [{"type": "text", "text": "What is Python?"}, "junk"]]
)
def test_every_kind_of_content_is_answered(content: Any):
    completion = ask(content)

    assert text(completion)
    assert completion.usage is not None
    assert completion.usage.prompt_tokens >= 0


def test_conversation_without_a_question_is_answered():
    request = CompletionRequest("c", "a", "t", "m", {"messages": [{"role": "assistant", "content": "Hi"}]})

    assert text(DemoProvider().complete(request, timeout_s=1))


@pytest.mark.parametrize(
    ("route", "embedded", "url", "is_served"),
    [
        ("demo", True, "", True),
        ("demo", False, "http://127.0.0.1:1", False),
        ("litellm", True, "", False),
        ("litellm", False, "http://127.0.0.1:1", True),
        ("openai", False, "", True),
        ("unheard-of", True, "http://127.0.0.1:1", False),
    ],
)
def test_routes_are_served_where_they_may_be(settings: Any, route: str, embedded: bool, url: str, is_served: bool):
    settings.EMBEDDED, settings.LITELLM_BASE_URL = embedded, url
    if is_served:
        assert routes.gateway_for(route)
        return
    with pytest.raises(GatewayError) as caught:
        routes.gateway_for(route)
    assert (caught.value.code, caught.value.status) == ("provider_configuration", 503)
