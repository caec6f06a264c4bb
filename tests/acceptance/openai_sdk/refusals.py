"""Errors as the client's own exceptions, with OpenAI's codes; none of them costs anything or is repeated in vain."""

from collections.abc import Callable
from typing import Any

import openai

from tests.acceptance.openai_sdk.asking import QUESTION, ask
from tests.acceptance.openai_sdk.platform import BROKEN, CHAT, CHOOSY, LIMITED, ORGANIZATION, Customer


def raised(do: Callable[[], object]) -> openai.APIStatusError:
    """The error that the client raises."""
    try:
        do()
    except openai.APIStatusError as error:
        return error
    raise AssertionError("it was answered")


def wrong_key_is_an_authentication_error(at: Customer) -> None:
    for key in ("sk-wrong", f"{at.key[:-1]}x"):
        error = raised(lambda key=key: at.client.with_options(api_key=key).chat.completions.create(
            model=CHAT, messages=QUESTION
        ))  # fmt: skip

        assert isinstance(error, openai.AuthenticationError)
        assert (error.status_code, error.code) == (401, "invalid_api_key")
    assert at.tries() == 2


def unknown_model_is_not_found(at: Customer) -> None:
    never = "gpt-9"
    for do in (
        lambda: ask(at, model=never),
        lambda: ask(at, model=never, stream=True),
        lambda: at.client.embeddings.create(model=never, input="one"),
        lambda: at.client.completions.create(model=never, prompt="one"),
        lambda: at.client.models.retrieve(never),
        # The provider's own name is none of ours.
        lambda: ask(at, model=at.backend.models[CHAT].removeprefix("upstream/")),
    ):
        error = raised(do)

        assert isinstance(error, openai.NotFoundError)
        assert (error.code, error.type) == ("model_not_found", "invalid_request_error")
    # The last one's name was the customer's own word, and comes back in the message.
    at.watch.exchanges.pop()
    assert (at.left(), at.tries()) == (10, 3)


def unknown_url_is_not_found(at: Customer) -> None:
    error = raised(lambda: at.client.responses.create(model=CHAT, input="Hello"))

    assert (type(error), error.code) == (openai.NotFoundError, "unknown_url")


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"temperature": 5}, "temperature", "invalid_value"),
    ({"n": 1000}, "n", "invalid_value"),
    ({"n": "two"}, "n", "invalid_type"),
    ({"messages": []}, "messages", "invalid_value"),
    ({"messages": [{"role": "wizard", "content": "Hello"}]}, "messages[0].role", "invalid_value"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
    ({"store": True}, "store", "unsupported_parameter"),
    ({"service_tier": "priority"}, "service_tier", "invalid_value"),
    ({"functions": [{"name": "f"}]}, "functions", "unsupported_parameter"),
    ({"web_search_options": {}}, "web_search_options", "unsupported_parameter"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type", "invalid_value"),
    (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
        "messages[0].content[0].file.file_data",
        "invalid_value",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc"}}]}]},
        "messages[0].content[0].image_url.url",
        "invalid_value",
    ),
]
REFUSED_LEGACY: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ["one", "two"]}, "prompt"),
    ({"prompt": [1, 2]}, "prompt"),
    ({"echo": True}, "echo"),
    ({"suffix": "end"}, "suffix"),
    ({"logprobs": 1}, "logprobs"),
    ({"best_of": 3}, "best_of"),
]


def bad_parameter_is_refused_by_name(at: Customer) -> None:
    for more, param, code in REFUSED:
        error = raised(lambda more=more: ask(at, **more))

        assert isinstance(error, openai.BadRequestError)
        assert (error.param, error.code) == (param, code), more
    assert (at.jobs(), at.tries()) == ([], len(REFUSED))


def what_the_legacy_endpoint_lacks_is_refused_by_name(at: Customer) -> None:
    for more, param in REFUSED_LEGACY:
        body = {"model": CHAT, "prompt": "one", **more}
        error = raised(lambda body=body: at.client.completions.create(**body))

        assert isinstance(error, openai.BadRequestError)
        assert (error.param, error.code) == (param, "unsupported_parameter"), more
    assert (at.jobs(), at.tries("/v1/completions")) == ([], len(REFUSED_LEGACY))


