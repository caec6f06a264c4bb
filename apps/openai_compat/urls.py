"""The URLs under /v1. A slash at the end is tolerated, never redirected: clients would lose the body."""

from django.urls import re_path

from apps.openai_compat import catalogue, chat, completions, embeddings

urlpatterns = [
    re_path(r"^chat/completions/?$", chat.ChatCompletions.as_view()),
    re_path(r"^completions/?$", completions.Completions.as_view()),
    re_path(r"^embeddings/?$", embeddings.Embeddings.as_view()),
    re_path(r"^models/?$", catalogue.Models.as_view()),
    # A name may have slashes in it.
    re_path(r"^models/(?P<model>[^\x00]+?)/?$", catalogue.OneModel.as_view()),
]
