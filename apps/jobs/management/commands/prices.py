"""`manage.py prices`: what provider models cost. Prices are added, from now or an instant ahead, never changed."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from apps.catalog import price_map, prices
from apps.catalog.price_map import Change, Diff
from apps.catalog.price_models import Price
from apps.catalog.rates import CLASSES, PER_PIECE, Rates
from apps.core import clock, commands
from apps.core.actors import COMMAND
from apps.core.admin_columns import exact_usd
from apps.core.money import NANOUSD
from apps.jobs import repricing

_RATES = (*CLASSES, *PER_PIECE)
_DAYS = 30
_LIST_MAX = 10_000


class Command(commands.Command):
    help = "List, show, add and import what provider models cost, in dollars per million tokens."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        listed = actions.add_parser("list", help="the prices in force")
        listed.add_argument("--at", type=instant, help="at this instant (ISO 8601, UTC unless it says otherwise)")
        shown = actions.add_parser("show", help="every price of a provider model")
        shown.add_argument("model")
        added = actions.add_parser("add", help="price a provider model")
        added.add_argument("model")
        for name in _RATES:
            unit = "dollars per million tokens" if name in CLASSES else "dollars"
            added.add_argument(f"--{_option(name)}", type=dollars, required=name in ("input", "output"), help=unit)
        imported = actions.add_parser("import", help="read LiteLLM's model_prices_and_context_window.json")
        imported.add_argument("file", type=Path)
        imported.add_argument("--all", action="store_true", help="every model of the file, not only those in use")
        imported.add_argument("--apply", action="store_true", help="write the prices; without it they are only shown")
        for action in (added, imported):
            action.add_argument("--valid-from", type=instant, help="from this instant on, which may lie ahead")
            action.add_argument("--source", default="", help="where the prices are from, for the record")

    def run(self, **options: Any) -> None:
        getattr(self, f"_{options['action']}")(**options)

    def _list(self, **options: Any) -> None:
        found = list(prices.matching(at=options["at"], only_in_force=True)[:_LIST_MAX])
        for price in found:
            self.stdout.write(f"{price.model}: {_in_words(price.rates)}, from {_when(price.valid_from)}")
        self.stdout.write(f"{len(found)} provider models have a price.")

    def _show(self, **options: Any) -> None:
        found = list(prices.matching(model=options["model"])[:_LIST_MAX])
        if not found:
            prices.find(options["model"])
        for price in found:
            self.stdout.write(f"{_when(price.valid_from)} {_state(price)}: {_in_words(price.rates)}{_origin(price)}")

    def _add(self, **options: Any) -> None:
        rates = Rates(**{name: options[name] for name in _RATES if options[name] is not None})
        price = prices.add(
            options["model"], rates, actor=COMMAND, source=options["source"], valid_from=options["valid_from"]
        )
        self.stdout.write(f"{price.model}: {_in_words(price.rates)}, from {_when(price.valid_from)}")

    def _import(self, **options: Any) -> None:
        path: Path = options["file"]
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{path} cannot be read: {error}") from None
        found = price_map.read(text)
        models = sorted(found.entries) if options["all"] else prices.used_models()
        diff = price_map.compare(found, models, valid_from=options["valid_from"])
        self._tell(diff)
        if not diff.changes:
            self.stdout.write("There is nothing to change.")
        elif not options["apply"]:
            self.stdout.write("Nothing was written. Run it again with --apply to write these prices.")
        else:
            source = options["source"] or path.name
            made = price_map.apply(diff, actor=COMMAND, source=source, valid_from=options["valid_from"])
            from_when = "now" if options["valid_from"] is None else _when(options["valid_from"])
            self.stdout.write(f"{made} prices were written, from {from_when}.")

    def _tell(self, diff: Diff) -> None:
        for change in diff.changes:
            self.stdout.write(_difference(change))
        for model, reason in diff.missing.items():
            self.stdout.write(f"left out  {model}: {reason}")
        new = sum(change.before is None for change in diff.changes)
        self.stdout.write(
            f"{new} new, {len(diff.changes) - new} changed, {diff.unchanged} unchanged, {len(diff.missing)} left out."
        )
        repriced = repricing.last_days({change.model: change.rates for change in diff.changes}, days=_DAYS)
        for model, each in repriced.items():
            percent = _percent(each.cost_nanousd, each.new_cost_nanousd)
            self.stdout.write(
                f"{model}: {each.calls} calls in {_DAYS} days cost {exact_usd(each.cost_nanousd)} USD and would have"
                f" cost {exact_usd(each.new_cost_nanousd)} USD{percent}"
            )
        if diff.changes and not repriced:
            self.stdout.write(f"None of these models was called in the last {_DAYS} days at a price of this list.")


def _option(name: str) -> str:
    return name.replace("_", "-")


def instant(text: str) -> datetime:
    return clock.as_utc(datetime.fromisoformat(text))


def dollars(text: str) -> int:
    try:
        value = Decimal(text) * NANOUSD
        if value != int(value):
            raise ValueError
    except (InvalidOperation, ValueError, OverflowError):
        raise ValueError(text) from None
    return int(value)


def _when(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")


def _state(price: Any) -> str:
    if price.is_in_force:
        return "in force"
    return "scheduled" if price.is_scheduled else "past"


def _origin(price: Price) -> str:
    return f" ({price.source}; {price.created_by})" if price.source else f" ({price.created_by})"


def _in_words(rates: Rates) -> str:
    return ", ".join(f"{_words(name)} {exact_usd(rate)}" for name, rate in rates.given().items())


def _words(name: str) -> str:
    return name.replace("_", " ")


def _difference(change: Change) -> str:
    tiers = "; long inputs cost more, which is not priced here" if change.entry.has_tiers else ""
    if change.before is None:
        return f"new       {change.model}: {_in_words(change.rates)}{tiers}"
    parts = [
        f"{_words(name)} {_usd(old)} → {_usd(new)}{_percent(old, new)}"
        for name, (old, new) in prices.changes(change.before.rates, change.rates).items()
    ]
    return f"changed   {change.model}: {', '.join(parts)}{tiers}"


def _usd(nanousd: int | None) -> str:
    return "none" if nanousd is None else exact_usd(nanousd)


def _percent(old: int | None, new: int | None) -> str:
    if not old or new is None or new == old:
        return ""
    percent = (Decimal(new - old) * 100 / old).quantize(Decimal("0.1"))
    return f" ({percent:+}%)"
