"""OpenAI's Python client on the demo. The same checks run through a real LiteLLM proxy: `make test-litellm`."""

from collections.abc import Iterator

import pytest

from tests.acceptance import openai_sdk
from tests.acceptance.openai_sdk import platform as names
from tests.acceptance.openai_sdk.platform import Backend, Platform
from tests.acceptance.test_demo import env_of, running_demo
from tests.harness.ports import free_port

DEMO = Backend(
    route="demo",
    models={
        names.CHAT: "demo-behind",
        names.LIMITED: "demo-error-429",
        names.BROKEN: "demo-error-500",
        names.CHOOSY: "demo-error-400",
        names.CUT: "demo-cut",
        names.SLOW: "demo-slow-900",
    },
    never_seen=("demo-behind", "demo-error", "demo-cut", "demo-slow", "chatcmpl-demo"),
    # Its advice in answers, which a stream brings word by word.
    own_words=("LITELLM_BASE_URL",),
    is_able=False,
    embedding_dimensions=256,
)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder, port = tmp_path_factory.mktemp("demo"), free_port()
    with running_demo(folder, port) as printed:
        assert "is running at" in printed, printed
        served = Platform(f"http://localhost:{port}", master_key=env_of(folder)["MASTER_KEY"], backend=DEMO)
        served.prepare()
        yield served


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("check", openai_sdk.CHECKS, ids=lambda check: check.__name__)
def test_openai_sdk(platform: Platform, check: openai_sdk.Check, is_async: bool) -> None:
    openai_sdk.run(platform, check, is_async=is_async)
