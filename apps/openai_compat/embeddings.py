"""POST /v1/embeddings"""

import base64
from array import array
from sys import byteorder
from typing import Annotated, Any, Literal

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from pydantic import Field

from apps.core import bodies
from apps.core.bodies import JSONObject
from apps.jobs.models import Call
from apps.openai_compat.calls import CallView
from apps.openai_compat.chat import stored_answer
from apps.openai_compat.errors import InvalidParameter
from apps.openai_compat.parameters import Base, Text

INPUTS_MAX = 2048
Tokens = list[Annotated[int, Field(ge=0)]]


class EmbeddingParameters(Base):
    """The body of an embeddings request."""

    input: str | list[str] | Tokens | list[Tokens]
    dimensions: Annotated[int, Field(ge=1, le=100_000)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: Text | None = None
    metadata: JSONObject | None = None

    def inputs(self) -> list[Any]:
        """Texts, or lists of tokens, one for each vector."""
        if isinstance(self.input, str) or (self.input and isinstance(self.input[0], int)):
            return [self.input]
        return list(self.input)

    def body(self) -> dict[str, Any]:
        """The request to make, without the model. The encoding is between the caller and us."""
        return {"input": self.inputs()} | ({"dimensions": self.dimensions} if self.dimensions is not None else {})

    def require_supported(self) -> None:
        """Raises: InvalidParameter."""
        inputs = self.inputs()
        if not self.input or not inputs:
            raise InvalidParameter("input", "input must not be empty.")
        if len(inputs) > INPUTS_MAX:
            raise InvalidParameter("input", f"input may have {INPUTS_MAX} entries at most.")
        for index, one in enumerate(inputs):
            if not one:
                raise InvalidParameter(f"input[{index}]", f"input[{index}] must not be empty.")


class Embeddings(CallView):
    """POST /v1/embeddings"""

    def post(self, request: HttpRequest) -> HttpResponseBase:
        parameters = bodies.parse(EmbeddingParameters, request)
        parameters.require_supported()
        self._is_base64 = parameters.encoding_format == "base64"
        return self.answer(
            request,
            parameters,
            parameters.body(),
            job_type="embeddings",
            user=parameters.user or "",
            kind=Call.Kind.EMBEDDING,
        )

    def present(self, call: Call) -> dict[str, Any]:
        vectors = stored_answer(call)["embeddings"]
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _base64(vector) if self._is_base64 else vector}
                for index, vector in enumerate(vectors)
            ],
            "model": call.model_group_used,
            "usage": {"prompt_tokens": call.prompt_tokens, "total_tokens": call.total_tokens},
        }


def _base64(vector: list[float]) -> str:
    """Floats of four bytes, little-endian, as OpenAI sends them."""
    packed = array("f", vector)
    if byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode()
