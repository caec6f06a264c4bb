"""Legacy completions: a prompt asked as a chat."""

import pytest

from apps.jobs.models import Call, Job
from tests.openai_compat.asking import refused

PATH = "/v1/completions"


@pytest.mark.parametrize("prompt", ["Once upon", ["Once upon"]])
def test_prompt_is_asked_as_a_chat(team_key, provider, prompt):
    answer = team_key.post(PATH, {"prompt": prompt, "model": "chat-default", "max_tokens": 9, "n": 2})

    assert answer.status_code == 200
    body = answer.json()
    assert body["id"] == f"cmpl-{answer['x-call-id'].replace('-', '')}"
    assert (body["object"], body["model"]) == ("text_completion", "chat-default")
    assert body["choices"] == [
        {"text": "Answer 1", "index": index, "logprobs": None, "finish_reason": "stop"} for index in (0, 1)
    ]
    assert body["usage"]["total_tokens"] == 15
    (asked,) = provider.bodies
    assert asked == {"messages": [{"role": "user", "content": "Once upon"}], "max_tokens": 9, "n": 2}


def test_it_is_a_job_of_its_own(team_key, provider):
    answer = team_key.post(PATH, {"prompt": "Once upon"})

    job = Job.objects.get()
    assert (str(job.pk), job.job_type, job.status) == (answer["x-job-id"], "completions", "completed")
    assert answer["x-saasllm-credits-charged"] == "1"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["One", "Two"]}, "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"echo": True}, "echo"),
        ({"suffix": "end"}, "suffix"),
        ({"logprobs": 3}, "logprobs"),
        ({"best_of": 2}, "best_of"),
        ({"n": 9}, "n"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(team_key, provider, more, param):
    assert refused(team_key.post(PATH, {"prompt": "Once upon", **more}), 400)["param"] == param
    assert Call.objects.count() == 0


def test_harmless_defaults_are_taken(team_key, provider):
    more = {"echo": False, "suffix": "", "best_of": 1, "logprobs": None, "stream": False}

    assert team_key.post(PATH, {"prompt": "Once upon", **more}).status_code == 200
