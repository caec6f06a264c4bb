"""Sign-in, profile and sessions. What is not here is allauth's own view with a template of ours."""

from typing import TYPE_CHECKING, Any

import requests
from allauth.account.views import LoginView, PasswordChangeView
from allauth.socialaccount.providers.openid_connect import views as openid
from allauth.usersessions.internal.flows.sessions import end_other_sessions, end_sessions
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse, reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.views.generic import FormView, View

from apps.console.signing_in import policy
from apps.console.signing_in.forms import PasswordForm, ProfileForm, SignInForm
from apps.core.admin_base import actor_of, show_refusal
from apps.core.errors import DomainError
from apps.organizations import first_owner, profiles
from apps.organizations.models import User

if TYPE_CHECKING:
    _ProfileView = FormView[ProfileForm]
else:
    _ProfileView = FormView


class SignIn(LoginView):  # type: ignore[misc]
    """By password or passkey here, by a provider from here."""

    form_class = SignInForm

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.user.is_authenticated:
            if not policy.is_operator(request.user):
                return render(request, "console/signing_in/not_an_operator.html", status=403)
        elif request.method == "GET" and not first_owner.exists():
            return redirect("console_setup")
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        return response

    def form_invalid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_invalid(form)
        if any(error.code == "too_many_login_attempts" for error in form.non_field_errors().as_data()):
            response.status_code = 429
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        query = urlencode({"process": "login", "next": self.get_next_url() or settings.LOGIN_REDIRECT_URL})
        providers = [
            {"name": each["name"], "url": f"{reverse('openid_connect_login', args=[each['provider_id']])}?{query}"}
            for each in settings.OIDC_APPS
        ]
        context: dict[str, Any] = super().get_context_data(**kwargs)
        return context | {"providers": providers}


def provider_sign_in(request: HttpRequest, provider_id: str) -> HttpResponse:
    """To a provider, if it can be reached."""
    try:
        response: HttpResponse = openid.login(request, provider_id)
    except (requests.RequestException, ValueError, KeyError):
        return render(request, "socialaccount/authentication_error.html", status=502)
    return response


def provider_answer(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Back from a provider, with what it says."""
    try:
        response: HttpResponse = openid.callback(request, provider_id)
    except (ValueError, KeyError):
        return render(request, "socialaccount/authentication_error.html", status=502)
    return response


@method_decorator(login_required, name="dispatch")
class Profile(_ProfileView):
    """What signed-in people change about themselves."""

    form_class = ProfileForm
    template_name = "console/signing_in/profile.html"
    success_url = reverse_lazy("console_profile")

    def get_initial(self) -> dict[str, Any]:
        user = self._user()
        return {"display_name": user.display_name, "time_zone": user.time_zone}

    def form_valid(self, form: ProfileForm) -> HttpResponse:
        try:
            profiles.change(self._user(), **form.cleaned_data, actor=actor_of(self.request))
        except DomainError as error:
            show_refusal(form, error)
            return self.form_invalid(form)
        messages.success(self.request, "Saved.")
        return super().form_valid(form)

    def _user(self) -> User:
        assert isinstance(self.request.user, User)
        return self.request.user


class ChangePassword(PasswordChangeView):  # type: ignore[misc]
    form_class = PasswordForm
    success_url = reverse_lazy("console_profile")


@method_decorator(login_required, name="dispatch")
class Sessions(View):
    """Where the user is signed in; each session can be ended, this one by signing out."""

    def get(self, request: HttpRequest) -> HttpResponse:
        sessions = UserSession.objects.purge_and_list(request.user)
        sessions.sort(key=lambda session: session.last_seen_at, reverse=True)
        return render(request, "usersessions/usersession_list.html", {"sessions": sessions})

    def post(self, request: HttpRequest) -> HttpResponse:
        chosen = request.POST.get("session", "")
        if chosen == "others":
            end_other_sessions(request, request.user)
        else:
            end_sessions(request, [self._own(request, chosen)])
        messages.success(request, "Ended.")
        return redirect("usersessions_list")

    def _own(self, request: HttpRequest, chosen: str) -> UserSession:
        own = UserSession.objects.filter(user_id=request.user.pk)
        session = own.filter(pk=int(chosen)).first() if chosen.isdecimal() and len(chosen) < 19 else None
        if session is None:
            raise Http404
        return session
