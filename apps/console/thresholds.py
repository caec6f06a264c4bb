"""How much of what it was given a wallet has left, in a word (contract 9.5): one rule for lists and pages."""

from django.db.models import Case, F, IntegerField, Q, Value, When

CHOICES = [("critical", "critical: 10 % or less"), ("low", "low: 20 % or less"), ("fair", "fair"), ("ok", "ok")]
# For sorting: the gravest first; 4 for who was never given any.
RANKS = {"critical": 0, "low": 1, "fair": 2, "ok": 3, "": 4}
_WORD_OF = {rank: word for word, rank in RANKS.items()}


def word(left_micros: int, allocated_micros: int) -> str:
    """ok over 50 % left, fair over 20 %, low over 10 %, else critical; empty for who was never given any."""
    if allocated_micros <= 0:
        return ""
    # Whole divisions, as the database does them: products of these amounts would not fit its integers.
    for share, name in ((2, "ok"), (5, "fair"), (10, "low")):
        if left_micros > allocated_micros // share:
            return name
    return "critical"


def word_of_rank(rank: int) -> str:
    return _WORD_OF[rank]


def rank(left: str, allocated: str) -> Case:
    """The rank as an expression over two fields of a row."""
    given = Q(**{f"{allocated}__gt": 0})
    return Case(
        When(~given, then=Value(RANKS[""])),
        When(Q(**{f"{allocated}__isnull": True}), then=Value(RANKS[""])),
        *(
            When(Q(**{f"{left}__gt": F(allocated) / share}), then=Value(RANKS[name]))
            for share, name in ((2, "ok"), (5, "fair"), (10, "low"))
        ),
        default=Value(RANKS["critical"]),
        output_field=IntegerField(),
    )
