"""What providers charge: dated prices of their models, of which none is ever changed or deleted."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now

from apps.catalog.rates import CLASSES, PER_PIECE, Rates
from apps.core.ids import new_id


class PriceSource(models.TextChoices):
    """What a call's provider cost rests on."""

    ALIAS = "alias", "the alias's own price"
    REPORTED = "reported", "what the backend says it cost"
    PRICE = "price", "the price in force at admission"
    ESTIMATE = "estimate", "the estimate for models without a price"
    NONE = "none", "nothing: the cost is not known"


def rate_column(name: str) -> str:
    """The column of one of the rates."""
    return f"nanousd_{name}" if name in PER_PIECE else f"{name}_nanousd_per_mtok"


def _class(label: str) -> "models.BigIntegerField[int | None, int | None]":
    return models.BigIntegerField(null=True, blank=True, help_text=f"empty: {label}")


def _not_negative() -> Q:
    condition = Q()
    for name in (*CLASSES, *PER_PIECE):
        column = rate_column(name)
        condition &= Q(**{f"{column}__isnull": True}) | Q(**{f"{column}__gte": 0})
    return condition


class Price(models.Model):
    """What a provider model costs from an instant on: billionths of a dollar per million tokens of each class.

    The newest that is valid by now counts; of equal instants the one made last, by which a mistake is corrected.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    model = models.CharField(max_length=255, help_text="provider model, as aliases name it; in lower case")
    valid_from = models.DateTimeField(db_default=Now(), help_text="may lie ahead")
    input_nanousd_per_mtok = models.BigIntegerField()
    cached_input_nanousd_per_mtok = _class("as input")
    cache_write_nanousd_per_mtok = _class("as input")
    cache_write_1h_nanousd_per_mtok = _class("as other cache writes")
    audio_input_nanousd_per_mtok = _class("as input")
    image_input_nanousd_per_mtok = _class("as input")
    output_nanousd_per_mtok = models.BigIntegerField()
    reasoning_nanousd_per_mtok = _class("as output")
    audio_output_nanousd_per_mtok = _class("as output")
    image_output_nanousd_per_mtok = _class("as output")
    nanousd_per_request = models.BigIntegerField(default=0)
    nanousd_per_image = models.BigIntegerField(default=0, help_text="for each image that is sent, beside its tokens")
    source = models.CharField(max_length=255, blank=True, help_text="where it was read, e.g. the imported file")
    created_by = models.CharField(max_length=255)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["model", "-valid_from", "-id"]
        constraints = [
            models.CheckConstraint(condition=_not_negative(), name="price_not_negative"),
            models.CheckConstraint(condition=Q(model=Lower("model")) & ~Q(model=""), name="price_model_lower"),
        ]
        indexes = [models.Index(fields=["model", "-valid_from", "-id"], name="price_in_force")]

    def __str__(self) -> str:
        return f"{self.model} from {self.valid_from:%Y-%m-%d %H:%M}"

    @property
    def rates(self) -> Rates:
        """All of its rates."""
        return Rates(**{name: getattr(self, rate_column(name)) for name in (*CLASSES, *PER_PIECE)})
