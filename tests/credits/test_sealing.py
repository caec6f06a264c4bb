"""Blocks: entries are sealed in the background, and whatever is changed afterwards is found, to the row."""

import random
from datetime import timedelta
from functools import partial
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.db.models import F

from apps.core import append_only
from apps.credits import sealing
from apps.credits.models import Block, Entry, GrantUse
from apps.jobs import sweeper
from tests import make
from tests.credits import books, racing

pytestmark = pytest.mark.django_db(transaction=True)


def differences() -> list[str]:
    return [f"{each.check} of {each.subject}" for each in sealing.blocks_hold_what_was_sealed()]


def work(team, count: int) -> None:
    books.give(team, count, key="start")
    for number in range(1, count):
        books.spend(team, 1, job=f"job-{number}")


def age(by: timedelta) -> None:
    with transaction.atomic(), append_only.lifted():
        Entry.objects.update(created_at=F("created_at") - by)


def test_entries_are_sealed_in_blocks_that_follow_each_other(team, monkeypatch):
    monkeypatch.setattr(sealing, "ENTRIES_A_BLOCK", 4)
    work(team, 10)

    made = sealing.seal_all()

    blocks = list(Block.objects.order_by("number"))
    assert made == 3
    assert [(block.number, block.first_seq, block.last_seq) for block in blocks] == [(1, 1, 4), (2, 5, 8), (3, 9, 10)]
    assert [len(block.digests) for block in blocks] == [64, 64, 32]
    assert [block.previous_hash for block in blocks] == ["", blocks[0].hash, blocks[1].hash]
    assert sealing.seal_all() == 0
    assert differences() == []


def test_what_comes_later_is_sealed_in_a_block_of_its_own(team):
    work(team, 3)
    sealing.seal_all()
    books.give(team, 1, key="more")

    assert sealing.seal_all() == 1
    assert Block.objects.get(number=2).first_seq == 4
    assert differences() == []


def test_background_seals_full_blocks_at_once_and_others_when_they_have_waited(team, monkeypatch):
    monkeypatch.setattr(sealing, "ENTRIES_A_BLOCK", 4)
    work(team, 3)
    assert sealing.seal_due() == 0

    books.give(team, 1, key="more")
    assert sealing.seal_due() == 1

    books.give(team, 1, key="still more")
    assert sealing.seal_due() == 0
    age(sealing.SEALED_AFTER + timedelta(seconds=1))
    assert sealing.seal_due() == 1


def test_accounts_that_are_not_due_do_not_keep_others_from_it(team, other_team):
    """Found by their order: those that are always at work come first."""
    books.give(team, 1, key="old")
    books.give(other_team, 1, key="old")
    sealing.seal_all()
    books.give(team, 1, key="young")
    books.give(other_team, 1, key="has waited")
    late = Entry.objects.get(idempotency_key=f"grant:{other_team.team_id}:has waited")
    with transaction.atomic(), append_only.lifted():
        waited = F("created_at") - sealing.SEALED_AFTER - timedelta(seconds=1)
        Entry.objects.filter(pk=late.pk).update(created_at=waited)

    assert sealing.seal_due(at_most=1) == 1
    assert Block.objects.latest("id").account_id == late.credit_account_id


def test_sweeper_seals(team, monkeypatch):
    monkeypatch.setattr(sealing, "ENTRIES_A_BLOCK", 2)
    monkeypatch.setattr(sweeper, "_sealed_at", None)
    work(team, 2)

    assert sweeper.run().sealed == 1
    books.give(team, 1, key="more")
    books.give(team, 1, key="still more")
    # Not by every sweep.
    assert sweeper.run().sealed == 0


