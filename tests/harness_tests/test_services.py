import psycopg
import pytest
import redis

from tests.harness import services


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both services at an address where nobody listens, with a password in it."""
    monkeypatch.setenv("TEST_POSTGRES_URL", "postgres://someone:secret@127.0.0.1:1/postgres")
    monkeypatch.setenv("TEST_REDIS_URL", "redis://someone:secret@127.0.0.1:1/9")
    monkeypatch.delenv("CI", raising=False)


@pytest.mark.usefixtures("nowhere")
def test_missing_services_are_told_without_their_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert not services.reachable()
    assert services.main() == 1
    printed = capsys.readouterr().out
    assert "PostgreSQL at postgres://127.0.0.1:1/postgres: " in printed
    assert "secret" not in printed


@pytest.mark.usefixtures("nowhere")
def test_missing_services_are_an_error_of_one_line_in_ci(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", "true")
    assert services.main() == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.services
def test_a_temporary_database_is_dropped_under_an_open_connection() -> None:
    with services.temporary_database("harness_test") as url:
        left_open = psycopg.connect(url, autocommit=True)
        left_open.execute("CREATE TABLE thing (id int)")
        name = left_open.info.dbname
    with pytest.raises(psycopg.OperationalError):
        left_open.execute("SELECT 1")
    with psycopg.connect(services.postgres_url()) as connection:
        found = connection.execute("SELECT count(*) FROM pg_database WHERE datname = %s", [name]).fetchone()
    assert name.startswith("harness_test_")
    assert found == (0,)


@pytest.mark.services
def test_two_users_of_redis_get_databases_of_their_own_and_leave_them_empty() -> None:
    with services.free_redis_db() as mine, services.free_redis_db() as yours:
        assert mine != yours
        client = redis.Redis.from_url(mine)
        client.set("key", "value")
    assert client.dbsize() == 0
    client.close()


@pytest.mark.services
def test_a_database_that_lost_its_lock_is_left_without_an_error() -> None:
    with services.free_redis_db() as url:
        number = url.rpartition("/")[2]
        with redis.Redis.from_url(services.redis_url()) as locks:
            assert locks.delete(f"test-harness:redis-db:{number}") == 1
