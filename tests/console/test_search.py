"""Search: what a term means by its shape; a whole key is used by its prefix alone and written nowhere."""

import pytest

from apps.jobs import services
from tests import make
from tests.console.conftest import text_of

SEARCH = "/admin/search/"


def hits(client, term: str) -> list[tuple[str, str]]:
    return [(hit.kind, hit.url) for hit in client.post(SEARCH, {"term": term}).context["hits"]]


def test_ids_and_their_ends_find_the_thing(vera, acme):
    job, _ = services.open_job(acme.principal, services.NewJob("query"))
    page = ("job", f"/admin/job/{job.pk}/")
    for term in (str(job.pk), job.pk.hex, str(job.pk)[-8:], str(job.pk)[:13]):
        assert hits(vera, term) == [page]
    assert vera.get(f"/admin/go/{job.pk}/").url == page[1]


def test_names_find_organizations_and_teams(vera, acme, globex):
    found = hits(vera, "acme")
    assert ("team", "/admin/team/acme/") in found
    assert "globex" not in str(found)
    organization = acme.organization.organization_id
    assert ("organization", f"/admin/org/{organization}/") in hits(vera, organization)


def test_whole_key_is_used_by_its_prefix_and_written_nowhere(vera, acme):
    page = vera.post(SEARCH, {"term": acme.secret})
    assert [hit.kind for hit in page.context["hits"]] == ["key"]
    assert "You pasted a whole key. It was not stored; consider rotating it." in text_of(page)
    assert acme.secret not in text_of(page)


@pytest.mark.parametrize("term", ["", " ", "\x00", "zzz", "x" * 5000, "%", "_", "sk-", "<script>alert(1)</script>"])
def test_terms_that_find_nothing_are_answered(vera, acme, term):
    page = vera.post(SEARCH, {"term": term, "fragment": "1"})
    assert page.status_code == 200
    assert "<script>alert(1)" not in text_of(page)


def test_queries_are_bounded(vera, acme, django_assert_max_num_queries):
    with django_assert_max_num_queries(2 + 8):
        vera.post(SEARCH, {"term": "acme", "fragment": "1"})


def test_get_finds_nothing_since_terms_are_kept_out_of_addresses(vera, acme):
    assert "acme" not in text_of(vera.get(SEARCH, {"term": "acme"})).split("<main")[1]


def test_unknown_id_leads_nowhere(vera, db):
    assert vera.get("/admin/go/0192e4a0-0000-7000-8000-000000000000/").status_code == 404


def test_strangers_search_nothing(client, acme):
    assert client.post(SEARCH, {"term": "acme"}).status_code == 302
    make.customer(team_id="other")
