"""What every page of the console shares: a right, a title, a place in the hierarchy, and tabs of an object."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views import View

from apps.core.errors import NotFound
from apps.organizations import rights
from apps.organizations.models import User
from apps.organizations.rights import Right


@dataclass(frozen=True, slots=True)
class Crumb:
    """A place above the page."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Button:
    """An action on the page, drawn for those who hold `right`, be it in part: the action judges the rest."""

    label: str
    url: str
    right: Right
    is_main: bool = False
    is_dangerous: bool = False


def operator_of(request: HttpRequest) -> User:
    """Who is signed in. Raises: PermissionDenied for anybody else than an operator."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


class Page(View):
    """A page at one URL. `get_context` does the work, `template_name` shows it.

    Whoever lacks `right` gets 403 with the words of the rights' table; what is not found gets 404.
    """

    right: ClassVar[Right] = Right.VIEW
    template_name: ClassVar[str]
    title: str = ""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        self.operator = operator_of(request)
        self.require_right()
        if any("\x00" in value for value in kwargs.values() if isinstance(value, str)):
            # Part of no id, and PostgreSQL would refuse to look for it.
            raise Http404("No id holds a NUL")
        try:
            response: HttpResponse = super().dispatch(request, *args, **kwargs)  # type: ignore[assignment]
        except NotFound as error:
            raise Http404(error.message) from None
        return response

    def require_right(self) -> None:
        """Raises: RightMissing."""
        rights.require(self.operator.role, self.right)

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        return self.render(request, self.get_context(**kwargs))

    def get_context(self, **kwargs: Any) -> dict[str, Any]:
        return {}

    def crumbs(self) -> Sequence[Crumb]:
        return ()

    def buttons(self) -> Sequence[Button]:
        return ()

    def render(
        self, request: HttpRequest, context: dict[str, Any], *, template: str = "", status: int = 200
    ) -> HttpResponse:
        common = {
            **admin.site.each_context(request),
            "title": self.title,
            "crumbs": self.crumbs(),
            "buttons": [button for button in self.buttons() if self.operator.holds(button.right, within=True)],
            "is_console_page": True,
        }
        return TemplateResponse(request, template or self.template_name, common | context, status=status)


@dataclass(frozen=True, slots=True)
class Tab:
    """A part of an object's page with a URL of its own; only the open one is computed. The first has slug ""."""

    slug: str
    label: str
    template: str
    right: Right = Right.VIEW


class ObjectPage(Page):
    """A page about one thing, named by its public id. `load` finds it and sets `self.obj`, then the title.

    Each tab has a method `tab_<slug>` (the first: `tab_overview`) that returns its context.
    """

    route: ClassVar[str]
    template_name = "console/pages/object.html"
    tabs: ClassVar[Sequence[Tab]] = ()
    obj: Any

    def load(self, **kwargs: Any) -> None:
        """Raises: NotFound."""
        raise NotImplementedError

    def url_kwargs(self) -> dict[str, Any]:
        """What names the object in its URL."""
        raise NotImplementedError

    def sentence(self) -> str:
        """The answer to the ticket, in one true sentence."""
        return ""

    def state(self) -> str:
        return ""

    def facts(self) -> Sequence[tuple[str, Any]]:
        """At most five numbers that matter: label and shown value."""
        return ()

    def about(self) -> Sequence[tuple[str, Any]]:
        """Created, by whom, ids."""
        return ()

    def get(self, request: HttpRequest, tab: str = "", **kwargs: Any) -> HttpResponse:
        self.load(**kwargs)
        shown = {each.slug: each for each in self.tabs if self.operator.holds(each.right)}
        if tab not in shown:
            raise Http404(f"There is no page '{tab}' here")
        of_tab: dict[str, Any] = getattr(self, f"tab_{tab.replace('-', '_') or 'overview'}", dict)()
        context = {
            "obj": self.obj,
            "sentence": self.sentence(),
            "object_state": self.state(),
            "facts": self.facts(),
            "about": self.about(),
            "tabs": [(each, self.tab_url(each.slug), each.slug == tab) for each in shown.values()],
            "tab": shown[tab],
        }
        return self.render(request, context | of_tab)

    def tab_url(self, slug: str) -> str:
        kwargs = self.url_kwargs()
        if slug:
            return reverse(f"admin:{self.route}_tab", kwargs=kwargs | {"tab": slug})
        return reverse(f"admin:{self.route}", kwargs=kwargs)