def request_that_the_model_rejects_is_a_bad_request(at: Customer) -> None:
    for more in ({}, {"stream": True}):
        error = raised(lambda more=more: ask(at, model=CHOOSY, **more))

        assert isinstance(error, openai.BadRequestError)
        assert (error.code, error.type) == ("provider_rejected", "invalid_request_error")
        assert "the model rejected the request as invalid" in error.message
        assert error.response.headers["x-should-retry"] == "false"
    assert (at.left(), at.statuses(), at.tries()) == (10, ["failed"] * 2, 2)


def no_credits_are_402_which_is_not_repeated(at: Customer) -> None:
    for _ in range(10):
        ask(at)
    assert at.left() == 0
    at.watch.judge()
    asked = at.tries()

    for do in (
        lambda: ask(at),
        lambda: ask(at, stream=True),
        lambda: at.client.embeddings.create(model=CHAT, input="one"),
    ):
        error = raised(do)

        assert (error.status_code, error.code, error.type) == (402, "insufficient_quota", "insufficient_quota")
    assert (at.left(), at.tries() - asked) == (0, 2)


def key_that_may_only_read_is_denied(at: Customer) -> None:
    reader = at.client.with_options(api_key=at.platform.new_key(at.team_id, scopes=["read"]))

    error = raised(lambda: reader.chat.completions.create(model=CHAT, messages=QUESTION))

    assert isinstance(error, openai.PermissionDeniedError)
    assert (error.code, error.type, at.tries()) == ("scope_missing", "permission_error", 1)
    assert list(reader.models.list())


def suspended_team_is_denied(at: Customer) -> None:
    at.platform.operate("POST", f"/teams/{at.team_id}/suspend", reason="unpaid")

    error = raised(lambda: ask(at))

    assert isinstance(error, openai.PermissionDeniedError)
    assert (error.code, at.tries()) == ("team_not_active", 1)


def another_teams_job_is_not_found(at: Customer) -> None:
    other = at.platform.operate(
        "POST",
        "/teams/create",
        organization_id=ORGANIZATION,
        team_id=f"{at.team_id}-other",
        credits_allocated=10,
    )
    job = at.http.post(
        f"{at.platform.url}/api/jobs/create",
        headers={"Authorization": f"Bearer {other['virtual_key']}"},
        json={"team_id": f"{at.team_id}-other", "job_type": "trip"},
    ).json()

    for job_id in (job["job_id"], "nothing"):
        error = raised(lambda job_id=job_id: ask(at, extra_headers={"X-Job-Id": job_id}))

        assert isinstance(error, openai.NotFoundError)
        assert error.code == "job_not_found"


def failing_model_is_a_server_error_after_the_clients_retries(at: Customer) -> None:
    error = raised(lambda: ask(at, model=BROKEN))

    assert isinstance(error, openai.InternalServerError)
    assert (error.code, error.type) == ("provider_error", "server_error")
    assert (at.left(), at.statuses(), at.tries()) == (10, ["failed"] * 3, 3)


def rate_limit_is_raised_after_the_clients_retries_and_free(at: Customer) -> None:
    error = raised(lambda: ask(at, model=LIMITED))

    assert isinstance(error, openai.RateLimitError)
    assert (error.code, error.type) == ("rate_limit_exceeded", "rate_limit_error")
    assert int(error.response.headers["retry-after"]) >= 1
    assert error.response.headers["x-job-id"] in {job["job_id"] for job in at.jobs()}
    assert (at.left(), at.statuses(), at.tries()) == (10, ["failed"] * 3, 3)


CHECKS = (
    wrong_key_is_an_authentication_error,
    unknown_model_is_not_found,
    unknown_url_is_not_found,
    bad_parameter_is_refused_by_name,
    what_the_legacy_endpoint_lacks_is_refused_by_name,
    request_that_the_model_rejects_is_a_bad_request,
    no_credits_are_402_which_is_not_repeated,
    key_that_may_only_read_is_denied,
    suspended_team_is_denied,
    another_teams_job_is_not_found,
    failing_model_is_a_server_error_after_the_clients_retries,
    rate_limit_is_raised_after_the_clients_retries_and_free,
)