def test_every_changed_row_is_found_and_located(team, monkeypatch):
    """Single-row edits of every column, deletions and swaps: each names the very entry."""
    monkeypatch.setattr(sealing, "ENTRIES_A_BLOCK", 8)
    work(team, 30)
    sealing.seal_all()
    chance = random.Random(4)
    entries = list(Entry.objects.order_by("id"))
    edits = [
        lambda entry: Entry.objects.filter(pk=entry.pk).update(amount_micros=F("amount_micros") + 1),
        lambda entry: Entry.objects.filter(pk=entry.pk).update(reason="no reason"),
        lambda entry: Entry.objects.filter(pk=entry.pk).update(actor="nobody"),
        lambda entry: Entry.objects.filter(pk=entry.pk).update(job="another-job", kind="adjust"),
        lambda entry: Entry.objects.filter(pk=entry.pk).update(
            created_at=F("created_at") + timedelta(microseconds=1)
        ),
        lambda entry: Entry.objects.filter(pk=entry.pk).update(external_id="a payment"),
        lambda entry: GrantUse.objects.filter(entry=entry).update(amount_micros=F("amount_micros") + 1),
    ]

    found = []
    for number in range(200):
        entry, edit = chance.choice(entries[1:]), edits[number % len(edits)]
        with transaction.atomic():
            with append_only.lifted():
                assert edit(entry)
                found.append(differences() == [_located(entry)])
            transaction.set_rollback(True)

    assert found == [True] * 200


def _located(entry: Entry) -> str:
    side = (
        (entry.debit_seq, entry.debit_account_id) if entry.debit_seq else (entry.credit_seq, entry.credit_account_id)
    )
    return f"entry.sealed of entry:{entry.pk}, number {side[0]} of account:{side[1]}"


def test_deleted_and_swapped_entries_are_located(team):
    work(team, 4)
    sealing.seal_all()
    first, second = Entry.objects.filter(kind="charge").order_by("debit_seq")[:2]
    with transaction.atomic():
        with append_only.lifted():
            GrantUse.objects.filter(entry=first)._raw_delete("default")
            Entry.objects.filter(pk=first.pk)._raw_delete("default")
            assert differences() == [f"entry.sealed of no entry, number 2 of account:{first.debit_account_id}"]
            Entry.objects.filter(pk=second.pk).update(debit_seq=2)
            assert differences() == [
                f"entry.sealed of entry:{second.pk}, number 2 of account:{first.debit_account_id}",
                f"entry.sealed of no entry, number 3 of account:{first.debit_account_id}",
            ]
        transaction.set_rollback(True)


def test_block_that_was_made_to_fit_breaks_the_chain(team, monkeypatch):
    """Who rewrites an entry and its block has to rewrite every later block too."""
    monkeypatch.setattr(sealing, "ENTRIES_A_BLOCK", 2)
    work(team, 6)
    sealing.seal_all()
    entry = Entry.objects.get(debit_seq=3)
    with transaction.atomic():
        with append_only.lifted():
            Entry.objects.filter(pk=entry.pk).update(reason="better so")
            block = Block.objects.get(number=2)
            found = sealing._digests(block.account_id, 3, 4)
            block.digests = found[3][1] + found[4][1]
            block.hash = sealing._hash(block)
            block.save()
            assert differences() == [f"block.chain of block:3 of account:{block.account_id}"]
        transaction.set_rollback(True)


@pytest.mark.postgresql
def test_two_that_seal_at_once_make_each_block_once(team):
    work(team, 20)

    made = racing.at_once([sealing.seal_all] * 4)

    assert sum(made) == 1
    assert Block.objects.count() == 1
    assert differences() == []


@pytest.mark.postgresql
def test_sealing_beside_charges_waits_for_none_and_misses_none(team, monkeypatch):
    monkeypatch.setattr(sealing, "ENTRIES_A_BLOCK", 3)
    books.give(team, 100, key="start")

    def spend(number: int) -> None:
        books.spend(team, 1, job=f"beside-{number}")
        sealing.seal_all()

    racing.at_once([partial(spend, number) for number in range(16)])

    sealing.seal_all()
    assert sum(block.last_seq - block.first_seq + 1 for block in Block.objects.all()) == 17
    assert differences() == []


def test_a_block_is_made_once(team):
    work(team, 2)
    sealing.seal_all()
    block = Block.objects.get()
    block.pk = None

    with pytest.raises(IntegrityError), transaction.atomic():
        block.save(force_insert=True)


def test_command_seals_and_prints_heads(team):
    work(team, 2)
    out = StringIO()

    call_command("ledger_seal", stdout=out)
    call_command("ledger_seal", "--heads", stdout=out)

    wallet = books.wallet(team)
    assert out.getvalue().splitlines() == ["1 blocks sealed", f"{wallet.pk} 2 {Block.objects.get().hash}"]


def test_a_team_without_entries_has_no_block():
    make.customer(credits=0)

    assert sealing.seal_all() == 0
