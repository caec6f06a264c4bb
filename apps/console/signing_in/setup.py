"""/admin/setup/: the first owner. And the code that opens it, printed while there is none."""

import logging
from typing import TYPE_CHECKING, Any

from allauth.account.utils import perform_login
from allauth.core.internal import ratelimit
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.generic import FormView
from psycopg_pool import PoolTimeout

from apps.console.signing_in.forms import SetUpForm
from apps.core.actors import Actor
from apps.core.addresses import client_address
from apps.core.admin_base import show_refusal
from apps.core.db import release_connection
from apps.core.errors import DomainError
from apps.organizations import first_owner
from apps.organizations.errors import AlreadySetUp

if TYPE_CHECKING:
    _SetUpView = FormView[SetUpForm]
else:
    _SetUpView = FormView

logger = logging.getLogger("saasllm.setup")


class SetUp(_SetUpView):
    """Not found once there is an owner."""

    form_class = SetUpForm
    template_name = "console/signing_in/setup.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if first_owner.exists():
            raise Http404
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: SetUpForm) -> HttpResponse:
        """Only wrong codes count as attempts."""
        attempt = ratelimit.consume(self.request, app="allauth.account", action="setup", key="setup")
        if not attempt:
            form.add_error(None, "Too many attempts. Try again in 5 min.")
            return self.render_to_response(self.get_context_data(form=form), status=429)
        given = dict(form.cleaned_data)
        actor = Actor("operator", given["email"][:240], client_address(self.request.META))
        try:
            first_owner.require_code(given.pop("code"))
            attempt.rollback()
            user = first_owner.create(**given, actor=actor)
        except AlreadySetUp as error:
            return render(
                self.request, "console/signing_in/set_up_before.html", {"message": error.message}, status=409
            )
        except DomainError as error:
            show_refusal(form, error)
            return self.form_invalid(form)
        response: HttpResponse = perform_login(self.request, user, redirect_url=reverse("admin:index"))
        return response


def announce() -> None:
    """Write the set-up code to the log while there is no owner; nothing if the database cannot be asked.

    It may wait for the database, so a server that starts calls it in a thread of its own.
    """
    try:
        if not first_owner.exists():
            logger.warning("No owner yet. Open /admin/setup/ with the set-up code %s", first_owner.setup_code())
    except (DatabaseError, PoolTimeout) as error:
        logger.info("No set-up code: %s", type(error).__name__)
    finally:
        release_connection()
